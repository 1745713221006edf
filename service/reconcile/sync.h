/*
 * Makes the row and the gate of an item agree. Blocks on MySQL and Redis, for some 3 s at most; for
 * pool threads and background threads. The caller owns the item_t.
 *
 * SYNC_READY: the gate is of the row's epoch, or the item needs no gate. SYNC_GATE_AWAY: the row
 * was read into *out, but Redis does not answer. SYNC_BUSY: another node is at work on the item, or
 * it kept changing: try again.
 */
#ifndef HOLDFAST_RECONCILE_SYNC_H
#define HOLDFAST_RECONCILE_SYNC_H

#include "reconcile/outcome.h"
#include "store/items.h"
#include "store/lease.h"
#include "work/pool.h"

/* For a purchase. Reads the row and, if the item uses its gate, makes the gate agree with it. If it
   does not, the result is SYNC_READY without Redis: an open gate of an older epoch admits nothing
   that commits, and the repair queue gets the gate to be closed. With redis.on_gate_down =
   optimistic and Redis away for redis.gate_down_after_ms, the item changes to the fallback. For
   pool threads: while half of the pool waits for Redis it returns SYNC_BUSY, since all other work
   shares these threads. */
sync_result_t item_sync(worker_t *worker, const item_ref_t *ref, item_t *out);

/* Makes row and gate agree under every strategy: a SQL strategy has a closed gate, or none; one
   that is open stays so while Redis is away. */
sync_result_t item_agree(worker_t *worker, const item_ref_t *ref, item_t *out);

/* Rebuilds although gate and row have the same epoch, if the row still has `epoch`: for drift that
   was seen under it. With a lease: only while that is held. Otherwise like item_agree(). */
sync_result_t item_rebuild(worker_t *worker, const item_ref_t *ref, uint64_t epoch,
                           const lease_t *lease, item_t *out);

/* Ends the fallback of an item: its gate admits again. `epoch` and `lease` as above. */
sync_result_t item_restore(worker_t *worker, const item_ref_t *ref, uint64_t epoch,
                           const lease_t *lease, item_t *out);

/* Reads the row and peeks at the gate, and changes nothing. *gate_epoch 0: there is no gate. */
sync_result_t item_peek(worker_t *worker, const item_ref_t *ref, item_t *item, gate_item_t *answer,
                        uint64_t *gate_epoch);
/* Returns whether the gate that item_peek() saw is the one that the row needs: under a SQL strategy
   one that is closed, or none. Pure. */
bool gate_agrees(gate_item_t answer, uint64_t gate_epoch, const item_t *item);

#endif
