/*
 * What one loop knows and does about purchases: its connection to the gate, its idea of each
 * item, and what it still has to tell the gate. All of it belongs to the loop's thread. Each item
 * has one home among the loops: see engine/visit.h.
 *
 * An item's idea is the row as read by item_sync(), so its gate is of the same epoch:
 *
 *   UNKNOWN ──somebody asks──▶ SYNCING ──▶ READY ──an attempt was stale, or news──▶ UNKNOWN
 *                                 └──▶ failed: those who wait are told, UNKNOWN again
 */
#ifndef HOLDFAST_ENGINE_ENGINE_H
#define HOLDFAST_ENGINE_ENGINE_H

#include <uthash.h>

#include "engine/node.h"
#include "gate/redis_link.h"
#include "reconcile/sync.h"
#include "strategies/strategy.h"
#include "work/pool.h"
#include "work/writer.h"

struct purchase;

/* An order as the gate has to be told of it: what it was committed with. */
typedef struct {
    order_id_t id;
    uint32_t quantity;
    uint64_t epoch;
    str_t field; /* in the index of keys, owned; STR_NONE: it has no key */
} told_order_t;

/* Orders that the gate has to be told of, sent in batches until it has heard: both calls count only
   what is still there, so that telling twice does no harm. */
typedef struct {
    told_order_t *orders;
    size_t count, capacity;
    size_t sending; /* the first so many are in a call now */
} outbox_t;

typedef enum { ITEM_UNKNOWN, ITEM_SYNCING, ITEM_READY } item_state_t;

typedef struct loop_item {
    UT_hash_handle hh;
    strategy_item_t base; /* what the strategies know of it */
    struct engine_loop *engine;

    bool at_home; /* else nothing is known but sold_out_until_ms and the strategy then */
    item_state_t state;
    bool stale;                 /* news came while SYNCING: sync once more */
    item_t item;                /* when READY */
    uint64_t sold_out_until_ms; /* monotonic: refuse keyless requests until then */
    unsigned looks;             /* counts the times that it became READY */
    uint64_t missed_epoch;      /* the last one whose gate a connection did not have; 0: none */
    unsigned missed_look;       /* `looks` then */
    uint64_t used_ms;           /* monotonic, for forgetting idle items */
    unsigned purchases;         /* that point here */

    h2o_linklist_t parked; /* purchases that wait for READY */

    h2o_linklist_t unchecked; /* refused, and wait for the next look at the epoch: epoch_check.h */
    bool checking;            /* such a look is under way */
    uint64_t check_begun_ms;  /* monotonic, of the last one */
    loop_timer_t check_timer;

    outbox_t settle, unreserve;
    bool telling;            /* a settle or unreserve call is in flight */
    h2o_linklist_t settling; /* in the engine's list while its settles wait for the next round */
    loop_timer_t tell_timer;
} loop_item_t;

static inline str_t loop_item_sku(const loop_item_t *item)
{
    return strategy_item_sku(&item->base);
}

/* What sold_out_until_ms says can be relied on. */
static inline bool loop_item_is_known(const loop_item_t *item)
{
    return item->state == ITEM_READY || !item->at_home;
}

typedef struct engine_loop {
    loop_t *loop;
    node_t *node;
    redis_link_t *gate;
    strategy_loop_t strategies;
    loop_item_t *items; /* uthash by sku */
    redis_args_t args;  /* scratch */
    unsigned purchases; /* not ended */
    unsigned visits;    /* of buyers connected here, not answered */
    unsigned news;      /* counts the items that were announced as changed */
    unsigned telling;   /* items with something to tell the gate */
    h2o_linklist_t settling;
    loop_timer_t settle_timer; /* of the round that tells of all of them */
    unsigned jobs;             /* pool jobs of this loop, so that it does not end before them */
    loop_timer_t housekeeping, heartbeat;
    uint64_t time_asked_ms; /* monotonic, of the question to Redis that is out; 0: none is */
} engine_loop_t;

/* This process owns entries in `unsettled`. While it lives it says so in Redis, under
   gate_owner_key(), for so long at a time; others take over what a silent one leaves. */
#define HEARTBEAT_MS 2000
#define HEARTBEAT_INTERVAL_MS 256

engine_loop_t *engine_loop_new(loop_t *loop, node_t *node);
/* When engine_loop_is_idle(). */
void engine_loop_free(engine_loop_t *engine);
/* Nothing is under way: no visit, no purchase, nothing to tell. */
bool engine_loop_is_idle(const engine_loop_t *engine);

/* The loop that has the purchases of a slot's items. Any thread. */
static inline engine_loop_t *engine_home(const node_t *node, uint16_t slot)
{
    return node->loops[loop_of_slot(slot, node->loops_count)];
}

/* The loop's entry for a sku, made if there is none. */
loop_item_t *engine_item(engine_loop_t *engine, str_t sku);
/* Parks a purchase until the item is READY (or cannot be). Starts a sync if none runs. */
void engine_item_park(loop_item_t *item, struct purchase *purchase);
/* What is known about the item may be old. */
void engine_item_doubt(loop_item_t *item);
/* A connection does not have the gate of this epoch as it should be, and no newer one. True if that
   was so before too, and the item was looked at in between and found READY under it: the look went
   to another Redis than this connection (which a failover has left open, or which was made before
   the promotion of its server). It is to be dropped: a new one knows better. */
bool engine_gate_is_elsewhere(loop_item_t *item, uint64_t epoch);
/* Redis has been away for so long that the optimistic strategy is to stand in. */
bool engine_gate_is_given_up(const engine_loop_t *engine);
/* No unit is left: for some tens of milliseconds, and not beyond the sale's end, keyless requests
   are refused without asking. Not if units came back since the look that found none, which began
   when item->units_back was so. */
void engine_item_sold_out(loop_item_t *item, unsigned units_back);
/* Adds the keys of the item's gate, of its table of buyers if `buyers`, and the two of its slot: as
   the functions of lua/holdfast.lua want them. */
void engine_add_keys(redis_args_t *args, const loop_item_t *item, bool buyers);
/* The order is in MySQL, under the epoch of the purchase: tell the gate. `rejected`: its units
   return. */
void engine_tell_gate(const struct purchase *purchase, bool rejected);

/* Submits and counts. False: the pool is full. */
bool engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                   void (*run)(job_t *, worker_t *), void (*done)(job_t *));

#endif
