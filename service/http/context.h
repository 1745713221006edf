/*
 * Shared data of the routes of both listeners: the configuration, the shards, the state of the
 * servers, whether the process ends. serve makes it and owns it; it is complete before
 * server_start(), and remains until server_end() has returned. Any thread may read it. Members
 * change only if they are atomic or have a lock of their own.
 */
#ifndef HOLDFAST_HTTP_CONTEXT_H
#define HOLDFAST_HTTP_CONTEXT_H

#include <stdatomic.h>

#include "work/shard.h"

struct prober;
struct rate_limits;
struct readiness;

typedef struct {
    const config_t *config;
    const shard_map_t *map;
    shard_t *shards;                 /* map->shards_count of them */
    remote_clock_t *gate_clock;      /* of Redis */
    gate_health_t *gate_health;      /* of the loops' connections to Redis */
    struct prober *prober;           /* the state of each server */
    struct rate_limits *rate_limits; /* of purchases; NULL: no limits */
    struct readiness *readiness;     /* one for each loop, used by that loop only; NULL: none */
    atomic_bool draining;            /* the process ends: /readyz answers 503 */
} http_context_t;

#endif
