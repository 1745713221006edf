/*
 * Every refusal that Holdfast can send: one table for C, JSON, SQL and metrics.
 *
 * The code is written to `application/problem+json` (RFC 9457), to `orders.reject_code` of an order
 * that was refused after it had been admitted, and to metric labels.
 *
 * Constants only: any thread; nothing blocks. The texts are static.
 */
#ifndef HOLDFAST_SALE_PROBLEM_H
#define HOLDFAST_SALE_PROBLEM_H

#include "base/str.h"

/* name, HTTP status, code, title */
#define PROBLEM_TABLE(X)                                                                           \
    X(NONE, 200, "", "")                                                                           \
    X(MALFORMED_JSON, 400, "malformed_json", "The body is not one well-formed JSON object")        \
    X(INVALID_REQUEST, 400, "invalid_request", "A member of the request is not acceptable")        \
    X(UNAUTHORIZED, 401, "unauthorized", "A token is missing, wrong or has expired")               \
    X(FORBIDDEN, 403, "forbidden", "The token does not permit this")                               \
    X(UNKNOWN_ITEM, 404, "unknown_item", "There is no such item")                                  \
    X(UNKNOWN_ORDER, 404, "unknown_order", "There is no such order")                               \
    X(NOT_FOUND, 404, "not_found", "There is nothing at this path")                                \
    X(METHOD_NOT_ALLOWED, 405, "method_not_allowed", "This path does not take this method")        \
    X(SOLD_OUT, 409, "sold_out", "Not enough units are left")                                      \
    X(BUYER_LIMIT_EXCEEDED, 409, "buyer_limit_exceeded", "The buyer would pass the item's limit")  \
    X(SALE_NOT_STARTED, 409, "sale_not_started", "The sale has not started")                       \
    X(SALE_ENDED, 409, "sale_ended", "The sale has ended")                                         \
    X(WRONG_STATE, 409, "wrong_state", "The present state forbids it")                             \
    X(DUPLICATE_REQUEST, 409, "duplicate_request", "Another request used this idempotency key")    \
    X(PRECONDITION_FAILED, 412, "precondition_failed", "The item is not as the request demands")   \
    X(BODY_TOO_LARGE, 413, "body_too_large", "The body is larger than the server takes")           \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type",                                       \
      "The body is of a type or encoding that is not taken")                                       \
    X(IDEMPOTENCY_KEY_REUSED, 422, "idempotency_key_reused",                                       \
      "This idempotency key was used for another request")                                         \
    X(PRECONDITION_REQUIRED, 428, "precondition_required",                                         \
      "The request must name what it changes")                                                     \
    X(RATE_LIMITED, 429, "rate_limited", "Too many requests")                                      \
    X(UNAVAILABLE, 503, "unavailable", "Not able to answer for now; try again")

typedef enum {
#define X(name_, status_, code_, title_) PROBLEM_##name_,
    PROBLEM_TABLE(X)
#undef X
        PROBLEM_COUNT
} problem_t;

int problem_status(problem_t problem);
const char *problem_code(problem_t problem);
const char *problem_title(problem_t problem);
/* The body as application/problem+json without a detail: static, at most PROBLEM_BODY_MAX bytes. */
#define PROBLEM_BODY_MAX 192
str_t problem_body(problem_t problem);
/* The problem of a code read from a store; PROBLEM_UNAVAILABLE for a code that this version does
   not have. */
problem_t problem_of_code(str_t code);

#endif
