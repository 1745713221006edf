#include "work/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "work/writer_aside.h"
#include "work/writer_batch.h"

/* The batch window: for this long queued orders wait for orders that are before the gate. It is
   about the duration of a reserve call. */
#define BATCH_WINDOW_MS 2
/* While other processes hold the locks of the rows, queued orders wait for at most this long for
   the orders that are before the gate. */
#define GATE_WINDOW_MS 20
/* A shorter time is not waited for the locks of other processes. */
#define LOCK_WAIT_MIN_US 1000
/* An item that is set aside may have at most one in this many permits. */
#define ASIDE_SHARE 8
/* While the shard is away it is probed at this interval, though nothing is queued: purchases are
   refused meanwhile, so no order would show that it is back. */
#define PROBE_MS 500

/* What the orders of the next batch wait for while other processes hold the locks of the rows. */
typedef enum { COLLECT_NOT, COLLECT_FOR_LOCKS, COLLECT_FOR_GATE } collect_t;

/* A writer thread, with a connection of its own. All orders of an item go to the same thread: two
   threads would only miss each other's versions. Orders that cannot be written although the shard
   takes orders go to its side thread, which has another connection. */
typedef struct {
    writer_core_t core, side_core;
    pthread_t thread, side_thread;
    pthread_mutex_t mutex;
    pthread_cond_t more, more_aside;
    writer_aside_t aside;
    atomic_uint aside_items; /* aside.items_count, for readers without the mutex */
    writer_order_t *head, **tail;
    atomic_uint queued;
    unsigned awaited; /* of the queued ones */
    unsigned coming;  /* announced orders that are before the gate: writer_expect() */
    unsigned answered, answered_due; /* announced orders that left the gate; wraps */
    collect_t collect;
    bool stopping;
    unsigned batch_max, linger_ms;
    uint64_t written_us; /* monotonic; when the last batch ended */
    writer_order_t **batch, **side_batch;
} writer_thread_t;

struct writer {
    unsigned permits_max;
    atomic_uint permits;
    unsigned threads_count;
    writer_thread_t threads[];
};

static bool has_room(const writer_thread_t *thread)
{
    return thread->queued < thread->batch_max && !thread->stopping;
}

/* No buyer waits for a queued order. */
static bool may_linger(const writer_thread_t *thread)
{
    return thread->awaited == 0 && has_room(thread);
}

/* More orders are before the gate than queued. */
static bool may_wait_for_batch(const writer_thread_t *thread)
{
    return thread->coming > thread->queued && has_room(thread);
}

static bool may_collect(const writer_thread_t *thread)
{
    bool due =
        thread->collect == COLLECT_FOR_GATE && (int)(thread->answered_due - thread->answered) <= 0;
    return has_room(thread) && !due;
}

static void collect_until(writer_thread_t *thread, collect_t collect, uint64_t ms)
{
    int result = 0;
    const struct timespec then = clock_mono_in((uint32_t)ms);
    thread->collect = collect;
    while (may_collect(thread) && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&thread->more, &thread->mutex, &then);
    thread->collect = COLLECT_NOT;
}

/* While other processes hold the locks of the rows, orders are collected rather than written into a
   transaction that would wait: for as long as it would, and until those are here that the gate is
   being asked about. These would else be a batch of their own, which locks the same rows again. */
static void collect_batch(writer_thread_t *thread)
{
    uint64_t wait_us = writer_lock_wait_us(&thread->core), now_us = clock_mono_us();
    if (wait_us < LOCK_WAIT_MIN_US)
        return;
    if (thread->written_us + wait_us >= now_us + LOCK_WAIT_MIN_US)
        collect_until(thread, COLLECT_FOR_LOCKS, (thread->written_us + wait_us - now_us) / 1000);
    thread->answered_due = thread->answered + thread->coming;
    collect_until(thread, COLLECT_FOR_GATE, GATE_WINDOW_MS);
}

/* A transaction costs the server as much as some thirty rows: so queued orders wait for more, while
   there is a reason to. */
static void wait_for_batch(writer_thread_t *thread)
{
    int result = 0;
    if (!may_linger(thread) && !may_wait_for_batch(thread))
        return;
    struct timespec soon = clock_mono_in(BATCH_WINDOW_MS), late = clock_mono_in(thread->linger_ms);
    while ((may_linger(thread) || may_wait_for_batch(thread)) && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&thread->more, &thread->mutex,
                                        may_linger(thread) ? &late : &soon);
}

/* Called under the mutex, which it releases during the wait and the probe. */
static void probe(writer_thread_t *thread)
{
    const struct timespec later = clock_mono_in(PROBE_MS);
    if (pthread_cond_timedwait(&thread->more, &thread->mutex, &later) != ETIMEDOUT)
        return;
    pthread_mutex_unlock(&thread->mutex);
    writer_probe(&thread->core);
    pthread_mutex_lock(&thread->mutex);
}

static void wait_for_order(writer_thread_t *thread)
{
    while (thread->head == NULL && !thread->stopping) {
        if (atomic_load(&thread->core.away_since_ms) != 0)
            probe(thread);
        else
            pthread_cond_wait(&thread->more, &thread->mutex);
    }
}

static unsigned take_batch(writer_thread_t *thread)
{
    unsigned count = 0;
    pthread_mutex_lock(&thread->mutex);
    wait_for_order(thread);
    collect_batch(thread);
    wait_for_batch(thread);
    while (thread->head != NULL && count < thread->batch_max) {
        writer_order_t *order = thread->head;
        thread->head = order->next;
        thread->awaited -= order->awaited;
        thread->batch[count++] = order;
    }
    thread->queued -= count;
    if (thread->head == NULL)
        thread->tail = &thread->head;
    assert(thread->head != NULL || (thread->queued == 0 && thread->awaited == 0));
    assert(thread->awaited <= thread->queued);
    pthread_mutex_unlock(&thread->mutex);
    return count;
}

static void deliver(loop_message_t *message)
{
    writer_order_t *order = H2O_STRUCT_FROM_MEMBER(writer_order_t, message, message);
    order->done(order);
}

static void note_items(writer_thread_t *thread)
{
    atomic_store(&thread->aside_items, thread->aside.items_count);
}

/* Moves the orders that are to be set aside to the front, and returns their number. Posts the
   others, which may be freed from then on. */
static unsigned post_written(writer_order_t **orders, unsigned count)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; ++i) {
        writer_order_t *order = orders[i];
        if (order->result == WRITER_ASIDE) {
            orders[kept++] = order;
            continue;
        }
        order->message.run = deliver;
        loop_post(order->loop, &order->message);
    }
    return kept;
}

/* Moves orders that were queued before their item was set aside to the item's queue. If they
   stayed, the other orders of their batch would wait for the lock once more. */
static void send_queued_after(writer_thread_t *thread)
{
    writer_order_t **link = &thread->head;
    while (*link != NULL) {
        writer_order_t *order = *link;
        if (!writer_aside_has_item(&thread->aside, order_sku(&order->order))) {
            link = &order->next;
            continue;
        }
        *link = order->next;
        thread->awaited -= order->awaited;
        thread->queued -= 1;
        writer_aside_join(&thread->aside, order);
        METRIC_ADD(writer_set_aside_orders, 1);
    }
    thread->tail = link;
}

static void put_aside(writer_thread_t *thread, writer_order_t **orders, unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        writer_aside_put(&thread->aside, orders[i], clock_mono_ms());
    note_items(thread);
    if (thread->aside.items_count != 0)
        send_queued_after(thread);
    if (count != 0)
        pthread_cond_signal(&thread->more_aside);
}

static void *thread_run(void *arg)
{
    writer_thread_t *thread = arg;
    for (unsigned count; (count = take_batch(thread)) != 0;) {
        uint64_t begun = clock_mono_us();
        writer_apply(&thread->core, thread->batch, count);
        thread->written_us = clock_mono_us();
        metric_observe(HISTOGRAM_commit_seconds, thread->written_us - begun);
        metric_observe(HISTOGRAM_writer_batch_orders, count);
        unsigned aside = post_written(thread->batch, count);
        METRIC_ADD(writer_set_aside_orders, aside);
        if (aside == 0)
            continue;
        pthread_mutex_lock(&thread->mutex);
        put_aside(thread, thread->batch, aside);
        pthread_mutex_unlock(&thread->mutex);
    }
    writer_core_dispose(&thread->core);
    db_thread_end();
    return NULL;
}

/* --- the side thread --- */

/* Under the mutex. Returns 0 if the thread is to stop. */
static unsigned take_aside(writer_thread_t *thread, writer_aside_item_t **item)
{
    for (;;) {
        uint64_t now_ms = clock_mono_ms(), due_ms = writer_aside_due_ms(&thread->aside);
        unsigned count =
            writer_aside_take(&thread->aside, now_ms, thread->side_batch, thread->batch_max, item);
        if (count != 0 || (thread->stopping && due_ms == UINT64_MAX))
            return count;
        if (due_ms == UINT64_MAX) {
            pthread_cond_wait(&thread->more_aside, &thread->mutex);
        } else {
            const struct timespec then = clock_mono_in((uint32_t)(due_ms - now_ms) + 1);
            pthread_cond_timedwait(&thread->more_aside, &thread->mutex, &then);
        }
    }
}

/* If all of several orders of an item fail, the fault is the item's, and they stay set aside with
   it. If some pass, the others are set aside alone. */
static void keep_with_item(writer_order_t **orders, unsigned left, unsigned tried)
{
    for (unsigned i = 0; tried > 1 && left == tried && i < left; ++i)
        orders[i]->aside.with_item = true;
}

static void *side_thread(void *arg)
{
    writer_thread_t *thread = arg;
    writer_aside_item_t *item;
    pthread_mutex_lock(&thread->mutex);
    for (unsigned count; (count = take_aside(thread, &item)) != 0;) {
        pthread_mutex_unlock(&thread->mutex);
        writer_apply(&thread->side_core, thread->side_batch, count);
        unsigned left = post_written(thread->side_batch, count);
        if (item != NULL)
            keep_with_item(thread->side_batch, left, count);
        METRIC_ADD(writer_set_aside_orders, -(int64_t)(count - left));
        pthread_mutex_lock(&thread->mutex);
        put_aside(thread, thread->side_batch, left);
        if (item != NULL)
            writer_aside_tried(&thread->aside, item, clock_mono_ms());
        note_items(thread);
    }
    pthread_mutex_unlock(&thread->mutex);
    writer_core_dispose(&thread->side_core);
    db_thread_end();
    return NULL;
}

static void thread_start(writer_thread_t *thread, const config_t *config, unsigned shard,
                         remote_clock_t *clock)
{
    writer_core_init(&thread->core, config, shard, clock, false);
    writer_core_init(&thread->side_core, config, shard, clock, true);
    thread->batch_max = config->mysql.writer_batch_max;
    thread->linger_ms = config->mysql.writer_linger_ms;
    thread->batch = alloc_zero(thread->batch_max, sizeof(*thread->batch));
    thread->side_batch = alloc_zero(thread->batch_max, sizeof(*thread->side_batch));
    thread->tail = &thread->head;
    pthread_mutex_init(&thread->mutex, NULL);
    clock_cond_init(&thread->more);
    clock_cond_init(&thread->more_aside);
    h2o_multithread_create_thread(&thread->thread, NULL, thread_run, thread);
    h2o_multithread_create_thread(&thread->side_thread, NULL, side_thread, thread);
}

static void thread_stop(writer_thread_t *thread)
{
    pthread_mutex_lock(&thread->mutex);
    assert(thread->coming == 0);
    thread->stopping = true;
    pthread_cond_signal(&thread->more);
    pthread_cond_signal(&thread->more_aside);
    pthread_mutex_unlock(&thread->mutex);
    pthread_join(thread->thread, NULL);
    pthread_join(thread->side_thread, NULL);
    writer_aside_dispose(&thread->aside);
    pthread_cond_destroy(&thread->more);
    pthread_cond_destroy(&thread->more_aside);
    pthread_mutex_destroy(&thread->mutex);
    free(thread->batch);
    free(thread->side_batch);
}

writer_t *writer_start(const config_t *config, unsigned shard, remote_clock_t *clock)
{
    unsigned threads = config->mysql.writer_threads;
    writer_t *writer = alloc_zero(1, sizeof(*writer) + threads * sizeof(writer->threads[0]));
    writer->permits_max = config->mysql.writer_queue_max;
    writer->threads_count = threads;
    for (unsigned i = 0; i < threads; ++i)
        thread_start(&writer->threads[i], config, shard, clock);
    return writer;
}

void writer_stop(writer_t *writer)
{
    for (unsigned i = 0; i < writer->threads_count; ++i)
        thread_stop(&writer->threads[i]);
    free(writer);
}

bool writer_take_permit(writer_t *writer)
{
    if (atomic_fetch_add(&writer->permits, 1) < writer->permits_max)
        return true;
    atomic_fetch_sub(&writer->permits, 1);
    METRIC_INC(queue_full_total);
    return false;
}

void writer_return_permit(writer_t *writer)
{
    unsigned before = atomic_fetch_sub(&writer->permits, 1);
    assert(before != 0);
    (void)before;
}

static writer_thread_t *thread_of(writer_t *writer, uint16_t slot)
{
    return &writer->threads[slot % writer->threads_count];
}

/* Wakes the thread if it waits for its first order, or if it waits for a batch and there is no
   longer a reason to. */
static void wake(writer_thread_t *thread, bool first)
{
    bool may_wait = thread->collect != COLLECT_NOT
                        ? may_collect(thread)
                        : may_linger(thread) || may_wait_for_batch(thread);
    if (first || (thread->queued != 0 && !may_wait))
        pthread_cond_signal(&thread->more);
}

void writer_submit(writer_t *writer, writer_order_t *order)
{
    writer_thread_t *thread = thread_of(writer, order_id_slot(&order->order.id));
    assert(order->aside.why == NULL && order->aside.tries == 0 && !order->aside.with_item);
    order->next = NULL;
    pthread_mutex_lock(&thread->mutex);
    if (writer_aside_has_item(&thread->aside, order_sku(&order->order))) {
        writer_aside_join(&thread->aside, order);
        METRIC_ADD(writer_set_aside_orders, 1);
    } else {
        *thread->tail = order;
        thread->tail = &order->next;
        thread->awaited += order->awaited;
        wake(thread, atomic_fetch_add(&thread->queued, 1) == 0);
    }
    pthread_mutex_unlock(&thread->mutex);
}

void writer_expect(writer_t *writer, uint16_t slot, int more)
{
    writer_thread_t *thread = thread_of(writer, slot);
    pthread_mutex_lock(&thread->mutex);
    /* else the count would wrap, and the thread would wait for orders that never come */
    assert(more >= 0 || thread->coming >= (unsigned)-more);
    thread->coming += (unsigned)more;
    if (more < 0) {
        thread->answered += (unsigned)-more;
        wake(thread, false);
    }
    pthread_mutex_unlock(&thread->mutex);
}

bool writer_is_behind(writer_t *writer, uint16_t slot)
{
    return atomic_load_explicit(&thread_of(writer, slot)->queued, memory_order_relaxed) != 0;
}

static uint64_t thread_away_since_ms(const writer_thread_t *thread)
{
    return atomic_load_explicit(&thread->core.away_since_ms, memory_order_relaxed);
}

bool writer_is_away(const writer_t *writer)
{
    for (unsigned i = 0; i < writer->threads_count; ++i)
        if (thread_away_since_ms(&writer->threads[i]) != 0)
            return true;
    return false;
}

bool writer_away_for(writer_t *writer, uint64_t *ms, char *why)
{
    for (unsigned i = 0; i < writer->threads_count; ++i) {
        writer_core_t *core = &writer->threads[i].core;
        uint64_t since_ms = thread_away_since_ms(&writer->threads[i]);
        if (since_ms == 0)
            continue;
        *ms = clock_mono_ms() - since_ms;
        pthread_mutex_lock(&core->away_mutex);
        memcpy(why, core->away_why, WRITER_WHY_SIZE);
        pthread_mutex_unlock(&core->away_mutex);
        return true;
    }
    return false;
}

writer_item_t writer_item(writer_t *writer, uint16_t slot, str_t sku)
{
    writer_thread_t *thread = thread_of(writer, slot);
    if (atomic_load_explicit(&thread->aside_items, memory_order_relaxed) == 0)
        return WRITER_ITEM_WRITABLE;
    pthread_mutex_lock(&thread->mutex);
    bool is_aside = writer_aside_has_item(&thread->aside, sku);
    unsigned orders = is_aside ? writer_aside_of_item(&thread->aside, sku) : 0;
    pthread_mutex_unlock(&thread->mutex);
    return !is_aside                                    ? WRITER_ITEM_WRITABLE
           : orders < writer->permits_max / ASIDE_SHARE ? WRITER_ITEM_ASIDE
                                                        : WRITER_ITEM_FULL;
}

void writer_each_aside(writer_t *writer, writer_aside_cb each, void *context)
{
    for (unsigned i = 0; i < writer->threads_count; ++i) {
        writer_thread_t *thread = &writer->threads[i];
        pthread_mutex_lock(&thread->mutex);
        writer_aside_each(&thread->aside, clock_mono_ms(), each, context);
        pthread_mutex_unlock(&thread->mutex);
    }
}

unsigned writer_depth(const writer_t *writer)
{
    return atomic_load_explicit(&writer->permits, memory_order_relaxed);
}
