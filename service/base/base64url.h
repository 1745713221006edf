/* base64url without padding (RFC 7515, 2). Pure; any thread. */
#ifndef HOLDFAST_BASE_BASE64URL_H
#define HOLDFAST_BASE_BASE64URL_H

#include "base/str.h"

/* The most bytes that a text may decode to. */
#define BASE64URL_BYTES_MAX 768

/* Decodes `text` into `out`. Returns the number of bytes; or -1: it is empty or not base64url, or
   has more than `room` bytes, or more than BASE64URL_BYTES_MAX. */
int base64url_decode(str_t text, unsigned char *out, size_t room);

#endif
