/*
 * Orders whose owner is gone: admitted by the gate, and the process that was to write them gives
 * no heartbeat any more; or past their commit deadline for some seconds although their owner lives.
 *
 * One is taken over when this node has seen it so in two passes. Taking over is never wrong, only
 * wasted if the owner lives after all: the id decides in MySQL.
 *
 * A slot for which Redis answers an error, or nothing, is set aside and tried again with a backoff;
 * the pass goes on with the others, unless Redis is away for all. Records that are none, or whose
 * orders cannot end at present, hide no others of their slot.
 */
#ifndef HOLDFAST_RECONCILE_ORPHANS_H
#define HOLDFAST_RECONCILE_ORPHANS_H

#include "work/pool.h"

typedef struct orphans orphans_t;

orphans_t *orphans_new(void);
void orphans_free(orphans_t *orphans);
/* One look over the slots of the worker's shard. Blocking. Returns how many were taken over. */
unsigned orphans_pass(orphans_t *orphans, worker_t *worker);

#endif
