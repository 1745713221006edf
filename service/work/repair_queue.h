/*
 * The gates of a shard that its reconciler is to rebuild or to close. Any thread puts one in; the
 * reconciler's thread alone waits for them and takes them out. An item is in it once: what is asked
 * for it meanwhile is added to its entry.
 *
 * A mutex is held for moments only: nothing blocks but repair_queue_wait().
 */
#ifndef HOLDFAST_WORK_REPAIR_QUEUE_H
#define HOLDFAST_WORK_REPAIR_QUEUE_H

#include <uthash.h>

#include "base/pacer.h"
#include "sale/shard_map.h"

typedef struct {
    UT_hash_handle hh;
    uint64_t epoch;     /* the gate was wrong under it: rebuild; 0: nobody said so */
    uint64_t sql_epoch; /* the row does not use its gate under it: close; 0: not asked for */
    sku_t sku;
} repair_t;

typedef struct {
    pthread_mutex_t mutex;
    repair_t *repairs; /* uthash by sku */
    pacer_t pacer;     /* of the reconciler's thread */
} repair_queue_t;

void repair_queue_init(repair_queue_t *queue);
/* When no thread uses it any more. What is left in it is dropped. */
void repair_queue_dispose(repair_queue_t *queue);

/* --- any thread --- */

/* The gate of this item was wrong under `epoch`: rebuild it, now, if that is still its epoch. */
void repair_queue_rebuild(repair_queue_t *queue, str_t sku, uint64_t epoch);
/* The item's row does not use its gate under `epoch`, and nobody has looked whether the gate is
   closed: close it when Redis is well. It wakes nobody. */
void repair_queue_close(repair_queue_t *queue, str_t sku, uint64_t epoch);
/* The reconciler's thread is to end. */
void repair_queue_stop(repair_queue_t *queue);

/* --- the reconciler's thread --- */

/* Returns after `ms`, or when a rebuild is asked for. False: stop. */
bool repair_queue_wait(repair_queue_t *queue, uint32_t ms);
bool repair_queue_is_stopping(repair_queue_t *queue);
/* All of them, for the caller to free: a uthash by sku. */
repair_t *repair_queue_take(repair_queue_t *queue);
/* One that was tried in vain, or not at all. It is for the next pass, which does not begin earlier
   for it. */
void repair_queue_put_back(repair_queue_t *queue, const repair_t *repair);

#endif
