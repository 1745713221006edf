/*
 * Deletes an item for an admin, under traffic. Blocks on MySQL and Redis, for 8 s and some at most;
 * for pool threads.
 *
 * An item is deleted if none of its orders is live or on its way to MySQL:
 *
 *   1. Its gate is frozen, and the orders that the gate has admitted reach MySQL.
 *   2. One transaction deletes the row, if it still has the epoch that was frozen and no unit is
 *      allocated, and inserts the record of the deletion. From here on the row is locked: no other
 * transaction commits an order.
 *   3. The gate is removed. After a crash, or if Redis does not answer, the row is unchanged and
 *      there is no gate; the gate is then rebuilt.
 *   4. COMMIT.
 *
 * So a gate never outlives its row, with one exception: a stalled rebuild may write a gate later.
 * Orders that such a gate admits cannot commit; each ends as a `rejected` row. Under a SQL strategy
 * no gate admits, and Redis may be away. Finished orders stay, and are read by their ids as before.
 * An item that is created again under the name has a higher epoch.
 */
#ifndef HOLDFAST_RECONCILE_DELETE_H
#define HOLDFAST_RECONCILE_DELETE_H

#include "reconcile/outcome.h"
#include "sale/precondition.h"
#include "store/changes.h"
#include "work/pool.h"

typedef enum {
    DELETE_DONE,
    DELETE_PRECONDITION_FAILED,
    DELETE_LIVE,     /* an order is held or confirmed: not deleted */
    DELETE_UNSETTLED /* orders are on their way to MySQL: not deleted; repeat the call later */
} delete_outcome_t;

/* SYNC_READY: *outcome is the outcome. SYNC_BUSY after a lost COMMIT: the row may be gone; the
   same call again shows it. Any other result: nothing is deleted. *epoch: above that of the row
   that was deleted, for announce_item_changed(); 0: no row was read. `origin` needs no id. */
sync_result_t item_delete(worker_t *worker, const item_ref_t *ref,
                          const precondition_t *precondition, const change_origin_t *origin,
                          uint64_t *epoch, delete_outcome_t *outcome);

#endif
