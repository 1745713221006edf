/*
 * Redis servers of a test's own, beside that of its stack: with a port for replication and a Unix
 * socket for the service, fully durable, and sentinels that watch over them. They end with the
 * test at the latest.
 */
#ifndef HOLDFAST_HARNESS_REDIS_SERVER_H
#define HOLDFAST_HARNESS_REDIS_SERVER_H

#include "harness/stack.h"

typedef struct {
    char config[256], log[256], socket[108]; /* socket "": a sentinel */
    unsigned port;
    pid_t pid;
} redis_server_t;

/* In `dir`, which must be there and short enough for a socket's path. */
redis_server_t *redis_server_start(const char *dir);
/* Watches `master` under the name "gate", and after a failover calls `script` as documented for
   client-reconfig-script. Two must agree that a master is down, for one second. */
redis_server_t *redis_sentinel_start(const char *dir, const redis_server_t *master,
                                     const char *script);
/* One that is gone, with the files that it has. */
void redis_server_again(redis_server_t *server);
/* SIGKILL. */
void redis_server_kill(redis_server_t *server);
void redis_server_free(redis_server_t *server);

/* One command, over TCP; what it answers as text ("" for nil), or the error with a '-' before it;
   of arrays the elements, each on its line. NULL: no answer. */
const char *redis_server_ask(const redis_server_t *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A field of INFO; "": there is none. */
const char *redis_server_info(const redis_server_t *server, const char *field);

#endif
