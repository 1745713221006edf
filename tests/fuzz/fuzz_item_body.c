/* Bodies of the admin listener: PUT and PATCH of an item, and of the strategy. */
#include "base/clock.h"
#include "fuzz/fuzz.h"
#include "http/body.h"

/* The latest moment that can be written in RFC 3339. */
#define TIME_MAX UINT64_C(253402300799999)

static void check_time(uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    uint64_t again;
    if (ms == 0)
        return;
    EXPECT(ms <= TIME_MAX);
    time_format_rfc3339(text, ms);
    EXPECT(time_parse_rfc3339(text, strlen(text), &again) == 0 && again == ms);
}

static void check_change(const item_change_t *change, bool create)
{
    const item_terms_t *terms = &change->terms;
    EXPECT(change->create == create && (!create || change->has_total));
    EXPECT(terms->total >= 0 && terms->total <= 1000000000);
    EXPECT(terms->per_buyer_limit <= 1000000000 && terms->hold_seconds <= 366 * 86400);
    EXPECT((unsigned)terms->strategy < STRATEGY_COUNT);
    EXPECT(terms->acknowledge == ACKNOWLEDGE_COMMITTED ||
           terms->acknowledge == ACKNOWLEDGE_ACCEPTED);
    check_time(terms->starts_at_ms);
    check_time(terms->ends_at_ms);
}

static bool read_one(const cJSON *json, unsigned what, mistake_t *mistake)
{
    strategy_id_t strategy = STRATEGY_COUNT;
    item_change_t change = {.create = what == 0};
    if (what == 2) {
        bool ok = body_read_strategy(json, &strategy, mistake);
        EXPECT(!ok || (unsigned)strategy < STRATEGY_COUNT);
        return ok;
    }
    bool ok = body_read_change(json, STRATEGY_WATCH, &change, mistake);
    if (ok)
        check_change(&change, what == 0);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    unsigned what = fuzz_take_byte(&input) % 3;
    mistake_t mistake;
    cJSON *json = body_parse(fuzz_take_rest(&input), &mistake);
    if (json == NULL) {
        EXPECT(mistake.problem == PROBLEM_MALFORMED_JSON);
        return 0;
    }
    if (!read_one(json, what, &mistake)) {
        EXPECT(mistake.problem == PROBLEM_INVALID_REQUEST && mistake.detail[0] != '\0');
        EXPECT(fuzz_is_utf8(str_of(mistake.detail)));
    }
    cJSON_Delete(json);
    return 0;
}
