#include "engine/order_polls.h"

#include <assert.h>
#include <stdlib.h>

#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "engine/engine.h"
#include "engine/order_watchers.h"
#include "metrics/metrics.h"
#include "store/orders.h"

/* Ids in one SELECT. */
#define IDS_MAX 1000

typedef struct polled_order {
    UT_hash_handle hh;
    order_id_t id;
    order_watcher_t *watchers;
} polled_order_t;

/* One reading of all orders of a list. */
typedef struct {
    job_t job;
    order_poll_t *poll;
    order_id_t *ids;
    unsigned ids_count;
    uint64_t begun_us; /* monotonic */
    order_t *rows;     /* those that are there */
    unsigned rows_count;
} poll_job_t;

struct engine_loop *order_polls_loop(const struct node *node, unsigned shard)
{
    return node->loops[shard % node->loops_count];
}

/* --- reading --- */

static void run(job_t *job, worker_t *worker)
{
    poll_job_t *reading = H2O_STRUCT_FROM_MEMBER(poll_job_t, job, job);
    reading->rows = alloc_zero(reading->ids_count, sizeof(order_t));
    for (unsigned at = 0; at < reading->ids_count; at += IDS_MAX) {
        unsigned left = reading->ids_count - at, found;
        METRIC_INC(order_polls_total);
        if (orders_read(worker->db, &worker->sql, reading->ids + at,
                        left < IDS_MAX ? left : IDS_MAX, reading->rows + reading->rows_count,
                        &found) != RESULT_DONE)
            return;
        reading->rows_count += found;
    }
    FAILPOINT("order_polls_read");
}

static void begin(order_poll_t *poll);

static void on_timer(loop_timer_t *timer)
{
    order_poll_t *poll = H2O_STRUCT_FROM_MEMBER(order_poll_t, timer, timer);
    poll->waits = false;
    if (poll->orders != NULL)
        begin(poll);
}

/* The first reading after a rest is in the next turn of the loop, and the orders that are watched
   in this one share it. */
static void schedule(order_poll_t *poll)
{
    uint64_t now_ms = clock_mono_ms(), next_ms = poll->begun_ms + ORDER_POLL_MS;
    if (poll->waits || poll->reads)
        return;
    poll->waits = true;
    loop_timer_start(poll->engine->loop, &poll->timer,
                     next_ms > now_ms ? (uint32_t)(next_ms - now_ms) : 0, on_timer);
}

static void drop(order_poll_t *poll, polled_order_t *order)
{
    while (order_watchers_pop(&order->watchers) != NULL)
        ;
    HASH_DELETE(hh, poll->orders, order);
    free(order);
}

static polled_order_t *find(const order_poll_t *poll, const order_id_t *id)
{
    polled_order_t *order;
    HASH_FIND(hh, poll->orders, id->bytes, sizeof(id->bytes), order);
    return order;
}

/* The entry goes first: a loop that is told may watch the order again inside this call. */
static void tell(order_poll_t *poll, const order_t *row, uint64_t as_of_us)
{
    struct engine_loop *watcher;
    polled_order_t *order = find(poll, &row->id);
    if (order == NULL) /* nothing waits for it any more */
        return;
    order_watcher_t *watchers = order->watchers;
    order->watchers = NULL;
    drop(poll, order);
    while ((watcher = order_watchers_pop(&watchers)) != NULL)
        order_waits_tell(poll->engine, watcher, row, as_of_us);
}

static void done(job_t *job)
{
    poll_job_t *reading = H2O_STRUCT_FROM_MEMBER(poll_job_t, job, job);
    order_poll_t *poll = reading->poll;
    assert(poll->reads && poll->engine->jobs != 0);
    --poll->engine->jobs;
    poll->reads = false;
    for (unsigned i = 0; i < reading->rows_count; ++i)
        tell(poll, &reading->rows[i], reading->begun_us);
    if (poll->orders != NULL)
        schedule(poll);
    free(reading->rows);
    free(reading->ids);
    free(reading);
}

static void begin(order_poll_t *poll)
{
    poll_job_t *reading = alloc_zero(1, sizeof(*reading));
    polled_order_t *order, *next;
    reading->poll = poll;
    reading->ids = alloc_zero(HASH_COUNT(poll->orders), sizeof(order_id_t));
    HASH_ITER(hh, poll->orders, order, next)
    {
        reading->ids[reading->ids_count++] = order->id;
    }
    reading->begun_us = clock_mono_us();
    poll->begun_ms = clock_mono_ms();
    poll->reads = engine_submit(poll->engine, poll->shard, &reading->job, run, done);
    if (poll->reads)
        return;
    free(reading->ids); /* the queue is full */
    free(reading);
    schedule(poll);
}

/* --- the list --- */

order_poll_t *order_polls_new(struct engine_loop *engine)
{
    unsigned count = engine->node->map.shards_count;
    order_poll_t *polls = alloc_zero(count, sizeof(*polls));
    for (unsigned i = 0; i < count; ++i)
        polls[i] = (order_poll_t){.engine = engine, .shard = i};
    return polls;
}

void order_polls_free(order_poll_t *polls, unsigned shards_count)
{
    for (unsigned i = 0; i < shards_count; ++i) {
        polled_order_t *order, *next;
        assert(!polls[i].reads);
        loop_timer_stop(&polls[i].timer);
        HASH_ITER(hh, polls[i].orders, order, next)
        {
            drop(&polls[i], order);
        }
    }
    free(polls);
}

static order_poll_t *poll_of(struct engine_loop *engine, const order_id_t *id)
{
    return &engine->polls[engine->node->map.shard_of_slot[order_id_slot(id)]];
}

void order_polls_watch(struct engine_loop *engine, const order_id_t *id,
                       struct engine_loop *watcher)
{
    order_poll_t *poll = poll_of(engine, id);
    polled_order_t *order = find(poll, id);
    assert(order_polls_loop(engine->node, poll->shard) == engine);
    if (order == NULL) {
        order = alloc_zero(1, sizeof(*order));
        order->id = *id;
        HASH_ADD(hh, poll->orders, id, sizeof(order->id), order);
        schedule(poll);
    }
    order_watchers_add(&order->watchers, watcher);
}

void order_polls_unwatch(struct engine_loop *engine, const order_id_t *id,
                         struct engine_loop *watcher)
{
    order_poll_t *poll = poll_of(engine, id);
    polled_order_t *order = find(poll, id);
    if (order == NULL)
        return;
    order_watchers_remove(&order->watchers, watcher);
    if (order->watchers == NULL)
        drop(poll, order);
}
