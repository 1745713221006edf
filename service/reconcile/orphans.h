/*
 * Takes over orphans: orders that the gate has admitted and that their process will not write,
 * because it sends no heartbeat any more. Also takes over an order that is some seconds past its
 * commit deadline although its process lives.
 *
 * The orders of an owner are taken over after Redis has had no heartbeat of it for some time (at
 * least 500 ms), in more than one pass. A takeover is never wrong; if the process lives after all,
 * the work is wasted: MySQL accepts one order of each id.
 *
 * A process may leave thousands of orders. A pass takes them over as fast as they are written, for
 * 0.5 s at most, and with a bounded number of them under way at a time: the sale and the other work
 * of the reconciler go on meanwhile.
 *
 * A slot for which Redis returns an error, or nothing, is set aside and tried again with a backoff.
 * The pass continues with the other slots unless Redis is away. Invalid records, and orders that
 * cannot end at present, do not hide the other records of their slot.
 *
 * One thread owns an orphans_t and makes all calls on it.
 */
#ifndef HOLDFAST_RECONCILE_ORPHANS_H
#define HOLDFAST_RECONCILE_ORPHANS_H

#include "work/pool.h"

typedef struct orphans orphans_t;

orphans_t *orphans_new(void);
void orphans_free(orphans_t *orphans);
/* One pass over the slots of the worker's shard. Blocks on Redis and MySQL. Returns the number of
   orders taken over: 0 while the shard's MySQL is away, and those up to the failure if Redis goes
   away. Ends early if the reconciler's thread is to end. */
unsigned orphans_pass(orphans_t *orphans, worker_t *worker);
/* Returns whether the last pass may have left orders only because its time was over: the next one
   need not wait. */
bool orphans_are_left(const orphans_t *orphans);

#endif
