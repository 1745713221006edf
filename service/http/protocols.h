/*
 * A listener's connections on their way to libh2o's HTTP/1 or HTTP/2, each with settings of its
 * own: libh2o refuses a body over its limit from the head alone in HTTP/1, but in HTTP/2 it resets
 * the stream with REFUSED_STREAM, which tells the client to send it again. So its limit for HTTP/2
 * is higher (http2_bodies.h), and what is above ours is refused by intake.h.
 *
 * The protocol is what ALPN says, or without it what the first bytes are. A connection stays with
 * its protocol: `Upgrade: h2c`, which RFC 9113 has withdrawn, is not heard. Loop thread only.
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

/* What a listener does with requests. */
typedef struct {
    /* Each that libh2o does not refuse by itself. */
    void (*serve)(h2o_req_t *req, void *context);
    /* See expect.h. */
    bool (*refuses)(const h2o_req_t *head, void *context);
    void *context;
} protocols_use_t;

typedef struct {
    protocol_t http1, http2;
    expectations_t expectations; /* of HTTP/1 */
    bool has_http2;
    SSL_CTX *tls; /* NULL: none; of handshakes that begin from now on */
} protocols_t;

void protocols_init(protocols_t *protocols, loop_t *loop, const config_t *config,
                    const protocols_use_t *use);
/* Takes the socket of an open connection_t. A client that is silent for http.idle_timeout_ms is
 * closed. */
void protocols_accept(protocols_t *protocols, h2o_socket_t *socket);
/* Answers say from now on that their connection ends. */
void protocols_request_shutdown(protocols_t *protocols);

#endif
