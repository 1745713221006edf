/*
 * The HTTP side: a thread with an event loop per core, each with its own listener on the public
 * address (SO_REUSEPORT); the first also has the admin listener.
 *
 *   RUNNING ──server_drain()──▶ readyz says 503, all goes on
 *           ──readiness_delay──▶ listeners closed, answers say `Connection: close`
 *           ──nothing under way──▶ loops end ──▶ stores are stopped
 *
 * A purchase that was started is finished first. All functions are for the main thread.
 */
#ifndef HOLDFAST_HTTP_SERVER_H
#define HOLDFAST_HTTP_SERVER_H

#include "http/route.h"

typedef struct server server_t;

/* Opens the sockets and makes node->announcements; reports on stderr and returns NULL if a socket
   cannot be had. `admin_routes` is what the admin listener serves. All three outlive the server. */
server_t *server_open(node_t *node, const http_context_t *http, const routes_t *admin_routes);
/* Starts the threads; node->loops is filled when it returns. */
void server_start(server_t *server);
/* New connections get the certificate and the key that are in the configuration's files now; those
   that are open keep theirs. What cannot be used is logged and changes nothing. Does not wait for
   the loops. Without TLS: does nothing. */
void server_renew_tls(server_t *server);
/* Blocks until nothing is under way on any loop; from then on requests are answered 503. */
void server_drain(server_t *server);
/* After server_drain(), when everything that posts to loops has ended. */
void server_end(server_t *server);

#endif
