#include "http/request_key.h"

#include "http/body.h"

bool request_key(exchange_t *exchange, char *bytes, str_t *key)
{
    const h2o_req_t *req = exchange->req;
    ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("idempotency-key"), -1);
    *key = STR_NONE;
    if (at == -1)
        return true;
    str_t value = {req->headers.entries[at].value.base, req->headers.entries[at].value.len};
    bool again = h2o_find_header_by_str(&req->headers, H2O_STRLIT("idempotency-key"), at) != -1;
    if (idempotency_key_read(value, bytes, key) && !again)
        return true;
    reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                  "Idempotency-Key: give one, of 1 to 255 visible ASCII characters, as they are or "
                  "as a quoted string");
    return false;
}
