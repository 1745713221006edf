/*
 * The entry of an item on a loop. Each item has one owner loop (engine/cross_request.h), which runs
 * its purchases; the entry of any other loop contains only until when the item is sold out.
 *
 * The owner's entry is the row as item_sync() has read it, so the item's gate has the same epoch:
 *
 *   UNKNOWN ──a purchase begins──▶ READING ──▶ READY ──invalidated──▶ UNKNOWN
 *      ▲                             │ ▲ └─ invalidated meanwhile, and a purchase waits: read again
 *      └────────── failed ───────────┘
 *
 * An announcement of a newer epoch invalidates it, and so does a stale attempt or a stale commit.
 * An entry that no purchase has used for 10 to 20 min is forgotten. An entry whose row does not
 * exist is forgotten at once.
 *
 * The loop owns its entries and uses them on its thread only. Nothing blocks: rows are read by jobs
 * of the shard's pool. A read that fails ends in purchase_unparked() with the reason.
 */
#ifndef HOLDFAST_ENGINE_LOOP_ITEM_H
#define HOLDFAST_ENGINE_LOOP_ITEM_H

#include <uthash.h>

#include "engine/buyer_loads.h"
#include "engine/item_live.h"
#include "engine/outbox.h"
#include "reconcile/sync.h"
#include "strategies/strategy.h"

struct engine_loop;
struct purchase;

typedef enum { ITEM_UNKNOWN, ITEM_READING, ITEM_READY } item_state_t;

typedef struct loop_item {
    UT_hash_handle hh;
    strategy_item_t base; /* the part that the strategies use */
    struct engine_loop *engine;

    bool owned; /* this is the owner loop; else only sold_out_until_ms and the strategy are set */
    item_state_t state;
    bool read_again;            /* invalidated while READING */
    item_t item;                /* valid when READY */
    uint64_t sold_out_until_ms; /* monotonic; until then requests without a key are refused */
    unsigned reads;             /* counts how often it became READY */
    uint64_t missed_epoch;      /* the last epoch whose gate a connection did not have; 0: none */
    unsigned missed_read;       /* `reads` at that time */
    uint64_t used_ms;           /* monotonic; last use */
    uint64_t listed_ms;         /* monotonic; when it went to the end of engine->items */
    uint64_t noted_ms;          /* monotonic; when it was last added to shard->in_use */
    unsigned purchases;         /* that point to this entry */
    unsigned being_written;     /* purchases whose orders the writer has */

    item_live_t live;         /* what its buyers hear */
    h2o_linklist_t live_link; /* in engine->live, once something was counted */

    h2o_linklist_t parked; /* purchases that wait for READY */

    /* refused purchases that wait for the next check of the epoch: epoch_check.h */
    h2o_linklist_t unchecked;
    bool checking;           /* a check of the epoch is under way */
    uint64_t check_begun_ms; /* monotonic; when the last check began */
    loop_timer_t check_timer;

    struct buyer_loads *loads; /* engine/buyer_loads.h; NULL: none was needed */

    item_outbox_t outbox;
} loop_item_t;

static inline str_t loop_item_sku(const loop_item_t *item)
{
    return strategy_item_sku(&item->base);
}

/* True if sold_out_until_ms can be relied on: the entry is READY, or belongs to another loop. */
static inline bool loop_item_is_known(const loop_item_t *item)
{
    return item->state == ITEM_READY || !item->owned;
}

/* Returns NULL if the loop has no entry for the item. */
loop_item_t *loop_item_find(const struct engine_loop *engine, str_t sku);
/* Makes the entry if there is none. */
loop_item_t *loop_item_get(struct engine_loop *engine, const item_ref_t *ref);
/* Frees the entry. Only if loop_item_is_idle(). */
void loop_item_forget(loop_item_t *item);
/* Nothing of the item is under way. */
bool loop_item_is_idle(const loop_item_t *item);
/* Frees idle entries that were not used for 10 min. Looks only at those that became due since. */
void loop_items_forget_idle(struct engine_loop *engine);
/* A purchase calls the item's gate: the reconciler compares it in its next pass. */
void loop_item_note_gate_call(loop_item_t *item);

/* Parks a purchase until the item is READY, or its read has failed; starts a read if none runs.
   Calls purchase_unparked() once: later, or inside this call if the pool takes no job. */
void loop_item_park(loop_item_t *item, struct purchase *purchase);
/* The copy of the row may be old: it is read again before the next attempt. */
void loop_item_invalidate(loop_item_t *item);
/* The item's row has changed, or units came back; `epoch` is the row's. From now on this loop does
   not refuse by itself, whether it owns the item or not. The owner reads the row again if its copy
   has an older epoch. */
void loop_item_changed(struct engine_loop *engine, str_t sku, uint64_t epoch);

/* A connection has no usable gate of this epoch, and no newer one. Returns true if that was so
   before too, and the item was read in between and became READY under this epoch. Then the read
   went to another Redis than this connection: a failover has left the connection open, or it was
   made before its server was promoted. The caller drops it; a new connection reaches the right
   server. */
bool loop_item_gate_is_elsewhere(loop_item_t *item, uint64_t epoch);
/* No unit is left. For some tens of milliseconds, and not beyond the sale's end, this loop refuses
   requests without a key by itself. `units_back` is the value of item->base.units_back when the
   question was sent; if units came back since, the call does nothing. */
void loop_item_sold_out(loop_item_t *item, unsigned units_back);

#endif
