/*
 * What the head of a request of HTTP/1 may not leave open: where the request ends, and whom it is
 * for. Pure.
 *
 * A proxy in front that reads a head otherwise than the server behind it sees other requests on the
 * same connection: one that nobody has let through then hides in the body of another (request
 * smuggling). libh2o takes heads that can be read in two ways: of two lengths the first counts; of
 * a length and chunks, the chunks; a folded header loses its second half; lines may end with LF
 * alone; Host may be missing or there twice. All that is a mistake here. Where RFC 9112 would have
 * a server make something of it, this is stricter: see service/API.md.
 */
#ifndef HOLDFAST_HTTP_FRAMING_H
#define HOLDFAST_HTTP_FRAMING_H

#include "base/str.h"

/* Borrowed from the head. */
typedef struct {
    str_t method, target;
    str_t headers; /* lines, up to the empty one that ends the head */
    /* Of a target in absolute-form ("http://host/path?query"): what stands between "//" and the
       path, and the rest, which is empty or starts with '/' or '?'. Else STR_NONE both. */
    str_t authority, path;
    size_t length; /* Content-Length; 0 without; SIZE_MAX: that or more */
    bool chunked;
    bool expects_continue; /* and may be told so: not in HTTP/1.0 (RFC 9110, 10.1.1) */
} framing_t;

/*
 * `bytes` starts with a head that libh2o's parser has taken: three words in the first line, then
 * headers whose names are tokens and whose values have no control characters but tabs. That is not
 * looked at again, except where it decides the length; other bytes are no harm. What follows the
 * head (body, further requests) is not looked at.
 *
 * NULL: there is one way to read it, and `out` is filled. Else what is wrong, for people.
 */
const char *framing_read(str_t bytes, framing_t *out);

/* Takes the first of `headers` off its front; false: there is none. */
bool framing_next_header(str_t *headers, str_t *name, str_t *value);

#endif
