#include "http/intake.h"

static h2o_iovec_t iovec_of(str_t text)
{
    return h2o_iovec_init(text.p, text.n);
}

void intake_take_target(h2o_req_t *req, const framing_t *framing)
{
    bool is_absolute = framing->authority.p != NULL;
    str_t path = is_absolute ? framing->path : framing->target;
    /* The part behind the authority is empty, or starts with '/' or '?'. */
    bool has_root = !is_absolute || (path.n != 0 && path.p[0] == '/');
    const char *query = path.n == 0 ? NULL : memchr(path.p, '?', path.n);
    if (is_absolute)
        req->authority = h2o_strdup(&req->pool, framing->authority.p, framing->authority.n);
    req->path =
        h2o_concat(&req->pool, has_root ? iovec_of(STR("")) : iovec_of(STR("/")), iovec_of(path));
    req->query_at = query == NULL ? SIZE_MAX : (size_t)(query - path.p) + !has_root;
}

/* Whether the connection stays open (RFC 9112, 9.3). libh2o uses only the last Connection header,
   and ends the connection for any word in it that is not keep-alive. */
static bool stays_open(const h2o_req_t *req)
{
    bool is_persistent = req->http1_is_persistent || req->version > 0x100;
    for (ssize_t at = -1; (at = h2o_find_header(&req->headers, H2O_TOKEN_CONNECTION, at)) != -1;) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (h2o_contains_token(value.base, value.len, H2O_STRLIT("close"), ','))
            return false;
    }
    return is_persistent && !req->conn->ctx->shutdown_requested;
}

static bool head_is_plain(exchange_t *exchange)
{
    h2o_req_t *req = exchange->req;
    const h2o_buffer_t *input = req->conn->callbacks->get_socket(req->conn)->input;
    framing_t framing;
    const char *fault = framing_read((str_t){input->bytes, input->size}, &framing);
    if (fault != NULL) {
        req->http1_is_persistent = 0;
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, fault);
        return false;
    }
    if (framing.authority.p != NULL)
        intake_take_target(req, &framing);
    req->http1_is_persistent =
        !framing.chunked && stays_open(req) && !exchange->taking.connection->expectation.was_cut;
    return true;
}

bool intake_admits(exchange_t *exchange)
{
    const h2o_req_t *req = exchange->req;
    if (req->version < 0x200 && !head_is_plain(exchange))
        return false;
    if (req->entity.len <= exchange->http->config->http.body_bytes_max)
        return true;
    if (req->version >= 0x200) /* in HTTP/1 the body is at most one byte over the limit */
        connection_keeps(&exchange->taking, req->entity.len);
    reply_problem(exchange, PROBLEM_BODY_TOO_LARGE, NULL);
    return false;
}
