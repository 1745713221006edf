/*
 * The shard's clockwork, a thread: expires holds, follows epochs and the default strategy that
 * other nodes change, keeps the shard's clock. Any number of nodes may run it at once: what it does
 * is guarded in MySQL.
 */
#ifndef HOLDFAST_RECONCILE_KEEPER_H
#define HOLDFAST_RECONCILE_KEEPER_H

#include "reconcile/durability.h"

typedef struct keeper keeper_t;

/* `default_strategy` (a strategy_id_t) is set to what the first shard has. */
keeper_t *keeper_start(shard_t *shard, atomic_int *default_strategy,
                       durability_watch_t *durability);
/* Ends after the pass that is under way. */
void keeper_stop(keeper_t *keeper);

#endif
