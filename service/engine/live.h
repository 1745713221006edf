/*
 * The live figures of a loop's items: what their buyers hear, and how many purchases are under way.
 *
 * A loop counts in its own entries (engine/loop_item.h), without a lock, and keeps the entries that
 * were counted in a list, the latest first. So those with answers in the last second are found
 * without a look at all others. The answers of an item are counted by its owner loop; refusals from
 * memory by the loop that gives them. Loop thread only; nothing blocks.
 */
#ifndef HOLDFAST_ENGINE_LIVE_H
#define HOLDFAST_ENGINE_LIVE_H

#include "engine/engine.h"
#include "engine/purchase.h"

/* The most items that live_busiest() returns, and looks at. */
#define LIVE_MAX 100
#define LIVE_LOOKS_MAX 4096

typedef struct {
    sku_t sku;
    bool owned; /* by this loop: the members below are known */
    strategy_id_t strategy;
    unsigned under_way;          /* purchases that have not ended */
    unsigned being_written;      /* of these: with the writer */
    uint32_t heard[HEARD_KINDS]; /* in the last whole second */
    uint32_t answers;            /* the sum of `heard` */
} live_figure_t;

void live_count(loop_item_t *item, heard_t kind, uint64_t now_ms);
heard_t live_kind(const answer_t *answer);
/* The items with the most answers in the last whole second, the busiest first. Returns how many of
   `out` it has filled in. `*all`: there are no others. */
unsigned live_busiest(engine_loop_t *engine, uint64_t now_ms, live_figure_t out[LIVE_MAX],
                      bool *all);

#endif
