/*
 * This process: what all its threads share. Made by node_start() before any thread that uses
 * it, immutable but for what says otherwise, disposed by node_stop() after they are joined.
 */
#ifndef HOLDFAST_ENGINE_NODE_H
#define HOLDFAST_ENGINE_NODE_H

#include <stdatomic.h>

#include "gate/redis_link.h"
#include "work/shard.h"

struct keeper;
struct reconciler;
struct engine_loop;
struct rate_limits;
struct prober;
struct audit_runner;
struct durability;

typedef struct node {
    const config_t *config;
    shard_map_t map;
    char incarnation[33];            /* random, of this process: owns its entries in `unsettled` */
    remote_clock_t gate_clock;       /* of Redis */
    shard_t *shards;                 /* map.shards_count of them, and of what follows */
    struct keeper **keepers;         /* threads: expiry, epochs */
    struct reconciler **reconcilers; /* threads: orphans, drift */
    struct rate_limits *rate_limits; /* of purchases; NULL: there are none */
    struct durability *durability;   /* whether the servers keep what they acknowledge */
    struct engine_loop **loops;
    unsigned loops_count;
    announcements_t announcements; /* to the loops */
    struct prober *prober;         /* threads: the state of each server */
    struct audit_runner *audits;   /* a thread while an audit runs */
    gate_health_t gate_health;     /* of the loops' connections to Redis */
    atomic_int default_strategy;   /* of items created without one */
    atomic_bool draining;
} node_t;

static inline shard_t *node_shard_of_slot(node_t *node, uint16_t slot)
{
    return &node->shards[node->map.shard_of_slot[slot]];
}

#endif
