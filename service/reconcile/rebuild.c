#include "reconcile/rebuild.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "sale/order.h"
#include "store/buyers.h"

#define LOOK_UP_CHUNK 500
/* Releases that MySQL has made reach the gate a moment later: so long, and so often, a gate that
   keeps its table of buyers is asked again. */
#define RELEASES_PAUSE_US 5000
#define RELEASES_TRIES 20

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
    sql_add(sql, ", terms_version = terms_version + 1, gate_down = gate_down AND strategy IN "
                 "('lua', 'watch')");
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
    /* The old terms are those that were read: they change only together with the epoch, which is in
       the condition of the UPDATE. */
    if (result == RESULT_DONE && rebuild->terms != NULL)
        result = change_insert(worker->db, &worker->sql, rebuild->origin, &now.ref, now.epoch,
                               &rebuild->item.terms, &now.terms);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    sync_result_t step = rebuild_still_frozen(worker, rebuild);
    if (step != SYNC_READY)
        return step;
    rebuild->previous_released = now.epoch_released_total - rebuild->item.epoch_released_total;
    rebuild->previous_committed = now.epoch_allocated_total - rebuild->item.epoch_allocated_total;
    rebuild->item = now;
    return SYNC_READY;
}

static sync_result_t raise_epoch(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch)
{
    uint64_t locked_us = 0;
    sync_result_t step = raise_epoch_in_transaction(worker, rebuild, gate_epoch, &locked_us);
    if (step != SYNC_READY) {
        db_rollback(worker->db);
        rebuild_thaw(worker, rebuild);
        return step;
    }
    FAILPOINT("rebuild_row_locked");
    step = sync_of_store(db_commit(worker->db));
    metric_observe(HISTOGRAM_rebuild_lock_seconds, clock_mono_us() - locked_us);
    return step;
}

/* --- step 2: which unsettled orders does MySQL have? --- */

/* Ids are added at the front; those that are rejected, at the back. */
typedef struct {
    order_id_t *ids; /* malloc'ed */
    size_t capacity, others, rejected;
} found_t;

static result_t look_up_chunk(worker_t *worker, const order_id_t *ids, size_t count, found_t *found)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql, "SELECT order_id, state FROM orders WHERE order_id IN (");
    for (size_t i = 0; i < count; ++i)
        sql_add(&worker->sql, i == 0 ? "%o" : ", %o", &ids[i]);
    sql_add(&worker->sql, ")");
    result_t result = db_query(worker->db, &worker->sql);
    while (result == RESULT_DONE && db_next(worker->db)) {
        order_id_t id = db_order_id(worker->db, 0);
        bool rejected = order_state_of_name(db_bytes(worker->db, 1)) == ORDER_REJECTED;
        assert(found->others + found->rejected < found->capacity);
        if (rejected)
            found->ids[found->capacity - ++found->rejected] = id;
        else
            found->ids[found->others++] = id;
    }
    return result;
}

/* Only after the COMMIT of step 1: no further order commits under the old epoch, so the lookup is
   final. The caller frees *in_mysql, which `gate` borrows. */
static sync_result_t look_up_unsettled(worker_t *worker, const item_t *item, gate_rebuild_t *gate,
                                       order_id_t **in_mysql)
{
    order_id_t *ids;
    size_t count;
    *in_mysql = NULL;
    if (gate_sync_unsettled_ids(worker->gate, &item->ref, &ids, &count) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    found_t found = {.ids = alloc_zero(count + 1, sizeof(*ids)), .capacity = count};
    result_t result = RESULT_DONE;
    for (size_t i = 0; i < count && result == RESULT_DONE; i += LOOK_UP_CHUNK)
        result = look_up_chunk(worker, ids + i,
                               count - i < LOOK_UP_CHUNK ? count - i : LOOK_UP_CHUNK, &found);
    free(ids);
    memmove(found.ids + found.others, found.ids + count - found.rejected,
            found.rejected * sizeof(*ids));
    gate->in_mysql = *in_mysql = found.ids;
    gate->in_mysql_count = found.others + found.rejected;
    gate->rejected_count = found.rejected;
    return sync_of_store(result);
}

/* --- step 3: the gate --- */

/* A long lookup needs the lease for longer; the renewed lease makes other nodes wait for it. The
   affected row is the check that the lease is still ours, so the row must change even if a clock
   that was set back gives the same deadline again. */
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

/* The result of a change of the gate. */
static sync_result_t sync_of_swap(worker_t *worker, result_t call, bool swapped)
{
    if (call == RESULT_UNKNOWN && !gate_sync_error_is_reply(worker->gate))
        return SYNC_BUSY; /* never sent again: the next read finds it done, or starts again */
    if (call != RESULT_DONE)
        return SYNC_GATE_AWAY;
    return swapped ? SYNC_READY : SYNC_BUSY;
}

/* --- step 3 of a gate that keeps its table of buyers --- */

/* *unfit: it has none that can be kept. */
static sync_result_t renew_gate(worker_t *worker, rebuild_t *rebuild, const gate_rebuild_t *gate,
                                bool *unfit)
{
    gate_renewed_t outcome = GATE_RENEW_LATER;
    result_t call = RESULT_DONE;
    for (unsigned tries = 0;
         call == RESULT_DONE && outcome == GATE_RENEW_LATER && tries < RELEASES_TRIES; ++tries) {
        if (tries != 0)
            usleep(RELEASES_PAUSE_US);
        call = gate_sync_renew(worker->gate, &rebuild->item.ref, gate, &outcome);
    }
    bool renewed = outcome == GATE_RENEWED || outcome == GATE_RENEWED_LOADING;
    *unfit = call == RESULT_DONE && (outcome == GATE_RENEW_UNFIT || outcome == GATE_RENEW_LATER);
    if (*unfit)
        return SYNC_READY;
    rebuild->is_loading = outcome == GATE_RENEWED_LOADING;
    if (call == RESULT_DONE && renewed)
        METRIC_INC(tables_kept_total);
    return sync_of_swap(worker, call, renewed);
}

/* --- step 3 of a gate that gets another table of buyers --- */

typedef struct {
    worker_t *worker;
    const item_t *item;
    gate_rebuild_t *gate;
    buyers_page_t *page; /* the first of the table */
    buyers_page_t *more; /* scratch */
    /* of unsettled orders, and not in the page */
    buyer_t *names; /* malloc'ed */
    size_t names_count;
} staging_t;

static sync_result_t stage(staging_t *s, const buyers_page_t *page)
{
    const gate_buyers_t part = {page->buyers, page->units, page->count, page->sequence};
    if (page->epoch != s->item->epoch)
        return SYNC_BUSY;
    if (page->count == 0)
        return SYNC_READY;
    FAILPOINT("rebuild_staging");
    if (gate_sync_stage(s->worker->gate, &s->item->ref, s->item->epoch, &part) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    s->gate->staged_buyers += page->count;
    for (size_t i = 0; i < page->count; ++i)
        s->gate->staged_units += page->units[i];
    return SYNC_READY;
}

static void note_buyer(void *context, str_t buyer)
{
    staging_t *s = context;
    if (bsearch(&buyer, s->page->buyers, s->page->count, sizeof(str_t), buyers_by_name) != NULL)
        return;
    s->names = alloc_resize(s->names, s->names_count + 1, sizeof(*s->names));
    buyer_set(&s->names[s->names_count++], buyer);
}

static sync_result_t stage_names(staging_t *s)
{
    str_t names[BUYERS_PAGE];
    sync_result_t step = SYNC_READY;
    for (size_t from = 0, count; step == SYNC_READY && from < s->names_count; from += count) {
        for (count = 0; count < BUYERS_PAGE && from + count < s->names_count; ++count)
            names[count] = buyer_str(&s->names[from + count]);
        step = sync_of_store(
            buyers_read_some(s->worker->db, &s->worker->sql, &s->item->ref, names, count, s->more));
        if (step == SYNC_READY)
            step = stage(s, s->more);
    }
    return step;
}

/* An item that has sold more units than this is taken for one with many buyers. */
#define MANY_UNITS (8 * BUYERS_PAGE)

/* Stages the first buyers, unless there are many: then the sale does not wait for this read. */
static sync_result_t stage_first(staging_t *s)
{
    const buyer_t from_the_first = {.length = 0};
    s->page->count = 0;
    s->page->last = false;
    if (s->item->allocated_total > MANY_UNITS)
        return SYNC_READY;
    sync_result_t step = sync_of_store(
        buyers_read_page(s->worker->db, &s->worker->sql, &s->item->ref, &from_the_first, s->page));
    return step == SYNC_READY ? stage(s, s->page) : step;
}

/* Stages the first buyers. If these are not all, then also the buyers of unsettled orders, since an
   order is carried only with all units of its buyer; the old gate is frozen first, so that it
   admits no others. What it admits could not be committed any more. A freeze by another change does
   as well. */
static sync_result_t stage_buyers(staging_t *s)
{
    const item_ref_t *ref = &s->item->ref;
    gate_sync_t *gate = s->worker->gate;
    int64_t unsettled;
    uint64_t epoch, until_ms;
    sync_result_t step = stage_first(s);
    s->gate->whole = s->page->last;
    if (step != SYNC_READY || s->gate->whole)
        return step;
    if (gate_sync_freeze(gate, ref, FREEZE_TO_SWAP_MS, &unsettled, &epoch, &until_ms) !=
            RESULT_DONE ||
        gate_sync_unsettled_buyers(gate, ref, note_buyer, s) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    return stage_names(s);
}

static sync_result_t swap_gate(worker_t *worker, const item_t *item, const gate_rebuild_t *rebuild)
{
    gate_rebuilt_t outcome = GATE_REBUILD_OLD;
    result_t call = gate_sync_rebuild(worker->gate, &item->ref, rebuild, &outcome);
    return sync_of_swap(worker, call, outcome == GATE_REBUILT);
}

static sync_result_t replace_gate(worker_t *worker, rebuild_t *rebuild, gate_rebuild_t *gate)
{
    staging_t s = {.worker = worker,
                   .item = &rebuild->item,
                   .gate = gate,
                   .page = alloc_bytes(sizeof(*s.page)),
                   .more = alloc_bytes(sizeof(*s.more))};
    sync_result_t step = gate->closed ? SYNC_READY : stage_buyers(&s);
    FAILPOINT("rebuild_staged");
    if (step == SYNC_READY)
        step = swap_gate(worker, s.item, gate);
    rebuild->is_loading = !gate->closed && !gate->whole;
    free(s.names);
    free(s.more);
    free(s.page);
    return step;
}

static sync_result_t build_gate(worker_t *worker, rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    bool unfit = true;
    gate_rebuild_t gate = {.epoch = item->epoch,
                           .previous_epoch = rebuild->previous_epoch,
                           .capacity = item->terms.total - item_allocated(item),
                           .terms = &item->terms,
                           .released = rebuild->previous_released,
                           .committed = rebuild->previous_committed,
                           .closed = !item_uses_gate(item)};
    FAILPOINT("rebuild_row_raised");
    order_id_t *in_mysql;
    sync_result_t step = look_up_unsettled(worker, item, &gate, &in_mysql);
    FAILPOINT("rebuild_looked_up");
    if (step == SYNC_READY && !gate.closed && gate.in_mysql_count > LOOK_UP_CHUNK)
        step = keep_lease(worker, rebuild);
    if (step == SYNC_READY && !gate.closed && !rebuild->from_mysql)
        step = renew_gate(worker, rebuild, &gate, &unfit);
    if (step == SYNC_READY && unfit)
        step = replace_gate(worker, rebuild, &gate);
    FAILPOINT("rebuild_swapped");
    free(in_mysql);
    if (step == SYNC_READY && rebuild->is_loading)
        repair_queue_rebuild(&worker->shard->loads, item_sku(item), item->epoch);
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
    assert((rebuild->terms == NULL) == (rebuild->origin == NULL));
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
    bool builds = !rebuild->fallback && !rebuild->row_only;
    if (builds)
        step = build_gate(worker, rebuild);
    if (step != SYNC_READY) {
        end_lease(worker, rebuild);
        METRIC_INC(gate_rebuild_failures_total);
        return step;
    }
    end_lease(worker, rebuild);
    if (builds)
        note_rebuilt(&rebuild->item, clock_mono_us() - begun);
    return SYNC_READY;
}
