#include "reconcile/delete.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/random.h"
#include "reconcile/freeze.h"
#include "reconcile/sync.h"

/* How long it is tried: it competes with every buyer and move for the row. */
#define DELETE_PATIENCE_MS 8000
#define DRAIN_PAUSE_US 5000

typedef struct {
    worker_t *worker;
    rebuild_t rebuild;  /* of the present try: what is frozen */
    bool unsettled;     /* likewise: orders are on their way */
    bool redis_answers; /* likewise: as asked, where it is not needed */
    bool doubt;         /* a COMMIT was lost: the row may be gone */
} deletion_t;

/* While the optimistic strategy stands in, only Redis knows what the gate had admitted. Under the
   SQL strategies there is nothing to ask: a gate that is closed may stay. */
static bool needs_redis(const item_t *item)
{
    return item_uses_gate(item) || item->gate_down;
}

/* Redis is known to be away: where it is not needed it is not asked. */
static bool redis_is_down(worker_t *worker)
{
    return gate_health_down_ms(worker->shard->gate_health) != 0;
}

/* Of an item that no gate admits for: orders of an earlier strategy may still be on their way.
 *left: how many. */
static result_t drain_closed(worker_t *worker, const item_t *item, size_t *left)
{
    uint64_t deadline = clock_mono_ms() + DRAIN_PATIENCE_MS;
    for (;;) {
        order_id_t *ids = NULL;
        result_t call =
            gate_sync_unsettled_ids(worker->gate, item->slot, item_sku(item), &ids, left);
        free(ids);
        if (call != RESULT_DONE || *left == 0 || clock_mono_ms() >= deadline)
            return call;
        usleep(DRAIN_PAUSE_US);
    }
}

/* Nothing of the item is on its way to MySQL any more, and its gate admits nobody. */
static step_t quiesce(deletion_t *deletion)
{
    worker_t *worker = deletion->worker;
    rebuild_t *rebuild = &deletion->rebuild;
    const item_t *item = &rebuild->item;
    size_t left = 0;
    if (item_uses_gate(item)) {
        step_t step = freeze_and_drain(worker, rebuild);
        deletion->unsettled = step == STEP_OK && rebuild->unsettled_max != 0;
        return step;
    }
    if (!needs_redis(item) && redis_is_down(worker))
        return STEP_OK;
    deletion->redis_answers = drain_closed(worker, item, &left) == RESULT_DONE;
    deletion->unsettled = deletion->redis_answers && left != 0;
    return needs_redis(item) && !deletion->redis_answers ? STEP_GATE_AWAY : STEP_OK;
}

static bool remove_gate(worker_t *worker, const item_t *item)
{
    return gate_sync_forget(worker->gate, item->slot, item_sku(item)) == RESULT_DONE;
}

static step_t delete_in_transaction(deletion_t *deletion)
{
    uint64_t affected[1] = {0};
    worker_t *worker = deletion->worker;
    const item_t *item = &deletion->rebuild.item;
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "DELETE FROM inventory WHERE sku = %s AND bucket = 0 AND epoch = %u AND "
            "allocated_total = released_total",
            item_sku(item), item->epoch);
    result_t result = db_exec(worker->db, &worker->sql, affected, 1);
    if (result == RESULT_DONE && affected[0] != 1)
        return STEP_LOST_RACE;
    if (result != RESULT_DONE)
        return step_of_db(result);
    step_t step = rebuild_still_frozen(worker, &deletion->rebuild);
    if (step != STEP_OK)
        return step;
    FAILPOINT("delete_row_locked");
    if (needs_redis(item) && !remove_gate(worker, item))
        return STEP_GATE_AWAY;
    FAILPOINT("delete_gate_gone");
    return STEP_OK;
}

static step_t delete_row(deletion_t *deletion)
{
    worker_t *worker = deletion->worker;
    step_t step = step_of_db(db_run(worker->db, "START TRANSACTION"));
    if (step == STEP_OK)
        step = delete_in_transaction(deletion);
    if (step != STEP_OK) {
        db_rollback(worker->db);
        return step;
    }
    result_t result = db_commit(worker->db);
    FAILPOINT("delete_committed");
    deletion->doubt = deletion->doubt || result == RESULT_UNKNOWN;
    return step_of_db(result);
}

static delete_result_t result_of_sync(sync_result_t seen, bool *again)
{
    *again = seen == SYNC_BUSY;
    return seen == SYNC_UNKNOWN_ITEM ? DELETE_UNKNOWN_ITEM : DELETE_AWAY;
}

/* Reads the row, and sees to it that the gate is of its epoch, if it has one. */
static sync_result_t look(worker_t *worker, str_t sku, item_t *item)
{
    bool found;
    result_t result = item_read(worker->db, &worker->sql, sku, false, item, &found);
    if (result != RESULT_DONE)
        return result == RESULT_RETRY ? SYNC_BUSY : SYNC_STORE_AWAY;
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    return item_uses_gate(item) && item_allocated(item) == 0 ? item_sync(worker, sku, item)
                                                             : SYNC_READY;
}

/* One look and one try. *again: something moved meanwhile, look anew. */
static delete_result_t try_delete(deletion_t *deletion, str_t sku, uint64_t *epoch, bool *again)
{
    const item_t *item = &deletion->rebuild.item;
    deletion->rebuild = (rebuild_t){.terms = NULL};
    deletion->unsettled = deletion->redis_answers = false;
    sync_result_t seen = look(deletion->worker, sku, &deletion->rebuild.item);
    if (seen != SYNC_READY)
        return result_of_sync(seen, again);
    *again = false;
    *epoch = item->epoch + 1;
    if (item_allocated(item) != 0)
        return DELETE_LIVE;
    step_t step = quiesce(deletion);
    if (step == STEP_OK && !deletion->unsettled)
        step = delete_row(deletion);
    if (step == STEP_OK && !deletion->unsettled) {
        if (deletion->redis_answers)
            remove_gate(deletion->worker, item);
        return DELETE_DONE;
    }
    rebuild_thaw(deletion->worker, &deletion->rebuild);
    *again = step == STEP_LOST_RACE || step == STEP_NOT_FROZEN;
    return deletion->unsettled ? DELETE_UNSETTLED : DELETE_AWAY;
}

delete_result_t item_delete(worker_t *worker, str_t sku, uint64_t *epoch)
{
    uint64_t deadline = clock_mono_ms() + DELETE_PATIENCE_MS;
    delete_result_t result = DELETE_AWAY;
    deletion_t deletion = {.worker = worker};
    bool again = true;
    *epoch = 0;
    for (unsigned tries = 0; again && clock_mono_ms() < deadline; ++tries) {
        if (tries != 0)
            usleep(random_backoff(2000, 20000, tries));
        result = try_delete(&deletion, sku, epoch, &again);
    }
    if (result == DELETE_UNKNOWN_ITEM && deletion.doubt)
        return DELETE_DONE; /* by the COMMIT whose answer was lost */
    if (result == DELETE_UNKNOWN_ITEM && !redis_is_down(worker))
        gate_sync_forget(worker->gate, slot_of_sku(sku), sku); /* if a stalled rebuild left one */
    return again ? DELETE_AWAY : result;
}
