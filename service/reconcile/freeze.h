/*
 * The step that a lowered total, the end of `accepted` and a deletion share: the gate admits no
 * orders for a moment, and the orders that it has admitted reach MySQL. In reconcile/change.c.
 * Blocks; for pool threads.
 */
#ifndef HOLDFAST_RECONCILE_FREEZE_H
#define HOLDFAST_RECONCILE_FREEZE_H

#include "reconcile/rebuild.h"

/* How long a frozen gate is kept frozen for orders that are on their way to MySQL. */
#define DRAIN_TIMEOUT_MS 400

/* Freezes the gate of rebuild->item's epoch and waits for its unsettled orders to reach MySQL.
   rebuild->unsettled_max is the number of units that are still unsettled. rebuild_thaw() undoes it.
   SYNC_GATE_AWAY: Redis is away. SYNC_BUSY: the gate has another epoch, or the freeze ended
   early. */
sync_result_t freeze_and_drain(worker_t *worker, rebuild_t *rebuild);

#endif
