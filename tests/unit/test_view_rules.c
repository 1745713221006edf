/* What is shown of an item: how old it may be, when it is looked up anew, its text, its ETag. */
#include "engine/view_rules.h"

#include "harness/test.h"
#include "http/etag.h"

static const config_t config = {
    .items = {
        .max_age_ms = 100, .refresh_per_second = 5000, .unknown_ms = 500, .stale_max_ms = 30000}};

/* Some time after the machine was started. */
#define START UINT64_C(1000000)

static view_verdict_t verdict(const view_state_t *state, bool crowded, uint64_t after_ms)
{
    return view_verdict(state, &config, crowded, START + after_ms);
}

static void a_value_is_shown_until_it_is_old(void **state)
{
    (void)state;
    view_state_t known = {.content = VIEW_KNOWN, .read_ms = START};
    EXPECT_NUMBER(verdict(&known, false, 0), VIEW_SHOWN);
    EXPECT_NUMBER(verdict(&known, false, 100), VIEW_SHOWN);
    EXPECT_NUMBER(verdict(&known, false, 101), VIEW_WAIT);
    EXPECT_NUMBER(view_verdict(&known, &config, false, START - 5), VIEW_SHOWN);
}

static void a_crowd_of_items_may_be_older(void **state)
{
    (void)state;
    view_state_t known = {.content = VIEW_KNOWN, .read_ms = START};
    EXPECT_NUMBER(verdict(&known, true, 101), VIEW_SHOWN);
    EXPECT_NUMBER(verdict(&known, true, 2000), VIEW_SHOWN);
    EXPECT_NUMBER(verdict(&known, true, 2001), VIEW_WAIT);
    known.outdated = true;
    EXPECT_NUMBER(verdict(&known, true, 1), VIEW_WAIT);
    view_state_t absent = {.content = VIEW_ABSENT, .read_ms = START};
    EXPECT_NUMBER(verdict(&absent, true, 501), VIEW_WAIT);
}

static void an_unknown_item_is_remembered_for_a_moment(void **state)
{
    (void)state;
    view_state_t absent = {.content = VIEW_ABSENT, .read_ms = START};
    EXPECT_NUMBER(verdict(&absent, false, 500), VIEW_UNKNOWN);
    EXPECT_NUMBER(verdict(&absent, false, 501), VIEW_WAIT);
    absent.outdated = true;
    EXPECT_NUMBER(verdict(&absent, false, 1), VIEW_WAIT);
    /* Nobody knows whether it is still not there. */
    view_state_t away = {VIEW_ABSENT, .read_ms = START, .away = "a", .away_ms = START + 600};
    EXPECT_NUMBER(verdict(&away, false, 601), VIEW_AWAY);
}

static void while_a_server_is_away_the_last_value_is_shown(void **state)
{
    (void)state;
    view_state_t known = {VIEW_KNOWN, .read_ms = START, .away = "redis", .away_ms = START + 150};
    EXPECT_NUMBER(verdict(&known, false, 151), VIEW_SHOWN);
    known.away_ms = START + 30000;
    EXPECT_NUMBER(verdict(&known, false, 30000), VIEW_SHOWN);
    EXPECT_NUMBER(verdict(&known, false, 30001), VIEW_AWAY);
    /* An answer of long ago says nothing about now. */
    EXPECT_NUMBER(verdict(&known, false, 30000 + VIEW_AWAY_MS + 1), VIEW_WAIT);
    known.outdated = true;
    EXPECT_NUMBER(verdict(&known, false, 30000), VIEW_AWAY);
    view_state_t empty = {.away = "redis", .away_ms = START};
    EXPECT_NUMBER(verdict(&empty, false, 1), VIEW_AWAY);
    EXPECT_NUMBER(verdict(&(view_state_t){0}, false, 1), VIEW_WAIT);
}

static bool is_due(const view_state_t *state, uint64_t after_ms)
{
    return view_is_due(state, &config, START + after_ms);
}

static void it_is_asked_for_before_it_is_old(void **state)
{
    (void)state;
    view_state_t known = {.content = VIEW_KNOWN, .read_ms = START};
    assert_false(is_due(&known, 49));
    assert_true(is_due(&known, 50));
    view_state_t absent = {.content = VIEW_ABSENT, .read_ms = START};
    assert_false(is_due(&absent, 449));
    assert_true(is_due(&absent, 450));
    known.outdated = true;
    assert_true(is_due(&known, 0));
    assert_true(is_due(&(view_state_t){0}, 0));
}

static void after_a_failure_it_is_not_asked_for_at_once(void **state)
{
    (void)state;
    view_state_t known = {VIEW_KNOWN, .read_ms = START, .away = "redis", .away_ms = START + 200};
    assert_false(is_due(&known, 299));
    assert_true(is_due(&known, 300));
    view_state_t empty = {.away = "redis", .away_ms = START};
    assert_false(is_due(&empty, 99));
    assert_true(is_due(&empty, 100));
}

/* Whatever the state, one that is not shown is asked for, or was a moment ago: nobody waits for
   nothing. */
static void whoever_waits_waits_for_a_refresh(void **state)
{
    (void)state;
    for (unsigned content = VIEW_EMPTY; content <= VIEW_ABSENT; ++content)
        for (unsigned outdated = 0; outdated < 2; ++outdated)
            for (uint64_t away_ms = 0; away_ms <= 3000; away_ms += 50)
                for (uint64_t now_ms = away_ms; now_ms <= 6000; now_ms += 7) {
                    view_state_t view = {.content = (view_content_t)content,
                                         .outdated = outdated != 0,
                                         .read_ms = START,
                                         .away = away_ms == 0 ? NULL : "redis",
                                         .away_ms = START + away_ms};
                    for (unsigned crowded = 0; crowded < 2; ++crowded)
                        EXPECT(verdict(&view, crowded != 0, now_ms) != VIEW_WAIT ||
                                   is_due(&view, now_ms),
                               "content %u, outdated %u, away at %u ms, at %u ms", content,
                               outdated, (unsigned)away_ms, (unsigned)now_ms);
                }
}

/* --- the budget --- */

static unsigned take_all(view_budget_t *budget, uint64_t now_ms)
{
    unsigned taken = 0;
    view_budget_fill(budget, now_ms);
    while (view_budget_take(budget))
        ++taken;
    return taken;
}

static void no_more_than_the_budget_in_a_second(void **state)
{
    (void)state;
    static const uint32_t rates[] = {0, 1, 7, 50, 2500, 1000000};
    for (size_t i = 0; i < TEST_COUNT(rates); ++i) {
        view_budget_t budget;
        uint32_t rate = rates[i] == 0 ? 1 : rates[i];
        unsigned first, taken = 0;
        view_budget_init(&budget, rates[i], START);
        first = take_all(&budget, START);
        EXPECT_NUMBER(first, rate / 50 == 0 ? 1 : rate / 50);
        for (uint64_t ms = 2; ms <= 2000; ms += 2)
            taken += take_all(&budget, START + ms);
        /* What is left of one token when there is room for no more is lost. */
        EXPECT(taken <= 2 * rate && taken >= 2 * rate - 2 * rate / 10, "%u at a rate of %u", taken,
               rate);
        EXPECT_NUMBER(take_all(&budget, UINT64_MAX), first); /* a rest gives no more */
    }
}

/* --- the text --- */

static item_shown_t some_item(void)
{
    return (item_shown_t){.terms = {.total = 100,
                                    .per_buyer_limit = 2,
                                    .hold_seconds = 60,
                                    .ends_at_ms = 1,
                                    .strategy = STRATEGY_WATCH,
                                    .acknowledge = ACKNOWLEDGE_ACCEPTED},
                          .available = 7,
                          .epoch = 5};
}

static void the_text_of_an_item(void **state)
{
    (void)state;
    char text[ITEM_JSON_MAX];
    item_shown_t shown = some_item();
    str_t json = item_json(text, STR("a.b"), &shown);
    assert_true(str_eq(json, STR("{\"sku\":\"a.b\",\"total\":100,\"available\":7,"
                                 "\"per_buyer_limit\":2,\"hold_seconds\":60,\"starts_at\":null,"
                                 "\"ends_at\":\"1970-01-01T00:00:00.001Z\",\"strategy\":\"watch\","
                                 "\"acknowledge\":\"accepted\"}")));
}

static void the_longest_text_has_room(void **state)
{
    (void)state;
    char *text = test_bytes(ITEM_JSON_MAX), sku[SKU_BYTES_MAX];
    memset(sku, 'x', sizeof(sku));
    item_shown_t shown = {.terms = {.total = INT64_MAX,
                                    .per_buyer_limit = UINT32_MAX,
                                    .hold_seconds = UINT32_MAX,
                                    .starts_at_ms = 1,
                                    .ends_at_ms = 1,
                                    .strategy = STRATEGY_SERIALIZABLE,
                                    .acknowledge = ACKNOWLEDGE_COMMITTED},
                          .available = INT64_MAX};
    assert_true(item_json(text, (str_t){sku, sizeof(sku)}, &shown).n < ITEM_JSON_MAX);
    test_forget();
}

static void units_are_within_the_total(void **state)
{
    (void)state;
    item_shown_t shown = some_item();
    item_shown_set_available(&shown, -1);
    EXPECT_NUMBER(shown.available, 0);
    item_shown_set_available(&shown, 101);
    EXPECT_NUMBER(shown.available, 100);
}

static void tag_of(char *etag, const item_shown_t *shown)
{
    char text[ITEM_JSON_MAX];
    item_etag(etag, item_json(text, STR("a"), shown));
}

static void the_tag_changes_with_what_is_shown_and_only_with_it(void **state)
{
    (void)state;
    char before[ITEM_ETAG_SIZE], after[ITEM_ETAG_SIZE];
    item_shown_t shown = some_item();
    tag_of(before, &shown);
    ++shown.epoch;
    tag_of(after, &shown);
    assert_memory_equal(before, after, ITEM_ETAG_SIZE);
    --shown.available;
    tag_of(after, &shown);
    assert_memory_not_equal(before, after, ITEM_ETAG_SIZE);
}

static void tags_that_a_client_names(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool is_named;
    } cases[] = {
        {"\"abc\"", true},
        {" \"abc\" ", true},
        {"W/\"abc\"", true},
        {"\"x\", \"abc\"", true},
        {"\"x\",W/\"y\" ,\t\"abc\"", true},
        {"\"a,b\", \"abc\"", true},
        {",,\"abc\"", true},
        {"*", true},
        {" * ", true},
        {"", false},
        {"abc", false},
        {"\"ab\"", false},
        {"\"abcd\"", false},
        {"\"abc", false},
        {"\"", false},
        {"W/", false},
        {"w/\"abc\"", false},
        {"\"x\" *", false},
        {"\"x, \"abc\"", false},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        char *value = test_exact(cases[i].value, strlen(cases[i].value));
        EXPECT(etag_is_named((str_t){value, strlen(cases[i].value)}, STR("\"abc\"")) ==
                   cases[i].is_named,
               "%s", cases[i].value);
    }
    test_forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_shown_until_it_is_old),
        cmocka_unit_test(a_crowd_of_items_may_be_older),
        cmocka_unit_test(an_unknown_item_is_remembered_for_a_moment),
        cmocka_unit_test(while_a_server_is_away_the_last_value_is_shown),
        cmocka_unit_test(it_is_asked_for_before_it_is_old),
        cmocka_unit_test(after_a_failure_it_is_not_asked_for_at_once),
        cmocka_unit_test(whoever_waits_waits_for_a_refresh),
        cmocka_unit_test(no_more_than_the_budget_in_a_second),
        cmocka_unit_test(the_text_of_an_item),
        cmocka_unit_test(the_longest_text_has_room),
        cmocka_unit_test(units_are_within_the_total),
        cmocka_unit_test(the_tag_changes_with_what_is_shown_and_only_with_it),
        cmocka_unit_test(tags_that_a_client_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
