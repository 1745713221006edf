#include "work/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "work/writer_aside.h"
#include "work/writer_batch.h"

/* So long those who are queued wait for those who are before the gate: as it takes to answer a
 * call. */
#define GATHER_MS 2
/* An item that is set aside may have this part of the places. */
#define ASIDE_SHARE 8
/* While the shard is away it is asked so often whether it takes orders again, though nothing is
   queued: purchases are refused meanwhile, so that none of them would find out. */
#define PROBE_MS 500

/* A thread with a connection of its own. Orders of an item all go to the same one: two would only
   miss each other's versions. What cannot be written although the shard takes orders goes to the
   lane's side thread, with a connection of its own. */
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
    unsigned coming;  /* orders that the gate is asked about */
    bool stopping;
    unsigned batch_max, linger_ms;
    writer_order_t **batch, **side_batch;
} lane_t;

struct writer {
    unsigned places_max;
    atomic_uint places;
    unsigned lanes_count;
    lane_t lanes[];
};

static bool has_room(const lane_t *lane)
{
    return lane->queued < lane->batch_max && !lane->stopping;
}

/* Nobody waits for what is queued. */
static bool may_linger(const lane_t *lane)
{
    return lane->awaited == 0 && has_room(lane);
}

/* Most of those who wait are still before the gate. */
static bool may_gather(const lane_t *lane)
{
    return lane->coming > lane->queued && has_room(lane);
}

/* A transaction costs the server as much as some thirty rows do: what is queued waits for more to
   go with it, while there is a reason to. */
static void wait_for_company(lane_t *lane)
{
    int result = 0;
    if (!may_linger(lane) && !may_gather(lane))
        return;
    struct timespec soon = clock_mono_in(GATHER_MS), late = clock_mono_in(lane->linger_ms);
    while ((may_linger(lane) || may_gather(lane)) && result != ETIMEDOUT)
        result =
            pthread_cond_timedwait(&lane->more, &lane->mutex, may_linger(lane) ? &late : &soon);
}

/* Under the mutex, which it leaves meanwhile. */
static void probe(lane_t *lane)
{
    const struct timespec later = clock_mono_in(PROBE_MS);
    if (pthread_cond_timedwait(&lane->more, &lane->mutex, &later) != ETIMEDOUT)
        return;
    pthread_mutex_unlock(&lane->mutex);
    writer_probe(&lane->core);
    pthread_mutex_lock(&lane->mutex);
}

static void wait_for_order(lane_t *lane)
{
    while (lane->head == NULL && !lane->stopping) {
        if (atomic_load(&lane->core.away_since_ms) != 0)
            probe(lane);
        else
            pthread_cond_wait(&lane->more, &lane->mutex);
    }
}

static unsigned take_batch(lane_t *lane)
{
    unsigned count = 0;
    pthread_mutex_lock(&lane->mutex);
    wait_for_order(lane);
    wait_for_company(lane);
    while (lane->head != NULL && count < lane->batch_max) {
        writer_order_t *order = lane->head;
        lane->head = order->next;
        lane->awaited -= order->awaited;
        lane->batch[count++] = order;
    }
    lane->queued -= count;
    if (lane->head == NULL)
        lane->tail = &lane->head;
    assert(lane->head != NULL || (lane->queued == 0 && lane->awaited == 0));
    assert(lane->awaited <= lane->queued);
    pthread_mutex_unlock(&lane->mutex);
    return count;
}

static void deliver(loop_message_t *message)
{
    writer_order_t *order = H2O_STRUCT_FROM_MEMBER(writer_order_t, message, message);
    order->done(order);
}

static void note_items(lane_t *lane)
{
    atomic_store(&lane->aside_items, lane->aside.items_count);
}

/* Moves those that are to be set aside to the front; returns their number. The others may be freed
   as soon as they are posted. */
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

/* Orders that were queued before their item was set aside go after it: the others of their batch
   would wait for the lock once more. */
static void send_queued_after(lane_t *lane)
{
    writer_order_t **link = &lane->head;
    while (*link != NULL) {
        writer_order_t *order = *link;
        if (!writer_aside_has_item(&lane->aside, order_sku(&order->order))) {
            link = &order->next;
            continue;
        }
        *link = order->next;
        lane->awaited -= order->awaited;
        lane->queued -= 1;
        writer_aside_join(&lane->aside, order);
        METRIC_ADD(writer_set_aside_orders, 1);
    }
    lane->tail = link;
}

static void put_aside(lane_t *lane, writer_order_t **orders, unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        writer_aside_put(&lane->aside, orders[i], clock_mono_ms());
    note_items(lane);
    if (lane->aside.items_count != 0)
        send_queued_after(lane);
    if (count != 0)
        pthread_cond_signal(&lane->more_aside);
}

static void *lane_thread(void *arg)
{
    lane_t *lane = arg;
    for (unsigned count; (count = take_batch(lane)) != 0;) {
        uint64_t begun = clock_mono_us();
        writer_apply(&lane->core, lane->batch, count);
        metric_observe(HISTOGRAM_commit_seconds, clock_mono_us() - begun);
        metric_observe(HISTOGRAM_writer_batch_orders, count);
        unsigned aside = post_written(lane->batch, count);
        METRIC_ADD(writer_set_aside_orders, aside);
        if (aside == 0)
            continue;
        pthread_mutex_lock(&lane->mutex);
        put_aside(lane, lane->batch, aside);
        pthread_mutex_unlock(&lane->mutex);
    }
    writer_core_dispose(&lane->core);
    db_thread_end();
    return NULL;
}

/* --- the side thread --- */

/* Under the mutex. 0: the lane stops. */
static unsigned take_aside(lane_t *lane, writer_aside_item_t **item)
{
    for (;;) {
        uint64_t now_ms = clock_mono_ms(), due_ms = writer_aside_due_ms(&lane->aside);
        unsigned count =
            writer_aside_take(&lane->aside, now_ms, lane->side_batch, lane->batch_max, item);
        if (count != 0 || (lane->stopping && due_ms == UINT64_MAX))
            return count;
        if (due_ms == UINT64_MAX) {
            pthread_cond_wait(&lane->more_aside, &lane->mutex);
        } else {
            const struct timespec then = clock_mono_in((uint32_t)(due_ms - now_ms) + 1);
            pthread_cond_timedwait(&lane->more_aside, &lane->mutex, &then);
        }
    }
}

/* If all of several orders of an item fail, it is the item that is sick, and they go on waiting
   with it; if some pass, the others are alone with what they meet. */
static void keep_with_item(writer_order_t **orders, unsigned left, unsigned tried)
{
    for (unsigned i = 0; tried > 1 && left == tried && i < left; ++i)
        orders[i]->aside.with_item = true;
}

static void *side_thread(void *arg)
{
    lane_t *lane = arg;
    writer_aside_item_t *item;
    pthread_mutex_lock(&lane->mutex);
    for (unsigned count; (count = take_aside(lane, &item)) != 0;) {
        pthread_mutex_unlock(&lane->mutex);
        writer_apply(&lane->side_core, lane->side_batch, count);
        unsigned left = post_written(lane->side_batch, count);
        if (item != NULL)
            keep_with_item(lane->side_batch, left, count);
        METRIC_ADD(writer_set_aside_orders, -(int64_t)(count - left));
        pthread_mutex_lock(&lane->mutex);
        put_aside(lane, lane->side_batch, left);
        if (item != NULL)
            writer_aside_tried(&lane->aside, item, clock_mono_ms());
        note_items(lane);
    }
    pthread_mutex_unlock(&lane->mutex);
    writer_core_dispose(&lane->side_core);
    db_thread_end();
    return NULL;
}

static void lane_start(lane_t *lane, const config_t *config, unsigned shard, remote_clock_t *clock)
{
    writer_core_init(&lane->core, config, shard, clock, false);
    writer_core_init(&lane->side_core, config, shard, clock, true);
    lane->batch_max = config->mysql.writer_batch_max;
    lane->linger_ms = config->mysql.writer_linger_ms;
    lane->batch = alloc_zero(lane->batch_max, sizeof(*lane->batch));
    lane->side_batch = alloc_zero(lane->batch_max, sizeof(*lane->side_batch));
    lane->tail = &lane->head;
    pthread_mutex_init(&lane->mutex, NULL);
    clock_cond_init(&lane->more);
    clock_cond_init(&lane->more_aside);
    h2o_multithread_create_thread(&lane->thread, NULL, lane_thread, lane);
    h2o_multithread_create_thread(&lane->side_thread, NULL, side_thread, lane);
}

static void lane_stop(lane_t *lane)
{
    pthread_mutex_lock(&lane->mutex);
    assert(lane->coming == 0);
    lane->stopping = true;
    pthread_cond_signal(&lane->more);
    pthread_cond_signal(&lane->more_aside);
    pthread_mutex_unlock(&lane->mutex);
    pthread_join(lane->thread, NULL);
    pthread_join(lane->side_thread, NULL);
    writer_aside_dispose(&lane->aside);
    pthread_cond_destroy(&lane->more);
    pthread_cond_destroy(&lane->more_aside);
    pthread_mutex_destroy(&lane->mutex);
    free(lane->batch);
    free(lane->side_batch);
}

writer_t *writer_start(const config_t *config, unsigned shard, remote_clock_t *clock)
{
    unsigned lanes = config->mysql.writer_threads;
    writer_t *writer = alloc_zero(1, sizeof(*writer) + lanes * sizeof(writer->lanes[0]));
    writer->places_max = config->mysql.writer_queue_max;
    writer->lanes_count = lanes;
    for (unsigned i = 0; i < lanes; ++i)
        lane_start(&writer->lanes[i], config, shard, clock);
    return writer;
}

void writer_stop(writer_t *writer)
{
    for (unsigned i = 0; i < writer->lanes_count; ++i)
        lane_stop(&writer->lanes[i]);
    free(writer);
}

bool writer_take_place(writer_t *writer)
{
    if (atomic_fetch_add(&writer->places, 1) < writer->places_max)
        return true;
    atomic_fetch_sub(&writer->places, 1);
    METRIC_INC(queue_full_total);
    return false;
}

void writer_give_place(writer_t *writer)
{
    unsigned before = atomic_fetch_sub(&writer->places, 1);
    assert(before != 0);
    (void)before;
}

static lane_t *lane_of(writer_t *writer, uint16_t slot)
{
    return &writer->lanes[slot % writer->lanes_count];
}

/* Its thread waits for the first order, or for company until nothing more is to be waited for. */
static void wake(lane_t *lane, bool first)
{
    if (first || (lane->queued != 0 && !may_linger(lane) && !may_gather(lane)))
        pthread_cond_signal(&lane->more);
}

void writer_submit(writer_t *writer, writer_order_t *order)
{
    lane_t *lane = lane_of(writer, order_id_slot(&order->order.id));
    assert(order->aside.why == NULL && order->aside.tries == 0 && !order->aside.with_item);
    order->next = NULL;
    pthread_mutex_lock(&lane->mutex);
    if (writer_aside_has_item(&lane->aside, order_sku(&order->order))) {
        writer_aside_join(&lane->aside, order);
        METRIC_ADD(writer_set_aside_orders, 1);
    } else {
        *lane->tail = order;
        lane->tail = &order->next;
        lane->awaited += order->awaited;
        wake(lane, atomic_fetch_add(&lane->queued, 1) == 0);
    }
    pthread_mutex_unlock(&lane->mutex);
}

void writer_expect(writer_t *writer, uint16_t slot, int more)
{
    lane_t *lane = lane_of(writer, slot);
    pthread_mutex_lock(&lane->mutex);
    assert(more >= 0 || lane->coming >= (unsigned)-more); /* else it would gather for ever */
    lane->coming += (unsigned)more;
    if (more < 0)
        wake(lane, false);
    pthread_mutex_unlock(&lane->mutex);
}

bool writer_is_behind(writer_t *writer, uint16_t slot)
{
    return atomic_load_explicit(&lane_of(writer, slot)->queued, memory_order_relaxed) != 0;
}

static uint64_t lane_away_since_ms(const lane_t *lane)
{
    return atomic_load_explicit(&lane->core.away_since_ms, memory_order_relaxed);
}

bool writer_is_away(const writer_t *writer)
{
    for (unsigned i = 0; i < writer->lanes_count; ++i)
        if (lane_away_since_ms(&writer->lanes[i]) != 0)
            return true;
    return false;
}

bool writer_away_for(writer_t *writer, uint64_t *ms, char *why)
{
    for (unsigned i = 0; i < writer->lanes_count; ++i) {
        writer_core_t *core = &writer->lanes[i].core;
        uint64_t since_ms = lane_away_since_ms(&writer->lanes[i]);
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
    lane_t *lane = lane_of(writer, slot);
    if (atomic_load_explicit(&lane->aside_items, memory_order_relaxed) == 0)
        return WRITER_ITEM_WELL;
    pthread_mutex_lock(&lane->mutex);
    bool is_aside = writer_aside_has_item(&lane->aside, sku);
    unsigned orders = is_aside ? writer_aside_of_item(&lane->aside, sku) : 0;
    pthread_mutex_unlock(&lane->mutex);
    return !is_aside                                   ? WRITER_ITEM_WELL
           : orders < writer->places_max / ASIDE_SHARE ? WRITER_ITEM_ASIDE
                                                       : WRITER_ITEM_FULL;
}

void writer_each_aside(writer_t *writer, writer_aside_cb each, void *context)
{
    for (unsigned i = 0; i < writer->lanes_count; ++i) {
        lane_t *lane = &writer->lanes[i];
        pthread_mutex_lock(&lane->mutex);
        writer_aside_each(&lane->aside, clock_mono_ms(), each, context);
        pthread_mutex_unlock(&lane->mutex);
    }
}

unsigned writer_depth(const writer_t *writer)
{
    return atomic_load_explicit(&writer->places, memory_order_relaxed);
}
