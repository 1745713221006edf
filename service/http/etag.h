/*
 * Entity tags (RFC 9110, 8.8.3, 13.1.1 and 13.1.2). Pure; any thread; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_ETAG_H
#define HOLDFAST_HTTP_ETAG_H

#include "base/str.h"
#include "sale/precondition.h"

/* Whether the value of an If-None-Match header names `etag`, which has its quotes: by the weak
   comparison, in a list, or as `*`. What is no entity tag names nothing. */
bool etag_is_named(str_t value, str_t etag);

/* The tag of an item on the admin listener, by the version of its terms: "v7" with the quotes. The
   text has VERSION_ETAG_SIZE bytes, with its NUL. */
#define VERSION_ETAG_SIZE (U64_DIGITS_MAX + 4)
str_t etag_of_version(char *text, uint64_t version);

/* How the tags of a header are compared with an item's. By the strong comparison a weak tag names
   nothing. */
typedef enum { ETAG_STRONG, ETAG_WEAK } etag_comparison_t;

/* Adds to *named what the value of an If-Match or If-None-Match header names. False: it names more
   versions than there is room for. */
bool etag_add_versions(str_t value, etag_comparison_t comparison, named_versions_t *named);

#endif
