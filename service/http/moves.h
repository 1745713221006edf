/* POST /v1/orders/{order_id}/confirm, /cancel, /extend: parses the HTTP request into a
   move_request_t (store/move.h). Loop thread only; the move runs on a pool thread. */
#ifndef HOLDFAST_HTTP_MOVES_H
#define HOLDFAST_HTTP_MOVES_H

#include "http/route.h"

void handle_order_confirm(exchange_t *exchange, const route_match_t *match);
void handle_order_cancel(exchange_t *exchange, const route_match_t *match);
void handle_order_extend(exchange_t *exchange, const route_match_t *match);

#endif
