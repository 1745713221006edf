#include "http/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/secret.h"

void access_init(access_t *access, const http_context_t *http, credentials_t *credentials)
{
    *access = (access_t){.config = http->config,
                         .clock = http->gate_clock,
                         .credentials = credentials,
                         .hasher = token_hasher_new(),
                         .last = alloc_zero(1, sizeof(last_token_t))};
}

void access_renew(access_t *access, credentials_t *credentials)
{
    OPENSSL_cleanse(access->last, sizeof(*access->last));
    credentials_release(access->credentials);
    access->credentials = credentials;
}

void access_dispose(access_t *access)
{
    access_renew(access, NULL);
    EVP_MD_CTX_free(access->hasher);
    free(access->last);
}

/* The token of the one Authorization header; STR_NONE: it has none, or more than one, of which
   another reader of the request might use the other. */
static str_t bearer_of(const h2o_req_t *head)
{
    static const char scheme[] = "Bearer ";
    size_t n = sizeof(scheme) - 1;
    ssize_t at = h2o_find_header(&head->headers, H2O_TOKEN_AUTHORIZATION, -1);
    if (at == -1 || h2o_find_header(&head->headers, H2O_TOKEN_AUTHORIZATION, at) != -1)
        return STR_NONE;
    h2o_iovec_t value = head->headers.entries[at].value;
    if (value.len <= n || strncasecmp(value.base, scheme, n) != 0)
        return STR_NONE;
    return (str_t){value.base + n, value.len - n};
}

static const token_t *look_up(const access_t *access, str_t given)
{
    last_token_t *last = access->last;
    if (last->token != NULL && secret_eq(given, (str_t){last->text, last->n}))
        return last->token;
    const token_t *token = tokens_find(access->credentials->tokens, access->hasher, given);
    if (token != NULL && given.n <= LAST_TOKEN_MAX) {
        last->token = token;
        last->n = given.n;
        memcpy(last->text, given.p, given.n);
    }
    return token;
}

/* NULL: there is no token, or none that is valid now. */
static const token_t *find_token(const access_t *access, const h2o_req_t *head)
{
    str_t given = bearer_of(head);
    const token_t *token = given.n == 0 ? NULL : look_up(access, given);
    bool valid = token != NULL && token_is_valid(token, remote_clock_now_ms(access->clock));
    return valid ? token : NULL;
}

static bool is_open(const access_t *access, role_t demanded)
{
    return demanded == ROLE_EVERYBODY ||
           (demanded == ROLE_SELL && access->config->http.auth == AUTH_NONE);
}

static access_verdict_t judge_buyer(const access_t *access, const h2o_req_t *head,
                                    access_grounds_t *grounds)
{
    str_t given = bearer_of(head);
    if (given.n == 0)
        return ACCESS_UNAUTHORIZED;
    grounds->fault =
        buyer_token_read(access->credentials->buyer_keys, given, remote_clock_now_ms(access->clock),
                         access->config->http.buyer_clock_skew_s, &grounds->claims);
    grounds->of_buyer = grounds->fault == NULL;
    return grounds->of_buyer ? ACCESS_GRANTED : ACCESS_UNAUTHORIZED;
}

access_verdict_t access_judge(const access_t *access, const h2o_req_t *head, role_t demanded,
                              access_grounds_t *grounds)
{
    grounds->token = NULL;
    grounds->fault = NULL;
    grounds->of_buyer = false;
    if (is_open(access, demanded))
        return ACCESS_GRANTED;
    if (demanded == ROLE_SELL && access->config->http.auth == AUTH_BUYER)
        return judge_buyer(access, head, grounds);
    grounds->token = find_token(access, head);
    if (grounds->token == NULL)
        return ACCESS_UNAUTHORIZED;
    return role_permits(grounds->token->role, demanded) ? ACCESS_GRANTED : ACCESS_FORBIDDEN;
}

bool access_is_known(const access_t *access, const h2o_req_t *head)
{
    return find_token(access, head) != NULL;
}

/* --- requests --- */

static void reply_forbidden(exchange_t *exchange, const token_t *token, role_t demanded)
{
    char detail[96];
    snprintf(detail, sizeof(detail), "The token's role is %s, and this call demands %s",
             role_name(token->role), role_name(demanded));
    reply_problem(exchange, PROBLEM_FORBIDDEN, detail);
}

/* Copies: the set of tokens may be replaced while the request waits. */
static void remember(exchange_t *exchange, const access_grounds_t *grounds)
{
    h2o_mem_pool_t *pool = &exchange->req->pool;
    if (grounds->token != NULL)
        exchange->who = h2o_strdup(pool, grounds->token->name, SIZE_MAX).base;
    if (grounds->of_buyer) {
        buyer_claims_t *claims = h2o_mem_alloc_pool(pool, sizeof(*claims));
        *claims = grounds->claims;
        exchange->buyer = claims;
    }
}

bool access_admits(exchange_t *exchange, role_t demanded)
{
    access_grounds_t grounds;
    switch (access_judge(exchange->access, exchange->req, demanded, &grounds)) {
    case ACCESS_GRANTED:
        remember(exchange, &grounds);
        return true;
    case ACCESS_UNAUTHORIZED:
        reply_problem(exchange, PROBLEM_UNAUTHORIZED, grounds.fault);
        break;
    case ACCESS_FORBIDDEN:
        reply_forbidden(exchange, grounds.token, demanded);
        break;
    }
    return false;
}

bool access_knows(exchange_t *exchange)
{
    bool known = access_is_known(exchange->access, exchange->req);
    if (!known)
        reply_problem(exchange, PROBLEM_UNAUTHORIZED, NULL);
    return known;
}
