/*
 * An order, and the moves that its row can make after it was born. Values, pure: no I/O, no clock.
 * Rows are read by store/orders.h, moved by store/move.h.
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
/* ORDER_REJECTED for a word that is none: an order that is not live. */
order_state_t order_state_of_name(str_t name);

typedef struct {
    order_id_t id;
    sku_t sku; /* none: not known yet, since it was decided before its owner wrote it */
    buyer_t buyer;
    uint32_t quantity; /* that it has left: a cancel may have given some back */
    order_state_t state;
    problem_t reject_code;
    order_id_t original_id; /* of the loser of an idempotency key; else none */
    uint64_t digest;        /* of the request, to tell a repeat from another request */
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

/* Units that a move took out of a live state, for the gate to be told once. */
typedef struct {
    order_id_t id;
    sku_t sku;
    buyer_t buyer;
    uint32_t quantity;
    uint64_t epoch;         /* read under the row lock of the move */
    strategy_id_t strategy; /* likewise: no release is sent under a SQL strategy */
    bool item_missing;      /* set where release_units() is RESULT_REFUSED for that */
} release_t;

/* All of it but what release_units() fills in. */
void release_of_order(const order_t *order, release_t *release);

#endif
