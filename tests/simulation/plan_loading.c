#include "plan_loading.h"

#include <stdio.h>

#include "actions.h"
#include "faults.h"
#include "gate/gate.h"
#include "node.h"
#include "plan.h"
#include "redis_wire.h"

#define BUYERS 7
#define ROUNDS_MAX 3

static const owner_t nobody = {0, 0};

void plan_loading_terms(item_terms_t *terms)
{
    terms->total = chance_between(3, 8);
    if (terms->hold_seconds != 0)
        terms->hold_seconds = 1000; /* none ends: a node with few permits would never sell all */
    terms->per_buyer_limit = chance(6) ? 0 : chance_between(1, 4);
    terms->strategy = chance(3) ? STRATEGY_WATCH : STRATEGY_LUA;
}

/* --- what happens --- */

static const char *sku(void)
{
    return history.sales[0].sku;
}

static void on_flush(void *context, uint64_t number)
{
    (void)context, (void)number;
    history.redis_lost = true;
    redis_flush(0);
}

/* A gate is lost, and the orders that it had admitted are not. */
static void on_gate_lost(void *context, uint64_t number)
{
    char text[GATE_KEY_SIZE];
    const item_ref_t item = item_ref_of(str_of(sku()));
    (void)context;
    history.redis_lost = true;
    TRACE("redis loses a gate");
    redis_key_delete(redis_store(0),
                     gate_key(text, number ? GATE_KEY_GATE : GATE_KEY_BUYERS, &item));
}

static void on_strategy(void *context, uint64_t number)
{
    item_change_t change = {.has_strategy = true, .terms.strategy = (strategy_id_t)number};
    (void)context;
    action_change(sku(), &change);
}

static void on_limit(void *context, uint64_t number)
{
    item_change_t change = {.has_limit = true, .terms.per_buyer_limit = (uint32_t)number};
    (void)context;
    action_change(sku(), &change);
}

static void on_total(void *context, uint64_t number)
{
    item_change_t change = {.has_total = true, .terms.total = (int64_t)number};
    (void)context;
    action_change(sku(), &change);
}

static void on_rebuild(void *context, uint64_t number)
{
    item_change_t change = {.has_hold = true, .terms.hold_seconds = chance_between(500, 1000)};
    (void)context, (void)number;
    action_change(sku(), &change);
}

static void on_give_back(void *context, uint64_t number)
{
    order_id_t id;
    (void)context;
    for (int tries = 0; tries < 4; ++tries) {
        if (!plan_some_order(&id))
            continue;
        if (number != 0)
            action_give_back(&id, (unsigned)number, (char)('a' + chance_below(3)));
        else
            action_move(&id, ORDER_MOVE_CANCEL);
        return;
    }
}

/* --- when --- */

static void draw_purchase(uint64_t at, bool new_buyer)
{
    char buyer[16], key[2] = {chance(2) ? (char)('k' + chance_below(2)) : '\0', '\0'};
    snprintf(buyer, sizeof(buyer), new_buyer ? "m%u" : "l%u",
             new_buyer ? history.requests_count : chance_below(BUYERS));
    history_request(0, buyer, key, chance(4) ? 2 : 1, chance_between(1, history.nodes), at);
}

/* A change after which a table of buyers is kept, loaded anew, or both in turn. */
static void draw_change(uint64_t at)
{
    uint64_t soon = chance_time_us(1, 100000);
    switch (chance_below(8)) {
    case 0:
    case 1:
        history.faulty = true;
        world_after(at, nobody, on_flush, NULL, 0);
        break;
    case 2:
        history.faulty = true;
        world_after(at, nobody, on_gate_lost, NULL, chance_below(2));
        break;
    case 3:
    case 4:
        world_after(at, nobody, on_strategy, NULL, STRATEGY_OPTIMISTIC);
        world_after(at + soon, nobody, on_strategy, NULL,
                    chance(3) ? STRATEGY_WATCH : STRATEGY_LUA);
        break;
    case 5:
        world_after(at, nobody, on_limit, NULL, chance_below(5));
        break;
    case 6:
        world_after(at, nobody, on_total, NULL, chance_between(3, 8));
        break;
    default:
        world_after(at, nobody, on_rebuild, NULL, 0);
    }
}

static void draw_round(uint64_t at)
{
    uint64_t least = 20 * faults.latency_us;
    uint64_t within = chance_time_us(least, least < 300000 ? 300000 : least);
    draw_change(at);
    if (chance(2))
        draw_change(at + chance_time_us(1, within));
    for (unsigned count = chance_between(4, 10); count != 0; --count)
        draw_purchase(at + chance_time_us(1, within), chance(4));
    for (unsigned count = chance_below(5); count != 0; --count)
        world_after(at + chance_time_us(1, within), nobody, on_give_back, NULL, chance_below(2));
    if (chance(3)) {
        history.faulty = true;
        node_kill_after(at + chance_time_us(1, within), chance_between(1, history.nodes), 500000);
    }
}

void plan_loading_draw(void)
{
    if (chance(2)) { /* between a read of units and their load, say */
        history.faulty = true;
        faults.stall = 12;
        faults.stall_us = 60000;
    }
    uint64_t at = 20 * faults.latency_us + chance_time_us(1000, 200000);
    for (unsigned i = 0; i < 2 * BUYERS; ++i)
        draw_purchase(1 + chance_below(2000), false);
    for (unsigned rounds = chance_between(1, ROUNDS_MAX); rounds != 0; --rounds) {
        draw_round(at);
        at += chance_time_us(1000, PLAN_LOADING_WINDOW_US / ROUNDS_MAX);
    }
}
