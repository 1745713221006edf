/*
 * What the loops of this process share about purchases: the shards, the clock and the health of
 * Redis, and each other. Made by serve before any of these threads, and there until the last has
 * ended. Nothing in it changes meanwhile but what is atomic or has a lock of its own.
 */
#ifndef HOLDFAST_ENGINE_NODE_H
#define HOLDFAST_ENGINE_NODE_H

#include "gate/redis_link.h"
#include "work/shard.h"

struct engine_loop;

typedef struct node {
    const config_t *config;
    shard_map_t map;
    char incarnation[33];      /* random, of this process: owns its entries in `unsettled` */
    remote_clock_t gate_clock; /* of Redis */
    gate_health_t gate_health; /* of the loops' connections to Redis */
    shard_t *shards;           /* map.shards_count of them */
    struct engine_loop **loops;
    unsigned loops_count;
    announcements_t announcements; /* to the loops */
} node_t;

static inline shard_t *node_shard_of_slot(node_t *node, uint16_t slot)
{
    return &node->shards[node->map.shard_of_slot[slot]];
}

#endif
