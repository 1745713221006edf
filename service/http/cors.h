/*
 * Cross-origin requests (the Fetch standard, "CORS protocol"): what lets a script of another origin
 * call the public listener and read its answers. Off unless http.cors_origins is set. It protects
 * nobody from a client that is no browser: that is access.h. Loop thread only; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_CORS_H
#define HOLDFAST_HTTP_CORS_H

#include <h2o.h>

#include "base/str.h"

/* `origins` is http.cors_origins: origins with spaces between them, or *. */

/* Adds the headers of an answer: Vary in any case, since caches keep answers; and, if the request's
   Origin is one of `origins`, those that let it read this one. */
void cors_allow(h2o_req_t *req, const char *origins);
/* Adds the headers of the answer to a preflight for one of the methods `methods` ("GET, HEAD"), and
   returns true, if the request is one from one of `origins`. */
bool cors_allow_preflight(h2o_req_t *req, const char *origins, const char *methods);

#endif
