/*
 * From method and path to a handler. Both listeners have a table each.
 */
#ifndef HOLDFAST_HTTP_ROUTE_H
#define HOLDFAST_HTTP_ROUTE_H

#include "http/exchange.h"

/* What a listener serves. */
typedef struct routes {
    void (*dispatch)(exchange_t *exchange); /* answers one request; on the thread of its loop */
    /* As route_refuses(); it may refuse more. */
    bool (*refuses)(const h2o_req_t *head, const config_t *config);
    void *data; /* for its handlers; NULL: they need none */
} routes_t;

#define PARAM_BYTES_MAX 512

/* What the one `*` of a pattern matched, percent-decoded; and the raw query. */
typedef struct {
    char bytes[PARAM_BYTES_MAX];
    str_t param;
    str_t query;
} route_match_t;

/* What a call takes. Whatever comes else is refused: nobody could tell what its sender expects. */
typedef enum {
    BODY_IGNORED,  /* of a GET, where HTTP gives it no meaning */
    BODY_EMPTY,    /* none, or {} */
    BODY_OPTIONAL, /* none, or JSON of the type and encoding that the request says, if it does */
    BODY_DEMANDED  /* likewise, but not none */
} route_body_t;

typedef struct {
    const char *method;
    const char *pattern; /* "/v1/orders/(*)/confirm" without the brackets: * is one segment */
    route_t route;
    route_body_t body;
    const char *query; /* names of its parameters, a space behind each; NULL: any */
    void (*handle)(exchange_t *exchange, const route_match_t *match);
} route_entry_t;

/* Finds the handler and calls it; answers 404, 405 or 415 itself, and 400 to a parameter or body
   that the call does not take. `table` ends with a NULL method.
   HEAD is served as GET. */
void route_dispatch(const route_entry_t *table, exchange_t *exchange);

/* Of a request with this head nothing but 404, 405 or 415 can come of it. Only method, path,
   query_at and headers are looked at. */
bool route_refuses(const route_entry_t *table, const h2o_req_t *head);

/* The value of a query parameter, still encoded: STR_NONE if absent, "" if it has none. False: it
   is there more than once, so that nobody can tell which one is meant. */
bool query_value(str_t query, const char *name, str_t *value);

#endif
