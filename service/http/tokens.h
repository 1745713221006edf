/*
 * Named tokens: what a client sends as bearer token, and the role that it has by it.
 *
 * A file (admin.tokens_file) has a line for each token; a line that begins with # is a comment:
 *
 *   NAME ROLE HASH [EXPIRES]
 *
 * NAME is shown in logs; ROLE is read, operate or sell; HASH is the SHA-256 of the token in
 * hexadecimal; EXPIRES is a time of RFC 3339, from which on the token is refused. A name may stand
 * on two lines with the same role: then both tokens are valid, so that one replaces the other
 * without a gap. The text of a token is in no file; its hash is enough because a token is long and
 * random (deploy/README.md), so it cannot be guessed from the hash.
 *
 * A tokens_t is immutable: any thread may read it. Pure; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_TOKENS_H
#define HOLDFAST_HTTP_TOKENS_H

#include <openssl/evp.h>

#include "base/str.h"

/* What a call demands, and what a token has. */
typedef enum {
    ROLE_UNDECLARED, /* of a call whose table forgot it: nobody may make it */
    ROLE_EVERYBODY,  /* of a call: no token is needed */
    ROLE_READ,       /* status, metrics, audit */
    ROLE_OPERATE,    /* items, strategy, reconcile; and all that `read` may */
    ROLE_SELL,       /* purchases, and orders: reads and moves */
    ROLE_COUNT
} role_t;

#define TOKEN_HASH_BYTES 32
#define TOKEN_NAME_MAX 64
#define TOKENS_MAX 256

typedef struct {
    char name[TOKEN_NAME_MAX + 1];
    role_t role;
    uint64_t expires_ms; /* 0: never */
    unsigned char hash[TOKEN_HASH_BYTES];
} token_t;

typedef struct tokens tokens_t;

/* Reads the text of a file. `single` is one more token, of the name TOKEN_SINGLE_NAME and the role
   `operate` (admin.token); NULL: there is none. Returns a set that the caller frees with
   tokens_free(); or NULL, and `reason` has the line and the mistake. No part of the text is in the
   reason: somebody may have written a token in the place of its hash. */
#define TOKENS_REASON_SIZE 200
#define TOKEN_SINGLE_NAME "admin"
tokens_t *tokens_parse(str_t text, const char *single, char reason[TOKENS_REASON_SIZE]);
void tokens_free(tokens_t *tokens);

/* The token that is `given`, also if it has expired; or NULL. The time that it takes depends on the
   number of tokens and the length of `given` only. `hasher` is scratch from token_hasher_new(). The
   result is borrowed from `tokens`. */
const token_t *tokens_find(const tokens_t *tokens, EVP_MD_CTX *hasher, str_t given);

static inline bool token_is_valid(const token_t *token, uint64_t now_ms)
{
    return token->expires_ms == 0 || now_ms < token->expires_ms;
}

/* Whether a token of the role `has` may make a call that demands `demanded`. */
bool role_permits(role_t has, role_t demanded);
const char *role_name(role_t role);

/* The caller frees it with EVP_MD_CTX_free(). One thread uses it at a time. */
EVP_MD_CTX *token_hasher_new(void);
void token_hash(EVP_MD_CTX *hasher, str_t token, unsigned char hash[TOKEN_HASH_BYTES]);

#endif
