#include "http/exchange.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "http/cors.h"
#include "http/order_json.h"
#include "http/route.h"

#define JSON_TYPE "application/json"
#define PROBLEM_TYPE "application/problem+json"
/* Seconds. A client that repeats its request sooner meets the same queue. */
#define RETRY_AFTER "1"

bool exchange_is_head(const exchange_t *exchange)
{
    const h2o_req_t *req = exchange->req;
    return h2o_memis(req->method.base, req->method.len, H2O_STRLIT("HEAD"));
}

static void on_dispose(void *p)
{
    exchange_t *exchange = p;
    if ((!exchange->answered || exchange->in_parts) && exchange->on_gone != NULL)
        exchange->on_gone(exchange->waiting);
    exchange->on_gone = NULL;
    bool bodiless = !exchange->has_body || exchange_is_head(exchange);
    connection_request_ends(&exchange->taking,
                            exchange->answered && (bodiless || exchange->req->bytes_sent != 0));
}

static bool is_request_id(h2o_iovec_t value)
{
    if (value.len == 0 || value.len > REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < value.len; ++i) {
        unsigned char c = (unsigned char)value.base[i];
        if (!(c == '-' || c == '_' || c == '.' || (c >= '0' && c <= '9') ||
              (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return true;
}

static void set_request_id(exchange_t *exchange)
{
    ssize_t at = h2o_find_header_by_str(&exchange->req->headers, H2O_STRLIT("x-request-id"), -1);
    if (at != -1 && is_request_id(exchange->req->headers.entries[at].value)) {
        h2o_iovec_t value = exchange->req->headers.entries[at].value;
        memcpy(exchange->request_id, value.base, value.len);
        return;
    }
    static const char digits[] = "0123456789abcdef";
    uint64_t number = random_u64();
    for (int i = 0; i < 16; ++i, number >>= 4)
        exchange->request_id[i] = digits[number & 15]; /* the rest is zero */
}

exchange_t *exchange_new(h2o_req_t *req, engine_loop_t *engine, const http_context_t *http,
                         const struct routes *routes, const struct access *access)
{
    exchange_t *exchange = h2o_mem_alloc_shared(&req->pool, sizeof(*exchange), on_dispose);
    memset(exchange, 0, sizeof(*exchange));
    exchange->req = req;
    exchange->engine = engine;
    exchange->http = http;
    exchange->routes = routes;
    exchange->access = access;
    exchange->route = ROUTE_other;
    exchange->started_us = clock_mono_us();
    set_request_id(exchange);
    connection_request_begins(&exchange->taking, req);
    return exchange;
}

int exchange_unread_fd(const exchange_t *exchange)
{
    h2o_conn_t *connection = exchange->req->conn;
    return exchange->req->version >= 0x200
               ? -1
               : h2o_socket_get_fd(connection->callbacks->get_socket(connection));
}

/* --- answers --- */

/* The path without its query, in which somebody may have sent a token. */
static str_t path_of(const h2o_req_t *req)
{
    return (str_t){req->path.base, req->query_at == SIZE_MAX ? req->path.len : req->query_at};
}

/* The members of a request's line in the log. */
#define REQUEST_FIELDS                                                                             \
    LOG_STR("request_id", exchange->request_id),                                                   \
        LOG_BYTES("method", ((str_t){req->method.base, req->method.len})),                         \
        LOG_BYTES("path", path_of(req)), LOG_INT("status", status), LOG_INT("micros", micros)

/* Without the access log, failed requests are logged at a limited rate: under a load that is
   refused, one line for each would take time from the requests that are served. The metrics count
   all. */
static void log_access(exchange_t *exchange, int status, uint64_t micros)
{
    const h2o_req_t *req = exchange->req;
    log_level_t level = exchange->http->config->log.access ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (status >= 500 && !log_enabled(level))
        LOG_INFO("request", REQUEST_FIELDS);
    else
        LOG_ALWAYS(level, "request", REQUEST_FIELDS);
}

void reply_add_header(exchange_t *exchange, const char *name, const char *value)
{
    h2o_req_t *req = exchange->req;
    h2o_iovec_t copy = h2o_strdup(&req->pool, value, SIZE_MAX);
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 0, NULL, copy.base,
                          copy.len);
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Payload Too Large";
    case 415:
        return "Unsupported Media Type";
    case 422:
        return "Unprocessable Content";
    case 428:
        return "Precondition Required";
    case 429:
        return "Too Many Requests";
    default:
        return "Service Unavailable";
    }
}

/* The head of the answer, and what is counted and logged of it. `content_type` NULL: it has no
   body. */
static void begin_answer(exchange_t *exchange, int status, const char *content_type)
{
    h2o_req_t *req = exchange->req;
    uint64_t micros = clock_mono_us() - exchange->started_us;
    assert(!exchange->answered);
    exchange->answered = true;
    req->res.status = status;
    req->res.reason = reason_of(status);
    if (content_type != NULL)
        h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type,
                       strlen(content_type));
    reply_add_header(exchange, "x-request-id", exchange->request_id);
    const char *origins = exchange->http->config->http.cors_origins;
    if (origins != NULL && exchange->routes->cross_origin)
        cors_allow(req, origins);
    metric_request(exchange->route, status, micros);
    log_access(exchange, status, micros);
}

static void send_answer(exchange_t *exchange, int status, const char *content_type, str_t body)
{
    if (content_type != NULL)
        exchange->req->res.content_length = body.n;
    exchange->has_body = content_type != NULL;
    begin_answer(exchange, status, content_type);
    connection_answered(&exchange->taking);
    h2o_send_inline(exchange->req, body.p, body.n);
}

void reply_begin(exchange_t *exchange, const char *content_type, h2o_generator_t *generator)
{
    h2o_req_t *req = exchange->req;
    /* The end of such an answer in HTTP/1.0 is the end of its connection. */
    if (req->version < 0x101)
        req->http1_is_persistent = 0;
    begin_answer(exchange, 200, content_type);
    exchange->in_parts = true;
    h2o_start_response(req, generator);
}

void reply_part(exchange_t *exchange, str_t part, h2o_send_state_t state)
{
    h2o_iovec_t bytes = {(char *)part.p, part.n};
    /* libh2o takes an empty part for the last one. */
    assert(exchange->in_parts && (part.n != 0 || !h2o_send_state_is_in_progress(state)));
    exchange->has_body = exchange->has_body || part.n != 0;
    connection_part_taken(&exchange->taking);
    connection_answered(&exchange->taking);
    h2o_send(exchange->req, &bytes, part.n == 0 ? 0 : 1, state);
}

void reply_text(exchange_t *exchange, int status, const char *content_type, str_t body)
{
    send_answer(exchange, status, content_type, body);
}

static void add_number(exchange_t *exchange, const h2o_token_t *name, str_t head, uint64_t number,
                       str_t tail)
{
    h2o_mem_pool_t *pool = &exchange->req->pool;
    char text[64], *at = text;
    str_put(&at, head);
    str_put_u64(&at, number);
    str_put(&at, tail);
    h2o_iovec_t value = h2o_strdup(pool, text, (size_t)(at - text));
    h2o_add_header(pool, &exchange->req->res.headers, name, NULL, value.base, value.len);
}

void reply_cached(exchange_t *exchange, int status, str_t json, const cached_t *cached)
{
    h2o_mem_pool_t *pool = &exchange->req->pool;
    h2o_headers_t *headers = &exchange->req->res.headers;
    h2o_iovec_t etag = h2o_strdup(pool, cached->etag.p, cached->etag.n);
    h2o_add_header(pool, headers, H2O_TOKEN_ETAG, NULL, etag.base, etag.len);
    add_number(exchange, H2O_TOKEN_CACHE_CONTROL, STR("public, max-age="), cached->max_age_s,
               STR(", must-revalidate"));
    add_number(exchange, H2O_TOKEN_AGE, STR(""), cached->age_ms / 1000, STR(""));
    if (cached->stale != NULL)
        reply_add_header(exchange, "holdfast-stale", cached->stale);
    if (status == 304)
        send_answer(exchange, status, NULL, STR(""));
    else
        send_answer(exchange, status, JSON_TYPE, json);
}

void reply_nothing(exchange_t *exchange)
{
    send_answer(exchange, 204, NULL, STR(""));
}

static void reply_cjson(exchange_t *exchange, int status, const char *content_type, cJSON *json)
{
    char *text = alloc_check(cJSON_PrintUnformatted(json));
    cJSON_Delete(json);
    reply_text(exchange, status, content_type, str_of(text));
    free(text);
}

void reply_json(exchange_t *exchange, int status, cJSON *json)
{
    reply_cjson(exchange, status, JSON_TYPE, json);
}

static cJSON *problem_to_json(problem_t problem, const char *detail)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "type", "about:blank");
    cJSON_AddStringToObject(json, "title", problem_title(problem));
    cJSON_AddNumberToObject(json, "status", problem_status(problem));
    cJSON_AddStringToObject(json, "code", problem_code(problem));
    if (detail != NULL)
        cJSON_AddStringToObject(json, "detail", detail);
    return json;
}

static void add_problem_headers(exchange_t *exchange, problem_t problem)
{
    if (problem == PROBLEM_UNAVAILABLE || problem == PROBLEM_RATE_LIMITED)
        reply_add_header(exchange, "retry-after", RETRY_AFTER);
    if (problem == PROBLEM_UNAUTHORIZED)
        reply_add_header(exchange, "www-authenticate", "Bearer");
}

void reply_problem(exchange_t *exchange, problem_t problem, const char *detail)
{
    add_problem_headers(exchange, problem);
    if (detail != NULL) {
        reply_cjson(exchange, problem_status(problem), PROBLEM_TYPE,
                    problem_to_json(problem, detail));
        return;
    }
    reply_text(exchange, problem_status(problem), PROBLEM_TYPE, problem_body(problem));
}

void reply_unsupported(exchange_t *exchange, const char *name, const char *taken,
                       const char *detail)
{
    reply_add_header(exchange, name, taken);
    reply_problem(exchange, PROBLEM_UNSUPPORTED_MEDIA_TYPE, detail);
}

void reply_method_not_allowed(exchange_t *exchange, const char *allow)
{
    reply_add_header(exchange, "allow", allow);
    reply_problem(exchange, PROBLEM_METHOD_NOT_ALLOWED, NULL);
}

/* --- orders --- */

cJSON *time_to_json(uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms == 0)
        return cJSON_CreateNull();
    time_format_rfc3339(text, ms);
    return cJSON_CreateString(text);
}

/* Writes the text of an order, with its NUL: alone, or behind the members of the problem `head`,
   which ends with a brace. */
static str_t order_text(char *text, str_t head, const order_t *order)
{
    char *at = text;
    if (head.n != 0) {
        str_put(&at, (str_t){head.p, head.n - 1});
        str_put(&at, STR(","));
    } else {
        str_put(&at, STR("{"));
    }
    order_json_put(&at, order);
    str_put(&at, (str_t){"}", 2});
    return (str_t){text, (size_t)(at - text) - 1};
}

cJSON *order_to_json(const order_t *order)
{
    char text[ORDER_JSON_MAX];
    return cJSON_CreateRaw(order_text(text, STR_NONE, order).p);
}

void reply_order(exchange_t *exchange, int status, const order_t *order, bool replayed)
{
    char location[64] = "/v1/orders/", text[ORDER_JSON_MAX];
    order_id_format(location + strlen(location), &order->id);
    if (status == 201 || status == 202)
        reply_add_header(exchange, "location", location);
    if (replayed)
        reply_add_header(exchange, "idempotency-replayed", "true");
    reply_text(exchange, status, JSON_TYPE, order_text(text, STR_NONE, order));
}

/* The terms may change: whoever waits for days does not hear of it. */
#define RETRY_AFTER_MAX_S 3600

/* Retry-After until the sale starts, or RETRY_AFTER_MAX_S. */
static void add_retry_at(exchange_t *exchange, uint64_t at_ms)
{
    char text[U64_DIGITS_MAX + 1], *at = text;
    uint64_t now_ms = remote_clock_now_ms(exchange->http->gate_clock);
    uint64_t wait_s = at_ms > now_ms ? (at_ms - now_ms + 999) / 1000 : 1;
    str_put_u64(&at, wait_s < RETRY_AFTER_MAX_S ? wait_s : RETRY_AFTER_MAX_S);
    *at = '\0';
    reply_add_header(exchange, "retry-after", text);
}

/* The most bytes of a refusal's own members. */
#define WHY_MAX (64 + 2 * U64_DIGITS_MAX)

/* Returns the body of `problem` with the members of `why`; the static body if there are none. */
static str_t refusal_text(char *text, problem_t problem, const refusal_t *why)
{
    char *at = text, time[TIME_TEXT_SIZE];
    str_t body = problem_body(problem);
    bool has_time = problem == PROBLEM_SALE_NOT_STARTED && why->starts_at_ms != 0;
    bool has_limit = problem == PROBLEM_BUYER_LIMIT_EXCEEDED && why->limit != 0;
    if (!has_time && !has_limit)
        return body;
    str_put(&at, (str_t){body.p, body.n - 1});
    if (has_time) {
        time_format_rfc3339(time, why->starts_at_ms);
        str_put(&at, STR(",\"starts_at\":\""));
        str_put(&at, str_of(time));
        str_put(&at, STR("\""));
    } else {
        str_put(&at, STR(",\"limit\":"));
        str_put_u64(&at, why->limit);
    }
    if (has_limit && why->owned_is_known) {
        str_put(&at, STR(",\"owned\":"));
        str_put_u64(&at, (uint64_t)(why->owned > 0 ? why->owned : 0));
    }
    str_put(&at, STR("}"));
    return (str_t){text, (size_t)(at - text)};
}

void reply_refusal(exchange_t *exchange, problem_t problem, const refusal_t *why,
                   const order_t *order, bool replayed)
{
    char head[PROBLEM_BODY_MAX + WHY_MAX], text[PROBLEM_BODY_MAX + WHY_MAX + ORDER_JSON_MAX];
    str_t body = refusal_text(head, problem, why);
    if (replayed)
        reply_add_header(exchange, "idempotency-replayed", "true");
    if (problem == PROBLEM_SALE_NOT_STARTED && why->starts_at_ms != 0)
        add_retry_at(exchange, why->starts_at_ms);
    add_problem_headers(exchange, problem);
    reply_text(exchange, problem_status(problem), PROBLEM_TYPE,
               order == NULL ? body : order_text(text, body, order));
}
