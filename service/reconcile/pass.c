#include "reconcile/pass.h"

#include <unistd.h>

#include "base/failpoint.h"
#include "engine/node.h"

static sync_result_t look(worker_t *worker, str_t sku, snapshot_t *snapshot)
{
    bool found;
    uint16_t slot = slot_of_sku(sku);
    if (gate_sync_inspect(worker->gate, slot, sku, &snapshot->before) != GATE_CALL_OK)
        return SYNC_GATE_AWAY;
    db_result_t result = item_read(worker->db, &worker->sql, sku, false, &snapshot->row, &found);
    if (result != DB_OK)
        return SYNC_STORE_AWAY;
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    if (gate_sync_inspect(worker->gate, slot, sku, &snapshot->after) != GATE_CALL_OK)
        return SYNC_GATE_AWAY;
    snapshot->now_ms = clock_mono_ms();
    return SYNC_READY;
}

static void act(worker_t *worker, str_t sku, action_t action, const lease_t *lease, pass_t *pass)
{
    uint64_t epoch = pass->item.epoch;
    FAILPOINT("reconcile_looked");
    switch (action) {
    case ACTION_SYNC:
        pass->result = item_agree(worker, sku, &pass->item);
        break;
    case ACTION_REBUILD:
        pass->result = item_rebuild(worker, sku, epoch, lease, &pass->item);
        break;
    case ACTION_RESTORE:
        pass->result = item_restore(worker, sku, epoch, lease, &pass->item);
        break;
    default:
        return;
    }
    if (pass->result == SYNC_READY)
        pass->done = action;
}

pass_t reconcile_look(worker_t *worker, str_t sku, memory_t *memory, const lease_t *lease)
{
    snapshot_t snapshot = {.by_hand = lease == NULL};
    pass_t pass = {.finding = FINDING_AGREE};
    pass.result = look(worker, sku, &snapshot);
    if (pass.result != SYNC_READY)
        return pass;
    decision_t decision = reconcile_decide(memory, &snapshot);
    pass.finding = decision.finding;
    pass.item = snapshot.row;
    pass.gate = snapshot.after;
    pass.look_again = decision.action == ACTION_LOOK_AGAIN;
    act(worker, sku, decision.action, lease, &pass);
    return pass;
}

pass_t reconcile_pass(worker_t *worker, str_t sku)
{
    memory_t memory = {0};
    pass_t pass = reconcile_look(worker, sku, &memory, NULL);
    while (pass.look_again) {
        usleep(PASS_LOOK_AGAIN_US);
        pass = reconcile_look(worker, sku, &memory, NULL);
    }
    return pass;
}

const char *pass_deed(const pass_t *pass)
{
    static const char *const deeds[] = {"nothing", "nothing", "rebuilt", "rebuilt", "restored"};
    return deeds[pass->done];
}
