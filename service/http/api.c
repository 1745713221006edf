#include "http/api.h"

#include "http/items.h"
#include "http/orders.h"
#include "http/purchases.h"
#include "http/readiness.h"

static const route_entry_t table[] = {
    {"POST", "/v1/orders", ROUTE_order_create, true, handle_order_create},
    {"GET", "/v1/orders/*", ROUTE_order_get, false, handle_order_get},
    {"POST", "/v1/orders/*/confirm", ROUTE_order_confirm, false, handle_order_confirm},
    {"POST", "/v1/orders/*/cancel", ROUTE_order_cancel, false, handle_order_cancel},
    {"POST", "/v1/orders/*/extend", ROUTE_order_extend, false, handle_order_extend},
    {"GET", "/v1/items/*", ROUTE_item_get, false, handle_item_get},
    {"GET", "/v1/buyers/*/orders", ROUTE_buyer_orders, false, handle_buyer_orders},
    {"GET", "/healthz", ROUTE_healthz, false, handle_healthz},
    {"GET", "/readyz", ROUTE_readyz, false, handle_readyz},
    {NULL, NULL, ROUTE_other, false, NULL},
};

void api_dispatch(exchange_t *exchange)
{
    route_dispatch(table, exchange);
}
