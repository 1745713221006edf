/*
 * Maps method and path to a handler. Each of the two listeners has a constant table. Loop thread
 * only; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_ROUTE_H
#define HOLDFAST_HTTP_ROUTE_H

#include "http/access.h"

#define PARAM_BYTES_MAX 512

/* The segment that the `*` of a pattern matched, percent-decoded; and the raw query. */
typedef struct {
    char bytes[PARAM_BYTES_MAX];
    str_t param;
    str_t query;
} route_match_t;

/* The bodies that a call accepts. Any other body is refused: the sender expects an effect that it
   would not have. */
typedef enum {
    BODY_IGNORED,  /* for GET, where HTTP gives a body no meaning */
    BODY_EMPTY,    /* none, or {} */
    BODY_OPTIONAL, /* none, or JSON; if the request names a type and encoding, they must fit */
    BODY_DEMANDED  /* the same, but required */
} route_body_t;

typedef struct {
    const char *method;
    const char *pattern; /* "/v1/orders/(*)/confirm" without the brackets: * is one segment */
    route_t route;
    role_t role; /* that it demands: see access.h */
    route_body_t body;
    const char *query; /* names of its parameters, each followed by a space; NULL: any */
    void (*handle)(exchange_t *exchange, const route_match_t *match);
} route_entry_t;

/* The calls of a listener. */
typedef struct routes {
    const route_entry_t *table; /* ends with a NULL method */
    bool cross_origin;          /* scripts of http.cors_origins may call: cors.h */
    bool closed; /* who has no valid token does not hear which paths there are: all are 401 */
    void *data;  /* for its handlers; NULL: they use none */
} routes_t;

/* Finds the handler of exchange->routes and calls it. Answers 401, 403, 404, 405 or 415 itself, and
   400 to a parameter or body that the call does not accept. HEAD is served as GET. */
void route_dispatch(exchange_t *exchange);

/* Whether a request with this head can only be answered so, whatever its body is. Only method,
   path, query_at and headers of `head` are read. */
bool route_refuses(const routes_t *routes, const access_t *access, const h2o_req_t *head);

/* Reads the value of a query parameter, still encoded: STR_NONE if absent, "" if it is empty.
   False: it occurs more than once, so that its value is not certain. */
bool query_value(str_t query, const char *name, str_t *value);

/* The sizes of the pages of a list. */
typedef struct {
    unsigned fallback, max;
} page_size_t;

/* Reads the parameter `limit` of a list. False: answered, since it is no number from 1 to the most.
 */
bool query_limit(exchange_t *exchange, str_t query, page_size_t sizes, unsigned *out);

#endif
