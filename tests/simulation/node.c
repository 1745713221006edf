#include "node.h"

#include <string.h>

#include "history.h"
#include "loop_model.h"
#include "machine.h"
#include "mysql_server.h"
#include "reconcile/housekeeping.h"
#include "reconcile/loader.h"
#include "reconcile/reconciler.h"
#include "redis_wire.h"

sim_node_t sim_nodes[NODES_MAX + 1];
static const config_t *config_now;
static unsigned loops_count;
static shard_map_t map;

void node_begin(const config_t *config, unsigned loops)
{
    memset(sim_nodes, 0, sizeof(sim_nodes));
    config_now = config;
    loops_count = loops;
    map.shards_count = 1; /* every slot is on it */
}

static void start_threads(node_t *node)
{
    shard_t *shard = &node->shards[0];
    atomic_int *default_strategy = world_alloc_zero(sizeof(*default_strategy));
    reconciler_t *reconciler = reconciler_new(shard);
    atomic_store(default_strategy, (int)STRATEGY_LUA);
    shard->writer = writer_start(config_now, 0, &shard->clock);
    shard->pool =
        pool_start(shard, config_now->mysql.pool_threads, config_now->mysql.pool_queue_max);
    node->loops_count = loops_count;
    announcements_init(&node->announcements, loops_count);
    node->loops = world_alloc_zero(loops_count * sizeof(struct engine_loop *));
    for (unsigned i = 0; i < loops_count; ++i)
        node->loops[i] = engine_loop_new(loop_make(i), node);
    housekeeping_start(shard, default_strategy, NULL);
    reconciler_start(reconciler);
    loader_start(shard);
}

void node_launch(unsigned number)
{
    owner_t owner = world_begin_life(number);
    node_t *node = world_alloc_zero(sizeof(*node));
    world_set_owner(owner);
    machine_set_skew(number, (int64_t)chance_below(20000) - 10000);
    node->config = config_now;
    node->map = map;
    for (int i = 0; i < 32; ++i)
        node->incarnation[i] = "0123456789abcdef"[chance_below(16)];
    remote_clock_init(&node->gate_clock);
    gate_health_init(&node->gate_health);
    orders_in_hand_init(&node->in_hand);
    node->shards = world_alloc_zero(sizeof(*node->shards));
    node->shards[0] = (shard_t){.config = config_now,
                                .map = &node->map,
                                .incarnation = node->incarnation,
                                .gate_clock = &node->gate_clock,
                                .gate_health = &node->gate_health,
                                .announcements = &node->announcements};
    remote_clock_init(&node->shards[0].clock);
    repair_queue_init(&node->shards[0].repairs);
    repair_queue_init(&node->shards[0].loads);
    in_use_init(&node->shards[0].in_use);
    /* It asked each shard's clock before it began to serve. */
    remote_clock_observe(&node->shards[0].clock, clock_mono_ms(), mysql_now_ms());
    http_context_t *http = world_alloc_zero(sizeof(*http));
    *http = (http_context_t){.config = config_now, .map = &node->map, .shards = node->shards};
    sim_nodes[number] = (sim_node_t){node, http, owner};
    start_threads(node);
    TRACE("starts as %.8s", node->incarnation);
    world_set_owner((owner_t){0, 0});
}

static void on_launch(void *context, uint64_t number)
{
    (void)context;
    if (sim_nodes[number].node == NULL)
        node_launch((unsigned)number);
}

void node_launch_after(uint64_t delay_us, unsigned number)
{
    world_after(delay_us, (owner_t){0, 0}, on_launch, NULL, number);
}

void node_kill(unsigned number)
{
    sim_node_t *sim = &sim_nodes[number];
    history.killed = true;
    if (sim->node == NULL)
        return;
    TRACE("node %u is killed", number);
    world_kill(sim->owner);
    redis_forget_node(sim->owner);
    mysql_forget_node(sim->owner);
    sim->node = NULL;
}

/* `what`: the longest time that it is down, and its number in the low bits. */
#define NUMBER_BITS 8

static void on_kill(void *context, uint64_t what)
{
    unsigned number = (unsigned)(what & ((1U << NUMBER_BITS) - 1));
    (void)context;
    node_kill(number);
    node_launch_after(chance_time_us(DOWN_MIN_US, what >> NUMBER_BITS), number);
}

void node_kill_after(uint64_t delay_us, unsigned number, uint64_t down_max_us)
{
    world_after(delay_us, (owner_t){0, 0}, on_kill, NULL, down_max_us << NUMBER_BITS | number);
}

bool node_is_idle(unsigned number)
{
    const node_t *node = sim_nodes[number].node;
    for (unsigned i = 0; node != NULL && i < node->loops_count; ++i)
        if (!engine_loop_is_idle(node->loops[i]))
            return false;
    return true;
}

engine_loop_t *node_loop(unsigned number)
{
    node_t *node = sim_nodes[number].node;
    return node->loops[chance_below(node->loops_count)];
}
