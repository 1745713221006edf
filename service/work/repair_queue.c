#include "work/repair_queue.h"

#include "base/alloc.h"

#include <stdlib.h>

void repair_queue_init(repair_queue_t *queue)
{
    queue->repairs = NULL;
    pthread_mutex_init(&queue->mutex, NULL);
    pacer_init(&queue->pacer);
}

void repair_queue_dispose(repair_queue_t *queue)
{
    repair_t *repair, *next;
    HASH_ITER(hh, queue->repairs, repair, next)
    {
        HASH_DEL(queue->repairs, repair);
        free(repair);
    }
    pacer_dispose(&queue->pacer);
    pthread_mutex_destroy(&queue->mutex);
}

/* Adds an entry, or merges it into that of its item. `urgent`: a new entry wakes the reconciler. */
static void put(repair_queue_t *queue, const repair_t *wanted, bool urgent)
{
    repair_t *repair;
    pthread_mutex_lock(&queue->mutex);
    HASH_FIND(hh, queue->repairs, wanted->sku.bytes, wanted->sku.length, repair);
    if (repair == NULL) {
        repair = alloc_bytes(sizeof(*repair));
        *repair = *wanted;
        HASH_ADD(hh, queue->repairs, sku.bytes, repair->sku.length, repair);
        if (urgent)
            pacer_wake(&queue->pacer);
    }
    if (wanted->epoch > repair->epoch)
        repair->epoch = wanted->epoch;
    if (wanted->sql_epoch > repair->sql_epoch)
        repair->sql_epoch = wanted->sql_epoch;
    pthread_mutex_unlock(&queue->mutex);
}

void repair_queue_rebuild(repair_queue_t *queue, str_t sku, uint64_t epoch)
{
    repair_t repair = {.sku = sku_of(sku), .epoch = epoch};
    put(queue, &repair, true);
}

void repair_queue_close(repair_queue_t *queue, str_t sku, uint64_t epoch)
{
    repair_t repair = {.sku = sku_of(sku), .sql_epoch = epoch};
    put(queue, &repair, false);
}

void repair_queue_put_back(repair_queue_t *queue, const repair_t *repair)
{
    put(queue, repair, false);
}

repair_t *repair_queue_take(repair_queue_t *queue)
{
    pthread_mutex_lock(&queue->mutex);
    repair_t *all = queue->repairs;
    queue->repairs = NULL;
    pthread_mutex_unlock(&queue->mutex);
    return all;
}

bool repair_queue_wait(repair_queue_t *queue, uint32_t ms)
{
    return pacer_wait(&queue->pacer, ms);
}

void repair_queue_stop(repair_queue_t *queue)
{
    pacer_stop(&queue->pacer);
}

bool repair_queue_is_stopping(repair_queue_t *queue)
{
    return pacer_is_stopping(&queue->pacer);
}
