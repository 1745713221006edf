/*
 * Rows of the table `orders`. See sale/order.h for the states of an order and its moves.
 *
 * Functions that take a db_t block; they are for pool threads and the reconciler. The caller owns
 * the db_t, the sql_t and the output. Errors are those of db_query() and db_exec(), already logged.
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
/* Reads the current row of `db`. Strings are copied into `*out`. */
void order_of_row(const db_t *db, order_t *out);

/* Reads an order by its id, or by the key of a buyer. RESULT_DONE with `*found` false: there is
   none. `lock`: a locking read, which also waits for a transaction that is about to commit the
   row. */
result_t order_read(db_t *db, sql_t *sql, const order_id_t *id, bool lock, order_t *out,
                    bool *found);
result_t order_read_by_key(db_t *db, sql_t *sql, str_t sku, str_t buyer, str_t key, bool lock,
                           order_t *out, bool *found);

/* Reads those of `count` orders, at least 1, that have a row, without a lock. `out` has room for
   all; `*found` is how many there are. */
result_t orders_read(db_t *db, sql_t *sql, const order_id_t *ids, unsigned count, order_t *out,
                     unsigned *found);

/*
 * decide(id, rejected): inserts a rejected row that contains only the id and the reason, or reads
 * the existing row. Afterwards no attempt on this id can end otherwise than `*out`.
 */
result_t order_decide_rejected(db_t *db, sql_t *sql, const order_id_t *id, problem_t why,
                               order_t *out);

/* In the open transaction, after the order's row has left a live state: gives its units back.
   RESULT_REFUSED: the item has no row, or fewer units allocated. Then the caller rolls back. */
result_t release_units(db_t *db, sql_t *sql, release_t *release);

/* Reads a page of a buyer's orders on this shard, newest first, ids below `before` (NULL: all). */
result_t order_page_of_buyer(db_t *db, sql_t *sql, str_t buyer, const order_id_t *before,
                             unsigned max, order_t *out, unsigned *count);

/* A place among an item's orders, which are in the order of their buyers, and of one buyer in that
   of their ids. */
typedef struct {
    order_id_t id;    /* behind this order; none: before the first */
    bool whole_buyer; /* behind all orders of its buyer */
} order_place_t;

/* What a page has besides its orders. */
typedef struct {
    unsigned count;
    bool known;         /* false: the item has no order of the id that was given */
    bool is_last;       /* there are no orders behind */
    order_place_t next; /* of a page that is not the last */
} order_page_t;

/* Reads up to `max` of the orders of an item, into `out`: a range of the index of keys, which
   begins with item and buyer. It may read fewer although there are more. An order that has its row
   all the time comes once. */
result_t order_page_of_item(db_t *db, sql_t *sql, const item_ref_t *item, const order_place_t *from,
                            unsigned max, order_t *out, order_page_t *page);

#endif
