#include "reconcile/rebuild.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"

/* How often a rebuild renews its lease, SQL_REBUILD_LEASE. */
#define RENEW_MS 500
#define STAGE_CHUNK 2000
#define LOOK_UP_CHUNK 500

/* --- step 1: the row --- */

/* MySQL evaluates assignments from left to right: `epoch` is already the new one, the limit still
   the old. */
static void add_changes(sql_t *sql, const rebuild_t *rebuild)
{
    if (rebuild->fallback || rebuild->restore)
        sql_add(sql, ", gate_down = %u", (uint64_t)rebuild->fallback);
    if (rebuild->terms == NULL)
        return;
    uint64_t limit = rebuild->terms->per_buyer_limit;
    sql_add(sql,
            ", limit_epoch = IF(%u <> 0 AND (per_buyer_limit = 0 OR %u < per_buyer_limit), "
            "epoch, limit_epoch)",
            limit, limit);
    item_add_terms(sql, rebuild->terms);
    sql_add(sql, ", gate_down = gate_down AND strategy IN ('lua', 'watch')");
}

/* Only while the row has the epoch that was read, and only if no rebuild is under way. A change of
   terms may end another rebuild, whose gate is then refused as old. */
static void add_conditions(sql_t *sql, const rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    sql_add(sql, " WHERE %i AND epoch = %u", &item->ref, item->epoch);
    if (rebuild->terms != NULL)
        sql_add(sql, " AND allocated_total - released_total + %d <= %d", rebuild->unsettled_max,
                rebuild->terms->total);
    else
        sql_add(sql, " AND " SQL_REBUILDING " <> 1");
    if (rebuild->lease != NULL)
        lease_condition(sql, rebuild->lease);
}

/* NOW() is the time when a statement began, before it waited for a lock. So the row is locked by a
   statement of its own: the new epoch, and what it says of the limit, are no older than any order
   that was admitted meanwhile, and the lease is a whole one. */
static void lock_statement(sql_t *sql, const rebuild_t *rebuild)
{
    sql_reset(sql);
    sql_add(sql,
            "START TRANSACTION; SELECT epoch FROM " SQL_INVENTORY_BY_KEY " WHERE %i FOR UPDATE",
            &rebuild->item.ref);
}

static void raise_epoch_statement(sql_t *sql, const rebuild_t *rebuild, uint64_t gate_epoch)
{
    sql_reset(sql);
    sql_add(sql,
            "UPDATE " SQL_INVENTORY_BY_KEY " SET epoch = GREATEST(epoch, %u, "
            "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)) + 1, version = version + 1, "
            "epoch_allocated_total = allocated_total, epoch_released_total = released_total, "
            "rebuild_token = %u, rebuild_until = NOW(3) + " SQL_REBUILD_LEASE
            ", updated_at = NOW(3)",
            gate_epoch, rebuild->token);
    add_changes(sql, rebuild);
    add_conditions(sql, rebuild);
}

/* A second connection, with a snapshot: it sees everything that was committed before the row was
   locked, and nothing later. The transaction that locks the row could not keep the snapshot beyond
   its COMMIT. */
static result_t open_snapshot(worker_t *worker)
{
    result_t result =
        db_run(worker->db_snapshot, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return result != RESULT_DONE
               ? result
               : db_run(worker->db_snapshot, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
}

sync_result_t rebuild_still_frozen(worker_t *worker, rebuild_t *rebuild)
{
    bool frozen;
    int64_t unsettled;
    const item_t *item = &rebuild->item;
    if (!rebuild->needs_freeze)
        return SYNC_READY;
    if (gate_sync_frozen(worker->gate, &item->ref, item->epoch, FREEZE_TO_SWAP_MS,
                         &rebuild->frozen_until_ms, &frozen, &unsettled) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    return frozen && unsettled <= rebuild->unsettled_max ? SYNC_READY : SYNC_BUSY;
}

void rebuild_thaw(worker_t *worker, const rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    if (rebuild->needs_freeze)
        gate_sync_thaw(worker->gate, &item->ref, rebuild->frozen_until_ms);
}

/* rebuild->item: in the row before, out (on SYNC_READY) the row now. *locked_us: since when the row
   is locked. */
static sync_result_t raise_epoch_in_transaction(worker_t *worker, rebuild_t *rebuild,
                                                uint64_t gate_epoch, uint64_t *locked_us)
{
    uint64_t affected[1] = {0};
    bool found;
    lock_statement(&worker->sql, rebuild);
    result_t result = db_exec(worker->db, &worker->sql, NULL, 0);
    *locked_us = clock_mono_us();
    if (result == RESULT_DONE) {
        raise_epoch_statement(&worker->sql, rebuild, gate_epoch);
        result = db_exec(worker->db, &worker->sql, affected, 1);
    }
    if (result == RESULT_DONE && affected[0] != 1)
        return SYNC_BUSY;
    item_t now;
    if (result == RESULT_DONE)
        result = item_read(worker->db, &worker->sql, &rebuild->item.ref, false, &now, &found);
    if (result == RESULT_DONE && item_uses_gate(&now))
        result = open_snapshot(worker);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    sync_result_t step = rebuild_still_frozen(worker, rebuild);
    if (step == SYNC_READY)
        rebuild->item = now;
    return step;
}

/* The second connection is opened before the row is locked, because every buyer of the item waits
   for that lock. */
static sync_result_t raise_epoch(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    uint64_t locked_us = 0;
    sync_result_t step = sync_of_store(db_connect(worker->db_snapshot));
    if (step == SYNC_READY)
        step = raise_epoch_in_transaction(worker, rebuild, gate_epoch, &locked_us);
    if (step != SYNC_READY) {
        db_rollback(worker->db);
        db_rollback(worker->db_snapshot);
        rebuild_thaw(worker, rebuild);
        return step;
    }
    FAILPOINT("rebuild_row_locked");
    step = sync_of_store(db_commit(worker->db));
    if (step != SYNC_READY)
        db_rollback(worker->db_snapshot); /* or else the next rebuild could not open its snapshot */
    metric_observe(HISTOGRAM_rebuild_lock_seconds, clock_mono_us() - locked_us);
    return step;
}

/* --- step 2: which unsettled orders does MySQL have? --- */

static result_t look_up_chunk(worker_t *worker, const order_id_t *ids, size_t count,
                              order_id_t *found, size_t *found_count)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT order_id FROM orders WHERE order_id IN (");
    for (size_t i = 0; i < count; ++i)
        sql_add(&worker->sql, i == 0 ? "%o" : ", %o", &ids[i]);
    sql_add(&worker->sql, ")");
    result_t result = db_query(worker->db, &worker->sql);
    while (result == RESULT_DONE && db_next(worker->db))
        found[(*found_count)++] = db_order_id(worker->db, 0);
    return result;
}

/* *found is malloc'ed. */
static sync_result_t look_up_unsettled(worker_t *worker, const item_t *item, order_id_t **found,
                                       size_t *found_count)
{
    order_id_t *ids;
    size_t count;
    *found_count = 0;
    *found = NULL;
    if (gate_sync_unsettled_ids(worker->gate, &item->ref, &ids, &count) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    *found = alloc_zero(count + 1, sizeof(**found));
    result_t result = RESULT_DONE;
    for (size_t i = 0; i < count && result == RESULT_DONE; i += LOOK_UP_CHUNK)
        result =
            look_up_chunk(worker, ids + i, count - i < LOOK_UP_CHUNK ? count - i : LOOK_UP_CHUNK,
                          *found, found_count);
    free(ids);
    return sync_of_store(result);
}

/* --- step 3: the gate --- */

typedef struct {
    str_t buyers[STAGE_CHUNK];
    int64_t units[STAGE_CHUNK];
    char bytes[STAGE_CHUNK * BUYER_BYTES_MAX];
} chunk_t;

/* Staging many buyers takes long; the renewed lease makes other nodes wait for it. The affected row
   is the check that the lease is still ours, so the row must change even if a clock that was set
   back gives the same deadline again. */
static sync_result_t keep_lease(worker_t *worker, const rebuild_t *rebuild)
{
    uint64_t affected[1] = {0};
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "UPDATE " SQL_INVENTORY_BY_KEY " SET rebuild_until = NOW(3) + " SQL_REBUILD_LEASE
            ", " SQL_UPDATED_AT_GROWS " WHERE %i AND epoch = %u AND rebuild_token = %u",
            &rebuild->item.ref, rebuild->item.epoch, rebuild->token);
    result_t result = db_exec(worker->db, &worker->sql, affected, 1);
    return result == RESULT_DONE && affected[0] != 1 ? SYNC_BUSY : sync_of_store(result);
}

static sync_result_t stage_chunk(worker_t *worker, const item_t *item, const chunk_t *chunk,
                                 size_t count)
{
    if (count == 0)
        return SYNC_READY;
    FAILPOINT("rebuild_staging");
    result_t call =
        gate_sync_stage(worker->gate, &item->ref, item->epoch, chunk->buyers, chunk->units, count);
    return call == RESULT_DONE ? SYNC_READY : SYNC_GATE_AWAY;
}

/* The orders that make up the buyers' units. */
#define ORDERS_OF_ITEM "FROM orders WHERE %i AND state <> 'rejected'"

/* Counts in the snapshot. A server that returns no row counts as 0 orders: all_were_read() then
   fails. */
static result_t count_orders(worker_t *worker, const item_t *item, uint64_t *count)
{
    db_t *db = worker->db_snapshot;
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT COUNT(*) " ORDERS_OF_ITEM, &item->ref);
    result_t result = db_query(db, &worker->sql);
    *count = 0;
    while (result == RESULT_DONE && db_next(db))
        *count = db_u64(db, 0);
    return result;
}

/* Every buyer that the gate would have by now, including buyers without units: their field means
   "read MySQL for the key". */
static result_t query_buyers(worker_t *worker, const item_t *item)
{
    sql_reset(&worker->sql);
    sql_add(
        &worker->sql,
        "SELECT buyer_id, SUM(CASE WHEN state IN ('held', 'confirmed') THEN quantity ELSE 0 END), "
        "COUNT(*) " ORDERS_OF_ITEM " GROUP BY buyer_id",
        &item->ref);
    return db_query(worker->db_snapshot, &worker->sql);
}

/* A gate that lacks buyers would sell them more than their limit. So if the server has not returned
   all of them, for whatever reason, the rebuild fails. */
static sync_result_t all_were_read(const item_t *item, uint64_t orders, uint64_t orders_read)
{
    if (orders == orders_read)
        return SYNC_READY;
    LOG_ERROR("MySQL returned fewer orders than it counted; the rebuild fails",
              LOG_BYTES("sku", item_sku(item)), LOG_INT("orders", orders),
              LOG_INT("orders_read", orders_read));
    return SYNC_STORE_AWAY;
}

static size_t fill_chunk(db_t *db, chunk_t *chunk, gate_rebuild_t *gate, uint64_t *orders_read)
{
    size_t count = 0;
    char *at = chunk->bytes;
    while (count < STAGE_CHUNK && db_next(db)) {
        if (FAILPOINT_FAILS("rebuild_row_left_out"))
            continue;
        chunk->buyers[count] = str_put(&at, db_bytes(db, 0));
        chunk->units[count] = db_i64(db, 1);
        gate->staged_units += chunk->units[count];
        *orders_read += db_u64(db, 2);
        ++gate->staged_buyers;
        ++count;
    }
    return count;
}

static sync_result_t stage_buyers(worker_t *worker, const rebuild_t *rebuild, gate_rebuild_t *gate)
{
    uint64_t kept_ms = clock_mono_ms(), orders, orders_read = 0;
    chunk_t *chunk = alloc_bytes(sizeof(*chunk));
    sync_result_t step = sync_of_store(count_orders(worker, &rebuild->item, &orders));
    if (step == SYNC_READY)
        step = sync_of_store(query_buyers(worker, &rebuild->item));
    for (size_t count = STAGE_CHUNK; step == SYNC_READY && count == STAGE_CHUNK;) {
        count = fill_chunk(worker->db_snapshot, chunk, gate, &orders_read);
        step = stage_chunk(worker, &rebuild->item, chunk, count);
        if (step == SYNC_READY && clock_mono_ms() - kept_ms > RENEW_MS) {
            kept_ms = clock_mono_ms();
            step = keep_lease(worker, rebuild);
        }
    }
    free(chunk);
    db_rollback(worker->db_snapshot); /* the snapshot is not needed any more */
    return step == SYNC_READY ? all_were_read(&rebuild->item, orders, orders_read) : step;
}

static sync_result_t swap_gate(worker_t *worker, const item_t *item, gate_rebuild_t *rebuild)
{
    gate_rebuilt_t outcome;
    result_t call = gate_sync_rebuild(worker->gate, &item->ref, rebuild, &outcome);
    if (call == RESULT_UNKNOWN && !gate_sync_error_is_reply(worker->gate))
        return SYNC_BUSY; /* never sent again: the next read finds it done, or starts again */
    if (call != RESULT_DONE)
        return SYNC_GATE_AWAY;
    return outcome == GATE_REBUILT ? SYNC_READY : SYNC_BUSY;
}

static sync_result_t build_gate(worker_t *worker, const rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    order_id_t *in_mysql;
    gate_rebuild_t gate = {.epoch = item->epoch,
                           .previous_epoch = rebuild->previous_epoch,
                           .capacity = item->terms.total - item_allocated(item),
                           .terms = &item->terms,
                           .closed = !item_uses_gate(item)};
    assert(!rebuild->fallback);
    FAILPOINT("rebuild_row_raised");
    /* Only now: after the COMMIT of step 1 no further order commits under the old epoch, so the
       lookup is final. */
    sync_result_t step = look_up_unsettled(worker, item, &in_mysql, &gate.in_mysql_count);
    gate.in_mysql = in_mysql;
    FAILPOINT("rebuild_looked_up");
    if (step == SYNC_READY && !gate.closed && gate.in_mysql_count > LOOK_UP_CHUNK)
        step = keep_lease(worker, rebuild);
    if (step == SYNC_READY && !gate.closed)
        step = stage_buyers(worker, rebuild, &gate);
    FAILPOINT("rebuild_staged");
    if (step == SYNC_READY)
        step = swap_gate(worker, item, &gate);
    FAILPOINT("rebuild_swapped");
    free(in_mysql);
    return step;
}

/* Lets other nodes go on before the lease runs out. If this statement fails, they wait until
   then. */
static void end_lease(worker_t *worker, const rebuild_t *rebuild)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "UPDATE " SQL_INVENTORY_BY_KEY
            " SET rebuild_token = NULL, rebuild_until = NULL WHERE %i AND "
            "epoch = %u AND rebuild_token = %u",
            &rebuild->item.ref, rebuild->item.epoch, rebuild->token);
    db_exec(worker->db, &worker->sql, NULL, 0);
}

static void note_rebuilt(const item_t *item, uint64_t micros)
{
    METRIC_INC(gate_rebuilds_total);
    metric_observe(HISTOGRAM_rebuild_seconds, micros);
    LOG_INFO("gate rebuilt", LOG_BYTES("sku", item_sku(item)), LOG_INT("epoch", item->epoch),
             LOG_STR("strategy", strategy_name(item_strategy(item))), LOG_INT("micros", micros));
}

static void note_lease_too_long(const item_t *item)
{
    LOG_WARN("a rebuild ends later than any rebuild lasts; it counts as over: was the clock of "
             "MySQL set back?",
             LOG_BYTES("sku", item_sku(item)), LOG_INT("epoch", item->epoch));
}

sync_result_t rebuild_run(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    uint64_t begun = clock_mono_us();
    assert(!rebuild->fallback || !rebuild->restore);
    assert(rebuild->terms == NULL || (!rebuild->fallback && !rebuild->restore));
    /* Only a change of terms may end another rebuild; two rebuilds that did so would go on for
       ever. */
    assert(rebuild->terms != NULL || !rebuild->item.rebuilding);
    rebuild->token = random_u64() >> 1;
    rebuild->previous_epoch = rebuild->item.epoch;
    bool too_long = rebuild->item.rebuilding_too_long;
    sync_result_t step = raise_epoch(worker, rebuild, gate_epoch);
    if (step != SYNC_READY)
        return step;
    if (too_long)
        note_lease_too_long(&rebuild->item);
    if (!rebuild->fallback)
        step = build_gate(worker, rebuild);
    if (step != SYNC_READY) {
        db_rollback(worker->db_snapshot); /* the failure may have left the snapshot open */
        end_lease(worker, rebuild);
        METRIC_INC(gate_rebuild_failures_total);
        return step;
    }
    end_lease(worker, rebuild);
    if (!rebuild->fallback)
        note_rebuilt(&rebuild->item, clock_mono_us() - begun);
    return SYNC_READY;
}
