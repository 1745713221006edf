/* Reading the rows of items, for loop_item.h: jobs of the pool, one at a time for an item. */
#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"

typedef struct {
    job_t job;
    loop_item_t *item;
    item_t row;
    sync_result_t result;
} item_read_t;

static void run(job_t *job, worker_t *worker)
{
    item_read_t *read = H2O_STRUCT_FROM_MEMBER(item_read_t, job, job);
    read->result = item_sync(worker, &read->item->base.ref, &read->row);
}

static void unpark_all(loop_item_t *item, sync_result_t why)
{
    h2o_linklist_t parked;
    h2o_linklist_init_anchor(&parked);
    /* The list is detached first, because a purchase may park again in this loop. */
    h2o_linklist_insert_list(&parked, &item->parked);
    while (!h2o_linklist_is_empty(&parked)) {
        purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, parked.next);
        h2o_linklist_unlink(&purchase->link);
        purchase_unparked(purchase, why);
    }
}

static void take_row(loop_item_t *item, const item_t *row)
{
    ++item->reads;
    if (row->epoch != item->item.epoch)
        item->sold_out_until_ms = 0;
    item->item = *row;
    item->base.acknowledge = row->terms.acknowledge;
}

static void start(loop_item_t *item);

static void done(job_t *job)
{
    item_read_t *read = H2O_STRUCT_FROM_MEMBER(item_read_t, job, job);
    loop_item_t *item = read->item;
    sync_result_t result = read->result;
    assert(item->owned && item->state == ITEM_READING && item->engine->jobs != 0);
    --item->engine->jobs;
    item->state = result == SYNC_READY ? ITEM_READY : ITEM_UNKNOWN;
    if (result == SYNC_READY)
        take_row(item, &read->row);
    free(read);
    if (item->read_again) {
        item->read_again = false;
        item->state = ITEM_UNKNOWN;
        if (!h2o_linklist_is_empty(&item->parked))
            start(item);
        return;
    }
    unpark_all(item, result);
    /* Of an item that is not there; or one that was never READY, and whose purchases have ended
       before this read: see forget_unread_item() in purchase.c. */
    if ((result == SYNC_UNKNOWN_ITEM || item->reads == 0) && loop_item_is_idle(item))
        loop_item_forget(item);
}

static void start(loop_item_t *item)
{
    item_read_t *read = alloc_zero(1, sizeof(*read));
    read->item = item;
    job_set_slot(&read->job, item->base.ref.slot);
    item->state = ITEM_READING;
    if (!engine_submit(item->engine, item->base.shard->index, &read->job, run, done)) {
        free(read);
        METRIC_INC(queue_full_total);
        item->state = ITEM_UNKNOWN;
        unpark_all(item, SYNC_STORE_AWAY);
    }
}

void loop_item_park(loop_item_t *item, purchase_t *purchase)
{
    h2o_linklist_insert(&item->parked, &purchase->link);
    if (item->state == ITEM_UNKNOWN)
        start(item);
}

void loop_item_invalidate(loop_item_t *item)
{
    item->sold_out_until_ms = 0;
    if (item->state == ITEM_READING)
        item->read_again = true;
    else
        item->state = ITEM_UNKNOWN;
}
