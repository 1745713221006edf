/*
 * Telling the gate of units that left live orders in MySQL.
 *
 * Only the winner of the move tells, once. An older gate answers `later` and is asked again for a
 * second at most, all such gates of a call together; a newer one has it already; an unknown outcome
 * is never resent. What could not be told is counted, and the item is put down for a rebuild, which
 * reads the truth. After a call that Redis did not answer the others are not tried for a second:
 * each would wait for the time-out, and the caller has other work.
 */
#ifndef HOLDFAST_RECONCILE_RELEASE_H
#define HOLDFAST_RECONCILE_RELEASE_H

#include "work/pool.h"

/* Sorted by item; of committed moves only. Blocking. Tells this node's loops too that there are
   units again. Returns false if something was given up. */
bool release_to_gate(worker_t *worker, const release_t *releases, unsigned count);

#endif
