/*
 * An item on sale, as in its row of `inventory`: its terms, totals and epoch. Values and rules on
 * them, pure: no I/O, no clock, nothing is shared or blocks; any thread may call. store/items.h
 * reads and writes the row. Quantities are units.
 */
#ifndef HOLDFAST_SALE_ITEM_H
#define HOLDFAST_SALE_ITEM_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "sale/item_ref.h"

typedef enum { ACKNOWLEDGE_COMMITTED, ACKNOWLEDGE_ACCEPTED } acknowledge_t;

const char *acknowledge_name(acknowledge_t acknowledge);
int acknowledge_parse(str_t name); /* Returns -1 if `name` is no such word. */

#define ITEM_TOTAL_MAX 1000000000

/* The terms, which an administrator sets. Times are ms since 1970; 0: no bound. */
typedef struct {
    int64_t total;
    uint32_t per_buyer_limit; /* 0: none */
    uint32_t hold_seconds;    /* 0: orders are confirmed at once */
    uint64_t starts_at_ms, ends_at_ms;
    strategy_id_t strategy;
    acknowledge_t acknowledge;
} item_terms_t;

typedef struct {
    item_ref_t ref;
    item_terms_t terms;
    int64_t allocated_total, released_total;
    int64_t epoch_allocated_total, epoch_released_total; /* the totals when this epoch began */
    uint64_t version, epoch;
    uint64_t terms_version; /* raised when somebody changes the terms; at least 1 */
    bool rebuilding;        /* a rebuild is under way whose lease is not over */
    /* the lease of a rebuild ends later than any lasts: it counts as over */
    bool rebuilding_too_long;
    bool gate_down;                        /* the fallback is in force, see item_strategy() */
    uint64_t created_at_ms, updated_at_ms; /* by the clock of the shard */
} item_t;

static inline str_t item_sku(const item_t *item)
{
    return sku_str(&item->ref.sku);
}

/* Units in live orders. */
static inline int64_t item_allocated(const item_t *item)
{
    return item->allocated_total - item->released_total;
}

/* True if the strategy admits through the gate (lua, watch), so that the gate is open. */
static inline bool strategy_uses_gate(strategy_id_t strategy)
{
    return strategy == STRATEGY_LUA || strategy == STRATEGY_WATCH;
}

/* The strategy in force: the fallback while the gate is down, else that of the terms. */
static inline strategy_id_t item_strategy(const item_t *item)
{
    return item->gate_down ? STRATEGY_OPTIMISTIC : item->terms.strategy;
}

static inline bool item_uses_gate(const item_t *item)
{
    return strategy_uses_gate(item_strategy(item));
}

/* True if the fallback may sell the item while its gate is away. False where buyers get 202 for
   orders that only the gate has: their units would be sold again. */
static inline bool item_may_lose_gate(const item_t *item)
{
    return item->terms.acknowledge != ACKNOWLEDGE_ACCEPTED;
}

#endif
