/* Orders that exist: reading one, moving one, a buyer's list. */
#ifndef HOLDFAST_HTTP_ORDERS_H
#define HOLDFAST_HTTP_ORDERS_H

#include "http/route.h"

void handle_order_get(exchange_t *exchange, const route_match_t *match);
void handle_order_confirm(exchange_t *exchange, const route_match_t *match);
void handle_order_cancel(exchange_t *exchange, const route_match_t *match);
void handle_order_extend(exchange_t *exchange, const route_match_t *match);
/* http/buyer_orders.c */
void handle_buyer_orders(exchange_t *exchange, const route_match_t *match);

#endif
