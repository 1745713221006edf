/*
 * What a shop says of a buyer: a JWT (RFC 7519) that the shop gives him, and that he sends as
 * bearer token where http.auth is `buyer`.
 *
 *   header   {"alg":"HS256" or "ES256", "kid":"..."}
 *   payload  {"sub":"alice", "exp":1801396800}   and perhaps "nbf", "sku", "quantity_max"
 *
 * `kid` names one of the keys of the configuration, which decides on the algorithm: a token that
 * names another one, or `none`, is refused. `crit` is refused too (RFC 7515, 4.1.11). Other members
 * are ignored. Pure, and the time is a value; any thread. Nothing blocks; a signature of ES256
 * takes some 0.2 ms of processor time, one of HS256 some 0.06 ms.
 */
#ifndef HOLDFAST_HTTP_BUYER_TOKEN_H
#define HOLDFAST_HTTP_BUYER_TOKEN_H

#include "http/buyer_keys.h"
#include "sale/names.h"

#define BUYER_TOKEN_BYTES_MAX 4096

typedef struct {
    buyer_t buyer;         /* `sub` */
    sku_t sku;             /* the only item that he may buy; empty: any */
    uint32_t quantity_max; /* of one purchase; 0: as in the configuration */
} buyer_claims_t;

/* Checks a token, and fills in *out. `skew_s` is how far the clock that made the token may be off.
   Returns NULL; or what is wrong with the token, a sentence without anything of it. */
const char *buyer_token_read(const buyer_keys_t *keys, str_t token, uint64_t now_ms,
                             uint32_t skew_s, buyer_claims_t *out);

#endif
