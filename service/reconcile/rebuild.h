/*
 * Rebuild: the one way to change a gate, and with it an item's terms or strategy. No stop of the
 * traffic is needed:
 *
 *   1. MySQL, one transaction: the row's epoch goes up first; then totals and, in a snapshot taken
 *      while the row is locked, each buyer's live units. From its COMMIT on nothing commits
 *      under the old epoch.
 *   2. The item's unsettled orders are looked up in MySQL.
 *   3. The gate is swapped: those found are dropped, all others are carried as reserved under the
 *      new epoch.
 *
 * A crash anywhere is redone with a higher epoch. Step 1 writes into the row who rebuilds and until
 * when, so that others wait instead of doing the same. Blocking; for pool threads and the
 * background.
 */
#ifndef HOLDFAST_RECONCILE_REBUILD_H
#define HOLDFAST_RECONCILE_REBUILD_H

#include "reconcile/outcome.h"
#include "store/items.h"
#include "store/lease.h"
#include "work/pool.h"

/* How long the gate admits nobody while `total` is being lowered, at the most: before the row is
   changed, and from then on until the gate is swapped. What was admitted in between would find no
   room. */
#define FREEZE_MS 1000
#define FREEZE_TO_SWAP_MS 4000

typedef struct {
    item_t item;               /* the row as last seen; afterwards as it is */
    const item_terms_t *terms; /* to be set, or NULL: they stay as they are */
    int64_t unsettled_max;     /* for a lowered total: units the gate held when it froze */
    uint64_t frozen_until_ms;  /* by that change's own freeze */
    bool needs_freeze;         /* checked once more under the row's lock, and prolonged */
    const lease_t *lease;      /* must still be held; NULL: none is needed */
    bool fallback;             /* no gate is built: the optimistic strategy rules until restored */
    bool restore;              /* the gate admits again */
    uint64_t token;            /* private */
    uint64_t previous_epoch;   /* private: of the row as it was */
} rebuild_t;

/* Under the lock of the row: is the gate still frozen by this change, and does it hold no more than
   unsettled_max? If so the freeze is prolonged; else SYNC_BUSY. */
sync_result_t rebuild_still_frozen(worker_t *worker, rebuild_t *rebuild);
/* Nothing came of a change: the gate that it froze admits again. */
void rebuild_thaw(worker_t *worker, const rebuild_t *rebuild);

/* All three steps. If it ends before the row is changed it thaws. The new epoch is above the row's,
 * `gate_epoch` and the shard's clock in ms. SYNC_BUSY: the row or the gate moved meanwhile, or the
 * lease is gone. SYNC_GATE_AWAY: the row may have been changed; the gate was not. */
sync_result_t rebuild_run(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch);

#endif
