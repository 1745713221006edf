/*
 * The HTTP server: one thread with an event loop per core (or http.threads of them), each with its
 * own listener on the public address (SO_REUSEPORT); the first loop also has the admin listener.
 *
 *   RUNNING ──server_drain()──▶ readyz answers 503, all goes on
 *           ──readiness_delay──▶ listeners closed, answers have `Connection: close`
 *           ──connections silent──▶ all other threads that post to the loops end
 *           ──server_await_idle()──▶ nothing is under way ──▶ stores are stopped, loops end
 *
 * A purchase that was started is finished first. The process has one server; the main thread makes
 * all calls.
 */
#ifndef HOLDFAST_HTTP_SERVER_H
#define HOLDFAST_HTTP_SERVER_H

#include "http/route.h"

typedef struct server server_t;

/* Opens the sockets and makes node->announcements. The admin listener serves `admin_routes`. These
   three arguments must outlive the server; the caller keeps his reference to `credentials`. Returns
   NULL, after a report on stderr, if a socket or the certificate cannot be used: the process then
   ends. */
server_t *server_open(node_t *node, const http_context_t *http, const routes_t *admin_routes,
                      credentials_t *credentials);
/* Starts the threads. Blocks until every loop is set up; node->loops is then filled. */
void server_start(server_t *server);
/* Loads the certificate and the key of each listener that has TLS from the configuration's files.
   New connections use them; open connections keep theirs. If they cannot be used, that is logged
   and the listener's stay. Does not wait for the loops. */
void server_renew_tls(server_t *server);
/* The next requests are judged by `credentials`, of which the caller keeps his reference. Does not
   wait for the loops. */
void server_renew_credentials(server_t *server, credentials_t *credentials);
/* Closes the listeners, answers all reads that wait, and blocks until no work is under way on any
   loop; from then on requests are answered 503. */
void server_drain(server_t *server);
/* Blocks until no loop has work of another thread. Call after server_drain(), when all threads that
   give loops work have ended, except those that end it. */
void server_await_idle(server_t *server);
/* Ends the loops and joins their threads. Call after server_await_idle(), when all threads that
   post to loops have ended. */
void server_end(server_t *server);

#endif
