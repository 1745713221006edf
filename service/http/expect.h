/*
 * `Expect: 100-continue` in HTTP/1: a request that its head alone causes to be refused is answered
 * before the body is sent; any other client receives 100 Continue (RFC 9110, 10.1.1).
 *
 * libh2o 2.2 sends 100 by itself as soon as it has a head with a body, for any path, and in
 * HTTP/1.0 too. It has no setting against that, and no hook between a head and its body. So
 *
 *   - in libh2o's table of headers Expect is made an ordinary one (expect_take_over()), and
 *   - the read callback of a connection's socket is replaced by one that calls libh2o's and then
 *     inspects the input. libh2o sets its own again for each request; it is replaced again in the
 *     same turn of the loop. This reads h2o_socket_t's `_cb.read`, which is in libh2o's header but
 *     not documented.
 *
 *   head is here, body is not ──refused──▶ a made-up body, which is not read ──▶ answer, close
 *                             ──else─────▶ 100 Continue ──▶ libh2o waits for the body
 *
 * If a part of the body is there too, the client does not wait for 100, and none is sent. Loop
 * thread only, except expect_take_over(); no function blocks or fails. The owner of an
 * expectations_t or expectation_t is the struct that contains it.
 */
#ifndef HOLDFAST_HTTP_EXPECT_H
#define HOLDFAST_HTTP_EXPECT_H

#include "loop/loop.h"

/* Shared by all connections of a listener's loop. */
typedef struct {
    loop_t *loop;
    size_t body_bytes_max;
    /* Whether a request with this head will be refused, whatever its body is. */
    bool (*refuses)(const h2o_req_t *head, void *context);
    void *context;
    h2o_socket_cb read;       /* libh2o's */
    h2o_linklist_t unwatched; /* connections whose callback is libh2o's again */
    loop_timer_t timer;
} expectations_t;

/* Part of one connection. */
typedef struct {
    expectations_t *all; /* NULL: not HTTP/1 */
    h2o_socket_t *socket;
    h2o_linklist_t link;
    size_t searched_bytes; /* bytes of the input that do not contain the end of a head */
    bool inspected;        /* this request's head was inspected */
    bool was_cut;          /* this request has a made-up body */
} expectation_t;

/* Call once in the process, before there are loops. */
void expect_take_over(void);
/* `accept` is HTTP/1's. The caller sets `refuses` and `context`. */
void expect_init(expectations_t *all, loop_t *loop, h2o_accept_ctx_t *accept,
                 size_t body_bytes_max);
/* Call before libh2o receives the socket. */
void expect_begin(expectation_t *expectation, expectations_t *all, h2o_socket_t *socket);
/* Call when a request has ended; the connection may go on. */
void expect_next(expectation_t *expectation);
/* Call when the connection is closed. */
void expect_end(expectation_t *expectation);

#endif
