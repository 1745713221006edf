/* POST /v1/orders: from a body to a purchase to its answer. */
#ifndef HOLDFAST_HTTP_PURCHASES_H
#define HOLDFAST_HTTP_PURCHASES_H

#include "http/route.h"

void handle_order_create(exchange_t *exchange, const route_match_t *match);

#endif
