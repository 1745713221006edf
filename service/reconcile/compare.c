#include "reconcile/compare.h"

const char *finding_name(finding_t finding)
{
    static const char *const names[] = {
        "agree",     "not_built", "terms_differ",      "counters_differ",
        "undersold", "oversold",  "released_too_much", "leaked"};
    return names[finding];
}

static bool built(const gate_state_t *gate, const item_t *row)
{
    return gate->answer == GATE_ITEM_OK && gate->epoch == row->epoch &&
           gate->closed == !strategy_uses_gate(row->terms.strategy);
}

/* No freeze that this program asks for lasts longer than this. */
#define FREEZE_MAX_MS 5000

static bool same_terms(const gate_state_t *gate, const item_terms_t *terms)
{
    return gate->per_buyer_limit == terms->per_buyer_limit &&
           gate->starts_at_ms == terms->starts_at_ms && gate->ends_at_ms == terms->ends_at_ms &&
           gate->frozen_until_ms <= gate->now_ms + FREEZE_MAX_MS;
}

/* Nothing happened between the two looks at the gate. */
static bool quiet(const gate_state_t *before, const gate_state_t *after)
{
    return before->reserved == after->reserved && before->settled == after->settled &&
           before->unreserved == after->unreserved && before->released == after->released &&
           gate_unsettled(after) == 0;
}

finding_t compare_gate(const gate_state_t *before, const item_t *row, const gate_state_t *after)
{
    int64_t committed = row->allocated_total - row->epoch_allocated_total;
    int64_t released = row->released_total - row->epoch_released_total;
    if (!built(before, row) || !built(after, row))
        return FINDING_NOT_BUILT;
    if (after->closed) /* under a SQL strategy nothing but the epoch is compared */
        return FINDING_AGREE;
    if (!same_terms(after, &row->terms))
        return FINDING_TERMS;
    if (gate_unsettled(before) != before->held_units || gate_unsettled(after) != after->held_units)
        return FINDING_COUNTERS;
    if (before->settled > committed)
        return FINDING_UNDERSOLD;
    if (committed > after->reserved - after->unreserved)
        return FINDING_OVERSOLD;
    if (before->released > released)
        return FINDING_RELEASES;
    if (quiet(before, after) && (gate_available(after) != row->terms.total - item_allocated(row)))
        return FINDING_LEAKED;
    return FINDING_AGREE;
}
