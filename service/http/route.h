/*
 * Maps method and path to a handler. Each of the two listeners has a constant table. Loop thread
 * only; nothing blocks.
 */
#ifndef HOLDFAST_HTTP_ROUTE_H
#define HOLDFAST_HTTP_ROUTE_H

#include "http/exchange.h"

/* The functions that serve a listener. */
typedef struct routes {
    void (*dispatch)(exchange_t *exchange); /* answers one request; on the thread of its loop */
    /* Like route_refuses(); it may refuse more. */
    bool (*refuses)(const h2o_req_t *head, const config_t *config);
    void *data; /* for its handlers; NULL: they use none */
} routes_t;

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
    route_body_t body;
    const char *query; /* names of its parameters, each followed by a space; NULL: any */
    void (*handle)(exchange_t *exchange, const route_match_t *match);
} route_entry_t;

/* Finds the handler and calls it. Answers 404, 405 or 415 itself, and 400 to a parameter or body
   that the call does not accept. `table` ends with a NULL method. HEAD is served as GET. */
void route_dispatch(const route_entry_t *table, exchange_t *exchange);

/* Whether a request with this head can only be answered 404, 405 or 415. Only method, path,
   query_at and headers of `head` are read. */
bool route_refuses(const route_entry_t *table, const h2o_req_t *head);

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
