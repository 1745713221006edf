/* The Idempotency-Key of a request, for the calls that take one. */
#ifndef HOLDFAST_HTTP_REQUEST_KEY_H
#define HOLDFAST_HTTP_REQUEST_KEY_H

#include "http/exchange.h"

/* STR_NONE: it has none. False: answered, since what it has is no key, or more than one. `bytes`
   as for idempotency_key_read(). */
bool request_key(exchange_t *exchange, char *bytes, str_t *key);

#endif
