/* The public listener: its table of routes. */
#ifndef HOLDFAST_HTTP_API_H
#define HOLDFAST_HTTP_API_H

#include "http/exchange.h"

void api_dispatch(exchange_t *exchange);
/* As route_refuses(). */
bool api_refuses(const h2o_req_t *head, const config_t *config);

#endif
