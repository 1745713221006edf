#include "engine/epoch_check.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"

/* Reads of one item's epoch begin at least this far apart, so that a crowd of refusals shares few
   of them. */
#define INTERVAL_MS 1

typedef struct {
    job_t job;
    loop_item_t *item;
    h2o_linklist_t purchases; /* that wait for this read */
    uint64_t epoch;           /* of the row */
    result_t result;
} epoch_check_t;

static void run(job_t *job, worker_t *worker)
{
    epoch_check_t *check = H2O_STRUCT_FROM_MEMBER(epoch_check_t, job, job);
    check->result =
        item_read_epoch(worker->db, &worker->sql, &check->item->base.ref, &check->epoch);
}

static epoch_verdict_t verdict_of(const epoch_check_t *check, const purchase_t *purchase)
{
    if (check->result != RESULT_DONE)
        return EPOCH_UNKNOWN;
    return check->epoch == purchase->attempt.epoch ? EPOCH_IS_VALID : EPOCH_IS_OVER;
}

static void answer_all(const epoch_check_t *check, h2o_linklist_t *purchases)
{
    while (!h2o_linklist_is_empty(purchases)) {
        purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, purchases->next);
        h2o_linklist_unlink(&purchase->link);
        assert(purchase->item == check->item);
        purchase_epoch_checked(purchase, verdict_of(check, purchase));
    }
}

static void schedule(loop_item_t *item);

static void done(job_t *job)
{
    epoch_check_t *check = H2O_STRUCT_FROM_MEMBER(epoch_check_t, job, job);
    loop_item_t *item = check->item;
    assert(item->checking && item->engine->jobs != 0);
    --item->engine->jobs;
    item->checking = false;
    /* Purchases that joined during this read get a new one: it must begin after their refusal. */
    schedule(item);
    answer_all(check, &check->purchases);
    free(check);
}

static void begin(loop_item_t *item)
{
    assert(!item->checking);
    epoch_check_t *check = alloc_zero(1, sizeof(*check));
    check->item = item;
    item->check_begun_ms = clock_mono_ms();
    h2o_linklist_init_anchor(&check->purchases);
    h2o_linklist_insert_list(&check->purchases, &item->unchecked);
    job_set_slot(&check->job, item->base.ref.slot);
    if (engine_submit(item->engine, item->base.shard->index, &check->job, run, done)) {
        METRIC_INC(epoch_checks_total);
        item->checking = true;
        return;
    }
    METRIC_INC(queue_full_total);
    check->result = RESULT_AWAY;
    answer_all(check, &check->purchases);
    free(check);
}

static void on_due(loop_timer_t *timer)
{
    begin(H2O_STRUCT_FROM_MEMBER(loop_item_t, check_timer, timer));
}

static void schedule(loop_item_t *item)
{
    if (item->checking || h2o_linklist_is_empty(&item->unchecked) ||
        h2o_timeout_is_linked(&item->check_timer.entry))
        return;
    uint64_t since_ms = clock_mono_ms() - item->check_begun_ms;
    if (since_ms >= INTERVAL_MS)
        begin(item);
    else
        loop_timer_start(item->engine->loop, &item->check_timer, (uint32_t)(INTERVAL_MS - since_ms),
                         on_due);
}

void epoch_check_join(purchase_t *purchase)
{
    h2o_linklist_insert(&purchase->item->unchecked, &purchase->link);
    schedule(purchase->item);
}
