#include "engine/key_read.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "metrics/metrics.h"
#include "store/orders.h"

typedef struct {
    job_t job;
    purchase_t *purchase; /* read only while the job runs */
    key_read_cb done;
    result_t result;
    bool found;
    order_t row;
} key_read_t;

static void read_by_key(key_read_t *read, worker_t *worker, bool lock, order_t *row)
{
    const attempt_t *a = &read->purchase->attempt;
    read->result =
        order_read_by_key(worker->db, &worker->sql, order_sku(&a->order), order_buyer(&a->order),
                          attempt_key(a), lock, row, &read->found);
}

static void run_key(job_t *job, worker_t *worker)
{
    key_read_t *read = H2O_STRUCT_FROM_MEMBER(key_read_t, job, job);
    read_by_key(read, worker, false, &read->row);
}

/* The order that the gate named as the first may itself have been a repeat, and may have been
   rejected for another reason. Then the order that has the key in MySQL is the first. */
static void read_winner(key_read_t *read, worker_t *worker)
{
    order_t winner;
    read_by_key(read, worker, true, &winner);
    if (read->result == RESULT_DONE && read->found)
        read->row = winner;
    read->found = true;
}

static void run_first(job_t *job, worker_t *worker)
{
    key_read_t *read = H2O_STRUCT_FROM_MEMBER(key_read_t, job, job);
    const order_id_t *first = &read->purchase->first_id;
    if (order_id_is_none(first))
        read_by_key(read, worker, true, &read->row);
    else
        read->result = order_read(worker->db, &worker->sql, first, true, &read->row, &read->found);
    if (read->result == RESULT_DONE && read->found && read->row.state == ORDER_REJECTED)
        read_winner(read, worker);
}

static void done(job_t *job)
{
    key_read_t *read = H2O_STRUCT_FROM_MEMBER(key_read_t, job, job);
    bool known = read->result == RESULT_DONE;
    assert(read->purchase->engine->jobs != 0);
    --read->purchase->engine->jobs;
    read->done(read->purchase, known, known && read->found ? &read->row : NULL);
    free(read);
}

static bool start(purchase_t *purchase, void (*run)(job_t *, worker_t *), key_read_cb cb)
{
    const loop_item_t *item = purchase->item;
    assert(purchase->attempt.key_length != 0);
    key_read_t *read = alloc_zero(1, sizeof(*read));
    read->purchase = purchase;
    read->done = cb;
    job_set_slot(&read->job, item->base.ref.slot);
    if (engine_submit(purchase->engine, item->base.shard->index, &read->job, run, done))
        return true;
    METRIC_INC(queue_full_total);
    free(read);
    return false;
}

bool key_read_start(purchase_t *purchase, key_read_cb cb)
{
    return start(purchase, run_key, cb);
}

bool key_read_first(purchase_t *purchase, key_read_cb cb)
{
    return start(purchase, run_first, cb);
}
