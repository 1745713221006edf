#include "store/extend.h"

#include <assert.h>

/* Default of orders.hold_max_seconds, in multiples of the item's hold_seconds. */
#define HOLDS_MAX 4

static void find_bound(extend_t *extend, const order_t *order, const item_terms_t *terms,
                       uint32_t hold_max_seconds)
{
    uint64_t seconds =
        hold_max_seconds != 0 ? hold_max_seconds : (uint64_t)terms->hold_seconds * HOLDS_MAX;
    extend->bound_ms = order->created_at_ms + seconds * 1000;
    extend->by_sale = terms->ends_at_ms != 0 && terms->ends_at_ms < extend->bound_ms;
    if (extend->by_sale)
        extend->bound_ms = terms->ends_at_ms;
}

/* Has an earlier extend moved the deadline to the bound? Distinguishes a repeat of that extend from
   an order whose first deadline was at the bound. */
static bool was_moved_to_bound(const extend_t *extend, const order_t *order,
                               const item_terms_t *terms)
{
    return order->expires_at_ms == extend->bound_ms &&
           order->expires_at_ms > order->created_at_ms + (uint64_t)terms->hold_seconds * 1000;
}

extend_t extend_decide(const order_t *order, const item_terms_t *terms, uint32_t hold_max_seconds,
                       uint64_t now_ms)
{
    extend_t extend = {.result = EXTEND_HAPPENED};
    assert(order->state == ORDER_HELD);
    if (order->expires_at_ms <= now_ms) {
        extend.result = EXTEND_LATE;
        return extend;
    }
    if (terms == NULL)
        return extend;
    find_bound(&extend, order, terms, hold_max_seconds);
    uint64_t wanted_ms = now_ms + (uint64_t)terms->hold_seconds * 1000;
    extend.deadline_ms = wanted_ms < extend.bound_ms ? wanted_ms : extend.bound_ms;
    if (extend.deadline_ms > order->expires_at_ms)
        extend.result = EXTEND_MOVES;
    else if (wanted_ms > order->expires_at_ms && !was_moved_to_bound(&extend, order, terms))
        extend.result = EXTEND_AT_BOUND;
    return extend;
}
