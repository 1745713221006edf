#include "admin/admin.h"

#include <strings.h>

#include "admin/handlers.h"
#include "base/secret.h"

/* Prometheus may be configured to add parameters of its own to /metrics. */
static const route_entry_t table[] = {
    {"GET", "/v1/items", ROUTE_items_list, BODY_IGNORED, "limit cursor prefix strategy open ",
     handle_items_list},
    {"GET", "/v1/items/*", ROUTE_item_show, BODY_IGNORED, "", handle_item_show},
    {"GET", "/v1/items/*/orders", ROUTE_item_orders, BODY_IGNORED, "limit cursor state format ",
     handle_item_orders},
    {"PUT", "/v1/items/*", ROUTE_item_put, BODY_DEMANDED, "", handle_item_put},
    {"PATCH", "/v1/items/*", ROUTE_item_patch, BODY_DEMANDED, "", handle_item_patch},
    {"DELETE", "/v1/items/*", ROUTE_item_delete, BODY_EMPTY, "", handle_item_delete},
    {"POST", "/v1/items/*/reconcile", ROUTE_item_reconcile, BODY_EMPTY, "", handle_reconcile},
    {"PUT", "/v1/strategy", ROUTE_strategy_put, BODY_DEMANDED, "", handle_strategy_put},
    {"GET", "/v1/changes", ROUTE_changes, BODY_IGNORED, "limit cursor sku who since ",
     handle_changes},
    {"GET", "/v1/live", ROUTE_live, BODY_IGNORED, "limit ", handle_live},
    {"GET", "/v1/status", ROUTE_status, BODY_IGNORED, "", handle_status},
    {"GET", "/v1/audit", ROUTE_audit, BODY_IGNORED, "", handle_audit},
    {"GET", "/metrics", ROUTE_metrics, BODY_IGNORED, NULL, handle_metrics},
    {NULL, NULL, ROUTE_other, BODY_IGNORED, NULL, NULL},
};

static bool is_authorized(const h2o_req_t *req, const config_t *config)
{
    static const char scheme[] = "Bearer ";
    str_t token = str_of(config->admin.token);
    ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at == -1)
        return false;
    str_t given = {req->headers.entries[at].value.base, req->headers.entries[at].value.len};
    size_t n = sizeof(scheme) - 1;
    return given.n > n && strncasecmp(given.p, scheme, n) == 0 &&
           secret_eq((str_t){given.p + n, given.n - n}, token);
}

static void dispatch(exchange_t *exchange)
{
    if (!is_authorized(exchange->req, exchange->http->config)) {
        reply_problem(exchange, PROBLEM_UNAUTHORIZED, NULL);
        return;
    }
    exchange->who = "admin";
    route_dispatch(table, exchange);
}

static bool refuses(const h2o_req_t *head, const config_t *config)
{
    return !is_authorized(head, config) || route_refuses(table, head);
}

routes_t admin_routes(admin_t *admin)
{
    return (routes_t){dispatch, refuses, admin};
}
