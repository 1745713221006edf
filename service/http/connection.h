/*
 * Client connections of a loop, and limits on what one client may keep busy.
 *
 * libh2o limits how long a request may take to arrive and how many are handled at once. It does not
 * limit how long a client may leave its answers unread (a connection that is never read, a stream
 * without flow-control window), nor how many requests a client may start and reset over HTTP/2
 * (each costs a run of its handler, and a purchase that was started is finished). So a connection
 * is ended when
 *
 *   - it had no request for twice http.idle_timeout_ms, whatever HTTP/2 frames it sends,
 *   - an answer was not read for http.idle_timeout_ms,
 *   - the requests that were reset outnumber those that ended by RESETS_MAX, or
 *   - its bodies take more memory than http2_bodies.h permits.
 *
 * The end is shutdown(2): libh2o then reads the end of the stream, or an error, and closes the
 * connection as if the client had closed it. Loop thread only; no function blocks or fails.
 */
#ifndef HOLDFAST_HTTP_CONNECTION_H
#define HOLDFAST_HTTP_CONNECTION_H

#include <openssl/ssl.h>

#include "config/config.h"
#include "http/expect.h"
#include "http/http2_bodies.h"
#include "loop/loop.h"

/* The number of streams that may be open at once: a client may reset all of its open requests. */
#define RESETS_MAX 100

typedef struct {
    loop_t *loop;
    uint32_t idle_timeout_ms;
    unsigned count;
    h2o_linklist_t quiet;   /* connections without a request, idle longest first */
    h2o_linklist_t untaken; /* answers not yet read, oldest first */
    loop_timer_t timer;
} connections_t;

typedef struct {
    connections_t *all;
    h2o_socket_t *socket;
    SSL_CTX *tls; /* NULL: no TLS; holds a reference */
    h2o_linklist_t link;
    uint64_t quiet_ms; /* monotonic: since when without a request */
    unsigned requests; /* being handled now */
    bool ended;
    unsigned resets; /* requests reset, minus requests that ended; at least 0 */
    expectation_t expectation;
    http2_bodies_t *bodies; /* NULL: not HTTP/2 */
    h2o_socket_cb read;     /* libh2o's read callback, for HTTP/2 */
    size_t kept_bytes;      /* bytes of bodies over the limit whose requests have not ended */
    bool *closed;           /* set to true on close, for a caller that is inside libh2o */
} connection_t;

/* One in each request, zeroed at first; see connection_answered(). */
typedef struct {
    connection_t *connection;
    h2o_linklist_t link;
    uint64_t answered_ms; /* monotonic */
    size_t kept_bytes;
} connection_answer_t;

void connections_init(connections_t *all, loop_t *loop, const config_t *config);
/* Stops the timer; open connections stay open. */
void connections_dispose(connections_t *all);

/* Uses the socket's on_close. The connection is owned by its socket and freed when that is
   closed. */
connection_t *connection_open(connections_t *all, h2o_socket_t *socket);
/* Keeps `tls`, which the connection's handshake uses, alive at least as long as the connection:
   libh2o takes no reference until the client has sent something. */
void connection_keep_tls(connection_t *connection, SSL_CTX *tls);

/* Ends the connection, as above. `why` is for the log. */
void connection_end(connection_t *connection, const char *why);

/* Call when the answer comes in a later turn of the loop and the handler needs nothing more of the
   request's body: libh2o stops to read an HTTP/1 connection at each request and starts again after
   its answer, which are two epoll_ctl() a request; this keeps it polled. Only for requests with a
   body: libh2o keeps the head of others in the input, which may move when more is read. What a
   client sends before its answer stays in the input, and then it is not read on. */
void connection_stays_polled(const h2o_req_t *req);

/* The life of one request: it began, was answered, ended. */
void connection_request_begins(connection_answer_t *answer, const h2o_req_t *req);
/* Its body is over the limit, and stays in memory until the request ends. Call before the
   answer. */
void connection_keeps(connection_answer_t *answer, size_t bytes);
void connection_answered(connection_answer_t *answer);
/* Of an answer in parts, for each of which connection_answered() was called: the client has taken
   the last one, and owes nothing until the next. */
void connection_part_taken(connection_answer_t *answer);
/* `taken`: the answer was sent, or handed to the kernel. */
void connection_request_ends(connection_answer_t *answer, bool taken);

#endif
