#include "http/connection.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "metrics/metrics.h"

/* The interval of the checks for idle connections and unread answers. */
#define CHECK_MS 512

/* --- the end of a connection --- */

void connection_end(connection_t *connection, const char *why)
{
    if (connection->ended)
        return;
    connection->ended = true;
    METRIC_INC(http_connections_ended_total);
    LOG_INFO("a client connection is ended", LOG_STR("why", why),
             LOG_INT("loop", connection->all->loop->index));
    shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
}

/* libh2o closes a silent connection itself, after one time-out for the handshake and one more. So
   this waits twice the time, and ends mostly connections whose HTTP/2 frames restart libh2o's
   time-out. */
static void end_quiet(connections_t *all, uint64_t now_ms)
{
    while (!h2o_linklist_is_empty(&all->quiet)) {
        connection_t *oldest = H2O_STRUCT_FROM_MEMBER(connection_t, link, all->quiet.next);
        if (now_ms - oldest->quiet_ms < UINT64_C(2) * all->idle_timeout_ms + CHECK_MS)
            break;
        h2o_linklist_unlink(&oldest->link);
        connection_end(oldest, "it sends no request");
    }
}

static void end_untaken(connections_t *all, uint64_t now_ms)
{
    while (!h2o_linklist_is_empty(&all->untaken)) {
        connection_answer_t *oldest =
            H2O_STRUCT_FROM_MEMBER(connection_answer_t, link, all->untaken.next);
        if (now_ms - oldest->answered_ms < all->idle_timeout_ms)
            break;
        h2o_linklist_unlink(&oldest->link);
        connection_end(oldest->connection, "it does not read its answers");
    }
}

static void on_check(loop_timer_t *timer)
{
    connections_t *all = H2O_STRUCT_FROM_MEMBER(connections_t, timer, timer);
    uint64_t now_ms = clock_mono_ms();
    end_quiet(all, now_ms);
    end_untaken(all, now_ms);
    loop_timer_start(all->loop, &all->timer, CHECK_MS, on_check);
}

void connections_init(connections_t *all, loop_t *loop, const config_t *config)
{
    *all = (connections_t){.loop = loop, .idle_timeout_ms = config->http.idle_timeout_ms};
    h2o_linklist_init_anchor(&all->quiet);
    h2o_linklist_init_anchor(&all->untaken);
    loop_timer_start(loop, &all->timer, CHECK_MS, on_check);
}

void connections_dispose(connections_t *all)
{
    loop_timer_stop(&all->timer);
}

/* --- connections --- */

static void becomes_quiet(connection_t *connection)
{
    connection->quiet_ms = clock_mono_ms();
    h2o_linklist_insert(&connection->all->quiet, &connection->link);
}

static void on_closed(void *data)
{
    connection_t *connection = data;
    if (h2o_linklist_is_linked(&connection->link))
        h2o_linklist_unlink(&connection->link);
    expect_end(&connection->expectation);
    http2_bodies_free(connection->bodies);
    if (connection->closed != NULL)
        *connection->closed = true;
    --connection->all->count;
    METRIC_ADD(http_connections, -1);
    SSL_CTX_free(connection->tls);
    free(connection);
}

connection_t *connection_open(connections_t *all, h2o_socket_t *socket)
{
    connection_t *connection = alloc_zero(1, sizeof(*connection));
    *connection = (connection_t){.all = all, .socket = socket};
    ++all->count;
    METRIC_INC(http_connections);
    socket->on_close.cb = on_closed;
    socket->on_close.data = connection;
    becomes_quiet(connection);
    return connection;
}

void connection_keep_tls(connection_t *connection, SSL_CTX *tls)
{
    SSL_CTX_up_ref(tls);
    connection->tls = tls;
}

/* --- requests --- */

static void on_early_input(h2o_socket_t *socket, const char *err)
{
    (void)err; /* libh2o reads it again after the answer */
    h2o_socket_read_stop(socket);
}

void connection_stays_polled(const h2o_req_t *req)
{
    if (req->version >= 0x200)
        return;
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    if (socket->ssl == NULL && !h2o_socket_is_reading(socket))
        h2o_socket_read_start(socket, on_early_input);
}

void connection_request_begins(connection_answer_t *answer, const h2o_req_t *req)
{
    connection_t *connection = req->conn->callbacks->get_socket(req->conn)->on_close.data;
    answer->connection = connection;
    ++connection->requests;
    if (h2o_linklist_is_linked(&connection->link))
        h2o_linklist_unlink(&connection->link);
}

void connection_keeps(connection_answer_t *answer, size_t bytes)
{
    connection_t *connection = answer->connection;
    answer->kept_bytes = bytes;
    connection->kept_bytes += bytes;
    if (connection->kept_bytes > 2 * HTTP2_BODY_OVER_BYTES)
        connection_end(connection, "its bodies are too long");
}

void connection_answered(connection_answer_t *answer)
{
    answer->answered_ms = clock_mono_ms();
    h2o_linklist_insert(&answer->connection->all->untaken, &answer->link);
}

void connection_part_taken(connection_answer_t *answer)
{
    if (h2o_linklist_is_linked(&answer->link))
        h2o_linklist_unlink(&answer->link);
}

void connection_request_ends(connection_answer_t *answer, bool taken)
{
    connection_t *connection = answer->connection;
    connection_part_taken(answer);
    connection->kept_bytes -= answer->kept_bytes;
    if (--connection->requests == 0)
        becomes_quiet(connection);
    expect_next(&connection->expectation);
    /* A connection is ended once, at RESETS_MAX + 1; beyond that the count only grows. */
    if (!taken && ++connection->resets == RESETS_MAX + 1)
        connection_end(connection, "it resets its requests");
    else if (taken && connection->resets != 0 && connection->resets <= RESETS_MAX)
        --connection->resets;
}
