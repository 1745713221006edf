/*
 * POST /v1/orders: from a body to a purchase to its answer.
 *
 * Rate limits come first: that of the client's address before anything is parsed, that of the buyer
 * as soon as his name is known, before the purchase is looked at. What the address was charged is
 * not given back if the buyer is refused. A repeat of an idempotency key is a request like any.
 */
#ifndef HOLDFAST_HTTP_PURCHASES_H
#define HOLDFAST_HTTP_PURCHASES_H

#include "http/route.h"

void handle_order_create(exchange_t *exchange, const route_match_t *match);

#endif
