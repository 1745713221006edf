/* The handlers of the admin listener. Loop thread only; a handler that needs MySQL or Redis does so
   in a pool job, so none blocks. */
#ifndef HOLDFAST_ADMIN_HANDLERS_H
#define HOLDFAST_ADMIN_HANDLERS_H

#include "admin/admin.h"
#include "reconcile/outcome.h"
#include "sale/precondition.h"
#include "store/changes.h"

/* For a request to the admin listener. */
static inline admin_t *admin_of(const exchange_t *exchange)
{
    return exchange->routes->data;
}

/* admin/terms.c: changes of items */
void handle_item_put(exchange_t *exchange, const route_match_t *match);
void handle_item_patch(exchange_t *exchange, const route_match_t *match);
void handle_strategy_put(exchange_t *exchange, const route_match_t *match);

/* admin/items.c, item.c, item_orders.c: what is known of items and their orders */
void handle_items_list(exchange_t *exchange, const route_match_t *match);
void handle_item_show(exchange_t *exchange, const route_match_t *match);
void handle_item_orders(exchange_t *exchange, const route_match_t *match);
/* All that MySQL has of an item; `available` is that of its row. Any thread; the caller owns the
   JSON. */
cJSON *item_details_to_json(const item_t *item);

/* admin/live.c */
void handle_live(exchange_t *exchange, const route_match_t *match);

/* admin/removal.c */
void handle_item_delete(exchange_t *exchange, const route_match_t *match);

/* admin/origin.c: who asks for a change, and why, and which versions it is for, from the request.
   False: refused, and answered. */
bool read_origin(exchange_t *exchange, change_origin_t *origin);
bool read_precondition(exchange_t *exchange, precondition_t *precondition);
/* Of a 412. */
#define PRECONDITION_DETAIL                                                                        \
    "Read the item on this listener, and decide anew: If-Match takes its ETag, with the quotes"

/* admin/changes.c: the record of changes */
void handle_changes(exchange_t *exchange, const route_match_t *match);

/* admin/status.c, audit.c, reconcile.c, metrics.c: reports, and a comparison on request */
void handle_status(exchange_t *exchange, const route_match_t *match);
void handle_audit(exchange_t *exchange, const route_match_t *match);
void handle_reconcile(exchange_t *exchange, const route_match_t *match);
void handle_metrics(exchange_t *exchange, const route_match_t *match);
/* Answers a call that failed: `result` is not SYNC_READY. */
void reply_not_synced(exchange_t *exchange, sync_result_t result);

#endif
