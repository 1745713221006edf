/*
 * Hands a listener's connections to libh2o's HTTP/1 or HTTP/2, each with its own settings. In
 * HTTP/1 libh2o refuses a body over its limit from the head alone; in HTTP/2 it resets the stream
 * with REFUSED_STREAM, which tells the client to send the request again. So libh2o's limit for
 * HTTP/2 is higher (http2_bodies.h), and intake.h refuses bodies above ours.
 *
 * ALPN decides on the protocol, or without ALPN the first bytes. A connection keeps its protocol:
 * `Upgrade: h2c`, which RFC 9113 has withdrawn, is ignored. The listener contains its protocols_t.
 * Loop thread only; no function blocks or fails.
 */
#ifndef HOLDFAST_HTTP_PROTOCOLS_H
#define HOLDFAST_HTTP_PROTOCOLS_H

#include <openssl/ssl.h>

#include "config/config.h"
#include "http/expect.h"
#include "loop/loop.h"

typedef struct {
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
} protocol_t;

/* The functions to which a listener passes requests. */
typedef struct {
    /* For each request that libh2o does not refuse by itself. */
    void (*serve)(h2o_req_t *req, void *context);
    /* See expect.h. */
    bool (*refuses)(const h2o_req_t *head, void *context);
    void *context;
} protocols_use_t;

typedef struct {
    protocol_t http1, http2;
    expectations_t expectations; /* of HTTP/1 */
    bool has_http2;
    SSL_CTX *tls; /* NULL: none; for new handshakes; borrowed */
} protocols_t;

void protocols_init(protocols_t *protocols, loop_t *loop, const config_t *config,
                    const protocols_use_t *use);
/* Takes over the socket of an open connection_t. A client that sends nothing for
   http.idle_timeout_ms is closed. */
void protocols_accept(protocols_t *protocols, h2o_socket_t *socket);
/* From now on answers announce the end of their connection. */
void protocols_request_shutdown(protocols_t *protocols);

#endif
