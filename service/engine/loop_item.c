#include "engine/loop_item.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/engine.h"

/* An entry that no purchase has used for this long is forgotten. */
#define IDLE_MS 600000
/* Entries that one search looks at, at most: the loop stands still meanwhile. */
#define FORGET_MAX 4096

loop_item_t *loop_item_find(const engine_loop_t *engine, str_t sku)
{
    loop_item_t *item;
    HASH_FIND(hh, engine->items, sku.p, sku.n, item);
    return item;
}

/* Adds the entry at the end of engine->items. */
static void list_item(engine_loop_t *engine, loop_item_t *item, uint64_t now)
{
    item->listed_ms = now;
    HASH_ADD_KEYPTR(hh, engine->items, item->base.ref.sku.bytes, item->base.ref.sku.length, item);
}

static loop_item_t *new_item(engine_loop_t *engine, const item_ref_t *ref)
{
    loop_item_t *item = alloc_zero(1, sizeof(*item));
    item->engine = engine;
    item->base = (strategy_item_t){.loop = &engine->strategies,
                                   .shard = node_shard_of_slot(engine->node, ref->slot),
                                   .ref = *ref};
    item->owned = engine_owner_loop(engine->node, ref->slot) == engine;
    h2o_linklist_init_anchor(&item->parked);
    h2o_linklist_init_anchor(&item->unchecked);
    list_item(engine, item, clock_mono_ms());
    return item;
}

loop_item_t *loop_item_get(engine_loop_t *engine, const item_ref_t *ref)
{
    loop_item_t *item = loop_item_find(engine, sku_str(&ref->sku));
    if (item == NULL)
        item = new_item(engine, ref);
    item->used_ms = clock_mono_ms();
    return item;
}

bool loop_item_is_idle(const loop_item_t *item)
{
    return item->purchases == 0 && item->state != ITEM_READING && !item->outbox.calling &&
           outbox_is_quiet(&item->outbox) && !buyer_loads_are_under_way(item->loads);
}

void loop_item_forget(loop_item_t *item)
{
    assert(loop_item_is_idle(item));
    assert(h2o_linklist_is_empty(&item->parked) && h2o_linklist_is_empty(&item->unchecked));
    assert(!item->checking && !h2o_timeout_is_linked(&item->check_timer.entry));
    if (h2o_linklist_is_linked(&item->live_link))
        h2o_linklist_unlink(&item->live_link);
    strategy_item_close(&item->base);
    outbox_forget(&item->outbox);
    buyer_loads_free(item->loads);
    HASH_DEL(item->engine->items, item);
    free(item);
}

void loop_items_forget_idle(engine_loop_t *engine)
{
    uint64_t now = clock_mono_ms();
    for (unsigned looks = 0; looks < FORGET_MAX; ++looks) {
        loop_item_t *item = engine->items; /* of all entries it was listed first */
        if (item == NULL || now - item->listed_ms <= IDLE_MS)
            return;
        if (loop_item_is_idle(item) && now - item->used_ms > IDLE_MS) {
            loop_item_forget(item);
        } else {
            HASH_DEL(engine->items, item);
            list_item(engine, item, now);
        }
    }
}

void loop_item_note_gate_call(loop_item_t *item)
{
    /* used_ms was set when this purchase began: the clock is not read again. */
    if (item->used_ms - item->noted_ms < IN_USE_AGAIN_MS)
        return;
    item->noted_ms = item->used_ms;
    in_use_add(&item->base.shard->in_use, loop_item_sku(item));
}

void loop_item_changed(engine_loop_t *engine, str_t sku, uint64_t epoch)
{
    loop_item_t *item = loop_item_find(engine, sku);
    /* Counted for items without an entry too: cross_request.c compares the count. */
    ++engine->changes;
    if (item != NULL) {
        item->sold_out_until_ms = 0;
        ++item->base.units_back;
    }
    if (item != NULL && item->owned && (item->state != ITEM_READY || item->item.epoch < epoch))
        loop_item_invalidate(item);
}

bool loop_item_gate_is_elsewhere(loop_item_t *item, uint64_t epoch)
{
    /* The first miss of an epoch proves nothing: the gate may not be built yet. A read
       (item_sync()) builds it; if it is missing after that, the read used another Redis. */
    bool was_read = item->missed_epoch == epoch && item->missed_read != item->reads;
    item->missed_epoch = epoch;
    item->missed_read = item->reads;
    return was_read && item->state == ITEM_READY && item->item.epoch == epoch;
}

/* For how many ms the sale's window does not refuse yet, by the clock of the item's strategy; 0: it
   refuses now. A refusal for the window comes before one for units (strategies/strategy.h). */
static uint64_t open_for_ms(const loop_item_t *item)
{
    const item_terms_t *terms = &item->item.terms;
    const remote_clock_t *clock =
        item_uses_gate(&item->item) ? &item->engine->node->gate_clock : &item->base.shard->clock;
    uint64_t now_ms = remote_clock_now_ms(clock);
    if (now_ms < terms->starts_at_ms)
        return 0;
    if (terms->ends_at_ms == 0)
        return UINT64_MAX;
    return now_ms < terms->ends_at_ms ? terms->ends_at_ms - now_ms : 0;
}

void loop_item_sold_out(loop_item_t *item, unsigned units_back)
{
    uint64_t for_ms = open_for_ms(item),
             max_ms = item->engine->node->config->orders.sold_out_cache_ms;
    if (item->base.units_back == units_back)
        item->sold_out_until_ms = clock_mono_ms() + (for_ms < max_ms ? for_ms : max_ms);
}
