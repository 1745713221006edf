/* Reads the Idempotency-Key of a request, for the calls that accept one. Loop thread only. */
#ifndef HOLDFAST_HTTP_REQUEST_KEY_H
#define HOLDFAST_HTTP_REQUEST_KEY_H

#include "http/exchange.h"

/* *key: STR_NONE if the request has none; else borrowed from the request or from `bytes`, as for
   idempotency_key_read(). False: refused, and answered: its value is not a key, or it has more than
   one. */
bool request_key(exchange_t *exchange, char *bytes, str_t *key);

#endif
