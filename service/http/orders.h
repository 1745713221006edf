/* Orders that exist: reads one, moves one, lists a buyer's. Loop thread only; the servers are read
   on pool threads. */
#ifndef HOLDFAST_HTTP_ORDERS_H
#define HOLDFAST_HTTP_ORDERS_H

#include "http/route.h"
#include "store/move.h"

void handle_order_get(exchange_t *exchange, const route_match_t *match);
/* Moves the order that the path names, and answers. `intended` is copied, with its key; its id and
   the configured members are filled in here. */
void order_move_start(exchange_t *exchange, const route_match_t *match,
                      const move_request_t *intended);
/* http/buyer_orders.c */
void handle_buyer_orders(exchange_t *exchange, const route_match_t *match);

#endif
