#include "http/cors.h"

/* What a client may send, and what it may read of an answer, beside what every script may. */
#define REQUEST_HEADERS "authorization, content-type, idempotency-key, if-none-match, x-request-id"
#define ANSWER_HEADERS                                                                             \
    "age, allow, etag, holdfast-stale, idempotency-replayed, location, retry-after, "              \
    "www-authenticate, x-request-id"
/* Seconds for which a browser may keep the answer to a preflight. */
#define MAX_AGE "600"

static str_t header_of(const h2o_req_t *req, const char *name)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);
    return at == -1
               ? STR_NONE
               : (str_t){req->headers.entries[at].value.base, req->headers.entries[at].value.len};
}

/* The value is a literal, or lives as long as the request. */
static void add(h2o_req_t *req, const char *name, str_t value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 0, NULL, value.p,
                          value.n);
}

/* Origins are compared as they are: browsers send them in lower case. */
static bool is_listed(str_t origin, const char *origins)
{
    while (*origins != '\0') {
        size_t n = strcspn(origins, " ");
        if (origin.n != 0 && str_eq(origin, (str_t){origins, n}))
            return true;
        origins += n + (origins[n] == ' ');
    }
    return false;
}

/* What Access-Control-Allow-Origin is for this request; STR_NONE: nothing. */
static str_t allowed_origin(const h2o_req_t *req, const char *origins)
{
    str_t origin = header_of(req, "origin");
    if (strcmp(origins, "*") == 0)
        return origin.n == 0 ? STR_NONE : STR("*");
    return is_listed(origin, origins) ? origin : STR_NONE;
}

void cors_allow(h2o_req_t *req, const char *origins)
{
    str_t origin = allowed_origin(req, origins);
    add(req, "vary", STR("origin"));
    if (origin.n == 0)
        return;
    add(req, "access-control-allow-origin", origin);
    add(req, "access-control-expose-headers", STR(ANSWER_HEADERS));
}

bool cors_allow_preflight(h2o_req_t *req, const char *origins, const char *methods)
{
    if (!h2o_memis(req->method.base, req->method.len, H2O_STRLIT("OPTIONS")) ||
        header_of(req, "access-control-request-method").n == 0 ||
        allowed_origin(req, origins).n == 0)
        return false;
    h2o_iovec_t copy = h2o_strdup(&req->pool, methods, SIZE_MAX);
    add(req, "access-control-allow-methods", (str_t){copy.base, copy.len});
    add(req, "access-control-allow-headers", STR(REQUEST_HEADERS));
    add(req, "access-control-max-age", STR(MAX_AGE));
    return true;
}
