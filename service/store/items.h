/*
 * Rows of the table `inventory`: the authority on the terms, totals and epochs of items.
 *
 * All functions that take a db_t block; they are for pool threads and the reconciler. The caller
 * owns the db_t, the sql_t and the output. An item_t that `each` receives is valid during that call
 * only. Errors are those of db_query(); an error is already logged.
 */
#ifndef HOLDFAST_STORE_ITEMS_H
#define HOLDFAST_STORE_ITEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "sale/item.h"
#include "store/db.h"

/* How long a rebuild has its item to itself, from the last time that it said so. With too short a
   lease, two services would end each other's rebuild for ever. */
#define SQL_REBUILD_LEASE "INTERVAL 2000000 MICROSECOND"
/* 0: no rebuild is under way; 1: one is; 2: its lease ends later than any lasts, so MySQL's clock
   was set back and the lease counts as over. */
#define SQL_REBUILDING                                                                             \
    "COALESCE((rebuild_until > NOW(3)) + (rebuild_until > NOW(3) + " SQL_REBUILD_LEASE "), 0)"

/* Adds ", total = ..., strategy = ..." for an INSERT ... SET or an UPDATE. */
void item_add_terms(sql_t *sql, const item_terms_t *terms);
/* Reads one row, and locks it if `lock`. RESULT_DONE with `*found` false: there is no such row. */
result_t item_read(db_t *db, sql_t *sql, const item_ref_t *ref, bool lock, item_t *out,
                   bool *found);
/* Reads the item's epoch; 0 if there is no such item, and so no valid epoch. */
result_t item_read_epoch(db_t *db, sql_t *sql, const item_ref_t *ref, uint64_t *epoch);
typedef enum {
    ITEM_LOCK_NONE,
    ITEM_LOCK_WAIT, /* locks the rows, in the order of their skus */
    ITEM_LOCK_SKIP  /* locks the rows that are free, and leaves out locked ones */
} item_lock_t;
/* Calls `each` for each of these rows that exists. `count` is at least 1; a sku may come twice. Of
   an item only the sku, the total, both totals of units, version and epoch are read, because the
   rows are read under every batch of a contended row; the rest is zero. */
result_t item_read_many(db_t *db, sql_t *sql, const str_t *skus, unsigned count, item_lock_t lock,
                        void (*each)(void *context, const item_t *item), void *context);
/* Calls `each` for each of these items that exists, with its whole row. `count` is at least 1. */
result_t item_read_rows(db_t *db, sql_t *sql, const sku_t *skus, unsigned count,
                        void (*each)(void *context, const item_t *item), void *context);
/* Calls `each` for all items whose epoch is at least `epoch_from`. */
result_t item_scan(db_t *db, sql_t *sql, uint64_t epoch_from,
                   void (*each)(void *context, const item_t *item), void *context);
/* Which items item_page() reads. */
typedef struct {
    str_t after;  /* items whose names are above this one; STR_NONE: from the first */
    str_t prefix; /* of their names, of ASCII; STR_NONE: any */
    int strategy; /* of their terms; -1: any */
    int open;     /* 1: their sale is open now, by the clock of the server; 0: it is not; -1: any */
    unsigned most; /* items, at least 1 */
} item_filter_t;
/* The most items that item_page() looks at to find those that a filter lets through. */
#define ITEM_LOOKS_MAX 10000
/* Calls `each` for the first items that `filter` lets through, in the order of their names, and
   reads a range of the primary key for it: of one that lets few through, fewer than `most` may
   come. `*up_to`: all items up to this name were looked at, and there may be more behind; its
   length is 0 if there are none. */
result_t item_page(db_t *db, sql_t *sql, const item_filter_t *filter,
                   void (*each)(void *context, const item_t *item), void *context, sku_t *up_to);
/* Counts all items: reads an index of the whole table. */
result_t items_count(db_t *db, sql_t *sql, uint64_t *count);
/* Reads the clock of the server: ms since 1970 UTC. */
result_t shard_clock_read(db_t *db, uint64_t *now_ms);

#endif
