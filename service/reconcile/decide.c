#include "reconcile/decide.h"

#include <assert.h>

/* No freeze that this program makes lasts longer than this. */
#define FREEZE_MAX_MS 5000
/* A release that has not reached the gate after this time will not reach it. */
#define RELEASE_WAIT_MS 2000
/* A finding in so many comparisons in a row is drift. */
#define MISSES_MAX 2
/* Redis must have answered for so long before the gate sells again, unless an operator requests it:
   a server that restarts may be away again at once. */
#define GATE_BACK_MS 1500

const char *finding_name(finding_t finding)
{
    static const char *const names[FINDING_COUNT] = {
        "agree",         "not_built", "terms_differ", "capacity_differs",  "counters_differ",
        "buyers_differ", "undersold", "oversold",     "released_too_much", "leaked",
        "gate_back"};
    return names[finding];
}

static bool built(const gate_state_t *gate, const item_t *row)
{
    return gate->answer == GATE_ITEM_OK && gate->epoch == row->epoch &&
           gate->closed == !item_uses_gate(row);
}

static bool same_terms(const gate_state_t *gate, const item_terms_t *terms)
{
    return gate->per_buyer_limit == terms->per_buyer_limit &&
           gate->starts_at_ms == terms->starts_at_ms && gate->ends_at_ms == terms->ends_at_ms &&
           gate->frozen_until_ms <= gate->now_ms + FREEZE_MAX_MS;
}

static int64_t capacity_of(const item_t *row)
{
    return row->terms.total - (row->epoch_allocated_total - row->epoch_released_total);
}

static bool counted(const gate_state_t *gate)
{
    return gate_unsettled(gate) == gate->unsettled_units;
}

static bool buyers_counted(const gate_state_t *gate)
{
    return gate->known_buyers == gate->buyers;
}

/* Nothing changed between the two reads of the gate, and no order is unsettled. */
static bool quiet(const gate_state_t *before, const gate_state_t *after)
{
    return before->reserved == after->reserved && before->settled == after->settled &&
           before->unreserved == after->unreserved && before->released == after->released &&
           gate_unsettled(after) == 0;
}

/* A quiet gate that has other units left than MySQL: a release is on its way, or was lost. */
static bool is_short(const snapshot_t *s)
{
    return s->after.answer == GATE_ITEM_OK && !s->after.closed && quiet(&s->before, &s->after) &&
           gate_available(&s->after) != s->row.terms.total - item_allocated(&s->row);
}

static bool is_short_for_long(const memory_t *memory, const snapshot_t *s)
{
    return memory->short_since_ms != 0 && is_short(s) &&
           s->now_ms - memory->short_since_ms >= RELEASE_WAIT_MS;
}

/* Whether a release that MySQL made long enough ago has not reached the gate. */
static bool release_is_missing(const memory_t *memory, const snapshot_t *s)
{
    return memory->released_at_ms != 0 && s->now_ms - memory->released_at_ms >= RELEASE_WAIT_MS &&
           s->after.released < memory->released;
}

/* A SQL strategy needs no gate, unless there is one that has lost its table of buyers: it must be
   closed. Nor does an item that nobody has bought: the first buyer who comes has its gate built. */
static bool may_lack_gate(const snapshot_t *s)
{
    if (s->after.answer != GATE_ITEM_MISSING)
        return false;
    return item_uses_gate(&s->row) ? s->row.allocated_total == 0 && !s->by_hand
                                   : s->after.epoch == 0;
}

static finding_t compare(const memory_t *memory, const snapshot_t *s)
{
    const gate_state_t *before = &s->before, *after = &s->after;
    const item_t *row = &s->row;
    int64_t committed = row->allocated_total - row->epoch_allocated_total;
    int64_t released = row->released_total - row->epoch_released_total;
    if (row->gate_down)
        return FINDING_GATE_BACK;
    if (!built(before, row) || !built(after, row)) /* unless a rebuild is under way */
        return row->rebuilding || may_lack_gate(s) ? FINDING_AGREE : FINDING_NOT_BUILT;
    if (after->closed) /* under a SQL strategy only the epoch is compared */
        return FINDING_AGREE;
    if (!same_terms(after, &row->terms))
        return FINDING_TERMS;
    if (after->capacity != capacity_of(row))
        return FINDING_CAPACITY;
    if (!counted(before) || !counted(after))
        return FINDING_COUNTERS;
    if (!buyers_counted(before) || !buyers_counted(after))
        return FINDING_BUYERS;
    if (before->settled > committed)
        return FINDING_UNDERSOLD;
    if (committed > after->reserved - after->unreserved)
        return FINDING_OVERSOLD;
    if (before->released > released)
        return FINDING_RELEASES;
    if (release_is_missing(memory, s) || is_short_for_long(memory, s))
        return FINDING_LEAKED;
    return FINDING_AGREE;
}

/* The memory of another epoch does not apply to this one. */
static void begin_epoch(memory_t *memory, const item_t *row)
{
    if (memory->epoch != row->epoch)
        *memory = (memory_t){.epoch = row->epoch};
}

/* Keeps a count until the gate must have reached it, and only then takes a newer one: with a newer
   count at each comparison the time would never be over. */
static void keep_releases(memory_t *memory, const snapshot_t *s)
{
    if (memory->released_at_ms != 0 && s->now_ms - memory->released_at_ms < RELEASE_WAIT_MS)
        return;
    memory->released = s->row.released_total - s->row.epoch_released_total;
    memory->released_at_ms = s->now_ms;
}

static action_t act_on(memory_t *memory, const snapshot_t *s, finding_t finding)
{
    if (finding == FINDING_AGREE) {
        memory->misses = 0;
        return ACTION_NONE;
    }
    if (finding == FINDING_GATE_BACK) {
        if (memory->gate_back_ms == 0)
            memory->gate_back_ms = s->now_ms;
        return s->by_hand || s->now_ms - memory->gate_back_ms >= GATE_BACK_MS ? ACTION_RESTORE
                                                                              : ACTION_NONE;
    }
    if (++memory->misses < MISSES_MAX)
        return ACTION_COMPARE_AGAIN;
    memory->misses = 0;
    return finding == FINDING_NOT_BUILT ? ACTION_SYNC : ACTION_REBUILD;
}

/* Whether a release that MySQL has made is still on its way to the gate. */
static bool release_is_due(const snapshot_t *s)
{
    return !s->after.closed &&
           s->after.released < s->row.released_total - s->row.epoch_released_total;
}

/* Whether a later comparison needs what the memory has: then the item must be compared again
   soon. */
static bool is_open(const snapshot_t *s, finding_t finding)
{
    return finding != FINDING_AGREE || s->row.rebuilding || release_is_due(s);
}

decision_t reconcile_decide(memory_t *memory, const snapshot_t *s)
{
    decision_t decision = {FINDING_AGREE, ACTION_NONE, false};
    /* The memory is older than this snapshot, and MISSES_MAX findings were acted upon at once. */
    assert(memory->released_at_ms <= s->now_ms && memory->short_since_ms <= s->now_ms &&
           memory->gate_back_ms <= s->now_ms && memory->misses < MISSES_MAX);
    begin_epoch(memory, &s->row);
    decision.finding = compare(memory, s);
    decision.action = act_on(memory, s, decision.finding);
    /* A missing release must stay in the memory until the rebuild: a newer count would hide it. */
    if (decision.finding != FINDING_LEAKED)
        keep_releases(memory, s);
    if (!is_short(s))
        memory->short_since_ms = 0;
    else if (memory->short_since_ms == 0)
        memory->short_since_ms = s->now_ms;
    decision.open = is_open(s, decision.finding);
    /* A quiet gate in which nothing is found lacks only units of releases. */
    assert(memory->short_since_ms == 0 || decision.open);
    /* Every finding leads to another comparison or an action; only the end of a fallback may have
       to wait. */
    assert((decision.action == ACTION_NONE) ==
           (decision.finding == FINDING_AGREE ||
            (decision.finding == FINDING_GATE_BACK && decision.action != ACTION_RESTORE)));
    return decision;
}
