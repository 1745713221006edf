/*
 * The shard's clockwork, a thread: expires holds, follows epochs and the default strategy that
 * other nodes change, keeps the shard's clock. Any number of nodes may run it at once: what it does
 * is guarded in MySQL.
 */
#ifndef HOLDFAST_RECONCILE_KEEPER_H
#define HOLDFAST_RECONCILE_KEEPER_H

struct node;
typedef struct keeper keeper_t;

keeper_t *keeper_start(struct node *node, unsigned shard);
/* Ends after the pass that is under way. */
void keeper_stop(keeper_t *keeper);

#endif
