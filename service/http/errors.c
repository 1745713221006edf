#include "http/errors.h"

#include <stdio.h>

#include "metrics/metrics.h"
#include "sale/problem.h"

typedef struct {
    h2o_ostream_t super;
    h2o_iovec_t body;
} rewrite_t;

static void send_rewritten(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t count,
                           h2o_send_state_t state)
{
    (void)bufs;
    (void)count;
    h2o_ostream_send_next(self, req, &((rewrite_t *)self)->body, 1, state);
}

static problem_t problem_of_status(int status)
{
    return status == 413 ? PROBLEM_BODY_TOO_LARGE : PROBLEM_INVALID_REQUEST;
}

/* Registered on the host's fallback path, which h2o uses only for requests that it refused before
   any handler received them. */
static void on_setup(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot)
{
    (void)filter;
    if (req->res.status >= 400) {
        char text[256];
        problem_t problem = problem_of_status(req->res.status);
        int n =
            snprintf(text, sizeof(text),
                     "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\"}",
                     problem_title(problem), req->res.status, problem_code(problem));
        rewrite_t *rewrite = (rewrite_t *)h2o_add_ostream(req, sizeof(*rewrite), slot);
        rewrite->super.do_send = send_rewritten;
        rewrite->body = h2o_strdup(&req->pool, text, (size_t)n);
        req->res.content_length = (size_t)n;
        h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE,
                       H2O_STRLIT("application/problem+json"), 1);
        metric_request(ROUTE_other, req->res.status, 0);
        slot = &rewrite->super.next;
    }
    h2o_setup_next_ostream(req, slot);
}

void errors_register(h2o_hostconf_t *host)
{
    h2o_filter_t *filter = h2o_create_filter(&host->fallback_path, sizeof(*filter));
    filter->on_setup_ostream = on_setup;
}
