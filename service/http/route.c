#include "http/route.h"

#include <stdio.h>

#include "http/body.h"

/* Takes the segment up to the next '/' off the front of `rest`. */
static str_t next_segment(str_t *rest)
{
    const char *slash = rest->n == 0 ? NULL : memchr(rest->p, '/', rest->n);
    str_t segment = {rest->p, slash == NULL ? rest->n : (size_t)(slash - rest->p)};
    size_t skip = slash == NULL ? rest->n : segment.n + 1;
    *rest = (str_t){rest->p + skip, rest->n - skip};
    return segment;
}

/* A parameter that is too long or wrongly encoded is the name of nothing: it stays empty. */
static void take_param(str_t segment, route_match_t *match)
{
    size_t n = 0;
    if (segment.n > sizeof(match->bytes) || !percent_decode(segment, match->bytes, &n))
        n = 0;
    match->param = (str_t){match->bytes, n};
}

static bool pattern_matches(const char *pattern, str_t path, route_match_t *match)
{
    str_t want = {pattern + 1, strlen(pattern) - 1}, have = {path.p + 1, path.n - 1};
    while (want.n != 0 && have.n != 0) {
        str_t w = next_segment(&want), h = next_segment(&have);
        if (str_eq(w, STR("*")) && h.n != 0)
            take_param(h, match);
        else if (!str_eq(w, h))
            return false;
    }
    return want.n == 0 && have.n == 0 && path.p[path.n - 1] != '/';
}

static bool is_method(const char *want, h2o_iovec_t have)
{
    return str_eq(str_of(want), (str_t){have.base, have.len}) ||
           (strcmp(want, "GET") == 0 && str_eq(STR("HEAD"), (str_t){have.base, have.len}));
}

/* RFC 7386. Of an item only its times can be taken away by a null; for other members it is refused.
 */
#define MERGE_PATCH "application/merge-patch+json"

static bool is_patch(const route_entry_t *entry)
{
    return strcmp(entry->method, "PATCH") == 0;
}

/* NULL, or the header that says that the body is not one that can be read. Every one of a name
   counts: another reader of the same request may go by another of them. */
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

static void call_handler(const route_entry_t *entry, exchange_t *exchange,
                         const route_match_t *match)
{
    exchange->route = entry->route;
    const h2o_token_t *by =
        entry->takes_body ? unreadable_by(entry, &exchange->req->headers) : NULL;
    if (by == NULL)
        entry->handle(exchange, match);
    else if (by == H2O_TOKEN_CONTENT_ENCODING)
        reply_unsupported(exchange, "accept-encoding", "identity",
                          "Content-Encoding: send the body as it is");
    else if (is_patch(entry))
        reply_unsupported(exchange, "accept-patch", "application/json, " MERGE_PATCH,
                          "Content-Type: give application/json or " MERGE_PATCH);
    else
        reply_unsupported(exchange, "accept", "application/json",
                          "Content-Type: give application/json");
}

void route_dispatch(const route_entry_t *table, exchange_t *exchange)
{
    h2o_req_t *req = exchange->req;
    route_match_t match;
    char allow[96] = "";
    bool has_query = req->query_at != SIZE_MAX;
    str_t path = {req->path.base, has_query ? req->query_at : req->path.len};
    match.query =
        has_query ? (str_t){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1}
                  : STR_NONE;
    match.param = STR_NONE;
    for (const route_entry_t *e = table; e->method != NULL && path.n != 0 && path.p[0] == '/';
         ++e) {
        if (!pattern_matches(e->pattern, path, &match))
            continue;
        if (is_method(e->method, req->method)) {
            call_handler(e, exchange, &match);
            return;
        }
        size_t n = strlen(allow);
        snprintf(allow + n, sizeof(allow) - n, "%s%s%s", n == 0 ? "" : ", ", e->method,
                 strcmp(e->method, "GET") == 0 ? ", HEAD" : "");
    }
    if (allow[0] != '\0')
        reply_method_not_allowed(exchange, allow);
    else
        reply_problem(exchange, PROBLEM_NOT_FOUND, NULL);
}

bool query_value(str_t query, const char *name, str_t *value)
{
    size_t n = strlen(name);
    unsigned found = 0;
    *value = STR_NONE;
    while (query.n != 0) {
        const char *amp = memchr(query.p, '&', query.n);
        size_t len = amp == NULL ? query.n : (size_t)(amp - query.p);
        if (len >= n && memcmp(query.p, name, n) == 0 && (len == n || query.p[n] == '=')) {
            ++found;
            *value = len == n ? STR("") : (str_t){query.p + n + 1, len - n - 1};
        }
        size_t skip = amp == NULL ? query.n : len + 1;
        query = (str_t){query.p + skip, query.n - skip};
    }
    return found <= 1;
}
