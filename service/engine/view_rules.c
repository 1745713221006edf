#include "engine/view_rules.h"

#include <xxhash.h>

#include "base/clock.h"

static uint64_t age_of(uint64_t then_ms, uint64_t now_ms)
{
    return now_ms > then_ms ? now_ms - then_ms : 0;
}

static bool is_away(const view_state_t *state, uint64_t now_ms)
{
    return state->away != NULL && age_of(state->away_ms, now_ms) <= VIEW_AWAY_MS;
}

uint32_t view_life_ms(const view_state_t *state, const config_t *config)
{
    return state->content == VIEW_ABSENT ? config->items.unknown_ms : config->items.max_age_ms;
}

/* The age up to which a value needs no excuse. */
static uint64_t age_max(const view_state_t *state, const config_t *config, bool crowded)
{
    uint32_t life_ms = view_life_ms(state, config);
    return crowded && life_ms < VIEW_CROWDED_AGE_MS && state->content == VIEW_KNOWN
               ? VIEW_CROWDED_AGE_MS
               : life_ms;
}

view_verdict_t view_verdict(const view_state_t *state, const config_t *config, bool crowded,
                            uint64_t now_ms)
{
    uint64_t age_ms = age_of(state->read_ms, now_ms);
    bool has_value = state->content != VIEW_EMPTY && !state->outdated;
    if (has_value && age_ms <= age_max(state, config, crowded))
        return state->content == VIEW_KNOWN ? VIEW_SHOWN : VIEW_UNKNOWN;
    if (!is_away(state, now_ms))
        return VIEW_WAIT;
    return has_value && state->content == VIEW_KNOWN && age_ms <= config->items.stale_max_ms
               ? VIEW_SHOWN
               : VIEW_AWAY;
}

bool view_is_due(const view_state_t *state, const config_t *config, uint64_t now_ms)
{
    uint32_t life_ms = view_life_ms(state, config),
             lead_ms = life_ms / 2 < VIEW_LEAD_MS ? life_ms / 2 : VIEW_LEAD_MS;
    if (is_away(state, now_ms) && age_of(state->away_ms, now_ms) < config->items.max_age_ms)
        return false;
    return state->content == VIEW_EMPTY || state->outdated ||
           age_of(state->read_ms, now_ms) >= life_ms - lead_ms;
}

/* --- the budget --- */

#define ONE 1000U

static uint64_t tokens_max(const view_budget_t *budget)
{
    uint64_t max = budget->per_second * 20; /* ms; in thousandths */
    return max < ONE ? ONE : max;
}

void view_budget_init(view_budget_t *budget, uint32_t per_second, uint64_t now_ms)
{
    *budget = (view_budget_t){.per_second = per_second == 0 ? 1 : per_second, .filled_ms = now_ms};
    budget->tokens = tokens_max(budget);
}

void view_budget_fill(view_budget_t *budget, uint64_t now_ms)
{
    uint64_t max = tokens_max(budget), passed_ms = age_of(budget->filled_ms, now_ms);
    /* Compared before it is multiplied: nothing overflows after a long pause. */
    budget->tokens = passed_ms >= max / budget->per_second + 1
                         ? max
                         : budget->tokens + passed_ms * budget->per_second;
    if (budget->tokens > max)
        budget->tokens = max;
    budget->filled_ms = now_ms;
}

bool view_budget_take(view_budget_t *budget)
{
    if (budget->tokens < ONE)
        return false;
    budget->tokens -= ONE;
    return true;
}

/* --- the text --- */

void item_shown_set_available(item_shown_t *shown, int64_t available)
{
    int64_t total = shown->terms.total;
    shown->available = available < 0 ? 0 : available > total ? total : available;
}

item_shown_t item_shown_of_row(const item_t *row)
{
    item_shown_t shown = {.terms = row->terms, .epoch = row->epoch};
    item_shown_set_available(&shown, row->terms.total - item_allocated(row));
    return shown;
}

static void put_number(char **at, str_t name, int64_t number)
{
    str_put(at, name);
    str_put_u64(at, (uint64_t)number);
}

static void put_word(char **at, str_t name, str_t word)
{
    str_put(at, name);
    str_put(at, STR("\""));
    str_put(at, word);
    str_put(at, STR("\""));
}

static void put_time(char **at, str_t name, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms == 0) {
        str_put(at, name);
        str_put(at, STR("null"));
        return;
    }
    time_format_rfc3339(text, ms);
    put_word(at, name, str_of(text));
}

str_t item_json(char *text, str_t sku, const item_shown_t *shown)
{
    char *at = text;
    const item_terms_t *terms = &shown->terms;
    put_word(&at, STR("{\"sku\":"), sku);
    put_number(&at, STR(",\"total\":"), terms->total);
    put_number(&at, STR(",\"available\":"), shown->available);
    put_number(&at, STR(",\"per_buyer_limit\":"), terms->per_buyer_limit);
    put_number(&at, STR(",\"hold_seconds\":"), terms->hold_seconds);
    put_time(&at, STR(",\"starts_at\":"), terms->starts_at_ms);
    put_time(&at, STR(",\"ends_at\":"), terms->ends_at_ms);
    put_word(&at, STR(",\"strategy\":"), str_of(strategy_name(terms->strategy)));
    put_word(&at, STR(",\"acknowledge\":"), str_of(acknowledge_name(terms->acknowledge)));
    str_put(&at, STR("}"));
    return (str_t){text, (size_t)(at - text)};
}

str_t item_etag(char *out, str_t text)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t hash = XXH3_64bits(text.p, text.n);
    out[0] = out[ITEM_ETAG_SIZE - 1] = '"';
    for (unsigned i = 1; i < ITEM_ETAG_SIZE - 1; ++i, hash >>= 4)
        out[i] = digits[hash & 15];
    return (str_t){out, ITEM_ETAG_SIZE};
}
