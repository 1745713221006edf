#include "sale/order.h"

#include <assert.h>

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
    return ORDER_REJECTED; /* somebody's own: it is not one of those that are live */
}

void order_set_sku(order_t *order, str_t sku)
{
    assert(sku.n <= sizeof(order->sku_bytes));
    if (sku.n != 0)
        memcpy(order->sku_bytes, sku.p, sku.n);
    order->sku_length = (uint8_t)sku.n;
}

void order_set_buyer(order_t *order, str_t buyer)
{
    assert(buyer.n <= sizeof(order->buyer_bytes));
    if (buyer.n != 0)
        memcpy(order->buyer_bytes, buyer.p, buyer.n);
    order->buyer_length = (uint8_t)buyer.n;
}

void release_of_order(const order_t *order, release_t *release)
{
    *release = (release_t){.id = order->id,
                           .sku_length = order->sku_length,
                           .buyer_length = order->buyer_length,
                           .quantity = order->quantity};
    memcpy(release->sku_bytes, order->sku_bytes, order->sku_length);
    memcpy(release->buyer_bytes, order->buyer_bytes, order->buyer_length);
}
