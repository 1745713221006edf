/*
 * One request and its one answer.
 *
 * An exchange lives in the memory pool of its h2o request. What waits for something keeps the
 * exchange's address and must hear when the request dies first (HTTP/2 resets, lost connections):
 * that is `on_gone`, called once if the request ends before an answer was given. Loop thread only.
 */
#ifndef HOLDFAST_HTTP_EXCHANGE_H
#define HOLDFAST_HTTP_EXCHANGE_H

#include <cjson/cJSON.h>

#include "engine/engine.h"
#include "engine/purchase.h"
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
    const struct routes *routes; /* of its listener: route.h */
    route_t route;
    uint64_t started_us;
    char request_id[REQUEST_ID_MAX + 1];
    bool answered;
    connection_answer_t taking;     /* of the answer, by its client */
    void (*on_gone)(void *waiting); /* NULL: nobody waits */
    void *waiting;
} exchange_t;

/* `engine` is the loop's, `routes` are the listener's. Never fails. */
exchange_t *exchange_new(h2o_req_t *req, engine_loop_t *engine, const http_context_t *http,
                         const struct routes *routes);

/* --- answers; each exactly once --- */

/* Takes `json` and frees it. */
void reply_json(exchange_t *exchange, int status, cJSON *json);
void reply_text(exchange_t *exchange, int status, const char *content_type, str_t body);
/* 204, without a body. */
void reply_nothing(exchange_t *exchange);
/* `detail` says what to do about it; NULL: the title is enough. Adds Retry-After where due. */
void reply_problem(exchange_t *exchange, problem_t problem, const char *detail);
/* A purchase was refused: `problem` with what is known of why, and with the members of the order
   that ended so, if there is one. */
void reply_refusal(exchange_t *exchange, problem_t problem, const refusal_t *why,
                   const order_t *order, bool replayed);
/* 415; the header `name` says what is taken (RFC 9110, 15.5.16). */
void reply_unsupported(exchange_t *exchange, const char *name, const char *taken,
                       const char *detail);
void reply_order(exchange_t *exchange, int status, const order_t *order, bool replayed);
void reply_method_not_allowed(exchange_t *exchange, const char *allow);

/* The order as the API shows it. */
cJSON *order_to_json(const order_t *order);
cJSON *time_to_json(uint64_t ms); /* 0: null */

#endif
