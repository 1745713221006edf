/*
 * Housekeeping of a shard, on a thread of its own: expires holds, reads changes of epochs and of
 * the default strategy that other nodes have made, keeps the shard's clock, removes what is old
 * from the record of changes. Any number of nodes may run it at once: guarded statements in MySQL
 * make each action happen once. serve owns it. A shard that is away is logged and tried again;
 * there are no errors to handle.
 */
#ifndef HOLDFAST_RECONCILE_HOUSEKEEPING_H
#define HOLDFAST_RECONCILE_HOUSEKEEPING_H

#include "reconcile/durability.h"

typedef struct housekeeping housekeeping_t;

/* Starts the thread. It sets `default_strategy` (a strategy_id_t) to the first shard's value. All
   three arguments must outlive it. Main thread. */
housekeeping_t *housekeeping_start(shard_t *shard, atomic_int *default_strategy,
                                   durability_watch_t *durability);
/* The thread ends after the pass that is under way. Does not block. */
void housekeeping_end(housekeeping_t *housekeeping);
/* The same, and blocks until then, and frees it. */
void housekeeping_stop(housekeeping_t *housekeeping);

#endif
