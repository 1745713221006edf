/*
 * A simulated process of the service: the real engine, strategies, writer, pool, keeper and
 * reconciler, started as service/serve.c starts them. HTTP is left out: purchases
 * enter at engine/purchase.h, moves and reads of orders at the handlers of http/orders.c.
 *
 * A killed node is gone with all that it had in memory; what it had sent may still arrive. Not
 * modelled: shutdown in good order, more than one shard.
 */
#ifndef HOLDFAST_SIMULATION_NODE_H
#define HOLDFAST_SIMULATION_NODE_H

#include "engine/engine.h"
#include "http/context.h"
#include "world.h"

#define NODES_MAX 4

typedef struct {
    node_t *node; /* NULL: it does not run */
    http_context_t *http;
    owner_t owner;
} sim_node_t;

extern sim_node_t sim_nodes[NODES_MAX + 1]; /* from 1 on */

void node_begin(const config_t *config, unsigned loops); /* of a history */
void node_launch(unsigned number);
/* After so long, unless it runs then. */
void node_launch_after(uint64_t delay_us, unsigned number);
void node_kill(unsigned number);
/* After so long; it starts again after DOWN_MIN_US up to `down_max_us` more. */
#define DOWN_MIN_US 1000
void node_kill_after(uint64_t delay_us, unsigned number, uint64_t down_max_us);
bool node_is_idle(unsigned number);
/* One of its loops. */
engine_loop_t *node_loop(unsigned number);

#endif
