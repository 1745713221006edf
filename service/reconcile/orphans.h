/*
 * Takes over orphans: orders that the gate has admitted and that their process will not write,
 * because it sends no heartbeat any more. Also takes over an order that is some seconds past its
 * commit deadline although its process lives.
 *
 * An order is taken over after it was seen without an owner for some time (at least 500 ms), in
 * more than one pass. A takeover is never wrong; if the process lives after all, the work is
 * wasted: MySQL accepts one order of each id.
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
   away. */
unsigned orphans_pass(orphans_t *orphans, worker_t *worker);

#endif
