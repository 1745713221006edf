#include "http/intake.h"

#include "http/framing.h"

static h2o_iovec_t iovec_of(str_t text)
{
    return h2o_iovec_init(text.p, text.n);
}

/* `path` is empty, or starts with '/' or '?'. */
static void take_absolute(h2o_req_t *req, const framing_t *framing)
{
    const char *query = framing->path.n == 0 ? NULL : memchr(framing->path.p, '?', framing->path.n);
    bool has_root = framing->path.n != 0 && framing->path.p[0] == '/';
    /* libh2o has copied the target away if there is a body; the head moves when more arrives. */
    req->authority = h2o_strdup(&req->pool, framing->authority.p, framing->authority.n);
    req->path = h2o_concat(&req->pool, has_root ? h2o_iovec_init(NULL, 0) : iovec_of(STR("/")),
                           iovec_of(framing->path));
    req->query_at = query == NULL ? SIZE_MAX : (size_t)(query - framing->path.p) + !has_root;
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
        take_absolute(req, &framing);
    if (framing.chunked)
        req->http1_is_persistent = 0;
    return true;
}

bool intake_admits(exchange_t *exchange)
{
    const h2o_req_t *req = exchange->req;
    if (req->version < 0x200 && !head_is_plain(exchange))
        return false;
    if (req->entity.len <= exchange->engine->node->config->http.body_bytes_max)
        return true;
    reply_problem(exchange, PROBLEM_BODY_TOO_LARGE, NULL);
    return false;
}
