/*
 * The keys by which the shop signs its tokens for buyers (http/buyer_token.h), from a file with a
 * JSON Web Key Set (RFC 7517):
 *
 *   {"keys":[{"kid":"2027-01","kty":"oct","k":"..."},
 *            {"kid":"2027-02","kty":"EC","crv":"P-256","x":"...","y":"..."}]}
 *
 * A key of the type `oct` is for HS256 alone and has 32 bytes or more; one of the type `EC` is for
 * ES256 alone. The key decides on the algorithm, never the token. A set with anything else in
 * `kty`, `crv` or `alg` is refused as a whole, since a key that is left out silently is missed by
 * buyers only. Members that are not named here are ignored.
 *
 * A buyer_keys_t is immutable: any thread may read it. Pure; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_BUYER_KEYS_H
#define HOLDFAST_HTTP_BUYER_KEYS_H

#include <jwt.h>
#include <openssl/evp.h>

#include "base/str.h"

#define BUYER_KEYS_MAX 64
#define BUYER_KID_MAX 64

typedef struct {
    char kid[BUYER_KID_MAX + 1];
    jwt_alg_t alg;
    unsigned char *secret; /* of HS256; else NULL */
    int secret_bytes;
    EVP_PKEY *public_key; /* of ES256; else NULL */
} buyer_key_t;

typedef struct {
    unsigned count;
    buyer_key_t all[BUYER_KEYS_MAX];
} buyer_keys_t;

/* Reads the text of a file. The caller frees the result with buyer_keys_free(). NULL: `reason` has
   the mistake, without anything of the text. */
#define BUYER_KEYS_REASON_SIZE 160
buyer_keys_t *buyer_keys_parse(str_t text, char reason[BUYER_KEYS_REASON_SIZE]);
void buyer_keys_free(buyer_keys_t *keys); /* NULL is ignored */

/* NULL: there is none of that name. */
const buyer_key_t *buyer_keys_find(const buyer_keys_t *keys, const char *kid);

#endif
