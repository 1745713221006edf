/*
 * Rebuild: the only way to change a gate, and with it an item's terms or strategy. The traffic goes
 * on:
 *
 *   1. MySQL, one transaction: it raises the row's epoch first, then it reads the totals. After its
 *      COMMIT no other transaction commits under the old epoch. If it sets terms, it also inserts
 *      the record of that change (store/changes.h).
 *   2. The item's unsettled orders are looked up in MySQL.
 *   3. The gate is swapped: orders that MySQL has are dropped; all others are carried over as
 *      reserved under the new epoch. The table of buyers stays, if it is intact: the gate was the
 *      only one of the row's epoch, and knows all releases that MySQL has made under it. Otherwise
 *      the first part of a new table is read from MySQL; the gate admits from now on, and a table
 *      that has more parts is loaded by reconcile/loader.h. So a change takes the same time for an
 *      item of any size.
 *
 * A rebuild that a crash has cut off is done again with a higher epoch. Step 1 writes a token and a
 * deadline into the row: other nodes wait for this rebuild instead of starting their own. Blocks on
 * MySQL and Redis; for pool threads and background threads. The caller owns the rebuild_t.
 */
#ifndef HOLDFAST_RECONCILE_REBUILD_H
#define HOLDFAST_RECONCILE_REBUILD_H

#include "reconcile/outcome.h"
#include "store/changes.h"
#include "store/lease.h"
#include "work/pool.h"

/* The longest times for which the gate admits no orders while `total` is being lowered: before the
   row is changed, and from then until the gate is swapped. Orders that were admitted in between
   might not fit into the lowered total. */
#define FREEZE_MS 1000
#define FREEZE_TO_SWAP_MS 4000

typedef struct {
    item_t item;                   /* in: the row as last read; out: as it is now */
    const item_terms_t *terms;     /* to be set, and different ones; NULL: they stay */
    const change_origin_t *origin; /* of `terms`: for the record of changes */
    int64_t unsettled_max;         /* for a lowered total: unsettled units when the gate froze */
    uint64_t frozen_until_ms;      /* wall clock of Redis; set by the freeze, and names it */
    bool needs_freeze;             /* the freeze is checked and prolonged under the row's lock */
    const lease_t *lease;          /* the rebuild needs it to be held; NULL: it needs none */
    bool fallback;           /* no gate is built: the optimistic strategy sells until `restore` */
    bool row_only;           /* no gate is built: there is none, and the next buyer has it built */
    bool restore;            /* ends the fallback: the gate admits again */
    bool from_mysql;         /* the gate's table of buyers is not kept: it may be wrong */
    bool is_loading;         /* out: the new gate admits, and its table of buyers is not whole */
    uint64_t token;          /* private */
    uint64_t previous_epoch; /* private: of the row before */
    /* private: units that were released and committed under that epoch */
    int64_t previous_released, previous_committed;
} rebuild_t;

/* Called while the row is locked. Checks that this change's freeze still holds and that no more
   than unsettled_max units are unsettled, and prolongs the freeze by FREEZE_TO_SWAP_MS; otherwise
   SYNC_BUSY. SYNC_READY at once without needs_freeze. */
sync_result_t rebuild_still_frozen(worker_t *worker, rebuild_t *rebuild);
/* Ends the freeze of a change that was given up: the gate admits again. An error is ignored: the
   freeze ends by itself, after its time. */
void rebuild_thaw(worker_t *worker, const rebuild_t *rebuild);

/* Carries out all three steps, or without a gate the first. If it ends before the row is changed,
   it ends the freeze. The new epoch is above the row's, `gate_epoch` and the shard's clock in ms.
   SYNC_BUSY: the row or the gate changed meanwhile, or the lease is gone. SYNC_GATE_AWAY: the row
   may have changed; the gate has not. */
sync_result_t rebuild_run(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch);

#endif
