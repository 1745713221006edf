#include "reconcile/pass.h"

#include <unistd.h>

#include "base/failpoint.h"

static sync_result_t take_snapshot(worker_t *worker, const item_ref_t *ref, snapshot_t *snapshot)
{
    bool found;
    if (gate_sync_inspect(worker->gate, ref, &snapshot->before) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    result_t result = item_read(worker->db, &worker->sql, ref, false, &snapshot->row, &found);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    if (gate_sync_inspect(worker->gate, ref, &snapshot->after) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    snapshot->now_ms = clock_mono_ms();
    return SYNC_READY;
}

#define FREE_READS 4

bool reconcile_row_is_free(worker_t *worker, const item_ref_t *ref)
{
    for (unsigned reads = 0; reads < FREE_READS; ++reads) {
        if (reads != 0)
            usleep(PASS_FREE_US / FREE_READS);
        sql_reset(&worker->sql);
        sql_add(&worker->sql,
                "SELECT sku FROM " SQL_INVENTORY_BY_KEY " WHERE %i FOR UPDATE SKIP LOCKED", ref);
        if (db_query(worker->db, &worker->sql) != RESULT_DONE || db_next(worker->db))
            return true; /* or MySQL returned an error, which the caller's next statement meets */
    }
    return false;
}

/* The process that was to load the table of buyers has died, or does not get on. */
static void see_to_loading(worker_t *worker, const item_ref_t *ref, const gate_state_t *gate)
{
    if (gate->answer == GATE_ITEM_OK && gate->loading_until_ms != 0 &&
        gate->loading_until_ms <= gate->now_ms)
        repair_queue_rebuild(&worker->shard->loads, sku_str(&ref->sku), gate->epoch);
}

static void act(worker_t *worker, const item_ref_t *ref, action_t action, const lease_t *lease,
                pass_t *pass)
{
    uint64_t epoch = pass->item.epoch;
    FAILPOINT("reconcile_compared");
    switch (action) {
    case ACTION_SYNC:
        pass->result = item_agree(worker, ref, &pass->item);
        break;
    case ACTION_REBUILD:
        pass->result = item_rebuild(worker, ref, epoch, lease, &pass->item);
        break;
    case ACTION_RESTORE:
        pass->result = item_restore(worker, ref, epoch, lease, &pass->item);
        break;
    default:
        return;
    }
    if (pass->result == SYNC_READY)
        pass->done = action;
    pass->failed = pass->result != SYNC_READY && pass->result != SYNC_UNKNOWN_ITEM;
}

static bool needs_row(action_t action)
{
    return action == ACTION_SYNC || action == ACTION_REBUILD || action == ACTION_RESTORE;
}

pass_t reconcile_compare(worker_t *worker, const item_ref_t *ref, memory_t *memory,
                         const lease_t *lease, unsigned flags)
{
    snapshot_t snapshot = {.by_hand = flags & COMPARE_BY_HAND};
    pass_t pass = {.finding = FINDING_AGREE, .open = true};
    pass.result = take_snapshot(worker, ref, &snapshot);
    if (pass.result != SYNC_READY)
        return pass;
    see_to_loading(worker, ref, &snapshot.after);
    decision_t decision = reconcile_decide(memory, &snapshot);
    pass.finding = decision.finding;
    pass.item = snapshot.row;
    pass.gate = snapshot.after;
    pass.open = decision.open;
    pass.compare_again = decision.action == ACTION_COMPARE_AGAIN;
    if (decision.action == ACTION_RESTORE && lease == NULL && !snapshot.by_hand)
        return pass;
    if (!(flags & COMPARE_WAITS) && needs_row(decision.action) &&
        !reconcile_row_is_free(worker, ref)) {
        pass.result = SYNC_BUSY;
        pass.failed = true;
        return pass;
    }
    act(worker, ref, decision.action, lease, &pass);
    return pass;
}

pass_t reconcile_pass(worker_t *worker, const item_ref_t *ref)
{
    memory_t memory = {0};
    pass_t pass = reconcile_compare(worker, ref, &memory, NULL, COMPARE_BY_HAND | COMPARE_WAITS);
    while (pass.compare_again) {
        usleep(PASS_COMPARE_AGAIN_US);
        pass = reconcile_compare(worker, ref, &memory, NULL, COMPARE_BY_HAND | COMPARE_WAITS);
    }
    return pass;
}

const char *pass_action(const pass_t *pass)
{
    static const char *const actions[] = {"nothing", "nothing", "rebuilt", "rebuilt", "restored"};
    return actions[pass->done];
}
