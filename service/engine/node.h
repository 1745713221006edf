/*
 * This process: what all its threads share. Made by node_start() before any thread that uses
 * it, immutable but for what says otherwise, disposed by node_stop() after they are joined.
 */
#ifndef HOLDFAST_ENGINE_NODE_H
#define HOLDFAST_ENGINE_NODE_H

#include <stdatomic.h>

#include "base/clock.h"
#include "config/config.h"
#include "gate/redis_link.h"
#include "shards/shard_map.h"

struct pool;
struct writer;
struct keeper;
struct reconciler;
struct engine_loop;
struct rate_limits;
struct prober;
struct audit_runner;
struct durability;

typedef struct {
    struct pool *pool;
    struct writer *writer;
    struct keeper *keeper;         /* thread: expiry, epochs */
    struct reconciler *reconciler; /* thread: orphans, drift */
    remote_clock_t clock;          /* of the shard's primary */
    atomic_uint gate_looks;        /* pool threads that wait for Redis on a purchase's behalf */
} node_shard_t;

typedef struct node {
    const config_t *config;
    shard_map_t map;
    char incarnation[33];            /* random, of this process: owns its entries in `unsettled` */
    remote_clock_t gate_clock;       /* of Redis */
    node_shard_t *shards;            /* map.shards_count of them */
    struct rate_limits *rate_limits; /* of purchases; NULL: there are none */
    struct durability *durability;   /* whether the servers keep what they acknowledge */
    struct engine_loop **loops;
    unsigned loops_count;
    struct prober *prober;       /* threads: the state of each server */
    struct audit_runner *audits; /* a thread while an audit runs */
    gate_health_t gate_health;   /* of the loops' connections to Redis */
    atomic_int default_strategy; /* of items created without one */
    atomic_bool draining;
} node_t;

static inline node_shard_t *node_shard_of_slot(node_t *node, uint16_t slot)
{
    return &node->shards[node->map.shard_of_slot[slot]];
}

#endif
