#include "http/protocols.h"

#include <stdlib.h>

#include <h2o/http1.h>
#include <h2o/http2.h>

#include "base/alloc.h"
#include "http/connection.h"
#include "http/errors.h"

typedef struct {
    h2o_handler_t super;
    protocols_use_t use;
} handler_t;

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    handler_t *self = (handler_t *)handler;
    self->use.serve(req, self->use.context);
    return 0;
}

static void protocol_init(protocol_t *protocol, loop_t *loop, const config_t *config,
                          size_t body_bytes_max, const protocols_use_t *use)
{
    h2o_globalconf_t *h2o = &protocol->config;
    h2o_config_init(h2o);
    h2o->server_name = h2o_iovec_init(H2O_STRLIT("holdfast"));
    h2o->max_request_entity_size = body_bytes_max;
    h2o->handshake_timeout = config->http.idle_timeout_ms;
    h2o->http1.req_timeout = config->http.idle_timeout_ms;
    h2o->http1.upgrade_to_http2 = 0;
    h2o->http2.idle_timeout = config->http.idle_timeout_ms;
    h2o_hostconf_t *host =
        h2o_config_register_host(h2o, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    handler_t *handler = (handler_t *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->use = *use;
    errors_register(host);
    h2o_context_init(&protocol->context, loop->h2o, h2o);
    protocol->accept.ctx = &protocol->context;
    protocol->accept.hosts = h2o->hosts;
}

void protocols_init(protocols_t *protocols, loop_t *loop, const config_t *config,
                    const protocols_use_t *use)
{
    size_t body_bytes_max = config->http.body_bytes_max;
    *protocols = (protocols_t){.has_http2 = config->http.http2};
    /* libh2o refuses a chunked body that has just the limit's length, but a body with a length only
       above the limit: hence the + 1. */
    protocol_init(&protocols->http1, loop, config, body_bytes_max + 1, use);
    if (protocols->has_http2)
        protocol_init(&protocols->http2, loop, config, body_bytes_max + HTTP2_BODY_OVER_BYTES, use);
    expect_init(&protocols->expectations, loop, &protocols->http1.accept, body_bytes_max);
    protocols->expectations.refuses = use->refuses;
    protocols->expectations.context = use->context;
}

void protocols_request_shutdown(protocols_t *protocols)
{
    h2o_context_request_shutdown(&protocols->http1.context);
    if (protocols->has_http2)
        h2o_context_request_shutdown(&protocols->http2.context);
}

static void accept_http1(protocols_t *protocols, h2o_socket_t *socket, struct timeval connected_at)
{
    connection_t *connection = socket->on_close.data;
    expect_begin(&connection->expectation, &protocols->expectations, socket);
    h2o_http1_accept(&protocols->http1.accept, socket, connected_at);
}

/* Counts the input before libh2o reads it. libh2o takes all of it except an incomplete frame, so
   each frame is counted once. */
static void count_bodies(connection_t *connection, const h2o_socket_t *socket)
{
    if (!connection->ended &&
        !http2_bodies_take(connection->bodies, (str_t){socket->input->bytes, socket->input->size}))
        connection_end(connection, "its bodies do not end");
}

static void on_http2_read(h2o_socket_t *socket, const char *err)
{
    connection_t *connection = socket->on_close.data;
    if (err == NULL)
        count_bodies(connection, socket);
    connection->read(socket, err);
}

/* libh2o sets its read callback once. It is replaced by one that counts the input first. */
static void accept_http2(protocols_t *protocols, h2o_socket_t *socket, struct timeval connected_at)
{
    connection_t *connection = socket->on_close.data;
    size_t limit = protocols->http1.config.max_request_entity_size;
    /* libh2o parses the bytes that are here already inside h2o_http2_accept(), so count them
       first. */
    connection->bodies = http2_bodies_new(protocols->http2.config.max_request_entity_size,
                                          HTTP2_STREAMS_MAX * limit + HTTP2_BODY_OVER_BYTES);
    count_bodies(connection, socket);
    bool closed = false;
    /* libh2o may close the connection in this call, which frees it; `closed` is then set. */
    connection->closed = &closed;
    h2o_http2_accept(&protocols->http2.accept, socket, connected_at);
    if (closed)
        return;
    connection->closed = NULL;
    if (h2o_socket_is_reading(socket)) {
        connection->read = socket->_cb.read;
        h2o_socket_read_start(socket, on_http2_read);
    }
}

/* --- a connection whose protocol is not known yet --- */

typedef struct {
    protocols_t *protocols;
    h2o_socket_t *socket;
    h2o_timeout_entry_t timeout;
    struct timeval connected_at;
} arrival_t;

static h2o_socket_t *arrival_end(arrival_t *arrival)
{
    h2o_socket_t *socket = arrival->socket;
    h2o_timeout_unlink(&arrival->timeout);
    free(arrival);
    return socket;
}

static void on_timeout(h2o_timeout_entry_t *entry)
{
    h2o_socket_close(arrival_end(H2O_STRUCT_FROM_MEMBER(arrival_t, timeout, entry)));
}

static void accept_as(arrival_t *arrival, bool is_http2)
{
    protocols_t *protocols = arrival->protocols;
    struct timeval connected_at = arrival->connected_at;
    h2o_socket_t *socket = arrival_end(arrival);
    if (is_http2)
        accept_http2(protocols, socket, connected_at);
    else
        accept_http1(protocols, socket, connected_at);
}

static void on_first_bytes(h2o_socket_t *socket, const char *err)
{
    static const h2o_iovec_t preface = {H2O_STRLIT("PRI * HTTP/2")};
    const h2o_buffer_t *input = socket->input;
    size_t n = input->size < preface.len ? input->size : preface.len;
    if (err != NULL) {
        h2o_socket_close(arrival_end(socket->data));
        return;
    }
    bool may_be_http2 = n == 0 || memcmp(input->bytes, preface.base, n) == 0;
    if (!may_be_http2 || n == preface.len)
        accept_as(socket->data, may_be_http2);
}

static void read_first_bytes(arrival_t *arrival)
{
    h2o_socket_read_start(arrival->socket, on_first_bytes);
    if (arrival->socket->input->size != 0)
        on_first_bytes(arrival->socket, NULL);
}

static bool is_http2_by_alpn(h2o_socket_t *socket)
{
    h2o_iovec_t chosen = h2o_socket_ssl_get_selected_protocol(socket);
    for (const h2o_iovec_t *name = h2o_http2_alpn_protocols; name->len != 0; ++name)
        if (h2o_memis(chosen.base, chosen.len, name->base, name->len))
            return true;
    return false;
}

static void on_handshake(h2o_socket_t *socket, const char *err)
{
    arrival_t *arrival = socket->data;
    if (err != NULL)
        h2o_socket_close(arrival_end(arrival));
    else if (!arrival->protocols->has_http2)
        accept_as(arrival, false);
    else if (is_http2_by_alpn(socket))
        accept_as(arrival, true);
    else
        read_first_bytes(arrival);
}

void protocols_accept(protocols_t *protocols, h2o_socket_t *socket)
{
    h2o_context_t *context = &protocols->http1.context;
    struct timeval now = *h2o_get_timestamp(context, NULL, NULL);
    if (protocols->tls == NULL && !protocols->has_http2) {
        accept_http1(protocols, socket, now);
        return;
    }
    arrival_t *arrival = alloc_bytes(sizeof(*arrival));
    *arrival = (arrival_t){protocols, socket, {.cb = on_timeout}, now};
    h2o_timeout_link(context->loop, &context->handshake_timeout, &arrival->timeout);
    socket->data = arrival;
    if (protocols->tls != NULL)
        h2o_socket_ssl_handshake(socket, protocols->tls, NULL, on_handshake);
    else
        read_first_bytes(arrival);
}
