/*
 * An order as its row says, and the moves that a row can make after it was born (store/move.h).
 *
 *              confirm                 cancel
 *     held ───────────────▶ confirmed ────────▶ cancelled
 *      │ ▲ extend                                   ▲
 *      │ └──┘                  cancel               │
 *      ├────────────────────────────────────────────┘
 *      └──── its time is over ────▶ expired             rejected: born so, stays so
 *            (store/expiry.h)
 *
 * held and confirmed are live. Each move is one guarded UPDATE; one that leaves a live state
 * grows `released_total` in the same transaction by the units of the rows that it moved. A cancel
 * of some units leaves the state as it is and takes them off `quantity`; it grows `released_total`
 * by these.
 * `reserved` is an order that is not in MySQL yet; it has no row.
 *
 * Functions that take a db_t block; they are for pool threads and the reconciler.
 */
#ifndef HOLDFAST_STORE_ORDER_H
#define HOLDFAST_STORE_ORDER_H

#include "base/order_id.h"
#include "base/problem.h"
#include "store/item.h"

typedef enum {
    ORDER_RESERVED,
    ORDER_HELD,
    ORDER_CONFIRMED,
    ORDER_CANCELLED,
    ORDER_EXPIRED,
    ORDER_REJECTED
} order_state_t;

const char *order_state_name(order_state_t state);

typedef struct {
    order_id_t id;
    char sku_bytes[SKU_BYTES_MAX];
    uint8_t sku_length; /* 0: not known yet: decided before its owner wrote it */
    char buyer_bytes[BUYER_BYTES_MAX];
    uint8_t buyer_length;
    uint32_t quantity; /* that it has left: a cancel may have given some back */
    order_state_t state;
    problem_t reject_code;
    order_id_t original_id; /* of the loser of an idempotency key; else none */
    uint64_t digest;        /* of the request, to tell a repeat from another request */
    uint64_t created_at_ms, expires_at_ms;
} order_t;

static inline str_t order_sku(const order_t *order)
{
    return (str_t){order->sku_bytes, order->sku_length};
}

static inline str_t order_buyer(const order_t *order)
{
    return (str_t){order->buyer_bytes, order->buyer_length};
}

static inline bool order_is_live(const order_t *order)
{
    return order->state == ORDER_HELD || order->state == ORDER_CONFIRMED;
}

void order_set_sku(order_t *order, str_t sku);
void order_set_buyer(order_t *order, str_t buyer);

/* Columns that order_of_row() expects, in order, at the head of a SELECT on orders. */
#define ORDER_COLUMNS                                                                              \
    "order_id, sku, buyer_id, quantity, state, reject_code, original_order_id, request_digest, "   \
    "created_at, expires_at"
#define ORDER_COLUMNS_COUNT 10
void order_of_row(const db_t *db, order_t *out);

/* By id, or by the key of a buyer. `lock`: a locking read, which also waits for a
   transaction that is about to commit the row. */
db_result_t order_read(db_t *db, sql_t *sql, const order_id_t *id, bool lock, order_t *out,
                       bool *found);
db_result_t order_read_by_key(db_t *db, sql_t *sql, str_t sku, str_t buyer, str_t key, bool lock,
                              order_t *out, bool *found);

/*
 * decide(id, rejected): inserts a rejected row with nothing known but the id, or reads back
 * the row that is there. Afterwards no attempt on this id can end otherwise than `*out`.
 */
db_result_t order_decide_rejected(db_t *db, sql_t *sql, const order_id_t *id, problem_t why,
                                  order_t *out);

/* Units that a move took out of a live state, for the gate to be told once. */
typedef struct {
    order_id_t id;
    char sku_bytes[SKU_BYTES_MAX];
    uint8_t sku_length;
    char buyer_bytes[BUYER_BYTES_MAX];
    uint8_t buyer_length;
    uint32_t quantity;
    uint64_t epoch;         /* read under the row lock of the move */
    strategy_id_t strategy; /* likewise: no release is sent under a SQL strategy */
    bool item_missing;      /* set where release_units() is DB_INVALID for that */
} release_t;

/* All of it but what release_units() fills in. */
void release_of_order(const order_t *order, release_t *release);
/* In the open transaction: the row is out of a live state, now its units return. DB_INVALID: the
   item has no row, or not so many units allocated. Then nothing may be moved. */
db_result_t release_units(db_t *db, sql_t *sql, release_t *release);

/* A page of a buyer's orders on this shard, newest first, ids below `before` (none: all). */
db_result_t order_page_of_buyer(db_t *db, sql_t *sql, str_t buyer, const order_id_t *before,
                                unsigned max, order_t *out, unsigned *count);

#endif
