/*
 * What one loop knows and does about purchases: its connection to the gate, what it knows of each
 * item (engine/loop_item.h), what the gate is still to be told (engine/outbox.h), and that the
 * process lives (engine/heartbeat.h). All of it belongs to the loop's thread; nothing blocks.
 */
#ifndef HOLDFAST_ENGINE_ENGINE_H
#define HOLDFAST_ENGINE_ENGINE_H

#include "engine/loop_item.h"
#include "engine/node.h"
#include "gate/redis_link.h"
#include "strategies/strategy.h"
#include "work/pool.h"
#include "work/writer.h"

typedef struct engine_loop {
    loop_t *loop;
    node_t *node;
    redis_link_t *gate;
    strategy_loop_t strategies;
    loop_item_t *items;      /* uthash by sku */
    redis_args_t args;       /* scratch */
    unsigned purchases;      /* not ended */
    unsigned cross_requests; /* of buyers connected here, not answered */
    unsigned changes;        /* counts the items that were announced as changed */
    unsigned jobs;           /* pool jobs of this loop, so that it does not end before them */
    loop_outbox_t outbox;
    loop_timer_t housekeeping, heartbeat;
    uint64_t time_asked_ms; /* monotonic, of the question to Redis that is out; 0: none is */
} engine_loop_t;

engine_loop_t *engine_loop_new(loop_t *loop, node_t *node);
/* When engine_loop_is_idle(). */
void engine_loop_free(engine_loop_t *engine);
/* Nothing is under way: no cross, no purchase, nothing to tell. */
bool engine_loop_is_idle(const engine_loop_t *engine);

/* The loop that has the purchases of a slot's items. Any thread. */
static inline engine_loop_t *engine_owner_loop(const node_t *node, uint16_t slot)
{
    return node->loops[loop_of_slot(slot, node->loops_count)];
}

/* Redis has been away for so long that the optimistic strategy is to stand in. */
bool engine_gate_is_given_up(const engine_loop_t *engine);

/* Submits and counts; `done` takes one from engine->jobs. False: the pool is full. */
bool engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                   void (*run)(job_t *, worker_t *), void (*done)(job_t *));

#endif
