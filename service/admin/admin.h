/*
 * The admin listener: items, the toggle, status, audit, metrics. Every call wants
 * `Authorization: Bearer TOKEN`, compared in constant time.
 */
#ifndef HOLDFAST_ADMIN_ADMIN_H
#define HOLDFAST_ADMIN_ADMIN_H

#include "http/exchange.h"

/* Answers one request of the admin listener. */
void admin_dispatch(exchange_t *exchange);

#endif
