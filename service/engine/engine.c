#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/heartbeat.h"
#include "engine/item_views.h"
#include "engine/nodes.h"
#include "engine/purchase.h"

/* Entries that were idle for long are searched for at this interval. */
#define HOUSEKEEPING_MS 8192

/* --- reports of strategies and of other threads --- */

static void on_sold_out(strategy_item_t *item, unsigned units_back)
{
    loop_item_sold_out(H2O_STRUCT_FROM_MEMBER(loop_item_t, base, item), units_back);
}

static bool on_gate_missed(strategy_item_t *item, uint64_t epoch)
{
    return loop_item_gate_is_elsewhere(H2O_STRUCT_FROM_MEMBER(loop_item_t, base, item), epoch);
}

static void on_item_changed(void *context, str_t sku, uint64_t epoch)
{
    engine_loop_t *engine = context;
    loop_item_changed(engine, sku, epoch);
    item_views_changed(engine->views, sku, epoch);
}

static void on_order_orphaned(void *context, const order_id_t *id, const gate_record_t *record)
{
    purchase_adopt(context, id, record);
}

static void on_housekeeping(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, housekeeping, timer);
    loop_items_forget_idle(engine);
    loop_timer_start(engine->loop, &engine->housekeeping, HOUSEKEEPING_MS, on_housekeeping);
}

/* --- opening and closing --- */

static void open_strategies(engine_loop_t *engine)
{
    static const strategy_host_t host = {purchase_attempt_sent, purchase_attempt_done, on_sold_out,
                                         on_gate_missed};
    engine->strategies = (strategy_loop_t){.loop = engine->loop,
                                           .config = engine->node->config,
                                           .host = &host,
                                           .owner = str_of(engine->node->incarnation),
                                           .gate = engine->gate,
                                           .gate_clock = &engine->node->gate_clock,
                                           .gate_health = &engine->node->gate_health};
    strategy_loop_open(&engine->strategies);
}

engine_loop_t *engine_loop_new(loop_t *loop, node_t *node)
{
    engine_loop_t *engine = alloc_zero(1, sizeof(*engine));
    engine->loop = loop;
    engine->node = node;
    h2o_linklist_init_anchor(&engine->live);
    engine->gate =
        redis_link_new(loop, node->config, &node->gate_clock, &node->gate_health, LINK_COUNTS);
    open_strategies(engine);
    outbox_open(engine);
    engine->views = item_views_new(engine);
    order_waits_open(engine);
    engine->polls = order_polls_new(engine);
    announcements_listen(
        &node->announcements,
        &(announcement_listener_t){loop, engine, on_item_changed, on_order_orphaned});
    loop_timer_start(loop, &engine->housekeeping, HOUSEKEEPING_MS, on_housekeeping);
    if (loop->index == 0)
        engine->nodes = nodes_new(engine);
    heartbeat_start(engine);
    return engine;
}

bool engine_loop_is_idle(const engine_loop_t *engine)
{
    return engine->cross_requests == 0 && engine->purchases == 0 && engine->outbox.items == 0 &&
           engine->jobs == 0 && item_views_are_idle(engine->views);
}

void engine_loop_free(engine_loop_t *engine)
{
    loop_item_t *item, *next;
    assert(engine_loop_is_idle(engine));
    loop_timer_stop(&engine->housekeeping);
    heartbeat_stop(engine);
    item_views_free(engine->views);
    outbox_close(engine);
    loop_timer_stop(&engine->waits.look_timer);
    order_polls_free(engine->polls, engine->node->map.shards_count);
    redis_link_free(engine->gate);
    nodes_free(engine->nodes);
    HASH_ITER(hh, engine->items, item, next)
    {
        loop_item_forget(item);
    }
    strategy_loop_close(&engine->strategies);
    redis_args_free(&engine->args);
    free(engine);
}

bool engine_gate_is_given_up(const engine_loop_t *engine)
{
    const config_t *config = engine->node->config;
    return config->redis.on_gate_down == GATE_DOWN_OPTIMISTIC &&
           gate_health_down_ms(&engine->node->gate_health) > config->redis.gate_down_after_ms;
}

bool engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                   void (*run)(job_t *, worker_t *), void (*done)(job_t *))
{
    if (!pool_submit(engine->node->shards[shard].pool, engine->loop, job, run, done))
        return false;
    ++engine->jobs;
    return true;
}
