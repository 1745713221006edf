/*
 * Deletion of an item, by an admin, under traffic. Blocking; for pool threads.
 *
 * An item goes if none of its orders is live or on its way:
 *
 *   1. its gate is frozen, and what it has admitted reaches MySQL
 *   2. one transaction: the row is deleted, if it still has the epoch that was frozen and no unit
 * is allocated. From here on the row is locked: nobody commits an order
 *   3. the gate is removed. A crash, or a Redis that does not answer, leaves the row as it was and
 *      no gate, which is then rebuilt
 *   4. COMMIT
 *
 * So a gate never outlives its row but for one that a stalled rebuild puts there later. What such a
 * gate admits cannot commit; the order ends as a `rejected` row. Under a SQL strategy there is no
 * gate to ask, and Redis may be away. Finished orders stay, and are read by their ids as before. An
 * item that is made again under the name has a higher epoch.
 */
#ifndef HOLDFAST_RECONCILE_DELETE_H
#define HOLDFAST_RECONCILE_DELETE_H

#include "reconcile/outcome.h"
#include "store/items.h"
#include "work/pool.h"

typedef enum {
    DELETE_DONE,
    DELETE_LIVE,     /* an order is held or confirmed */
    DELETE_UNSETTLED /* orders are on their way to MySQL: the same call again, later */
} delete_outcome_t;

/* SYNC_READY: *outcome says what came of it; any other result: nothing is deleted, or (SYNC_BUSY
   after a lost COMMIT) the same call again tells. *epoch: above that of the row that was deleted,
   for announce_item_changed(). */
sync_result_t item_delete(worker_t *worker, str_t sku, uint64_t *epoch, delete_outcome_t *outcome);

#endif
