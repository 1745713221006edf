#include "reconcile/pass.h"

#include <unistd.h>

/* A miss that is gone at the second look was a moment of the traffic, not drift. */
#define LOOKS 3
#define PAUSE_US 50000

static sync_result_t look_once(worker_t *worker, str_t sku, pass_t *pass)
{
    gate_state_t before;
    bool found;
    uint16_t slot = slot_of_sku(sku);
    if (gate_sync_inspect(worker->gate, slot, sku, &before) != GATE_CALL_OK)
        return SYNC_GATE_AWAY;
    db_result_t result = item_read(worker->db, &worker->sql, sku, false, &pass->item, &found);
    if (result != DB_OK)
        return SYNC_STORE_AWAY;
    if (!found)
        return SYNC_UNKNOWN_ITEM;
    if (gate_sync_inspect(worker->gate, slot, sku, &pass->gate) != GATE_CALL_OK)
        return SYNC_GATE_AWAY;
    pass->finding = compare_gate(&before, &pass->item, &pass->gate);
    return SYNC_READY;
}

pass_t reconcile_pass(worker_t *worker, str_t sku)
{
    pass_t pass = {.finding = FINDING_NOT_BUILT};
    for (int i = 0; i < LOOKS; ++i) {
        if (i != 0)
            usleep(PAUSE_US);
        pass.result = look_once(worker, sku, &pass);
        if (pass.result != SYNC_READY || pass.finding == FINDING_AGREE)
            return pass;
    }
    pass.result = pass.finding == FINDING_NOT_BUILT ? item_sync(worker, sku, &pass.item)
                                                    : item_rebuild(worker, sku, &pass.item);
    pass.rebuilt = pass.result == SYNC_READY;
    return pass;
}
