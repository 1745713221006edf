#include "admin/admin.h"

#include "admin/handlers.h"

/* Prometheus may be configured to add parameters of its own to /metrics. */
static const route_entry_t table[] = {
    {"GET", "/v1/items", ROUTE_items_list, ROLE_READ, BODY_IGNORED,
     "limit cursor prefix strategy open ", handle_items_list},
    {"GET", "/v1/items/*", ROUTE_item_show, ROLE_READ, BODY_IGNORED, "", handle_item_show},
    {"GET", "/v1/items/*/orders", ROUTE_item_orders, ROLE_READ, BODY_IGNORED,
     "limit cursor state format ", handle_item_orders},
    {"PUT", "/v1/items/*", ROUTE_item_put, ROLE_OPERATE, BODY_DEMANDED, "", handle_item_put},
    {"PATCH", "/v1/items/*", ROUTE_item_patch, ROLE_OPERATE, BODY_DEMANDED, "", handle_item_patch},
    {"DELETE", "/v1/items/*", ROUTE_item_delete, ROLE_OPERATE, BODY_EMPTY, "", handle_item_delete},
    {"POST", "/v1/items/*/reconcile", ROUTE_item_reconcile, ROLE_OPERATE, BODY_EMPTY, "",
     handle_reconcile},
    {"PUT", "/v1/strategy", ROUTE_strategy_put, ROLE_OPERATE, BODY_DEMANDED, "",
     handle_strategy_put},
    {"GET", "/v1/changes", ROUTE_changes, ROLE_READ, BODY_IGNORED, "limit cursor sku who since ",
     handle_changes},
    {"GET", "/v1/live", ROUTE_live, ROLE_READ, BODY_IGNORED, "limit ", handle_live},
    {"GET", "/v1/status", ROUTE_status, ROLE_READ, BODY_IGNORED, "", handle_status},
    {"GET", "/v1/audit", ROUTE_audit, ROLE_READ, BODY_IGNORED, "", handle_audit},
    {"GET", "/metrics", ROUTE_metrics, ROLE_READ, BODY_IGNORED, NULL, handle_metrics},
    {NULL, NULL, ROUTE_other, ROLE_UNDECLARED, BODY_IGNORED, NULL, NULL},
};

routes_t admin_routes(admin_t *admin)
{
    return (routes_t){.table = table, .closed = true, .data = admin};
}
