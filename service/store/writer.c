#include "store/writer.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/node.h"
#include "metrics/metrics.h"
#include "store/writer_batch.h"

struct writer {
    writer_core_t core;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    writer_order_t *head, **tail;
    bool stopping;
    unsigned places_max;
    atomic_uint places;
    unsigned batch_max;
    writer_order_t **batch;
};

static unsigned take_batch(writer_t *writer)
{
    unsigned count = 0;
    pthread_mutex_lock(&writer->mutex);
    while (writer->head == NULL && !writer->stopping)
        pthread_cond_wait(&writer->more, &writer->mutex);
    while (writer->head != NULL && count < writer->batch_max) {
        writer->batch[count++] = writer->head;
        writer->head = writer->head->next;
    }
    if (writer->head == NULL)
        writer->tail = &writer->head;
    pthread_mutex_unlock(&writer->mutex);
    return count;
}

static void deliver(loop_message_t *message)
{
    writer_order_t *order = H2O_STRUCT_FROM_MEMBER(writer_order_t, message, message);
    order->done(order);
}

static void *writer_thread(void *arg)
{
    writer_t *writer = arg;
    for (unsigned count; (count = take_batch(writer)) != 0;) {
        uint64_t begun = clock_mono_us();
        writer_apply(&writer->core, writer->batch, count);
        metric_observe(HISTOGRAM_commit_seconds, clock_mono_us() - begun);
        metric_observe(HISTOGRAM_writer_batch_orders, count);
        for (unsigned i = 0; i < count; ++i) {
            writer->batch[i]->message.run = deliver;
            loop_post(writer->batch[i]->loop, &writer->batch[i]->message);
        }
    }
    writer_core_dispose(&writer->core);
    db_thread_end();
    return NULL;
}

writer_t *writer_start(struct node *node, unsigned shard)
{
    writer_t *writer = calloc(1, sizeof(*writer));
    if (writer == NULL)
        abort();
    writer_core_init(&writer->core, node->config, shard, &node->shards[shard].clock);
    writer->places_max = node->config->mysql.writer_queue_max;
    writer->batch_max = node->config->mysql.writer_batch_max;
    writer->batch = calloc(writer->batch_max, sizeof(*writer->batch));
    if (writer->batch == NULL)
        abort();
    writer->tail = &writer->head;
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->more, NULL);
    h2o_multithread_create_thread(&writer->thread, NULL, writer_thread, writer);
    return writer;
}

void writer_stop(writer_t *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_cond_signal(&writer->more);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->more);
    pthread_mutex_destroy(&writer->mutex);
    free(writer->batch);
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

void writer_submit(writer_t *writer, writer_order_t *order)
{
    order->next = NULL;
    pthread_mutex_lock(&writer->mutex);
    *writer->tail = order;
    writer->tail = &order->next;
    pthread_cond_signal(&writer->more);
    pthread_mutex_unlock(&writer->mutex);
}

bool writer_is_away(const writer_t *writer)
{
    return atomic_load_explicit(&writer->core.away, memory_order_relaxed);
}

unsigned writer_depth(const writer_t *writer)
{
    return atomic_load_explicit(&writer->places, memory_order_relaxed);
}
