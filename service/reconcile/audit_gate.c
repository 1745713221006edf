#include "base/alloc.h"
#include "reconcile/audit_parts.h"

#include <stdlib.h>
#include <unistd.h>

/*
 * The comparison of gate and row (B).
 *
 * available = capacity - reserved + unreserved + released, where capacity = total - allocated when
 * the epoch began. Since then allocated has grown by the committed units and shrunk by the released
 * ones. Units that are reserved and not unreserved are committed or pending. So
 *
 *     available = total - allocated - pending - (released in MySQL, the gate not notified yet)
 *
 * Pending units are those of orders in `unsettled` that are not in MySQL, or are there as
 * `rejected` (such units were never allocated, and an unreserve is on its way). Units that are
 * committed and not yet settled are not pending. The last term becomes 0 within milliseconds; this
 * is why a difference counts only if it persists.
 *
 * Counters only grow, so two equal reads of a gate prove that it did not change in between.
 */

#define ROUNDS_MAX 20
#define ROUND_US (100 * 1000)
#define LOOK_UP_CHUNK 500

typedef enum {
    COMPARED_AGREES,
    COMPARED_DIFFERS,
    COMPARED_PENDING, /* no gate of the row's epoch: the next purchase rebuilds it */
    COMPARED_BUSY,    /* the gate changed meanwhile */
    COMPARED_FAILED
} comparison_t;

typedef struct {
    item_t row; /* as last read */
    gate_state_t gate;
    int64_t pending;
    comparison_t comparison;
    unsigned same; /* comparisons in a row, after the first, with this same difference */
} suspect_t;

static int64_t drift_of(const suspect_t *suspect)
{
    const item_t *row = &suspect->row;
    return gate_available(&suspect->gate) -
           (row->terms.total - item_allocated(row) - suspect->pending);
}

static int64_t expected_of(const suspect_t *suspect)
{
    return gate_available(&suspect->gate) - drift_of(suspect);
}

static bool inspect(audit_t *audit, const item_t *row, gate_state_t *out)
{
    if (gate_sync_inspect(audit->gate, &row->ref, out) == RESULT_DONE)
        return true;
    audit_cannot_read(audit, AUDIT_B, "the gate cannot be read: Redis is away, or refuses");
    return false;
}

static bool gate_is_of(const gate_state_t *gate, const item_t *row)
{
    return gate->answer == GATE_ITEM_OK && gate->epoch == row->epoch && !gate->closed;
}

static bool same_moment(const gate_state_t *a, const gate_state_t *b)
{
    return a->answer == b->answer && a->epoch == b->epoch && a->closed == b->closed &&
           a->reserved == b->reserved && a->unreserved == b->unreserved &&
           a->settled == b->settled && a->released == b->released;
}

static comparison_t compare(const suspect_t *suspect)
{
    bool counted = gate_unsettled(&suspect->gate) == suspect->gate.unsettled_units;
    return counted && drift_of(suspect) == 0 ? COMPARED_AGREES : COMPARED_DIFFERS;
}

/* Sums the units that were allocated for the orders in `ids`: those that MySQL has and did not
   insert as rejected. */
static result_t sum_allocated(audit_t *audit, const order_id_t *ids, size_t count, int64_t *units)
{
    result_t result = RESULT_DONE;
    for (size_t from = 0; result == RESULT_DONE && from < count; from += LOOK_UP_CHUNK) {
        sql_reset(&audit->sql);
        sql_add(&audit->sql,
                "SELECT SUM(quantity + given_back) FROM orders WHERE state <> 'rejected' "
                "AND order_id IN (");
        for (size_t i = from; i < count && i < from + LOOK_UP_CHUNK; ++i)
            sql_add(&audit->sql, i == from ? "%o" : ", %o", &ids[i]);
        sql_add(&audit->sql, ")");
        result = db_query(audit->db, &audit->sql);
        if (result == RESULT_DONE && db_next(audit->db))
            *units += db_i64(audit->db, 0);
    }
    return result;
}

/* Reads the row and MySQL's part of `ids` in one snapshot. */
static bool read_store(audit_t *audit, suspect_t *suspect, const order_id_t *ids, size_t count)
{
    int64_t settling = 0;
    bool found = false;
    item_t row;
    result_t result = db_begin_snapshot(audit->db);
    if (result == RESULT_DONE)
        result = item_read(audit->db, &audit->sql, &suspect->row.ref, false, &row, &found);
    if (result == RESULT_DONE)
        result = sum_allocated(audit, ids, count, &settling);
    if (result != RESULT_DONE)
        audit_cannot_read(audit, AUDIT_B, db_error(audit->db));
    db_rollback(audit->db);
    if (result == RESULT_DONE && found)
        suspect->row = row;
    suspect->pending = suspect->gate.unsettled_units - settling;
    return result == RESULT_DONE;
}

/* For the scans of other shards; whether it succeeds says nothing about a gate. */
static void look_for_sale(audit_t *audit)
{
    audit_pace_look(&audit->pace, audit->db, &audit->sql);
}

static comparison_t compare_closely(audit_t *audit, suspect_t *suspect)
{
    gate_state_t after;
    order_id_t *ids = NULL;
    size_t count = 0;
    item_t *row = &suspect->row;
    if (!inspect(audit, row, &suspect->gate))
        return COMPARED_FAILED;
    if (gate_sync_unsettled_ids(audit->gate, &row->ref, &ids, &count) != RESULT_DONE) {
        audit_cannot_read(audit, AUDIT_B, "the gate cannot be read: Redis is away, or refuses");
        return COMPARED_FAILED;
    }
    bool seen = read_store(audit, suspect, ids, count) && inspect(audit, row, &after);
    free(ids);
    if (!seen)
        return COMPARED_FAILED;
    if (!item_uses_gate(row))
        return COMPARED_AGREES; /* the strategy was changed meanwhile: the gate is closed and not
                               used */
    if (!gate_is_of(&suspect->gate, row))
        return COMPARED_PENDING;
    return same_moment(&suspect->gate, &after) ? compare(suspect) : COMPARED_BUSY;
}

static void compare_again(audit_t *audit, suspect_t *suspect)
{
    comparison_t before = suspect->comparison;
    int64_t drift_before = drift_of(suspect);
    suspect->comparison = compare_closely(audit, suspect);
    bool same = before == COMPARED_DIFFERS && suspect->comparison == COMPARED_DIFFERS &&
                drift_of(suspect) == drift_before;
    suspect->same = same ? suspect->same + 1 : 0;
}

/* The cheap comparison of each item: one call to Redis, and the row from the snapshot. */
static bool compare_all(audit_t *audit, suspect_t *suspects, size_t *count)
{
    for (size_t i = 0; i < audit->shard_items_count; ++i) {
        suspect_t suspect = {.row = audit->shard_items[i].item};
        if (!item_uses_gate(&suspect.row))
            continue;
        if (!inspect(audit, &suspect.row, &suspect.gate))
            return false;
        ++audit->invariants[AUDIT_B].checked;
        atomic_fetch_add(&audit->progress->done, 1);
        look_for_sale(audit);
        audit->unsettled += suspect.gate.unsettled_units;
        suspect.comparison =
            gate_is_of(&suspect.gate, &suspect.row) ? compare(&suspect) : COMPARED_PENDING;
        if (suspect.comparison != COMPARED_AGREES || suspect.gate.unsettled_units != 0)
            suspects[(*count)++] = suspect;
    }
    return true;
}

/* Repeats until all agree or only lack a rebuild. A pending rebuild is not waited for: only a
   purchase starts it. */
static bool compare_until_settled(audit_t *audit, suspect_t *suspects, size_t count)
{
    bool open = count != 0;
    for (unsigned round = 0; open && round < ROUNDS_MAX && !atomic_load(&audit->progress->stop);
         ++round) {
        if (round != 0)
            usleep(ROUND_US);
        look_for_sale(audit);
        open = false;
        for (size_t i = 0; i < count; ++i) {
            if (suspects[i].comparison == COMPARED_AGREES && round != 0)
                continue;
            compare_again(audit, &suspects[i]);
            if (suspects[i].comparison == COMPARED_FAILED)
                return false;
            open = open || suspects[i].comparison == COMPARED_DIFFERS ||
                   suspects[i].comparison == COMPARED_BUSY;
        }
    }
    return true;
}

static void violate_b(audit_t *audit, const suspect_t *suspect)
{
    const item_t *row = &suspect->row;
    const gate_state_t *gate = &suspect->gate;
    cJSON *numbers = audit_numbers_of(item_sku(row), row->ref.bucket);
    cJSON_AddNumberToObject(numbers, "epoch", (double)row->epoch);
    cJSON_AddNumberToObject(numbers, "total", (double)row->terms.total);
    cJSON_AddNumberToObject(numbers, "allocated", (double)item_allocated(row));
    cJSON_AddNumberToObject(numbers, "unsettled", (double)suspect->pending);
    cJSON_AddNumberToObject(numbers, "expected", (double)expected_of(suspect));
    cJSON_AddNumberToObject(numbers, "available", (double)gate_available(gate));
    cJSON_AddNumberToObject(numbers, "drift", (double)drift_of(suspect));
    cJSON_AddNumberToObject(numbers, "unsettled_counted", (double)gate_unsettled(gate));
    cJSON_AddNumberToObject(numbers, "unsettled_held", (double)gate->unsettled_units);
    audit_violation(audit, AUDIT_B, numbers);
}

static void judge(audit_t *audit, const suspect_t *suspect)
{
    if (suspect->comparison == COMPARED_PENDING)
        ++audit->pending_rebuild;
    else if (suspect->comparison == COMPARED_DIFFERS && suspect->same != 0)
        violate_b(audit, suspect);
    else if (suspect->comparison != COMPARED_AGREES)
        ++audit->busy;
}

void audit_gates(audit_t *audit)
{
    audit_begin_part(audit, "gates", (int64_t)audit->shard_items_count);
    suspect_t *suspects = alloc_zero(audit->shard_items_count + 1, sizeof(*suspects));
    size_t count = 0;
    if (compare_all(audit, suspects, &count) && compare_until_settled(audit, suspects, count))
        for (size_t i = 0; i < count; ++i)
            judge(audit, &suspects[i]);
    free(suspects);
}
