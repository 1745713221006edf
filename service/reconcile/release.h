/*
 * Notifies the gate of units that left live orders in MySQL.
 *
 * Only the process that made the move notifies, once. A gate of an older epoch returns `later` and
 * is called again for 1 s at most, all such gates of a call together. A gate of a newer epoch
 * includes the units already. A call with an unknown outcome is never repeated. A release that did
 * not reach the gate is counted, and the item is queued for a rebuild, which reads MySQL. After a
 * call that Redis did not answer, the worker makes no further such call for 1 s: each would block
 * until its time-out.
 */
#ifndef HOLDFAST_RECONCILE_RELEASE_H
#define HOLDFAST_RECONCILE_RELEASE_H

#include "work/pool.h"

/* Sends `count` releases, sorted by item and of committed moves only. Blocks on Redis; for pool
   threads and background threads. Also announces the change to this node's loops, which may have
   seen no units left. The caller keeps the releases. Returns false if a release did not reach its
   gate: a rebuild is then queued. */
bool release_to_gate(worker_t *worker, const release_t *releases, unsigned count);

#endif
