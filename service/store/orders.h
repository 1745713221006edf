/*
 * Rows of the table `orders`. See sale/order.h for what an order is and how it moves.
 *
 * Functions that take a db_t block; they are for pool threads and the reconciler.
 */
#ifndef HOLDFAST_STORE_ORDERS_H
#define HOLDFAST_STORE_ORDERS_H

#include "sale/order.h"
#include "store/items.h"

/* Columns that order_of_row() expects, in order, at the head of a SELECT on orders. */
#define ORDER_COLUMNS                                                                              \
    "order_id, sku, buyer_id, quantity, state, reject_code, original_order_id, request_digest, "   \
    "created_at, expires_at"
#define ORDER_COLUMNS_COUNT 10
void order_of_row(const db_t *db, order_t *out);

/* By id, or by the key of a buyer. `lock`: a locking read, which also waits for a
   transaction that is about to commit the row. */
result_t order_read(db_t *db, sql_t *sql, const order_id_t *id, bool lock, order_t *out,
                    bool *found);
result_t order_read_by_key(db_t *db, sql_t *sql, str_t sku, str_t buyer, str_t key, bool lock,
                           order_t *out, bool *found);

/*
 * decide(id, rejected): inserts a rejected row with nothing known but the id, or reads back
 * the row that is there. Afterwards no attempt on this id can end otherwise than `*out`.
 */
result_t order_decide_rejected(db_t *db, sql_t *sql, const order_id_t *id, problem_t why,
                               order_t *out);

/* In the open transaction: the row is out of a live state, now its units return. RESULT_REFUSED:
   the item has no row, or not so many units allocated. Then nothing may be moved. */
result_t release_units(db_t *db, sql_t *sql, release_t *release);

/* A page of a buyer's orders on this shard, newest first, ids below `before` (none: all). */
result_t order_page_of_buyer(db_t *db, sql_t *sql, str_t buyer, const order_id_t *before,
                             unsigned max, order_t *out, unsigned *count);

#endif
