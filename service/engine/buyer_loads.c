#include "engine/buyer_loads.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "metrics/metrics.h"
#include "reconcile/buyers_load.h"

/* Buyers that one job loads. */
#define BATCH (BUYERS_PAGE < 200 ? BUYERS_PAGE : 200)

typedef struct {
    UT_hash_handle hh;
    buyer_t buyer;
    uint64_t epoch; /* of the gate */
} wanted_t;

typedef struct buyer_loads {
    wanted_t *wanted; /* uthash by buyer */
    bool loading;     /* a job is under way, with the first of `wanted` */
} buyer_loads_t;

typedef struct {
    job_t job;
    loop_item_t *item;
    uint64_t epoch;
    unsigned count;
    buyer_t buyers[BATCH];
    buyers_page_t page; /* scratch */
} batch_t;

static void run(job_t *job, worker_t *worker)
{
    batch_t *batch = H2O_STRUCT_FROM_MEMBER(batch_t, job, job);
    str_t names[BATCH];
    for (unsigned i = 0; i < batch->count; ++i)
        names[i] = buyer_str(&batch->buyers[i]);
    buyers_load_some(worker, &batch->item->base.ref, batch->epoch, names, batch->count,
                     &batch->page);
}

static void drop(buyer_loads_t *loads, wanted_t *wanted)
{
    HASH_DEL(loads->wanted, wanted);
    free(wanted);
}

static void drop_buyer(buyer_loads_t *loads, const buyer_t *buyer)
{
    wanted_t *wanted;
    HASH_FIND(hh, loads->wanted, buyer->bytes, buyer->length, wanted);
    assert(wanted != NULL); /* an entry stays for as long as its job */
    drop(loads, wanted);
}

static void start(loop_item_t *item);

static void done(job_t *job)
{
    batch_t *batch = H2O_STRUCT_FROM_MEMBER(batch_t, job, job);
    loop_item_t *item = batch->item;
    assert(item->loads->loading && item->engine->jobs != 0);
    --item->engine->jobs;
    item->loads->loading = false;
    for (unsigned i = 0; i < batch->count; ++i)
        drop_buyer(item->loads, &batch->buyers[i]);
    free(batch);
    if (item->loads->wanted != NULL)
        start(item);
}

/* Buyers of one epoch go together; those of another one wait for the next job. */
static void fill(batch_t *batch, const buyer_loads_t *loads)
{
    wanted_t *wanted, *next;
    batch->epoch = loads->wanted->epoch;
    HASH_ITER(hh, loads->wanted, wanted, next)
    {
        if (batch->count < BATCH && wanted->epoch == batch->epoch)
            batch->buyers[batch->count++] = wanted->buyer;
    }
}

static void start(loop_item_t *item)
{
    buyer_loads_t *loads = item->loads;
    wanted_t *wanted, *next;
    batch_t *batch = alloc_bytes(sizeof(*batch));
    *batch = (batch_t){.item = item};
    fill(batch, loads);
    job_set_slot(&batch->job, item->base.ref.slot);
    loads->loading = engine_submit(item->engine, item->base.shard->index, &batch->job, run, done);
    if (loads->loading)
        return;
    METRIC_INC(queue_full_total);
    free(batch);
    HASH_ITER(hh, loads->wanted, wanted, next)
    drop(loads, wanted);
}

void buyer_loads_add(loop_item_t *item, uint64_t epoch, str_t buyer)
{
    wanted_t *wanted;
    if (item->loads == NULL)
        item->loads = alloc_zero(1, sizeof(*item->loads));
    HASH_FIND(hh, item->loads->wanted, buyer.p, buyer.n, wanted);
    if (wanted != NULL)
        return;
    wanted = alloc_zero(1, sizeof(*wanted));
    buyer_set(&wanted->buyer, buyer);
    wanted->epoch = epoch;
    HASH_ADD(hh, item->loads->wanted, buyer.bytes, wanted->buyer.length, wanted);
    if (!item->loads->loading)
        start(item);
}

bool buyer_loads_are_under_way(const buyer_loads_t *loads)
{
    return loads != NULL && loads->loading;
}

void buyer_loads_free(buyer_loads_t *loads)
{
    assert(!buyer_loads_are_under_way(loads));
    assert(loads == NULL || loads->wanted == NULL);
    free(loads);
}
