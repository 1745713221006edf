/*
 * What a loop knows of an item. Each item has one owner loop (engine/cross_request.h), which has
 * its purchases; the others know of it only until when it is sold out.
 *
 * On the owner loop it is the row as read by item_sync(), so its gate is of the same epoch:
 *
 *   UNKNOWN ──a purchase asks──▶ READING ──▶ READY ──invalidated──▶ UNKNOWN
 *      ▲                           │ ▲ └─ invalidated meanwhile, and a purchase waits: read again
 *      └────────── failed ─────────┘
 *
 * It is invalidated by an announcement of a newer epoch, and by an attempt or a commit that was
 * stale. An entry that no purchase has asked for in 10 min is forgotten, and at once one whose row
 * is not there.
 *
 * A loop's, on its thread; nothing blocks: rows are read by jobs of the shard's pool.
 */
#ifndef HOLDFAST_ENGINE_LOOP_ITEM_H
#define HOLDFAST_ENGINE_LOOP_ITEM_H

#include <uthash.h>

#include "engine/outbox.h"
#include "reconcile/sync.h"
#include "strategies/strategy.h"

struct engine_loop;
struct purchase;

typedef enum { ITEM_UNKNOWN, ITEM_READING, ITEM_READY } item_state_t;

typedef struct loop_item {
    UT_hash_handle hh;
    strategy_item_t base; /* what the strategies know of it */
    struct engine_loop *engine;

    bool owned; /* by this loop; else only sold_out_until_ms and the strategy then are known */
    item_state_t state;
    bool read_again;            /* it was invalidated while READING */
    item_t item;                /* when READY */
    uint64_t sold_out_until_ms; /* monotonic: refuse keyless requests until then */
    unsigned reads;             /* counts the times that it became READY */
    uint64_t missed_epoch;      /* the last one whose gate a connection did not have; 0: none */
    unsigned missed_read;       /* `reads` then */
    uint64_t used_ms;           /* monotonic, for forgetting idle items */
    unsigned purchases;         /* that point here */

    h2o_linklist_t parked; /* purchases that wait for READY */

    h2o_linklist_t unchecked; /* refused, and wait for the next check of the epoch: epoch_check.h */
    bool checking;            /* such a check is under way */
    uint64_t check_begun_ms;  /* monotonic, of the last one */
    loop_timer_t check_timer;

    item_outbox_t outbox;
} loop_item_t;

static inline str_t loop_item_sku(const loop_item_t *item)
{
    return strategy_item_sku(&item->base);
}

/* What sold_out_until_ms says can be relied on. */
static inline bool loop_item_is_known(const loop_item_t *item)
{
    return item->state == ITEM_READY || !item->owned;
}

/* NULL: the loop has no entry for it. */
loop_item_t *loop_item_find(const struct engine_loop *engine, str_t sku);
/* Made if there is none. */
loop_item_t *loop_item_get(struct engine_loop *engine, str_t sku);
/* Forgets it. Nothing of it is under way. */
void loop_item_forget(loop_item_t *item);
/* Nothing of it is under way. */
bool loop_item_is_idle(const loop_item_t *item);
/* Those that were not used for long. */
void loop_items_forget_idle(struct engine_loop *engine);

/* Parks a purchase until the item is READY, or cannot be; starts a read if none runs. Ends in
   purchase_unparked(): later, or in here if the pool takes no job. */
void loop_item_park(loop_item_t *item, struct purchase *purchase);
/* What is known of the item may be old. */
void loop_item_invalidate(loop_item_t *item);
/* The item's row has changed, or units came back; `epoch` is the row's. Whatever loop it belongs
   to, this one no longer refuses by itself; an owner that knows an older epoch reads the row again.
 */
void loop_item_changed(struct engine_loop *engine, str_t sku, uint64_t epoch);

/* A connection does not have the gate of this epoch as it should be, and no newer one. True if that
   was so before too, and the item was read in between and found READY under it: the read went to
   another Redis than this connection (which a failover has left open, or which was made before the
   promotion of its server). It is to be dropped: a new one knows better. */
bool loop_item_gate_is_elsewhere(loop_item_t *item, uint64_t epoch);
/* No unit is left: for some tens of milliseconds, and not beyond the sale's end, keyless requests
   are refused without asking. Not if units came back since the question whose answer found none,
   which was asked when item->base.units_back was so. */
void loop_item_sold_out(loop_item_t *item, unsigned units_back);

#endif
