#include "http/route.h"

#include <stdio.h>
#include <strings.h>

#include "http/body.h"
#include "http/cors.h"

/* A parameter that is too long or wrongly encoded names nothing: it stays empty. */
static void take_param(str_t segment, route_match_t *match)
{
    size_t n = 0;
    if (segment.n > sizeof(match->bytes) || !percent_decode(segment, match->bytes, &n))
        n = 0;
    match->param = (str_t){match->bytes, n};
}

static bool pattern_matches(const char *pattern, str_t path, route_match_t *match)
{
    size_t i = 0;
    for (; pattern[i] != '\0' && pattern[i] != '*'; ++i)
        if (i == path.n || path.p[i] != pattern[i])
            return false;
    if (pattern[i] == '\0')
        return i == path.n;
    str_t rest = {path.p + i, path.n - i};
    const char *slash = rest.n == 0 ? NULL : memchr(rest.p, '/', rest.n);
    str_t segment = {rest.p, slash == NULL ? rest.n : (size_t)(slash - rest.p)};
    if (segment.n == 0 ||
        !str_eq(str_of(pattern + i + 1), (str_t){rest.p + segment.n, rest.n - segment.n}))
        return false;
    take_param(segment, match);
    return true;
}

static bool is_method(const char *want, h2o_iovec_t have)
{
    return str_eq(str_of(want), (str_t){have.base, have.len}) ||
           (strcmp(want, "GET") == 0 && str_eq(STR("HEAD"), (str_t){have.base, have.len}));
}

/* RFC 7386. Only the times of an item can be removed by a null; for other members null is
   refused. */
#define MERGE_PATCH "application/merge-patch+json"

static bool is_patch(const route_entry_t *entry)
{
    return strcmp(entry->method, "PATCH") == 0;
}

/* Returns the header for which the body cannot be read, or NULL. Every header of a name counts,
   because another reader of the same request may use another one of them. */
static const h2o_token_t *unreadable_by(const route_entry_t *entry, const h2o_headers_t *headers)
{
    for (size_t i = 0; i < headers->size; ++i) {
        const h2o_header_t *header = &headers->entries[i];
        str_t value = {header->value.base, header->value.len};
        if (header->name == &H2O_TOKEN_CONTENT_TYPE->buf) {
            if (!is_media_type(value, "application/json") &&
                !(is_patch(entry) && is_media_type(value, MERGE_PATCH)))
                return H2O_TOKEN_CONTENT_TYPE;
        } else if (header->name == &H2O_TOKEN_CONTENT_ENCODING->buf &&
                   !is_media_type(value, "identity")) {
            return H2O_TOKEN_CONTENT_ENCODING;
        }
    }
    return NULL;
}

/* Takes the first parameter, up to the next '&', off the front of `query`. */
static str_t next_parameter(str_t *query)
{
    const char *amp = memchr(query->p, '&', query->n);
    str_t parameter = {query->p, amp == NULL ? query->n : (size_t)(amp - query->p)};
    size_t skip = amp == NULL ? query->n : parameter.n + 1;
    *query = (str_t){query->p + skip, query->n - skip};
    return parameter;
}

static str_t name_of(str_t parameter)
{
    const char *equals = parameter.n == 0 ? NULL : memchr(parameter.p, '=', parameter.n);
    return (str_t){parameter.p, equals == NULL ? parameter.n : (size_t)(equals - parameter.p)};
}

static bool is_taken(const char *names, str_t name)
{
    for (const char *space; (space = strchr(names, ' ')) != NULL; names = space + 1)
        if (str_eq(name, (str_t){names, (size_t)(space - names)}))
            return true;
    return false;
}

/* Whether somebody sends a token in the URL. That is refused before all else, lest it work
   somewhere: a URL is kept in histories, and in logs on the way. */
static bool has_token(str_t query)
{
    static const char *const names[] = {"access_token", "api_key",       "apikey",
                                        "auth",         "authorization", "bearer",
                                        "id_token",     "jwt",           "token"};
    while (query.n != 0) {
        str_t name = name_of(next_parameter(&query));
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i)
            if (name.n == strlen(names[i]) && strncasecmp(name.p, names[i], name.n) == 0)
                return true;
    }
    return false;
}

/* The most bytes of a name that a detail shows. */
#define NAME_SHOWN_MAX 40

/* A detail may show only names that are plain text. */
static bool is_text(str_t name)
{
    for (size_t i = 0; i < name.n; ++i)
        if (name.p[i] < 0x21 || name.p[i] > 0x7e)
            return false;
    return name.n <= NAME_SHOWN_MAX;
}

/* False: answered. */
static bool query_is_known(const route_entry_t *entry, exchange_t *exchange, str_t query)
{
    char detail[96] = "The query has a parameter that this call does not take";
    while (entry->query != NULL && query.n != 0) {
        str_t parameter = next_parameter(&query), name = name_of(parameter);
        if (parameter.n == 0 || is_taken(entry->query, name))
            continue;
        if (is_text(name))
            snprintf(detail, sizeof(detail), "%.*s: there is no such parameter", (int)name.n,
                     name.p);
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, detail);
        return false;
    }
    return true;
}

/* False: answered. */
static bool body_is_empty(const route_entry_t *entry, exchange_t *exchange)
{
    mistake_t mistake = {PROBLEM_NONE, ""};
    str_t body = {exchange->req->entity.base, exchange->req->entity.len};
    if (entry->body != BODY_EMPTY || body.n == 0)
        return true;
    cJSON *json = body_parse(body, &mistake);
    bool empty = json != NULL && body_read_nothing(json, &mistake);
    cJSON_Delete(json);
    if (!empty)
        reply_problem(exchange, mistake.problem, mistake.detail);
    return empty;
}

static bool has_type(const route_entry_t *entry, const h2o_req_t *req)
{
    return entry->body == BODY_DEMANDED || (entry->body != BODY_IGNORED && req->entity.len != 0);
}

static void call_handler(const route_entry_t *entry, exchange_t *exchange,
                         const route_match_t *match)
{
    exchange->route = entry->route;
    if (!access_admits(exchange, entry->role) || !query_is_known(entry, exchange, match->query))
        return;
    const h2o_token_t *by =
        has_type(entry, exchange->req) ? unreadable_by(entry, &exchange->req->headers) : NULL;
    if (by == NULL && exchange->taking.connection->expectation.was_cut) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, "The body has not arrived");
    } else if (by == NULL) {
        if (body_is_empty(entry, exchange))
            entry->handle(exchange, match);
    } else if (by == H2O_TOKEN_CONTENT_ENCODING) {
        reply_unsupported(exchange, "accept-encoding", "identity",
                          "Content-Encoding: send the body as it is");
    } else if (is_patch(entry)) {
        reply_unsupported(exchange, "accept-patch", "application/json, " MERGE_PATCH,
                          "Content-Type: give application/json or " MERGE_PATCH);
    } else {
        reply_unsupported(exchange, "accept", "application/json",
                          "Content-Type: give application/json");
    }
}

#define ALLOW_SIZE 96

/* NULL: there is no such path; or, if `allow` is not "", not with this method. */
static const route_entry_t *find(const route_entry_t *table, const h2o_req_t *req,
                                 route_match_t *match, char allow[ALLOW_SIZE])
{
    bool has_query = req->query_at != SIZE_MAX;
    str_t path = {req->path.base, has_query ? req->query_at : req->path.len};
    match->query =
        has_query ? (str_t){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1}
                  : STR_NONE;
    match->param = STR_NONE;
    allow[0] = '\0';
    for (const route_entry_t *e = table; e->method != NULL; ++e) {
        if (!pattern_matches(e->pattern, path, match))
            continue;
        if (is_method(e->method, req->method))
            return e;
        size_t n = strlen(allow);
        snprintf(allow + n, ALLOW_SIZE - n, "%s%s%s", n == 0 ? "" : ", ", e->method,
                 strcmp(e->method, "GET") == 0 ? ", HEAD" : "");
    }
    return NULL;
}

/* Answers a preflight, if it is one that is allowed. `allow`: the methods of its path. */
static bool is_preflight(exchange_t *exchange, const char *allow)
{
    const char *origins = exchange->http->config->http.cors_origins;
    if (origins == NULL || !exchange->routes->cross_origin || allow[0] == '\0' ||
        !cors_allow_preflight(exchange->req, origins, allow))
        return false;
    reply_nothing(exchange);
    return true;
}

void route_dispatch(exchange_t *exchange)
{
    route_match_t match;
    char allow[ALLOW_SIZE];
    const routes_t *routes = exchange->routes;
    const route_entry_t *entry = find(routes->table, exchange->req, &match, allow);
    if (has_token(match.query))
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "A token is not taken from a URL; send it as Authorization: Bearer TOKEN");
    else if (entry != NULL)
        call_handler(entry, exchange, &match);
    else if (is_preflight(exchange, allow) || (routes->closed && !access_knows(exchange)))
        return;
    else if (allow[0] != '\0')
        reply_method_not_allowed(exchange, allow);
    else
        reply_problem(exchange, PROBLEM_NOT_FOUND, NULL);
}

bool route_refuses(const routes_t *routes, const access_t *access, const h2o_req_t *head)
{
    route_match_t match;
    char allow[ALLOW_SIZE];
    access_grounds_t grounds;
    const route_entry_t *entry = find(routes->table, head, &match, allow);
    return entry == NULL || has_token(match.query) ||
           access_judge(access, head, entry->role, &grounds) != ACCESS_GRANTED ||
           (entry->body != BODY_IGNORED && unreadable_by(entry, &head->headers) != NULL);
}

bool query_value(str_t query, const char *name, str_t *value)
{
    size_t n = strlen(name);
    unsigned found = 0;
    *value = STR_NONE;
    while (query.n != 0) {
        str_t parameter = next_parameter(&query);
        if (!str_eq(name_of(parameter), (str_t){name, n}))
            continue;
        ++found;
        *value = parameter.n == n ? STR("") : (str_t){parameter.p + n + 1, parameter.n - n - 1};
    }
    return found <= 1;
}

/* 0: the text is no number from 1 to `max`. */
static unsigned read_limit(str_t text, unsigned max)
{
    unsigned number = 0;
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] < '0' || text.p[i] > '9' || number > max)
            return 0;
        number = number * 10 + (unsigned)(text.p[i] - '0');
    }
    return number > max ? 0 : number;
}

bool query_limit(exchange_t *exchange, str_t query, page_size_t sizes, unsigned *out)
{
    char detail[64];
    str_t limit;
    bool once = query_value(query, "limit", &limit);
    *out = limit.p == NULL ? sizes.fallback : read_limit(limit, sizes.max);
    if (once && *out != 0)
        return true;
    snprintf(detail, sizeof(detail), "limit: give a number from 1 to %u, once", sizes.max);
    reply_problem(exchange, PROBLEM_INVALID_REQUEST, detail);
    return false;
}
