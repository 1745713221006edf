/*
 * Rebuild: the one way to change a gate, and with it an item's terms or strategy. No stop of the
 * traffic is needed.
 *
 *   1. MySQL, one transaction: the row's epoch goes up first; then totals and, in a snapshot taken
 *      while the row is locked, each buyer's live units. From its COMMIT on nothing commits
 *      under the old epoch.
 *   2. The item's unsettled orders are looked up in MySQL.
 *   3. The gate is swapped: those found are dropped, all others are carried as reserved under the
 *      new epoch.
 *
 * A crash anywhere is redone with a higher epoch. Blocking; for pool threads.
 */
#ifndef HOLDFAST_RECONCILE_REBUILD_H
#define HOLDFAST_RECONCILE_REBUILD_H

#include "store/item.h"
#include "store/pool.h"

typedef enum {
    SYNC_READY,        /* the gate is that of the row's epoch (or none is needed) */
    SYNC_UNKNOWN_ITEM, /* there is no such row */
    SYNC_GATE_AWAY,    /* the row is read, Redis does not answer */
    SYNC_STORE_AWAY,   /* MySQL does not answer */
    SYNC_BUSY          /* somebody else is rebuilding, or it kept changing: ask again */
} sync_result_t;

/* Reads the row and makes its gate agree with it. */
sync_result_t item_sync(worker_t *worker, str_t sku, item_t *out);

/* Rebuilds although gate and row have the same epoch: for drift. */
sync_result_t item_rebuild(worker_t *worker, str_t sku, item_t *out);

/* What an admin wants changed; members without their flag stay. */
typedef struct {
    bool create; /* PUT: make the item if it is not there */
    bool has_total, has_limit, has_hold, has_starts, has_ends, has_strategy, has_acknowledge;
    item_terms_t terms;
} item_change_t;

typedef enum {
    CHANGE_DONE,
    CHANGE_CREATED,
    CHANGE_UNKNOWN_ITEM,
    CHANGE_WRONG_STATE,    /* total below what is allocated or unsettled */
    CHANGE_INVALID_WINDOW, /* together with what stays, the sale would end before it starts */
    CHANGE_AWAY            /* MySQL, or Redis where it is needed, does not answer */
} change_result_t;

/* Changes terms under a new epoch. Under traffic: nobody gets a wrong answer. */
change_result_t item_change(worker_t *worker, str_t sku, const item_change_t *change, item_t *out);

#endif
