/*
 * Loads buyers from MySQL into the table of a gate that is loading: one part of the whole table for
 * reconcile/loader.h, or the buyers of purchases that cannot wait for their part.
 *
 * lua/holdfast.lua has the rules that make it safe to read at any time, in any order and more than
 * once, from several processes. Blocks on MySQL and Redis; for pool threads and background threads.
 */
#ifndef HOLDFAST_RECONCILE_BUYERS_LOAD_H
#define HOLDFAST_RECONCILE_BUYERS_LOAD_H

#include "reconcile/outcome.h"
#include "store/buyers.h"
#include "work/pool.h"

/* For this time after each part a process counts as loading the table. */
#define LOADER_MS 3000

/* The progress of loading one table. Zero at the beginning, except `item` and `epoch`. */
typedef struct {
    item_ref_t item;
    uint64_t epoch; /* of the gate */
    buyer_t after;  /* the last buyer that was loaded */
    uint64_t loaded;
    bool ended; /* the table is whole */
} buyers_load_t;

/* Loads the next part. SYNC_BUSY: there is no gate of this epoch any more. After any other failure
   the same part may be loaded again. `page` is scratch. */
sync_result_t buyers_load_next(worker_t *worker, buyers_load_t *load, buyers_page_t *page);
/* Loads these buyers, each named once; sorts `names`. If no process loads the whole table, this
   shard's loader is told to. */
sync_result_t buyers_load_some(worker_t *worker, const item_ref_t *item, uint64_t epoch,
                               str_t *names, size_t count, buyers_page_t *page);

#endif
