/* Orders that exist: reading one, moving one, a buyer's list. */
#ifndef HOLDFAST_HTTP_ORDERS_H
#define HOLDFAST_HTTP_ORDERS_H

#include "http/route.h"
#include "store/move.h"

void handle_order_get(exchange_t *exchange, const route_match_t *match);
/* Moves the order that the path names, and answers. Of `intended` the id and what is configured are
   filled in here; its key is copied. */
void order_move_start(exchange_t *exchange, const route_match_t *match,
                      const move_request_t *intended);
/* http/buyer_orders.c */
void handle_buyer_orders(exchange_t *exchange, const route_match_t *match);

#endif
