#include "sale/order.h"

static const char *const state_names[] = {"reserved",  "held",    "confirmed",
                                          "cancelled", "expired", "rejected"};

const char *order_state_name(order_state_t state)
{
    return state_names[state];
}

order_state_t order_state_of_name(str_t name)
{
    for (unsigned i = 0; i < sizeof(state_names) / sizeof(state_names[0]); ++i)
        if (str_eq(name, str_of(state_names[i])))
            return (order_state_t)i;
    return ORDER_REJECTED; /* a word from outside: the order is not counted as live */
}

void release_of_order(const order_t *order, release_t *release)
{
    *release = (release_t){.id = order->id,
                           .item = item_ref_of(order_sku(order)),
                           .buyer = order->buyer,
                           .quantity = order->quantity};
}
