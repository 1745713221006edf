#include "reconcile/rebuild.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "engine/node.h"
#include "metrics/metrics.h"

/* A rebuild that takes longer than this may be taken over by another. */
#define REBUILD_LEASE_MS 2000
/* How long item_sync() keeps at it before it says SYNC_BUSY. */
#define SYNC_PATIENCE_MS 3000
#define STAGE_CHUNK 2000
#define LOOK_UP_CHUNK 500

/* What step 1 hands to steps 2 and 3. */
typedef struct {
    item_t item;
    uint64_t token;
    const item_terms_t *terms; /* to be set, or NULL: stay as they are */
    int64_t unsettled_max;     /* for a lowered total: units the gate held when it froze */
    bool needs_freeze;
} rebuild_t;

typedef enum { STEP_OK, STEP_LOST_RACE, STEP_STORE_AWAY, STEP_GATE_AWAY, STEP_NOT_FROZEN } step_t;

static step_t step_of_db(db_result_t result)
{
    return result == DB_OK         ? STEP_OK
           : result == DB_CONFLICT ? STEP_LOST_RACE
           : result == DB_LOST     ? STEP_LOST_RACE /* unknown: the next look tells */
                                   : STEP_STORE_AWAY;
}

/* --- step 1: the row --- */

static void add_terms(sql_t *sql, const item_terms_t *terms)
{
    sql_add(sql,
            ", total = %d, per_buyer_limit = %u, hold_seconds = %u, starts_at = %t, ends_at = %t, "
            "strategy = %w, acknowledge = %w",
            terms->total, (uint64_t)terms->per_buyer_limit, (uint64_t)terms->hold_seconds,
            terms->starts_at_ms, terms->ends_at_ms, strategy_name(terms->strategy),
            acknowledge_name(terms->acknowledge));
}

/* Changes the row only as it was last seen, and only if nobody's rebuild is under way. */
static void raise_epoch_statement(sql_t *sql, const rebuild_t *rebuild, uint64_t gate_epoch)
{
    const item_t *item = &rebuild->item;
    sql_reset(sql);
    sql_add(sql,
            "UPDATE inventory SET epoch = GREATEST(epoch, %u, "
            "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)) + 1, version = version + 1, "
            "epoch_allocated_total = allocated_total, epoch_released_total = released_total, "
            "rebuild_token = %u, rebuild_until = NOW(3) + INTERVAL %u MICROSECOND, "
            "updated_at = NOW(3)",
            gate_epoch, rebuild->token, (uint64_t)REBUILD_LEASE_MS * 1000);
    if (rebuild->terms != NULL) {
        /* Assignments run from left to right: `epoch` is the new one, the limit still the old. */
        uint64_t limit = rebuild->terms->per_buyer_limit;
        sql_add(sql,
                ", limit_epoch = IF(%u <> 0 AND (per_buyer_limit = 0 OR %u < per_buyer_limit), "
                "epoch, limit_epoch)",
                limit, limit);
        add_terms(sql, rebuild->terms);
    }
    sql_add(sql, " WHERE sku = %s AND bucket = 0 AND epoch = %u", item_sku(item), item->epoch);
    if (rebuild->terms != NULL)
        sql_add(sql, " AND allocated_total - released_total + %d <= %d", rebuild->unsettled_max,
                rebuild->terms->total);
    else
        sql_add(sql, " AND (rebuild_until IS NULL OR rebuild_until <= NOW(3))");
}

/* A second connection sees what was committed before the row was locked, and nothing later. */
static db_result_t open_snapshot(worker_t *worker)
{
    db_result_t result =
        db_run(worker->db_snapshot, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return result != DB_OK
               ? result
               : db_run(worker->db_snapshot, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
}

static step_t still_frozen(worker_t *worker, const rebuild_t *rebuild, uint64_t old_epoch)
{
    bool frozen;
    int64_t unsettled;
    const item_t *item = &rebuild->item;
    if (!rebuild->needs_freeze)
        return STEP_OK;
    if (gate_sync_frozen(worker->gate, item->slot, item_sku(item), old_epoch, &frozen,
                         &unsettled) != GATE_CALL_OK)
        return STEP_GATE_AWAY;
    return frozen && unsettled <= rebuild->unsettled_max ? STEP_OK : STEP_NOT_FROZEN;
}

static step_t raise_epoch_in_transaction(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    uint64_t affected[1] = {0}, old_epoch = rebuild->item.epoch;
    bool found;
    raise_epoch_statement(&worker->sql, rebuild, gate_epoch);
    db_result_t result = db_exec(worker->db, &worker->sql, affected, 1);
    if (result == DB_OK && affected[0] != 1)
        return STEP_LOST_RACE;
    str_t sku = item_sku(&rebuild->item);
    item_t now;
    if (result == DB_OK)
        result = item_read(worker->db, &worker->sql, sku, false, &now, &found);
    if (result == DB_OK && strategy_uses_gate(now.terms.strategy))
        result = open_snapshot(worker);
    if (result != DB_OK)
        return step_of_db(result);
    rebuild->item = now;
    return still_frozen(worker, rebuild, old_epoch);
}

static step_t raise_epoch(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    db_result_t result = db_run(worker->db, "START TRANSACTION");
    if (result != DB_OK)
        return step_of_db(result);
    step_t step = raise_epoch_in_transaction(worker, rebuild, gate_epoch);
    if (step != STEP_OK) {
        db_rollback(worker->db);
        db_rollback(worker->db_snapshot);
        return step;
    }
    FAILPOINT("rebuild_row_locked");
    return step_of_db(db_commit(worker->db));
}

/* --- step 2: which unsettled orders does MySQL have? --- */

static db_result_t look_up_chunk(worker_t *worker, const order_id_t *ids, size_t count,
                                 order_id_t *found, size_t *found_count)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT order_id FROM orders WHERE order_id IN (");
    for (size_t i = 0; i < count; ++i)
        sql_add(&worker->sql, i == 0 ? "%o" : ", %o", &ids[i]);
    sql_add(&worker->sql, ")");
    db_result_t result = db_query(worker->db, &worker->sql);
    while (result == DB_OK && db_next(worker->db))
        found[(*found_count)++] = db_order_id(worker->db, 0);
    return result;
}

/* *found is malloc'ed. */
static step_t look_up_unsettled(worker_t *worker, const item_t *item, order_id_t **found,
                                size_t *found_count)
{
    order_id_t *ids;
    size_t count;
    *found_count = 0;
    *found = NULL;
    if (gate_sync_unsettled_ids(worker->gate, item->slot, item_sku(item), &ids, &count) !=
        GATE_CALL_OK)
        return STEP_GATE_AWAY;
    if ((*found = calloc(count + 1, sizeof(**found))) == NULL)
        abort();
    db_result_t result = DB_OK;
    for (size_t i = 0; i < count && result == DB_OK; i += LOOK_UP_CHUNK)
        result =
            look_up_chunk(worker, ids + i, count - i < LOOK_UP_CHUNK ? count - i : LOOK_UP_CHUNK,
                          *found, found_count);
    free(ids);
    return step_of_db(result);
}

/* --- step 3: the gate --- */

typedef struct {
    str_t buyers[STAGE_CHUNK];
    int64_t units[STAGE_CHUNK];
    char bytes[STAGE_CHUNK * BUYER_BYTES_MAX];
} chunk_t;

static step_t stage_chunk(worker_t *worker, const item_t *item, const chunk_t *chunk, size_t count)
{
    if (count == 0)
        return STEP_OK;
    FAILPOINT("rebuild_staging");
    gate_call_t call = gate_sync_stage(worker->gate, item->slot, item_sku(item), item->epoch,
                                       chunk->buyers, chunk->units, count);
    return call == GATE_CALL_OK ? STEP_OK : STEP_GATE_AWAY;
}

/* Every buyer whom the gate would know by now, also those who own nothing any more: their field
   says "look in MySQL for the key". */
static step_t stage_buyers(worker_t *worker, const item_t *item, gate_rebuild_t *rebuild)
{
    db_t *db = worker->db_snapshot;
    chunk_t *chunk = malloc(sizeof(*chunk));
    if (chunk == NULL)
        abort();
    sql_reset(&worker->sql);
    sql_add(
        &worker->sql,
        "SELECT buyer_id, SUM(CASE WHEN state IN ('held', 'confirmed') THEN quantity ELSE 0 END) "
        "FROM orders WHERE sku = %s AND bucket = 0 AND state <> 'rejected' GROUP BY buyer_id",
        item_sku(item));
    step_t step = step_of_db(db_query(db, &worker->sql));
    size_t count = 0;
    char *at = chunk->bytes;
    while (step == STEP_OK && db_next(db)) {
        chunk->buyers[count] = str_put(&at, db_bytes(db, 0));
        chunk->units[count] = db_i64(db, 1);
        rebuild->staged_units += chunk->units[count];
        ++rebuild->staged_buyers;
        if (++count == STAGE_CHUNK) {
            step = stage_chunk(worker, item, chunk, count);
            count = 0;
            at = chunk->bytes;
        }
    }
    if (step == STEP_OK)
        step = stage_chunk(worker, item, chunk, count);
    free(chunk);
    db_rollback(db); /* the snapshot has served */
    return step;
}

static step_t swap_gate(worker_t *worker, const item_t *item, gate_rebuild_t *rebuild)
{
    gate_rebuilt_t outcome;
    gate_call_t call =
        gate_sync_rebuild(worker->gate, item->slot, item_sku(item), rebuild, &outcome);
    if (call == GATE_CALL_UNKNOWN)
        return STEP_LOST_RACE; /* never resent: the next look finds it done, or begins anew */
    if (call != GATE_CALL_OK)
        return STEP_GATE_AWAY;
    return outcome == GATE_REBUILT ? STEP_OK : STEP_LOST_RACE;
}

static step_t build_gate(worker_t *worker, const item_t *item)
{
    order_id_t *in_mysql;
    gate_rebuild_t rebuild = {.epoch = item->epoch,
                              .capacity = item->terms.total - item_allocated(item),
                              .terms = &item->terms};
    FAILPOINT("rebuild_row_raised");
    step_t step = look_up_unsettled(worker, item, &in_mysql, &rebuild.in_mysql_count);
    FAILPOINT("rebuild_looked_up");
    rebuild.in_mysql = in_mysql;
    if (step == STEP_OK && strategy_uses_gate(item->terms.strategy))
        step = stage_buyers(worker, item, &rebuild);
    FAILPOINT("rebuild_staged");
    if (step == STEP_OK)
        step = swap_gate(worker, item, &rebuild);
    FAILPOINT("rebuild_swapped");
    free(in_mysql);
    return step;
}

/* Others need not wait for the lease to run out. Losing this statement costs them that time. */
static void end_lease(worker_t *worker, const rebuild_t *rebuild)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "UPDATE inventory SET rebuild_token = NULL, rebuild_until = NULL WHERE sku = %s AND "
            "bucket = 0 AND epoch = %u AND rebuild_token = %u",
            item_sku(&rebuild->item), rebuild->item.epoch, rebuild->token);
    db_exec(worker->db, &worker->sql, NULL, 0);
}

/* All three steps. `rebuild->item` is the row as last seen, and afterwards the row as it is. */
static step_t run_rebuild(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    uint64_t begun = clock_mono_us();
    rebuild->token = random_u64() >> 1;
    step_t step = raise_epoch(worker, rebuild, gate_epoch);
    if (step != STEP_OK)
        return step;
    step = build_gate(worker, &rebuild->item);
    if (step == STEP_OK) {
        end_lease(worker, rebuild);
        METRIC_INC(gate_rebuilds_total);
        metric_observe(HISTOGRAM_rebuild_seconds, clock_mono_us() - begun);
        LOG_INFO("gate rebuilt", LOG_BYTES("sku", item_sku(&rebuild->item)),
                 LOG_INT("epoch", rebuild->item.epoch),
                 LOG_STR("strategy", strategy_name(rebuild->item.terms.strategy)),
                 LOG_INT("micros", clock_mono_us() - begun));
    } else {
        db_rollback(worker->db_snapshot);
        METRIC_INC(gate_rebuild_failures_total);
    }
    return step;
}

/* --- does the gate agree with the row? --- */

static bool gate_agrees(gate_item_t answer, const item_t *item)
{
    if (strategy_uses_gate(item->terms.strategy))
        return answer == GATE_ITEM_OK || answer == GATE_ITEM_FROZEN;
    return answer == GATE_ITEM_CLOSED;
}

static sync_result_t look(worker_t *worker, str_t sku, item_t *item, gate_item_t *answer,
                          uint64_t *gate_epoch)
{
    bool found;
    db_result_t result = item_read(worker->db, &worker->sql, sku, false, item, &found);
    *gate_epoch = 0;
    if (result != DB_OK)
        return result == DB_CONFLICT ? SYNC_BUSY : SYNC_STORE_AWAY;
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    return gate_sync_peek(worker->gate, item->slot, sku, item->epoch, answer, gate_epoch) ==
                   GATE_CALL_OK
               ? SYNC_READY
               : SYNC_GATE_AWAY;
}

/* A SQL strategy rules without Redis: an open gate of an older epoch admits nothing that commits.
 */
static sync_result_t without_gate(const item_t *item)
{
    return strategy_uses_gate(item->terms.strategy) ? SYNC_GATE_AWAY : SYNC_READY;
}

static sync_result_t sync_until_agreed(worker_t *worker, str_t sku, bool force, item_t *out)
{
    uint64_t deadline = clock_mono_ms() + SYNC_PATIENCE_MS, gate_epoch;
    gate_item_t answer;
    for (unsigned tries = 0; clock_mono_ms() < deadline; ++tries) {
        sync_result_t seen = look(worker, sku, out, &answer, &gate_epoch);
        if (seen == SYNC_GATE_AWAY)
            return without_gate(out);
        if (seen == SYNC_UNKNOWN_ITEM || seen == SYNC_STORE_AWAY)
            return seen;
        if (seen == SYNC_READY && gate_agrees(answer, out) && !force)
            return SYNC_READY;
        if (seen == SYNC_BUSY || out->rebuilding) {
            usleep(random_backoff(2000, 30000, tries));
            continue;
        }
        rebuild_t rebuild = {.item = *out};
        step_t step = run_rebuild(worker, &rebuild, gate_epoch);
        *out = rebuild.item;
        if (step == STEP_OK)
            return SYNC_READY;
        if (step == STEP_GATE_AWAY)
            return without_gate(out);
        if (step == STEP_STORE_AWAY)
            return SYNC_STORE_AWAY;
        usleep(random_backoff(1000, 20000, tries));
    }
    return SYNC_BUSY;
}

sync_result_t item_sync(worker_t *worker, str_t sku, item_t *out)
{
    return sync_until_agreed(worker, sku, false, out);
}

sync_result_t item_rebuild(worker_t *worker, str_t sku, item_t *out)
{
    return sync_until_agreed(worker, sku, true, out);
}

/* --- change of terms --- */

/* How long a change is tried: under a SQL strategy it competes with every buyer for the row. */
#define CHANGE_PATIENCE_MS 15000
/* How long the gate admits nobody while `total` is being lowered, at the most. */
#define FREEZE_MS 1000
/* How long to wait, frozen, for what is on its way to MySQL to arrive. */
#define DRAIN_PATIENCE_MS 400

static item_terms_t merge(const item_terms_t *now, const item_change_t *change)
{
    item_terms_t terms = *now;
    if (change->has_total)
        terms.total = change->terms.total;
    if (change->has_limit)
        terms.per_buyer_limit = change->terms.per_buyer_limit;
    if (change->has_hold)
        terms.hold_seconds = change->terms.hold_seconds;
    if (change->has_starts)
        terms.starts_at_ms = change->terms.starts_at_ms;
    if (change->has_ends)
        terms.ends_at_ms = change->terms.ends_at_ms;
    if (change->has_strategy)
        terms.strategy = change->terms.strategy;
    if (change->has_acknowledge)
        terms.acknowledge = change->terms.acknowledge;
    return terms;
}

static bool terms_equal(const item_terms_t *a, const item_terms_t *b)
{
    return a->total == b->total && a->per_buyer_limit == b->per_buyer_limit &&
           a->hold_seconds == b->hold_seconds && a->starts_at_ms == b->starts_at_ms &&
           a->ends_at_ms == b->ends_at_ms && a->strategy == b->strategy &&
           a->acknowledge == b->acknowledge;
}

static bool window_is_valid(const item_terms_t *terms)
{
    return terms->starts_at_ms == 0 || terms->ends_at_ms == 0 ||
           terms->starts_at_ms < terms->ends_at_ms;
}

static db_result_t insert_item(worker_t *worker, str_t sku, const item_terms_t *terms)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "INSERT INTO inventory SET sku = %s, bucket = 0, slot = %u, created_at = NOW(3), "
            "updated_at = NOW(3), epoch = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)",
            sku, (uint64_t)slot_of_sku(sku));
    add_terms(&worker->sql, terms);
    return db_exec(worker->db, &worker->sql, NULL, 0);
}

/* Freezes the gate of rebuild->item's epoch and waits for its unsettled orders to reach MySQL. */
static step_t freeze_and_drain(worker_t *worker, rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    uint64_t epoch, deadline = clock_mono_ms() + DRAIN_PATIENCE_MS;
    bool frozen = true;
    if (gate_sync_freeze(worker->gate, item->slot, item_sku(item), FREEZE_MS,
                         &rebuild->unsettled_max, &epoch) != GATE_CALL_OK)
        return STEP_GATE_AWAY;
    if (epoch != item->epoch)
        return STEP_LOST_RACE;
    rebuild->needs_freeze = true;
    FAILPOINT("rebuild_frozen");
    while (rebuild->unsettled_max != 0 && clock_mono_ms() < deadline) {
        usleep(5000);
        if (gate_sync_frozen(worker->gate, item->slot, item_sku(item), epoch, &frozen,
                             &rebuild->unsettled_max) != GATE_CALL_OK)
            return STEP_GATE_AWAY;
        if (!frozen)
            return STEP_NOT_FROZEN;
    }
    return STEP_OK;
}

/* Is `total` below what is sold or about to be? Reads the row anew: draining sold some. */
static step_t check_total(worker_t *worker, rebuild_t *rebuild, bool *too_low)
{
    bool found;
    item_t now;
    db_result_t result =
        item_read(worker->db, &worker->sql, item_sku(&rebuild->item), false, &now, &found);
    if (result != DB_OK)
        return step_of_db(result);
    if (!found || now.epoch != rebuild->item.epoch)
        return STEP_LOST_RACE;
    *too_low = item_allocated(&now) + rebuild->unsettled_max > rebuild->terms->total;
    return STEP_OK;
}

static step_t change_once(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch, bool *too_low)
{
    const item_t *item = &rebuild->item;
    step_t step = STEP_OK;
    *too_low = false;
    if (rebuild->terms->total < item->terms.total) {
        if (strategy_uses_gate(item->terms.strategy))
            step = freeze_and_drain(worker, rebuild);
        if (step == STEP_OK)
            step = check_total(worker, rebuild, too_low);
    }
    if (step == STEP_OK && !*too_low)
        return run_rebuild(worker, rebuild, gate_epoch);
    if (rebuild->needs_freeze)
        gate_sync_thaw(worker->gate, item->slot, item_sku(item));
    return step;
}

static change_result_t create_item(worker_t *worker, str_t sku, const item_change_t *change,
                                   bool *again)
{
    if (!change->create)
        return CHANGE_UNKNOWN_ITEM;
    if (!window_is_valid(&change->terms))
        return CHANGE_INVALID_WINDOW;
    db_result_t result = insert_item(worker, sku, &change->terms);
    *again = result == DB_DUPLICATE || result == DB_CONFLICT || result == DB_LOST;
    return result == DB_OK ? CHANGE_CREATED : CHANGE_AWAY;
}

/* One look and one try. *again: something moved meanwhile, look anew. */
static change_result_t try_change(worker_t *worker, str_t sku, const item_change_t *change,
                                  item_t *out, bool *again)
{
    uint64_t gate_epoch;
    gate_item_t answer;
    bool too_low;
    *again = false;
    sync_result_t seen = look(worker, sku, out, &answer, &gate_epoch);
    if (seen == SYNC_UNKNOWN_ITEM)
        return create_item(worker, sku, change, again);
    if (seen == SYNC_STORE_AWAY || seen == SYNC_BUSY) {
        *again = seen == SYNC_BUSY;
        return CHANGE_AWAY;
    }
    item_terms_t terms = merge(&out->terms, change);
    if (!window_is_valid(&terms))
        return CHANGE_INVALID_WINDOW;
    if (terms_equal(&terms, &out->terms))
        return CHANGE_DONE;
    /* A gate that does not agree with the row cannot say what is unsettled: first mend it. */
    if (seen == SYNC_READY && !gate_agrees(answer, out) &&
        item_sync(worker, sku, out) != SYNC_READY)
        return CHANGE_AWAY;
    rebuild_t rebuild = {.item = *out, .terms = &terms};
    step_t step = change_once(worker, &rebuild, gate_epoch, &too_low);
    *out = rebuild.item;
    if (too_low)
        return CHANGE_WRONG_STATE;
    *again = step == STEP_LOST_RACE || step == STEP_NOT_FROZEN;
    /* Redis away after the row was changed: the change is made, the gate follows when it is back.
     */
    if (step == STEP_GATE_AWAY && terms_equal(&terms, &out->terms))
        return CHANGE_DONE;
    return step == STEP_OK ? CHANGE_DONE : CHANGE_AWAY;
}

change_result_t item_change(worker_t *worker, str_t sku, const item_change_t *change, item_t *out)
{
    uint64_t deadline = clock_mono_ms() + CHANGE_PATIENCE_MS;
    change_result_t result = CHANGE_AWAY;
    bool again = true;
    for (unsigned tries = 0; again && clock_mono_ms() < deadline; ++tries) {
        if (tries != 0)
            usleep(random_backoff(2000, 20000, tries));
        result = try_change(worker, sku, change, out, &again);
    }
    if (again)
        return CHANGE_AWAY;
    /* Builds the gate of a new item, and finishes what a lost race left. */
    if (result == CHANGE_CREATED || result == CHANGE_DONE)
        item_sync(worker, sku, out);
    return result;
}
