/*
 * Checks that the head of an HTTP/1 request is unambiguous: where the request ends, and which host
 * it is for. Pure; any thread.
 *
 * If a proxy in front reads a head in another way than the server behind it, the two see different
 * requests on the same connection: a request that the proxy has not checked can hide in the body of
 * another (request smuggling). libh2o accepts heads that can be read in two ways: of two lengths it
 * uses the first; of a length and chunks, the chunks; it drops the continuation of a folded header;
 * lines may end with LF alone; Host may be missing or occur twice. All of these are mistakes here.
 * Where RFC 9112 tells a server to repair such a head, this is stricter: see service/API.md.
 */
#ifndef HOLDFAST_HTTP_FRAMING_H
#define HOLDFAST_HTTP_FRAMING_H

#include "base/str.h"

/* The parts of a head, borrowed from it. */
typedef struct {
    str_t method, target;
    str_t headers; /* lines, up to the empty one that ends the head */
    /* For a target in absolute-form ("http://host/path?query"): the part between "//" and the path;
       and the rest, which is empty or starts with '/' or '?'. Otherwise both are STR_NONE. */
    str_t authority, path;
    size_t length; /* Content-Length in bytes; 0: it has none; SIZE_MAX: that or more */
    bool chunked;
    bool expects_continue; /* and may receive 100: not in HTTP/1.0 (RFC 9110, 10.1.1) */
} framing_t;

/*
 * Reads the head at the start of `bytes`, which libh2o's parser has accepted: three words in the
 * first line, then headers whose names are tokens and whose values have no control characters but
 * tabs. These rules are not checked again, except where they decide the length; other bytes do no
 * harm. The bytes after the head (body, further requests) are not read.
 *
 * Returns NULL if the head is unambiguous, with `out` filled; otherwise the mistake as a static
 * text for people.
 */
const char *framing_read(str_t bytes, framing_t *out);

/* Takes the first header off the front of `headers`; false: there is none. */
bool framing_next_header(str_t *headers, str_t *name, str_t *value);

#endif
