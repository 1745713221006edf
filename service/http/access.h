/*
 * Who may make a call: the check of a request's bearer token against the role that its route
 * declares (http/route.h). Where http.auth is `buyer`, the calls that demand `sell` take a token
 * for a buyer instead (http/buyer_token.h), who then buys as himself, and to whom the orders of
 * others do not exist.
 *
 *   no token, or one that is wrong or has expired ──▶ 401 unauthorized
 *   a valid token of another role                 ──▶ 403 forbidden; so is another buyer's name
 *   a token in the query                          ──▶ 400, whatever else the request has: URLs are
 *                                                     written to logs, here and on the way
 *
 * Calls that demand `sell` are open to everybody while http.auth is `none`: that costs one
 * comparison. Each loop has an access_t and is the only one that uses it; nothing is locked, and
 * nothing blocks.
 */
#ifndef HOLDFAST_HTTP_ACCESS_H
#define HOLDFAST_HTTP_ACCESS_H

#include "base/clock.h"
#include "http/buyer_token.h"
#include "http/credentials.h"
#include "http/exchange.h"

/* The token that was found last: a shop sends the same one with each purchase, and comparing it
   with that costs a fraction of its hash. */
#define LAST_TOKEN_MAX 128
typedef struct {
    const token_t *token; /* NULL: none */
    size_t n;
    char text[LAST_TOKEN_MAX]; /* as it was sent */
} last_token_t;

typedef struct access {
    const config_t *config;
    const remote_clock_t *clock; /* decides whether a token has expired */
    credentials_t *credentials;  /* holds a reference */
    EVP_MD_CTX *hasher;
    last_token_t *last;
} access_t;

/* Takes over the caller's reference to `credentials`. */
void access_init(access_t *access, const http_context_t *http, credentials_t *credentials);
/* The same for the set that replaces the one it has. */
void access_renew(access_t *access, credentials_t *credentials);
void access_dispose(access_t *access);

typedef enum { ACCESS_GRANTED, ACCESS_UNAUTHORIZED, ACCESS_FORBIDDEN } access_verdict_t;

/* By what a call was judged. Only the members that are named in their comment are filled in. */
typedef struct {
    const token_t *token; /* NULL: it needed none, or has none. Borrowed until access_renew() */
    bool of_buyer;        /* a token for a buyer was granted: `claims` is valid */
    const char *fault;    /* of ACCESS_UNAUTHORIZED: what is wrong with the token, or NULL */
    buyer_claims_t claims;
} access_grounds_t;

/* Judges a head by its Authorization; only the headers of `head` are read. */
access_verdict_t access_judge(const access_t *access, const h2o_req_t *head, role_t demanded,
                              access_grounds_t *grounds);
/* Judges a request, and sets exchange->who and exchange->buyer. False: refused, and answered. */
bool access_admits(exchange_t *exchange, role_t demanded);
/* Whether any token at all is valid here, of whatever role. False: refused, and answered. */
bool access_knows(exchange_t *exchange);
bool access_is_known(const access_t *access, const h2o_req_t *head);

#endif
