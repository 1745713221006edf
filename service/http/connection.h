/*
 * Client connections of a loop, and what one client may keep busy.
 *
 * libh2o bounds how long a request may take to arrive and how many are handled at once. It bounds
 * neither how long a client may leave its answers lying (a connection that is never read, a
 * stream without flow-control window) nor how many requests it may start and take back over
 * HTTP/2 (each costs a run of its handler, and a purchase that was started is finished). So a
 * connection ends when
 *
 *   - nothing was asked of it for twice http.idle_timeout_ms, whatever frames of HTTP/2 it sends,
 *   - an answer that was given was not taken for http.idle_timeout_ms,
 *   - requests that were taken back outnumber those that were let end by RESETS_MAX, or
 *   - its bodies hold more than http2_bodies.h lets them.
 *
 * It ends by shutdown(2): libh2o then meets the end of the stream, or an error, and closes it as
 * if the client had. A loop's; used on its thread only.
 */
#ifndef HOLDFAST_HTTP_CONNECTION_H
#define HOLDFAST_HTTP_CONNECTION_H

#include <openssl/ssl.h>

#include "config/config.h"
#include "http/expect.h"
#include "http/http2_bodies.h"
#include "loop/loop.h"

/* As many as streams may be open at once: a client may take back all that it has asked. */
#define RESETS_MAX 100

typedef struct {
    loop_t *loop;
    uint32_t idle_timeout_ms;
    unsigned count;
    h2o_linklist_t quiet;   /* connections without a request, the longest first */
    h2o_linklist_t untaken; /* answers, the oldest first */
    loop_timer_t timer;
} connections_t;

typedef struct {
    connections_t *all;
    h2o_socket_t *socket;
    SSL_CTX *tls; /* NULL: none; a reference of its own */
    h2o_linklist_t link;
    uint64_t quiet_ms; /* monotonic: since when, without a request */
    unsigned requests; /* that are handled now */
    bool ended;
    unsigned resets; /* requests taken back beyond those that ended; not below 0 */
    expectation_t expectation;
    http2_bodies_t *bodies; /* NULL: it is not HTTP/2's */
    h2o_socket_cb read;     /* libh2o's, of HTTP/2 */
    size_t kept_bytes;      /* bodies over the limit whose requests have not ended */
    bool *closed;           /* set when it is, for one who calls libh2o; or NULL */
} connection_t;

/* Part of each request, zeroed; see connection_answered(). */
typedef struct {
    connection_t *connection;
    h2o_linklist_t link;
    uint64_t answered_ms; /* monotonic */
    size_t kept_bytes;
} connection_answer_t;

void connections_init(connections_t *all, loop_t *loop, const config_t *config);
/* Stops the timer; connections that are open stay. */
void connections_dispose(connections_t *all);

/* Takes the socket's on_close; the connection is freed when it is closed. */
connection_t *connection_open(connections_t *all, h2o_socket_t *socket);
/* `tls`, by which the connection's handshake will be done, lives at least as long as the
   connection: libh2o takes no reference until the client has sent something. */
void connection_keep_tls(connection_t *connection, SSL_CTX *tls);

/* Ends it, as above. */
void connection_end(connection_t *connection, const char *why);

/* The life of one request: it came, its answer was given, it is gone. */
void connection_request_begins(connection_answer_t *answer, const h2o_req_t *req);
/* Its body is over the limit, and in memory until it is gone. Before it is answered. */
void connection_keeps(connection_answer_t *answer, size_t bytes);
void connection_answered(connection_answer_t *answer);
/* `taken`: its answer was sent, or handed to the kernel. */
void connection_request_ends(connection_answer_t *answer, bool taken);

#endif
