#include <stdio.h>

#include "admin/handlers.h"
#include "http/body.h"
#include "http/etag.h"

_Static_assert(REQUEST_ID_MAX <= CHANGE_REQUEST_ID_MAX, "the record has room for a request's id");

/* Reads the one value of a header. False: it comes twice. STR_NONE: there is none. */
static bool header_once(const h2o_req_t *req, str_t name, str_t *value)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name.p, name.n, -1);
    *value = STR_NONE;
    if (at == -1)
        return true;
    *value = (str_t){req->headers.entries[at].value.base, req->headers.entries[at].value.len};
    return h2o_find_header_by_str(&req->headers, name.p, name.n, at) == -1;
}

bool read_origin(exchange_t *exchange, change_origin_t *origin)
{
    str_t reason;
    *origin = (change_origin_t){.reason = ""};
    snprintf(origin->who, sizeof(origin->who), "%s", exchange->who);
    snprintf(origin->request_id, sizeof(origin->request_id), "%s", exchange->request_id);
    if (!header_once(exchange->req, STR("holdfast-reason"), &reason) ||
        (reason.n != 0 && !is_plain_text(reason, REASON_BYTES_MAX))) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "Holdfast-Reason: give one, of 1 to 255 bytes of UTF-8 without control "
                      "characters");
        return false;
    }
    if (reason.n != 0)
        memcpy(origin->reason, reason.p, reason.n);
    return true;
}

/* The lines of a header are one list. */
static bool read_named(const h2o_req_t *req, const h2o_token_t *header,
                       etag_comparison_t comparison, named_versions_t *named)
{
    ssize_t at = -1;
    while ((at = h2o_find_header(&req->headers, header, at)) != -1) {
        h2o_iovec_t value = req->headers.entries[at].value;
        if (!etag_add_versions((str_t){value.base, value.len}, comparison, named))
            return false;
    }
    return true;
}

bool read_precondition(exchange_t *exchange, precondition_t *precondition)
{
    const h2o_req_t *req = exchange->req;
    *precondition = (precondition_t){.match = {.present = false}};
    if (read_named(req, H2O_TOKEN_IF_MATCH, ETAG_STRONG, &precondition->match) &&
        read_named(req, H2O_TOKEN_IF_NONE_MATCH, ETAG_WEAK, &precondition->none_match))
        return true;
    reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                  "If-Match, If-None-Match: name 16 versions at the most");
    return false;
}
