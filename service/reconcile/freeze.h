/*
 * What a lowered total, the end of `accepted` and a deletion share: the gate admits nobody for a
 * moment, and what it has admitted reaches MySQL. In reconcile/change.c. Blocking.
 */
#ifndef HOLDFAST_RECONCILE_FREEZE_H
#define HOLDFAST_RECONCILE_FREEZE_H

#include "reconcile/rebuild.h"

/* How long to wait, frozen, for what is on its way to MySQL to arrive. */
#define DRAIN_PATIENCE_MS 400

/* Freezes the gate of rebuild->item's epoch and waits for its unsettled orders to reach MySQL.
   rebuild->unsettled_max is what is left of them. rebuild_thaw() undoes it. */
sync_result_t freeze_and_drain(worker_t *worker, rebuild_t *rebuild);

#endif
