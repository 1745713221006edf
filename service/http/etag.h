/*
 * Entity tags in requests (RFC 9110, 8.8.3 and 13.1.2). Pure; any thread; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_ETAG_H
#define HOLDFAST_HTTP_ETAG_H

#include "base/str.h"

/* Whether the value of an If-None-Match header names `etag`, which has its quotes: by the weak
   comparison, in a list, or as `*`. What is no entity tag names nothing. */
bool etag_is_named(str_t value, str_t etag);

#endif
