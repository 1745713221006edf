#include "http/api.h"

#include "http/items.h"
#include "http/moves.h"
#include "http/orders.h"
#include "http/purchases.h"
#include "http/readiness.h"

/* Health checkers may add parameters of their own to /healthz and /readyz. */
static const route_entry_t table[] = {
    {"POST", "/v1/orders", ROUTE_order_create, ROLE_SELL, BODY_DEMANDED, "", handle_order_create},
    {"GET", "/v1/orders/*", ROUTE_order_get, ROLE_SELL, BODY_IGNORED, "wait_ms ", handle_order_get},
    {"POST", "/v1/orders/*/confirm", ROUTE_order_confirm, ROLE_SELL, BODY_EMPTY, "",
     handle_order_confirm},
    {"POST", "/v1/orders/*/cancel", ROUTE_order_cancel, ROLE_SELL, BODY_OPTIONAL, "",
     handle_order_cancel},
    {"POST", "/v1/orders/*/extend", ROUTE_order_extend, ROLE_SELL, BODY_EMPTY, "",
     handle_order_extend},
    {"GET", "/v1/items/*", ROUTE_item_get, ROLE_EVERYBODY, BODY_IGNORED, "", handle_item_get},
    {"GET", "/v1/buyers/*/orders", ROUTE_buyer_orders, ROLE_SELL, BODY_IGNORED, "limit cursor ",
     handle_buyer_orders},
    {"GET", "/healthz", ROUTE_healthz, ROLE_EVERYBODY, BODY_IGNORED, NULL, handle_healthz},
    {"GET", "/readyz", ROUTE_readyz, ROLE_EVERYBODY, BODY_IGNORED, NULL, handle_readyz},
    {NULL, NULL, ROUTE_other, ROLE_UNDECLARED, BODY_IGNORED, NULL, NULL},
};

const routes_t api_routes = {.table = table, .cross_origin = true};
