/*
 * The background thread of a shard: expires holds, follows epochs that other nodes raise,
 * keeps the shard's clock, and rebuilds gates that were put down for it.
 *
 * Any number of nodes may run it at once: what it does is guarded in MySQL.
 */
#ifndef HOLDFAST_RECONCILE_KEEPER_H
#define HOLDFAST_RECONCILE_KEEPER_H

#include "base/str.h"

struct node;
typedef struct keeper keeper_t;

keeper_t *keeper_start(struct node *node, unsigned shard);
/* Ends after the pass that is under way. */
void keeper_stop(keeper_t *keeper);
/* From any thread: the item's gate is known to disagree with MySQL; rebuild it soon. */
void keeper_mend(keeper_t *keeper, str_t sku);

#endif
