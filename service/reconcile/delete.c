#include "reconcile/delete.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/random.h"
#include "reconcile/freeze.h"
#include "reconcile/sync.h"

/* How long a deletion is retried: it competes with every buyer and move for the row. */
#define DELETE_TIMEOUT_MS 8000
#define DRAIN_PAUSE_US 5000

typedef struct {
    worker_t *worker;
    const precondition_t *precondition; /* of the row that is deleted */
    change_origin_t origin;             /* with the id of this deletion */
    rebuild_t rebuild;                  /* of the present attempt: the freeze */
    bool unsettled;                     /* likewise: orders are on their way to MySQL */
    bool redis_answers;  /* likewise: Redis answered, for an item without an open gate */
    bool commit_unknown; /* a COMMIT was lost: the row may be gone */
} deletion_t;

/* During a fallback only Redis has the orders that the gate had admitted. Under a SQL strategy
   no call is needed: a closed gate may stay. */
static bool needs_redis(const item_t *item)
{
    return item_uses_gate(item) || item->gate_down;
}

/* Whether Redis is away already. Where it is not needed, no call then has to wait for its
   time-out. */
static bool redis_is_down(worker_t *worker)
{
    return gate_health_down_ms(worker->shard->gate_health) != 0;
}

/* Drains an item whose gate does not admit: orders of an earlier strategy may still be on their
   way. *left: the number that remain. */
static result_t drain_closed(worker_t *worker, const item_t *item, size_t *left)
{
    uint64_t deadline = clock_mono_ms() + DRAIN_TIMEOUT_MS;
    for (;;) {
        order_id_t *ids = NULL;
        result_t call = gate_sync_unsettled_ids(worker->gate, &item->ref, &ids, left);
        free(ids);
        if (call != RESULT_DONE || *left == 0 || clock_mono_ms() >= deadline)
            return call;
        usleep(DRAIN_PAUSE_US);
    }
}

/* Makes the gate admit no orders and waits until none is on its way to MySQL. */
static sync_result_t quiesce(deletion_t *deletion)
{
    worker_t *worker = deletion->worker;
    rebuild_t *rebuild = &deletion->rebuild;
    const item_t *item = &rebuild->item;
    size_t left = 0;
    if (item_uses_gate(item)) {
        sync_result_t step = freeze_and_drain(worker, rebuild);
        deletion->unsettled = step == SYNC_READY && rebuild->unsettled_max != 0;
        return step;
    }
    if (!needs_redis(item) && redis_is_down(worker))
        return SYNC_READY;
    deletion->redis_answers = drain_closed(worker, item, &left) == RESULT_DONE;
    deletion->unsettled = deletion->redis_answers && left != 0;
    return needs_redis(item) && !deletion->redis_answers ? SYNC_GATE_AWAY : SYNC_READY;
}

static bool remove_gate(worker_t *worker, const item_t *item)
{
    return gate_sync_forget(worker->gate, &item->ref) == RESULT_DONE;
}

static sync_result_t delete_in_transaction(deletion_t *deletion)
{
    uint64_t affected[1] = {0};
    worker_t *worker = deletion->worker;
    const item_t *item = &deletion->rebuild.item;
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "DELETE FROM inventory WHERE %i AND epoch = %u AND "
            "allocated_total = released_total",
            &item->ref, item->epoch);
    result_t result = db_exec(worker->db, &worker->sql, affected, 1);
    if (result == RESULT_DONE && affected[0] != 1)
        return SYNC_BUSY;
    if (result == RESULT_DONE)
        result = change_insert(worker->db, &worker->sql, &deletion->origin, &item->ref, item->epoch,
                               &item->terms, NULL);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    sync_result_t step = rebuild_still_frozen(worker, &deletion->rebuild);
    if (step != SYNC_READY)
        return step;
    FAILPOINT("delete_row_locked");
    /* Before the COMMIT: a gate without a row would admit orders that cannot commit, and no rebuild
       would replace it. A row without a gate is rebuilt. */
    if (needs_redis(item) && !remove_gate(worker, item))
        return SYNC_GATE_AWAY;
    FAILPOINT("delete_gate_gone");
    return SYNC_READY;
}

static sync_result_t delete_row(deletion_t *deletion)
{
    worker_t *worker = deletion->worker;
    sync_result_t step = sync_of_store(db_run(worker->db, "START TRANSACTION"));
    if (step == SYNC_READY)
        step = delete_in_transaction(deletion);
    if (step != SYNC_READY) {
        db_rollback(worker->db);
        return step;
    }
    result_t result = db_commit(worker->db);
    FAILPOINT("delete_committed");
    deletion->commit_unknown = deletion->commit_unknown || result == RESULT_UNKNOWN;
    return sync_of_store(result);
}

/* Reads the row, and makes the gate agree with its epoch, if the item uses one and could be
   deleted. */
static sync_result_t read_and_sync(worker_t *worker, const item_ref_t *ref, item_t *item)
{
    bool found;
    result_t result = item_read(worker->db, &worker->sql, ref, false, item, &found);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    return item_uses_gate(item) && item_allocated(item) == 0 ? item_sync(worker, ref, item)
                                                             : SYNC_READY;
}

/* Whether the COMMIT whose answer was lost has deleted the item. A row that is there now is another
   item's of that name. */
static sync_result_t is_deleted_already(const deletion_t *deletion, bool *deleted)
{
    bool created;
    worker_t *worker = deletion->worker;
    *deleted = false;
    if (!deletion->commit_unknown)
        return SYNC_READY;
    return sync_of_store(
        change_find(worker->db, &worker->sql, &deletion->origin.id, deleted, &created));
}

/* One read and one attempt. SYNC_BUSY: the item changed meanwhile; read again. */
static sync_result_t try_delete(deletion_t *deletion, const item_ref_t *ref, uint64_t *epoch,
                                delete_outcome_t *outcome)
{
    bool deleted;
    const item_t *item = &deletion->rebuild.item;
    deletion->rebuild = (rebuild_t){.terms = NULL};
    deletion->unsettled = deletion->redis_answers = false;
    sync_result_t result = read_and_sync(deletion->worker, ref, &deletion->rebuild.item);
    sync_result_t looked_up = is_deleted_already(deletion, &deleted);
    if (looked_up != SYNC_READY)
        return looked_up;
    if (deleted) {
        *outcome = DELETE_DONE;
        return SYNC_READY;
    }
    if (result != SYNC_READY)
        return result;
    *epoch = item->epoch + 1;
    *outcome = !precondition_holds(deletion->precondition, item->terms_version)
                   ? DELETE_PRECONDITION_FAILED
               : item_allocated(item) != 0 ? DELETE_LIVE
                                           : DELETE_DONE;
    if (*outcome != DELETE_DONE)
        return SYNC_READY;
    result = quiesce(deletion);
    if (result == SYNC_READY && deletion->unsettled)
        *outcome = DELETE_UNSETTLED;
    else if (result == SYNC_READY)
        result = delete_row(deletion);
    if (result != SYNC_READY || deletion->unsettled)
        rebuild_thaw(deletion->worker, &deletion->rebuild);
    else if (deletion->redis_answers)
        remove_gate(deletion->worker, item);
    return result;
}

sync_result_t item_delete(worker_t *worker, const item_ref_t *ref,
                          const precondition_t *precondition, const change_origin_t *origin,
                          uint64_t *epoch, delete_outcome_t *outcome)
{
    uint64_t deadline = clock_mono_ms() + DELETE_TIMEOUT_MS;
    sync_result_t result = SYNC_BUSY;
    deletion_t deletion = {.worker = worker, .precondition = precondition, .origin = *origin};
    deletion.origin.id = order_id_issue(ref->slot, remote_clock_now_ms(&worker->shard->clock));
    *epoch = 0;
    for (unsigned tries = 0; result == SYNC_BUSY && clock_mono_ms() < deadline; ++tries) {
        if (tries != 0)
            usleep(random_backoff(2000, 20000, tries));
        result = try_delete(&deletion, ref, epoch, outcome);
    }
    if (result == SYNC_UNKNOWN_ITEM && !redis_is_down(worker))
        gate_sync_forget(worker->gate, ref); /* if a stalled rebuild left one */
    return result;
}
