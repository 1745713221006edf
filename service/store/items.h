/*
 * Rows of the table `inventory`: the truth about the terms, totals and epochs of items.
 *
 * All functions that take a db_t block and are for pool threads and the reconciler.
 */
#ifndef HOLDFAST_STORE_ITEMS_H
#define HOLDFAST_STORE_ITEMS_H

#include <stdbool.h>
#include <stdint.h>

#include "sale/item.h"
#include "store/db.h"

/* Adds ", total = ..., strategy = ..." for an INSERT ... SET or an UPDATE. */
void item_add_terms(sql_t *sql, const item_terms_t *terms);
/* Reads one row, locked if `lock`. RESULT_DONE and *found false: there is none. */
result_t item_read(db_t *db, sql_t *sql, str_t sku, bool lock, item_t *out, bool *found);
/* 0: there is no such item, and so no epoch that rules. */
result_t item_read_epoch(db_t *db, sql_t *sql, str_t sku, uint64_t *epoch);
typedef enum {
    ITEM_LOCK_NONE,
    ITEM_LOCK_WAIT, /* locks the rows, in the order of their names */
    ITEM_LOCK_SKIP  /* locks those that nobody else has locked, and leaves out the others */
} item_lock_t;
/* Calls `each` for those of these rows that are there. `count` is at least 1; a name may come
   twice. */
result_t item_read_many(db_t *db, sql_t *sql, const str_t *skus, unsigned count, item_lock_t lock,
                        void (*each)(void *context, const item_t *item), void *context);
/* Calls `each` for all items whose epoch is at least `epoch_from`. */
result_t item_scan(db_t *db, sql_t *sql, uint64_t epoch_from,
                   void (*each)(void *context, const item_t *item), void *context);
/* The first `max` of all items, by sku. */
result_t item_list(db_t *db, sql_t *sql, unsigned max,
                   void (*each)(void *context, const item_t *item), void *context);
/* The clock of the server, ms since 1970. */
result_t shard_clock_read(db_t *db, uint64_t *now_ms);

#endif
