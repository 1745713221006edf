/*
 * The shard's clockwork, a thread: expires holds, follows epochs and the default strategy that
 * other nodes change, keeps the shard's clock. Any number of nodes may run it at once: what it does
 * is guarded in MySQL.
 */
#ifndef HOLDFAST_RECONCILE_HOUSEKEEPING_H
#define HOLDFAST_RECONCILE_HOUSEKEEPING_H

#include "reconcile/durability.h"

typedef struct housekeeping housekeeping_t;

/* `default_strategy` (a strategy_id_t) is set to what the first shard has. */
housekeeping_t *housekeeping_start(shard_t *shard, atomic_int *default_strategy,
                                   durability_watch_t *durability);
/* Ends after the pass that is under way. */
void housekeeping_stop(housekeeping_t *housekeeping);

#endif
