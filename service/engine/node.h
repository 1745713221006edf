/*
 * The state that the loops of this process share: the shards, the clock and the health of Redis,
 * and the list of loops. `serve` makes it before any of their threads starts, owns it, and frees it
 * after the last has ended. Meanwhile nothing in it changes, except members that are atomic or have
 * a lock of their own. Any thread may read it; nothing here blocks or fails.
 */
#ifndef HOLDFAST_ENGINE_NODE_H
#define HOLDFAST_ENGINE_NODE_H

#include "engine/orders_in_hand.h"
#include "gate/redis_link.h"
#include "work/shard.h"

struct engine_loop;

typedef struct node {
    const config_t *config;
    shard_map_t map;
    /* random; names this process as the owner of its entries in `unsettled` */
    char incarnation[33];
    remote_clock_t gate_clock; /* of Redis */
    gate_health_t gate_health; /* of the loops' connections to Redis */
    shard_t *shards;           /* map.shards_count of them */
    struct engine_loop **loops;
    unsigned loops_count;
    announcements_t announcements; /* from any thread to the loops */
    orders_in_hand_t in_hand;      /* orders that were answered 202 and have not ended */
    atomic_uint order_waits;       /* reads of orders that wait, on all loops */
} node_t;

static inline shard_t *node_shard_of_slot(node_t *node, uint16_t slot)
{
    return &node->shards[node->map.shard_of_slot[slot]];
}

#endif
