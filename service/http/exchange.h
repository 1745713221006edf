/*
 * One request and its one answer.
 *
 * An exchange lives in the memory pool of its h2o request. An operation that waits keeps the
 * exchange's address, so it must be notified if the request ends first (an HTTP/2 reset, a lost
 * connection): it sets `on_gone`, which is called once if the request ends before an answer was
 * given. Loop thread only; no function blocks or fails.
 */
#ifndef HOLDFAST_HTTP_EXCHANGE_H
#define HOLDFAST_HTTP_EXCHANGE_H

#include <cjson/cJSON.h>

#include "engine/engine.h"
#include "engine/purchase.h"
#include "http/buyer_token.h"
#include "http/connection.h"
#include "http/context.h"
#include "metrics/metrics.h"
#include "sale/order.h"
#include "sale/problem.h"

#define REQUEST_ID_MAX 64

typedef struct exchange {
    h2o_req_t *req;
    engine_loop_t *engine;
    const http_context_t *http;
    const struct routes *routes; /* its listener's: route.h */
    const struct access *access; /* its loop's: access.h */
    route_t route;
    uint64_t started_us;
    char request_id[REQUEST_ID_MAX + 1];
    const char *who; /* the name of the token by which it was admitted; NULL: it needed none */
    const buyer_claims_t *buyer; /* who sent it, by his token; NULL: http.auth is not `buyer` */
    bool answered;
    bool in_parts; /* the answer may have more parts: `on_gone` is called after it has begun too */
    bool has_body; /* some of one was handed to libh2o */
    connection_answer_t taking;     /* whether the client reads the answer */
    void (*on_gone)(void *waiting); /* NULL: no operation waits */
    void *waiting;
} exchange_t;

/* `engine` and `access` are the loop's, `routes` the listener's. Never fails; h2o frees it with the
   request. */
exchange_t *exchange_new(h2o_req_t *req, engine_loop_t *engine, const http_context_t *http,
                         const struct routes *routes, const struct access *access);

/* Whether the order exists for who sent the request: to a buyer the orders of others do not. */
static inline bool exchange_may_see(const exchange_t *exchange, const order_t *order)
{
    return exchange->buyer == NULL ||
           str_eq(order_buyer(order), buyer_str(&exchange->buyer->buyer));
}

/* The descriptor of its connection while libh2o does not read that, and so would not notice its
   end; -1: it reads it (HTTP/2). */
int exchange_unread_fd(const exchange_t *exchange);
/* A HEAD, which is served as a GET: the answer has no body. */
bool exchange_is_head(const exchange_t *exchange);

/* --- answers; exactly one for each exchange --- */

/* Adds a header to the answer that follows. Both are copied; `name` is in lower case. */
void reply_add_header(exchange_t *exchange, const char *name, const char *value);
/* Takes ownership of `json` and frees it. */
void reply_json(exchange_t *exchange, int status, cJSON *json);
void reply_text(exchange_t *exchange, int status, const char *content_type, str_t body);
/* What caches and clients are told about an answer that they may keep (RFC 9111). */
typedef struct {
    str_t etag; /* with its quotes */
    uint32_t age_ms;
    uint32_t max_age_s;
    const char *stale; /* the server that is away, so that the answer is old; NULL: none */
} cached_t;
/* 200 with a JSON text, or 304 without a body. All is copied. */
void reply_cached(exchange_t *exchange, int status, str_t json, const cached_t *cached);
/* 200, in parts. `generator->proceed` is called when the client has taken a part, and not after one
   that is the last; `on_gone` when the request ends, in any case. `content_type` is static. */
void reply_begin(exchange_t *exchange, const char *content_type, h2o_generator_t *generator);
/* The next part, which is not empty unless it is the last. It is not copied: it must stay until
   `proceed` or `on_gone`. After H2O_SEND_STATE_ERROR the client sees that the answer is not
   whole. */
void reply_part(exchange_t *exchange, str_t part, h2o_send_state_t state);
/* 204, without a body. */
void reply_nothing(exchange_t *exchange);
/* `detail` tells the client what to do; NULL: the title is enough. It is copied. Adds Retry-After
   where it applies. */
void reply_problem(exchange_t *exchange, problem_t problem, const char *detail);
/* Refuses a purchase: `problem` with the known reasons, and with the members of the order that
   ended so (NULL: there is none). */
void reply_refusal(exchange_t *exchange, problem_t problem, const refusal_t *why,
                   const order_t *order, bool replayed);
/* 415; the header `name` lists the accepted values (RFC 9110, 15.5.16). */
void reply_unsupported(exchange_t *exchange, const char *name, const char *taken,
                       const char *detail);
void reply_order(exchange_t *exchange, int status, const order_t *order, bool replayed);
void reply_method_not_allowed(exchange_t *exchange, const char *allow);

/* The order as the API shows it. The caller owns the JSON. */
cJSON *order_to_json(const order_t *order);
cJSON *time_to_json(uint64_t ms); /* 0: null */

#endif
