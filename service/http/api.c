#include "http/api.h"

#include "http/items.h"
#include "http/moves.h"
#include "http/orders.h"
#include "http/purchases.h"
#include "http/readiness.h"

/* Health checkers may add parameters of their own to /healthz and /readyz. */
static const route_entry_t table[] = {
    {"POST", "/v1/orders", ROUTE_order_create, BODY_DEMANDED, "", handle_order_create},
    {"GET", "/v1/orders/*", ROUTE_order_get, BODY_IGNORED, "wait_ms ", handle_order_get},
    {"POST", "/v1/orders/*/confirm", ROUTE_order_confirm, BODY_EMPTY, "", handle_order_confirm},
    {"POST", "/v1/orders/*/cancel", ROUTE_order_cancel, BODY_OPTIONAL, "", handle_order_cancel},
    {"POST", "/v1/orders/*/extend", ROUTE_order_extend, BODY_EMPTY, "", handle_order_extend},
    {"GET", "/v1/items/*", ROUTE_item_get, BODY_IGNORED, "", handle_item_get},
    {"GET", "/v1/buyers/*/orders", ROUTE_buyer_orders, BODY_IGNORED, "limit cursor ",
     handle_buyer_orders},
    {"GET", "/healthz", ROUTE_healthz, BODY_IGNORED, NULL, handle_healthz},
    {"GET", "/readyz", ROUTE_readyz, BODY_IGNORED, NULL, handle_readyz},
    {NULL, NULL, ROUTE_other, BODY_IGNORED, NULL, NULL},
};

static void dispatch(exchange_t *exchange)
{
    route_dispatch(table, exchange);
}

static bool refuses(const h2o_req_t *head, const config_t *config)
{
    (void)config;
    return route_refuses(table, head);
}

const routes_t api_routes = {dispatch, refuses};
