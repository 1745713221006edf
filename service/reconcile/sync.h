/*
 * Row and gate of an item, made to agree. Blocking; for pool threads and the background.
 *
 * SYNC_READY: the gate is that of the row's epoch, or none is needed. SYNC_GATE_AWAY: the row is
 * read.
 */
#ifndef HOLDFAST_RECONCILE_SYNC_H
#define HOLDFAST_RECONCILE_SYNC_H

#include "reconcile/outcome.h"
#include "store/items.h"
#include "store/lease.h"
#include "work/pool.h"

/* What a purchase needs: reads the row and, if that uses its gate, makes the gate agree with it. A
   row that does not use its gate is READY without Redis: an open gate of an older epoch admits
   nothing that commits, and the reconciler is told to close it. With redis.on_gate_down =
   optimistic and Redis away for long enough, the optimistic strategy stands in. For pool threads:
   while half of the pool waits for Redis it is BUSY, since all others share the threads. */
sync_result_t item_sync(worker_t *worker, str_t sku, item_t *out);

/* Row and gate, whatever the strategy: a SQL strategy's gate is closed, or, while Redis is away,
   left as it is. */
sync_result_t item_agree(worker_t *worker, str_t sku, item_t *out);

/* Rebuilds although gate and row have the same epoch, if the row still has `epoch`: for drift that
   was seen then. With a lease: only while it is held. Else like item_sync(). */
sync_result_t item_rebuild(worker_t *worker, str_t sku, uint64_t epoch, const lease_t *lease,
                           item_t *out);

/* The gate of an item for which the optimistic strategy stood in admits again. */
sync_result_t item_restore(worker_t *worker, str_t sku, uint64_t epoch, const lease_t *lease,
                           item_t *out);

/* One look at both; *gate_epoch 0: no gate. */
sync_result_t item_look(worker_t *worker, str_t sku, item_t *item, gate_item_t *answer,
                        uint64_t *gate_epoch);
/* Is the gate as item_look() saw it the one that the row needs? */
bool gate_agrees(gate_item_t answer, const item_t *item);

#endif
