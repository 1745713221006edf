/*
 * The purchases of one loop: its connection to the gate, its entries for items
 * (engine/loop_item.h), the outbox for the gate (engine/outbox.h), and the heartbeat of the process
 * (engine/heartbeat.h). The loop's thread owns all of it and is the only caller, except of
 * engine_owner_loop(). Nothing blocks: MySQL is read by jobs of the pool.
 */
#ifndef HOLDFAST_ENGINE_ENGINE_H
#define HOLDFAST_ENGINE_ENGINE_H

#include "engine/loop_item.h"
#include "engine/node.h"
#include "engine/order_polls.h"
#include "engine/order_waits.h"
#include "gate/redis_link.h"
#include "strategies/strategy.h"
#include "work/pool.h"
#include "work/writer.h"

typedef struct engine_loop {
    loop_t *loop;
    node_t *node;
    redis_link_t *gate;
    strategy_loop_t strategies;
    loop_item_t *items;       /* uthash by sku */
    h2o_linklist_t live;      /* entries with answers, the latest first: engine/live.h */
    struct item_views *views; /* engine/item_views.h: what is shown; no purchase uses it */
    redis_args_t args;        /* scratch */
    unsigned purchases;       /* that have not ended */
    unsigned cross_requests;  /* of buyers whose connection is on this loop, not answered yet */
    unsigned changes;         /* counts the announcements of changed items */
    /* pool jobs of this loop that have not ended; the loop must not end before them */
    unsigned jobs;
    loop_outbox_t outbox;
    order_waits_t waits; /* of its connections */
    order_poll_t *polls; /* by shard; used on the polling loop of a shard only */
    struct nodes *nodes; /* engine/nodes.h; NULL: another loop has it */
    loop_timer_t housekeeping, heartbeat;
    /* monotonic; when the TIME call in flight was sent; 0: none is in flight */
    uint64_t time_sent_ms;
} engine_loop_t;

engine_loop_t *engine_loop_new(loop_t *loop, node_t *node);
/* Only when engine_loop_is_idle(). */
void engine_loop_free(engine_loop_t *engine);
/* No cross-loop request, no purchase, no pool job and no read of an item is under way, and the
   outbox is empty. */
bool engine_loop_is_idle(const engine_loop_t *engine);

/* The owner loop of a slot's items. Any thread. */
static inline engine_loop_t *engine_owner_loop(const node_t *node, uint16_t slot)
{
    return node->loops[loop_of_slot(slot, node->loops_count)];
}

/* Redis has been away for so long that the optimistic strategy is to sell its items (the
   fallback). */
bool engine_gate_is_given_up(const engine_loop_t *engine);

/* Submits the job to the shard's pool and counts it in engine->jobs; `done` must subtract one.
   False: the pool's queue is full, and nothing was submitted. */
bool engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                   void (*run)(job_t *, worker_t *), void (*done)(job_t *));

#endif
