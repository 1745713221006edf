/*
 * `Expect: 100-continue` in HTTP/1: what the head alone refuses is answered before the body is
 * sent, else the client hears 100 Continue (RFC 9110, 10.1.1).
 *
 * libh2o 2.2 sends 100 by itself as soon as it has a head with a body, for any path, and in
 * HTTP/1.0 too. It has no setting against that, and no hook between a head and its body. So
 *
 *   - in libh2o's table of headers Expect is made an ordinary one (expect_take_over()), and
 *   - the read callback of a connection's socket is replaced by one that calls libh2o's and then
 *     looks at the input. libh2o sets its own again for each request; it is replaced again in the
 *     same turn of the loop. This reads h2o_socket_t's `_cb.read`, which its header has and does
 *     not document.
 *
 *   head is here, body is not ──refused──▶ the body is made up, nobody reads it ──▶ answer, close
 *                             ──else─────▶ 100 Continue ──▶ libh2o waits for the body
 *
 * If some of the body is there too, nobody waits, and nothing is said before the answer.
 * Loop thread only.
 */
#ifndef HOLDFAST_HTTP_EXPECT_H
#define HOLDFAST_HTTP_EXPECT_H

#include "loop/loop.h"

/* Of all connections of a listener's loop. */
typedef struct {
    loop_t *loop;
    size_t body_bytes_max;
    /* A request of this head will be refused, whatever its body is. */
    bool (*refuses)(const h2o_req_t *head, void *context);
    void *context;
    h2o_socket_cb read;       /* libh2o's */
    h2o_linklist_t unwatched; /* connections whose callback is libh2o's again */
    loop_timer_t timer;
} expectations_t;

/* Of one connection. */
typedef struct {
    expectations_t *all; /* NULL: it is not HTTP/1's */
    h2o_socket_t *socket;
    h2o_linklist_t link;
    size_t looked_bytes; /* of the input, without the end of a head */
    bool looked;         /* at this request's head */
    bool was_cut;        /* this request's body is made up */
} expectation_t;

/* Once for the process, before there are loops. */
void expect_take_over(void);
/* `accept` is HTTP/1's. `refuses` and `context` are set by the caller. */
void expect_init(expectations_t *all, loop_t *loop, h2o_accept_ctx_t *accept,
                 size_t body_bytes_max);
/* Before libh2o gets the socket. */
void expect_begin(expectation_t *expectation, expectations_t *all, h2o_socket_t *socket);
/* A request has ended, the connection may go on. */
void expect_next(expectation_t *expectation);
/* The connection is closed. */
void expect_end(expectation_t *expectation);

#endif
