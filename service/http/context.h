/*
 * What the routes of both listeners use besides the loop of their request: the configuration, the
 * shards, what is known of servers, whether the process ends. Made by serve, whole before
 * server_start(), and there until server_end() has returned. Any thread may read it; nothing in it
 * changes meanwhile but what is atomic or has a lock of its own.
 */
#ifndef HOLDFAST_HTTP_CONTEXT_H
#define HOLDFAST_HTTP_CONTEXT_H

#include <stdatomic.h>

#include "work/shard.h"

struct prober;
struct rate_limits;

typedef struct {
    const config_t *config;
    const shard_map_t *map;
    shard_t *shards;                 /* map->shards_count of them */
    remote_clock_t *gate_clock;      /* of Redis */
    gate_health_t *gate_health;      /* of the loops' connections to Redis */
    struct prober *prober;           /* the state of each server */
    struct rate_limits *rate_limits; /* of purchases; NULL: there are none */
    atomic_bool draining;            /* the process ends: readiness says so */
} http_context_t;

#endif
