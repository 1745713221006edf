/*
 * An order, and the moves of its row after it was inserted. Values, pure: no I/O, no clock; any
 * thread may call, and nothing blocks. store/orders.h reads rows, store/move.h moves them. Times
 * are ms since 1970, quantities are units.
 *
 *              confirm                 cancel
 *     held ───────────────▶ confirmed ────────▶ cancelled
 *      │ ▲ extend                                   ▲
 *      │ └──┘                  cancel               │
 *      ├────────────────────────────────────────────┘
 *      └──── its time is over ────▶ expired             rejected: inserted so, never moves
 *            (store/expiry.h)
 *
 * held and confirmed are live. Each move is one guarded UPDATE. A move out of a live state adds the
 * units of the moved rows to `released_total` in the same transaction. A cancel of some units keeps
 * the state, takes the units off `quantity`, and adds them to `released_total`. `reserved` is an
 * order that is not in MySQL yet; it has no row.
 */
#ifndef HOLDFAST_SALE_ORDER_H
#define HOLDFAST_SALE_ORDER_H

#include "base/order_id.h"
#include "sale/item.h"
#include "sale/problem.h"

typedef enum {
    ORDER_RESERVED,
    ORDER_HELD,
    ORDER_CONFIRMED,
    ORDER_CANCELLED,
    ORDER_EXPIRED,
    ORDER_REJECTED
} order_state_t;

const char *order_state_name(order_state_t state);
/* Returns ORDER_REJECTED, a state that is not live, for a word that is none. */
order_state_t order_state_of_name(str_t name);

typedef struct {
    order_id_t id;
    sku_t sku; /* none: not known yet, because the order was decided before its owner wrote it */
    buyer_t buyer;
    uint32_t quantity; /* units left; a cancel may have given some back */
    order_state_t state;
    problem_t reject_code;
    order_id_t original_id; /* the order that has the key, if this one lost it; else none */
    uint64_t digest;        /* of the request; distinguishes a repeat from another request */
    uint64_t created_at_ms, expires_at_ms;
} order_t;

static inline str_t order_sku(const order_t *order)
{
    return sku_str(&order->sku);
}

static inline str_t order_buyer(const order_t *order)
{
    return buyer_str(&order->buyer);
}

static inline bool order_is_live(const order_t *order)
{
    return order->state == ORDER_HELD || order->state == ORDER_CONFIRMED;
}

static inline void order_set_sku(order_t *order, str_t sku)
{
    sku_set(&order->sku, sku);
}

static inline void order_set_buyer(order_t *order, str_t buyer)
{
    buyer_set(&order->buyer, buyer);
}

/* Units that a move took out of a live state. The gate is notified of them once. */
typedef struct {
    order_id_t id;
    item_ref_t item;
    buyer_t buyer;
    uint32_t quantity;
    uint64_t epoch;         /* read under the row lock of the move */
    strategy_id_t strategy; /* read with it; no release is sent under a SQL strategy */
    uint64_t sequence;      /* the row's `released_total` after the move */
    /* release_units() returned RESULT_REFUSED because the item is missing */
    bool item_missing;
} release_t;

/* Fills in all members except those that release_units() sets. */
void release_of_order(const order_t *order, release_t *release);

#endif
