/*
 * POST /v1/orders: parses the body, starts the purchase (engine/purchase.h), and sends its answer.
 * Loop thread only; does not block.
 *
 * Rate limits come first: the client address's before anything is parsed, the buyer's as soon as
 * the name has been read, before the purchase starts. The charge of the address is not given back
 * if the buyer is refused. A repeat of an idempotency key counts as a request like any other.
 */
#ifndef HOLDFAST_HTTP_PURCHASES_H
#define HOLDFAST_HTTP_PURCHASES_H

#include "http/route.h"

void handle_order_create(exchange_t *exchange, const route_match_t *match);

#endif
