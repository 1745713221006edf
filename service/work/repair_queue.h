/*
 * The repair queue: the gates of a shard that its reconciler has to rebuild or to close. Any thread
 * adds a gate; only the reconciler's thread waits for them and takes them out. An item has one
 * entry; later requests for it are merged into that entry. (The shard has a second queue of this
 * kind: the gates whose tables of buyers its loader has to load.)
 *
 * The shard owns the queue, and the queue owns its entries until they are taken. The mutex is held
 * for a few instructions: no function blocks except repair_queue_wait(). Nothing can fail.
 */
#ifndef HOLDFAST_WORK_REPAIR_QUEUE_H
#define HOLDFAST_WORK_REPAIR_QUEUE_H

#include <uthash.h>

#include "base/pacer.h"
#include "sale/shard_map.h"

typedef struct {
    UT_hash_handle hh;
    uint64_t epoch; /* the gate was wrong under this epoch: rebuild; 0: not requested */
    /* the row does not use its gate under this epoch: close; 0: not requested */
    uint64_t sql_epoch;
    sku_t sku;
} repair_t;

typedef struct {
    pthread_mutex_t mutex;
    repair_t *repairs; /* uthash by sku */
    pacer_t pacer;     /* of the reconciler's thread */
} repair_queue_t;

void repair_queue_init(repair_queue_t *queue);
/* Only when no thread uses it any more. Frees the entries that are left. */
void repair_queue_dispose(repair_queue_t *queue);

/* --- any thread --- */

/* The gate of this item was wrong under `epoch`: rebuild it now, if the item still has that epoch.
   A new entry wakes the reconciler. */
void repair_queue_rebuild(repair_queue_t *queue, str_t sku, uint64_t epoch);
/* The item's row does not use its gate under `epoch`, and the gate may still be open: close it when
   Redis is available. Does not wake the reconciler. */
void repair_queue_close(repair_queue_t *queue, str_t sku, uint64_t epoch);
/* Tells the reconciler's thread to end, and wakes it. */
void repair_queue_stop(repair_queue_t *queue);

/* --- the reconciler's thread --- */

/* Blocks for `ms`, or until a rebuild is requested. Returns false if the thread is to end. */
bool repair_queue_wait(repair_queue_t *queue, uint32_t ms);
bool repair_queue_is_stopping(repair_queue_t *queue);
/* Takes all entries out, as a uthash by sku; the caller frees them. */
repair_t *repair_queue_take(repair_queue_t *queue);
/* Returns an entry that failed or was not tried, for the next pass. Does not make that pass begin
   earlier. */
void repair_queue_put_back(repair_queue_t *queue, const repair_t *repair);

#endif
