/*
 * The admin listener: items, the toggle, status, audit, metrics. Every call wants
 * `Authorization: Bearer TOKEN`, compared in constant time.
 */
#ifndef HOLDFAST_ADMIN_ADMIN_H
#define HOLDFAST_ADMIN_ADMIN_H

#include "http/exchange.h"

/* Answers one request of the admin listener. */
void admin_dispatch(exchange_t *exchange);
/* As route_refuses(), and also where the token is missing. */
bool admin_refuses(const h2o_req_t *head, const config_t *config);

#endif
