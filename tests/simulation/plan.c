#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "actions.h"
#include "base/order_id.h"
#include "checks.h"
#include "faults.h"
#include "mysql_fault.h"
#include "mysql_server.h"
#include "node.h"
#include "plan_fault.h"
#include "plan_rare.h"
#include "redis_wire.h"

/* Twice the hold of the items that have one. */
#define HOLD_MAX_SECONDS 2

static config_t config;
static config_shard_t shard;
static config_server_t server;
static uint64_t window_us; /* in which buyers come and faults begin */
static bool any_holds;     /* of a second, in some item's first terms */

/* --- the configuration: one for all nodes, with short times --- */

static void draw_config(void)
{
    server = (config_server_t){.name = "mysql", .status = SERVER_PRIMARY};
    shard = (config_shard_t){.name = "shard", .slot_last = SLOT_COUNT - 1, .servers = &server};
    shard.servers_count = 1;
    memset(&config, 0, sizeof(config));
    config.shards = &shard;
    config.shards_count = 1;
    config.deployment = deployment_new("simulated");
    config.redis.socket = (char *)"redis";
    config.redis.timeout_ms = chance(3) ? 1000 : chance_between(50, 500);
    config.redis.watch_connections = 2;
    config.redis.batch_max = chance(2) ? 256 : chance_between(1, 3);
    config.redis.on_gate_down = chance(3) ? GATE_DOWN_OPTIMISTIC : GATE_DOWN_REFUSE;
    config.redis.gate_down_after_ms = chance_between(10, 500);
    config.mysql.timeout_ms = 5000;
    config.mysql.lock_wait_timeout_s = 1;
    config.mysql.idle_transaction_timeout_s = 1;
    config.mysql.pool_threads = chance_between(2, 3);
    config.mysql.pool_queue_max = chance(8) ? 2 : 64;
    config.mysql.writer_queue_max = chance(8) ? 2 : 64;
    config.mysql.writer_batch_max = chance(3) ? 1 : 16;
    config.mysql.writer_bulk_min = chance(2) ? 0 : chance_between(1, 4);
    config.mysql.writer_linger_ms = chance(3) ? 32 : 0;
    config.mysql.writer_threads = 1;
    config.orders.answer_deadline_ms = chance(3) ? chance_between(20, 200) : 2000;
    config.orders.commit_deadline_ms = config.orders.answer_deadline_ms + chance_between(50, 2000);
    config.orders.retries_max = 16;
    config.orders.hold_max_seconds = HOLD_MAX_SECONDS;
    config.orders.sold_out_cache_ms = chance(3) ? 0 : 30;
    config.orders.wait_max_ms = 60000;
    config.orders.waiters_max = 1000;
    config.reconcile.expiry_interval_ms = chance_between(200, 1000);
    config.reconcile.pass_interval_ms = chance_between(200, 1500);
    config.reconcile.epoch_poll_ms = chance_between(200, 2000);
    config.reconcile.expiry_batch_max = chance(2) ? 8 : 1;
}

uint64_t plan_hold_max_ms(void)
{
    return HOLD_MAX_SECONDS * UINT64_C(1000);
}

uint32_t plan_answer_deadline_ms(void)
{
    return config.orders.answer_deadline_ms;
}

uint32_t plan_commit_deadline_ms(void)
{
    return config.orders.commit_deadline_ms;
}

unsigned plan_some_node(void)
{
    for (;;) {
        unsigned number = chance_between(1, history.nodes);
        if (sim_nodes[number].node != NULL)
            return number;
        bool any = false;
        for (unsigned i = 1; i <= history.nodes; ++i)
            any = any || sim_nodes[i].node != NULL;
        if (!any)
            return number;
    }
}

/* --- items --- */

static strategy_id_t draw_strategy(void)
{
    return chance(5) ? STRATEGY_OPTIMISTIC : chance(6) ? STRATEGY_WATCH : STRATEGY_LUA;
}

static bool items_exist(void)
{
    for (unsigned i = 0; i < history.sales_count; ++i)
        if (!checks_item(history.sales[i].sku).found)
            return false;
    return true;
}

/* Before anything goes wrong. */
static void create_items(void)
{
    history.sales_count = history.one_fault || chance(4) ? 2 : 1;
    any_holds = false;
    for (unsigned i = 0; i < history.sales_count; ++i) {
        item_change_t change = {
            .create = true,
            .terms = {.total = chance_between(1, 4),
                      .per_buyer_limit = chance(2) ? chance_between(1, 2) : 0,
                      .hold_seconds = chance(3) ? 1 : 0,
                      .strategy = draw_strategy(),
                      .acknowledge = chance(4) ? ACKNOWLEDGE_ACCEPTED : ACKNOWLEDGE_COMMITTED}};
        if (history.one_fault)
            change.terms = plan_fault_terms(i);
        plan_rare_terms(&change.terms);
        any_holds = any_holds || change.terms.hold_seconds != 0;
        snprintf(history.sales[i].sku, sizeof(history.sales[i].sku), "item%u", i);
        action_change(history.sales[i].sku, &change);
    }
    while (!items_exist() && world_failure() == NULL)
        world_run(world_now_us() + 5000);
}

/* --- buyers --- */

static void draw_requests(void)
{
    unsigned count = chance_between(3, 8), buyers = chance_between(2, 6);
    for (unsigned i = 0; i < count; ++i) {
        char buyer[8], key[KEY_BYTES_MAX + 1] = "";
        snprintf(buyer, sizeof(buyer), "b%u", chance_below(buyers));
        if (chance(3)) /* one of them as long as a key can be */
            memset(key, 'k', chance_below(2) == 0 ? 1 : KEY_BYTES_MAX);
        unsigned item = chance_below(history.sales_count), quantity = chance(4) ? 2 : 1;
        unsigned repeats = key[0] != '\0' ? chance_between(1, 3) : 1;
        uint64_t at = chance_time_us(1, window_us);
        for (unsigned j = 0; j < repeats; ++j) {
            history_request(item, buyer, key, quantity, chance_between(1, history.nodes), at);
            at += chance_time_us(1, chance(2) ? 3000 : window_us);
        }
    }
}

bool plan_some_order(order_id_t *id)
{
    const request_t *r = &history.requests[chance_below(history.requests_count)];
    *id = r->has_order ? r->order.id : r->own_id;
    return r->answered && !order_id_is_none(id);
}

static void on_move(void *context, uint64_t number)
{
    order_id_t id;
    (void)context, (void)number;
    if (!plan_some_order(&id))
        return;
    if (chance(4))
        action_get(&id);
    else
        action_move(&id, chance(3)   ? ORDER_MOVE_CONFIRM
                         : chance(4) ? ORDER_MOVE_EXTEND
                                     : ORDER_MOVE_CANCEL);
}

static void draw_moves(void)
{
    for (unsigned count = chance_below(5); count != 0; --count)
        world_after(chance_time_us(1000, 2 * window_us), (owner_t){0, 0}, on_move, NULL, 0);
}

/* --- administrators --- */

static void on_change(void *context, uint64_t number)
{
    item_change_t change = {0};
    const char *sku = history.sales[chance_below(history.sales_count)].sku;
    (void)context, (void)number;
    switch (chance_below(5)) {
    case 0:
    case 1:
        change.has_total = true;
        change.terms.total = chance_between(1, 5);
        break;
    case 2:
        change.has_limit = true;
        change.terms.per_buyer_limit = chance_below(3);
        break;
    case 3:
        change.has_strategy = true;
        change.terms.strategy = draw_strategy();
        break;
    default:
        action_reconcile(sku);
        return;
    }
    action_change(sku, &change);
}

static void draw_changes(void)
{
    if (!chance(2))
        return;
    for (unsigned count = chance_between(1, 3); count != 0; --count)
        world_after(chance_time_us(1, window_us), (owner_t){0, 0}, on_change, NULL, 0);
}

/* --- what goes wrong --- */

static void on_redis_start(void *context, uint64_t with)
{
    (void)context;
    if (!redis_is_up(0))
        redis_start(0, (redis_return_t)with);
}

static void on_redis_kill(void *context, uint64_t number)
{
    redis_return_t with = (redis_return_t)chance_below(3);
    (void)context, (void)number;
    if (!redis_is_up(0))
        return;
    redis_kill(0);
    history.redis_lost = history.redis_lost || with != REDIS_ALL_DATA;
    world_after(chance_time_us(100, 500000), (owner_t){0, 0}, on_redis_start, NULL, with);
}

static void on_redis_loss(void *context, uint64_t number)
{
    (void)context, (void)number;
    history.redis_lost = true;
    if (chance(2)) {
        redis_flush(0);
        return;
    }
    char text[GATE_KEY_SIZE];
    str_t sku = str_of(history.sales[0].sku);
    const item_ref_t item = item_ref_of(sku);
    str_t gate = gate_key(text, GATE_KEY_GATE, &item);
    if (chance(2)) {
        TRACE("redis loses a gate");
        redis_key_delete(redis_store(0), gate);
    } else if (redis_key_find(redis_store(0), gate) != NULL) {
        TRACE("somebody edits a gate: two units more");
        redis_command(redis_store(0), (str_t[]){STR("HINCRBY"), gate, STR("capacity"), STR("2")},
                      4);
    }
}

static void on_redis_stall(void *context, uint64_t number)
{
    (void)context, (void)number;
    redis_stall(0, chance_time_us(1000, 3000000));
}

static void on_redis_back(void *context, uint64_t number)
{
    (void)context, (void)number;
    redis_point(0, 0, chance(2));
}

/* All nodes, or only one, meet another Redis for a while. */
static void on_redis_failover(void *context, uint64_t number)
{
    (void)context, (void)number;
    history.redis_lost = true;
    redis_point(chance(2) ? 0 : chance_between(1, history.nodes), 1, chance(2));
    world_after(chance_time_us(1000, 1000000), (owner_t){0, 0}, on_redis_back, NULL, 0);
}

static void on_snapshot(void *context, uint64_t number)
{
    (void)context, (void)number;
    redis_snapshot();
}

static void on_right_map(void *context, uint64_t number)
{
    (void)context;
    TRACE("node %llu has the right map", (unsigned long long)number);
    mysql_lead_elsewhere((unsigned)number, false);
    node_kill((unsigned)number);
    node_launch_after(1000, (unsigned)number);
}

/* A node starts again with a map that has another shard's database in the place of this one. */
static void on_wrong_map(void *context, uint64_t number)
{
    unsigned node = chance_between(1, history.nodes);
    (void)context, (void)number;
    TRACE("node %u has a wrong map", node);
    mysql_lead_elsewhere(node, true);
    node_kill(node);
    node_launch_after(1000, node);
    world_after(chance_time_us(10000, 1000000), (owner_t){0, 0}, on_right_map, NULL, node);
}

static void on_no_select_limit(void *context, uint64_t number)
{
    (void)context, (void)number;
    mysql_set_select_limit(UINT64_MAX);
}

/* Sessions that begin meanwhile have it: all that there are end. */
static void on_select_limit(void *context, uint64_t number)
{
    (void)context, (void)number;
    mysql_set_select_limit(chance_between(1, 2));
    mysql_kill();
    mysql_start();
    world_after(chance_time_us(10000, 2000000), (owner_t){0, 0}, on_no_select_limit, NULL, 0);
}

static void on_redis_refuses(void *context, uint64_t number)
{
    (void)context, (void)number;
    redis_refuse(0, chance_time_us(1000, 2000000));
}

/* One buyer's orders, or all. */
static void on_mysql_throws(void *context, uint64_t number)
{
    const request_t *r = &history.requests[chance_below(history.requests_count)];
    (void)context, (void)number;
    bool alone = chance(2);
    /* What refuses the values of all rows refuses none in truth. */
    unsigned error = !alone && chance(2) ? 1264 : mysql_fault_draw_error(true);
    mysql_fault_throw(chance(3) ? MYSQL_FAULT_AT_UPDATE : MYSQL_FAULT_AT_INSERT, error,
                      alone ? r->buyer : NULL, chance_time_us(1000, 5000000));
}

static void on_mysql_locks(void *context, uint64_t number)
{
    const request_t *r = &history.requests[chance_below(history.requests_count)];
    (void)context, (void)number;
    mysql_fault_lock(history.sales[r->item].sku, chance(2) ? r->buyer : NULL,
                     chance_time_us(1000, 5000000));
}

static void on_mysql_start(void *context, uint64_t number)
{
    (void)context, (void)number;
    mysql_start();
}

static void on_mysql_kill(void *context, uint64_t number)
{
    (void)context, (void)number;
    if (!mysql_is_up())
        return;
    mysql_kill();
    world_after(chance_time_us(1000, 1000000), (owner_t){0, 0}, on_mysql_start, NULL, 0);
}

static void on_node_kill(void *context, uint64_t number)
{
    unsigned node = chance_between(1, history.nodes);
    (void)context, (void)number;
    node_kill(node);
    if (!chance(3))
        node_launch_after(chance_time_us(1000, 1000000), node);
}

static void on_node_freeze(void *context, uint64_t number)
{
    (void)context, (void)number;
    world_freeze(chance_between(1, history.nodes), chance_time_us(1000, 5000000));
}

static void draw_events(void)
{
    static void (*const kinds[])(void *, uint64_t) = {
        on_redis_kill,   on_redis_loss,  on_redis_stall, on_redis_failover, on_node_kill,
        on_node_kill,    on_mysql_kill,  on_node_freeze, on_redis_refuses,  on_mysql_throws,
        on_mysql_throws, on_mysql_locks, on_wrong_map,   on_select_limit,
    };
    world_after(chance_time_us(1, window_us), (owner_t){0, 0}, on_snapshot, NULL, 0);
    for (unsigned count = chance_below(4); count != 0; --count)
        world_after(chance_time_us(1, window_us), (owner_t){0, 0},
                    kinds[chance_below(sizeof(kinds) / sizeof(kinds[0]))], NULL, 0);
}

static void draw_faults(void)
{
    static const uint64_t latencies[] = {50, 500, 5000, 50000};
    faults = (faults_t){.latency_us = latencies[chance_below(4)]};
    history.slow = faults.latency_us >= 10000;
    if (!history.faulty)
        return;
    faults.redis_lost_before = chance(3) ? chance_between(5, 60) : 0;
    faults.redis_lost_after = chance(3) ? chance_between(5, 60) : 0;
    faults.redis_late = chance(3) ? chance_between(5, 60) : 0;
    faults.redis_refuses = chance(8) ? chance_between(5, 60) : 0;
    faults.db_error = chance(4) ? chance_between(10, 100) : 0;
    faults.db_commit_refused = chance(4) ? chance_between(3, 30) : 0;
    faults.db_conflict = chance(3) ? chance_between(5, 60) : 0;
    faults.db_lost = chance(4) ? chance_between(10, 100) : 0;
    faults.db_commit_lost = chance(3) ? chance_between(2, 20) : 0;
    faults.stall = chance(3) ? chance_between(10, 100) : 0;
    faults.stall_us = chance(2) ? 3000000 : 50000;
    if (!plan_rare_keeps_connections()) /* which would keep those of another failover too */
        draw_events();
}

/* --- what meets by chance too rarely --- */

static void on_strategy(void *context, uint64_t number)
{
    item_change_t change = {.has_strategy = true, .terms.strategy = (strategy_id_t)number};
    (void)context;
    action_change(history.sales[0].sku, &change);
}

static void on_limit(void *context, uint64_t number)
{
    item_change_t change = {.has_limit = true, .terms.per_buyer_limit = (uint32_t)number};
    (void)context;
    action_change(history.sales[0].sku, &change);
}

/* To what is sold, or one more. */
static void on_squeeze(void *context, uint64_t number)
{
    item_change_t change = {.has_total = true};
    row_view_t row = checks_item(history.sales[0].sku);
    (void)context;
    change.terms.total = row.allocated + (int64_t)number;
    if (change.terms.total > 0)
        action_change(history.sales[0].sku, &change);
}

static void on_rebuild(void *context, uint64_t number)
{
    /* What changes nothing is no rebuild. */
    item_change_t change = {.has_hold = true, .terms.hold_seconds = chance_between(2, 1000)};
    (void)context, (void)number;
    action_change(history.sales[0].sku, &change);
}

static void on_cancel(void *context, uint64_t number)
{
    order_id_t id;
    (void)context, (void)number;
    for (int tries = 0; tries < 4; ++tries)
        if (plan_some_order(&id)) {
            action_move(&id, ORDER_MOVE_CANCEL);
            return;
        }
}

/* All die when some of what the gate has admitted is written and some is not. */
static void on_half_settled(void *context, uint64_t tries)
{
    (void)context;
    if (!checks_half_settled(history.sales[0].sku)) {
        if (tries != 0)
            world_after(1 + window_us / 100, (owner_t){0, 0}, on_half_settled, NULL, tries - 1);
        return;
    }
    for (unsigned i = 1; i <= history.nodes; ++i) {
        node_kill(i);
        node_launch_after(chance_time_us(1000, 1000000), i);
    }
}

static void on_pause(void *context, uint64_t node)
{
    (void)context;
    world_freeze((unsigned)node, chance_between(990, 1010) * UINT64_C(1000));
}

/* Whoever lowers the total stops for as long as a freeze of the gate lasts, and buyers come. */
static void draw_slow_squeeze(uint64_t at)
{
    window_us = 2000000;
    world_after(at, (owner_t){0, 0}, on_squeeze, NULL, chance_below(2));
    world_after(at + chance_time_us(100, 10 * faults.latency_us), (owner_t){0, 0}, on_pause, NULL,
                chance_between(1, history.nodes));
    for (unsigned i = 0; i < 6; ++i) {
        char buyer[8];
        snprintf(buyer, sizeof(buyer), "s%u", i);
        history_request(0, buyer, "", 1, chance_between(1, history.nodes),
                        at + 990000 + chance_below(20000) +
                            chance_time_us(1, 20 * faults.latency_us));
    }
}

static void on_hold_move(void *context, uint64_t number)
{
    order_id_t id;
    order_state_t state;
    (void)context, (void)number;
    for (unsigned tries = 0; tries < 8; ++tries)
        if (plan_some_order(&id) && checks_order(&id, &state) && state == ORDER_HELD) {
            action_move(&id, chance(3) ? ORDER_MOVE_CANCEL : ORDER_MOVE_EXTEND);
            return;
        }
}

/* Holds are extended and cancelled when their time is over, and when expiry looks at them. */
static void draw_deadlines(void)
{
    if (!any_holds)
        return;
    window_us = window_us > 1200000 ? window_us : 1200000;
    for (unsigned count = chance_between(4, 16); count != 0; --count)
        world_after(chance_between(900, 1800) * UINT64_C(1000) + chance_below(1000),
                    (owner_t){0, 0}, on_hold_move, NULL, 0);
}

/* Two repeats of one key at once, after its first order, by a Redis whose answers are lost. */
static void draw_repeats(uint64_t at, uint64_t soon)
{
    unsigned node = chance_between(1, history.nodes);
    faults.redis_lost_after = 4;
    history_request(0, "r", "r", 1, node, at);
    history_request(0, "r", "r", 1, node, at + soon);
    history_request(0, "r", "r", 1, node, at + soon);
    for (unsigned i = 0; i < 3; ++i)
        history_request(0, "o", "", 1, node, at + soon + chance_time_us(1, 20000));
}

/* New ones, of item 0. */
static void draw_buyers(unsigned count, const char *key, unsigned quantity, uint64_t from,
                        unsigned within)
{
    for (unsigned i = 0; i < count; ++i) {
        char buyer[16];
        snprintf(buyer, sizeof(buyer), "n%u", history.requests_count);
        history_request(0, buyer, key, quantity, chance_between(1, history.nodes),
                        from + chance_below(within));
    }
}

/* All is sold; an order is cancelled while others ask, and a node that remembers for long is asked
   some time later. Again and again, and by quick servers, since the three have to meet. Who asks
   meanwhile has a key, and so is sent to the gate whatever is remembered, and wants more than the
   one unit that comes back. */
static void draw_return(uint64_t at)
{
    window_us = 4000000;
    faults.latency_us = 50;
    history.slow = false;
    config.orders.sold_out_cache_ms = 1000;
    draw_buyers(5, "", 1, at, 1000);
    for (unsigned round = 0; round < 6; ++round) {
        at += 50000;
        world_after(at, (owner_t){0, 0}, on_cancel, NULL, 0);
        draw_buyers(8, "k", 2, at, 1000);
        at += 300000;
        draw_buyers(1, "", 1, at, 200000);
        at += 200000;
    }
}

static void on_relapse(void *context, uint64_t number)
{
    (void)context, (void)number;
    if (!redis_is_up(0))
        return;
    redis_kill(0);
    history.redis_lost = true;
    world_after(chance_time_us(100, 2000), (owner_t){0, 0}, on_redis_start, NULL, REDIS_OLD_DATA);
}

/* Under the strategy watch a buyer has all that he may have when Redis comes back as it was before,
   and asks for more. */
static void draw_relapse(uint64_t at)
{
    const owner_t nobody = {0, 0};
    uint64_t some_calls = 20 * faults.latency_us + 20000;
    window_us = 2000000;
    world_after(1, nobody, on_strategy, NULL, STRATEGY_WATCH);
    world_after(at, nobody, on_limit, NULL, 1);
    at += 2 * some_calls;
    world_after(at, nobody, on_snapshot, NULL, 0);
    history_request(0, "w", "", 1, chance_between(1, history.nodes), at + 1);
    at += some_calls;
    world_after(at, nobody, on_relapse, NULL, 0);
    for (unsigned i = 0; i < 6; ++i)
        history_request(0, "w", "", 1, chance_between(1, history.nodes),
                        at + chance_time_us(1000, 200000));
}

/* --- orders of which some units are given back --- */

typedef struct {
    request_t *request;
    unsigned units;
    char key;
} part_t;

static void on_part(void *context, uint64_t number)
{
    const part_t *part = context;
    const request_t *r = part->request;
    const order_id_t *id = r->has_order ? &r->order.id : &r->own_id;
    (void)number;
    if (r->answered && !order_id_is_none(id))
        action_give_back(id, part->units, part->key);
}

/* Each by its key, and many a one again: at once, soon, or after all the faults of this history. */
static void draw_parts(void)
{
    uint64_t at = chance_time_us(1, window_us / 8 + 1);
    char key[2] = {chance(2) ? 'q' : '\0', '\0'};
    request_t *request =
        history_request(0, "p", key, chance_between(2, 3), chance_between(1, history.nodes), at);
    for (unsigned count = chance_between(2, 4); count != 0; --count) {
        part_t *part = world_alloc(sizeof(*part));
        *part = (part_t){request, chance_between(1, 2), (char)('a' + chance_below(3))};
        uint64_t then = at + chance_time_us(100, window_us);
        for (unsigned again = chance_between(1, 3); again != 0; --again) {
            world_after(then, (owner_t){0, 0}, on_part, part, 0);
            then += chance(3) ? 0 : chance_time_us(1, chance(2) ? 3000 : window_us);
        }
    }
}

/* Orders are cancelled, and MySQL refuses many a COMMIT; buyers come for what was not given back.
 */
static void draw_refused_cancels(uint64_t at)
{
    faults.db_commit_refused = 2;
    draw_buyers(4, "", 1, 1, 1000);
    for (unsigned count = chance_between(2, 4); count != 0; --count) {
        world_after(at, (owner_t){0, 0}, on_cancel, NULL, 0);
        at += chance_time_us(1, 50000);
        draw_buyers(2, "", 1, at, 1000);
    }
}

static void on_strangers(void *context, uint64_t number)
{
    (void)context, (void)number;
    action_buy_nothing();
}

/* MySQL cannot say that there is no such item when it is asked for. */
static void draw_strangers(uint64_t at)
{
    history.strangers = true;
    world_after(at, (owner_t){0, 0}, on_mysql_kill, NULL, 0);
    world_after(at + 1, (owner_t){0, 0}, on_strangers, NULL, 0);
}

/* A total that is lowered while buyers come; the optimistic strategy for a moment; orders that are
   cancelled in a rebuild; a lowered limit and another rebuild soon after; holds at their deadline;
   a rebuild whose Redis loses what it has staged; death between COMMIT and settle; units that are
   given back; units, or a Redis as it was, that come back while buyers ask; cancels whose COMMIT is
   refused; an item that is not there, asked for while MySQL is down. */
static void draw_tangle(void)
{
    const owner_t nobody = {0, 0};
    uint64_t at = chance_time_us(window_us / 8, window_us), soon = chance_time_us(1, 100000);
    switch (chance_below(history.faulty ? 12 : 8)) {
    case 0:
        world_after(at, nobody, on_squeeze, NULL, chance_below(3));
        break;
    case 1:
        world_after(at, nobody, on_strategy, NULL, STRATEGY_OPTIMISTIC);
        world_after(at + soon, nobody, on_strategy, NULL, STRATEGY_LUA);
        break;
    case 2:
        world_after(at, nobody, on_rebuild, NULL, 0);
        for (unsigned count = chance_between(1, 3); count != 0; --count)
            world_after(at + chance_time_us(1, 20 * faults.latency_us), nobody, on_cancel, NULL, 0);
        break;
    case 3:
        world_after(at, nobody, on_limit, NULL, 1);
        world_after(at + soon, nobody, on_rebuild, NULL, 0);
        break;
    case 4:
        draw_deadlines();
        break;
    case 5:
        draw_parts();
        break;
    case 8:
        world_after(at, nobody, on_rebuild, NULL, 0);
        world_after(at + chance_time_us(1, 20 * faults.latency_us), nobody, on_redis_loss, NULL, 0);
        break;
    case 9:
        world_after(1, nobody, on_half_settled, NULL, 100);
        break;
    case 6:
        if (history.faulty && chance(2))
            draw_refused_cancels(at);
        else if (history.faulty)
            draw_strangers(at);
        break;
    case 7:
        if (!history.faulty)
            draw_return(at);
        break;
    case 11:
        if (chance(2))
            draw_repeats(at, soon);
        else
            draw_relapse(at);
        break;
    case 10:
        draw_slow_squeeze(at);
        break;
    default:
        break;
    }
}

/* --- all of it --- */

static void end_faults(void)
{
    bool any = false;
    faults = (faults_t){.latency_us = 300};
    mysql_fault_end();
    mysql_set_select_limit(UINT64_MAX);
    for (unsigned i = 1; i <= history.nodes; ++i)
        mysql_lead_elsewhere(i, false);
    if (!mysql_is_up())
        mysql_start();
    if (!redis_is_up(0))
        redis_start(0, REDIS_ALL_DATA);
    redis_refuse(0, 0);
    redis_point(0, 0, plan_rare_keeps_connections());
    for (unsigned i = 1; i <= history.nodes; ++i)
        any = any || sim_nodes[i].node != NULL;
    if (!any)
        node_launch(1);
}

void plan_run(void)
{
    static const uint64_t windows[] = {2000, 20000, 200000, 2000000};
    action_begin();
    draw_config();
    history.one_fault = chance(12) && !plan_rare_is_drawn();
    if (history.one_fault)
        plan_fault_config(&config);
    history.nodes = chance_between(1, 3);
    node_begin(&config, chance(3) ? 2 : 1);
    window_us = windows[chance(6) ? 3 : chance_below(3)]; /* long ones cost most */
    window_us = plan_rare_window_us(window_us);
    faults = (faults_t){.latency_us = 50};
    for (unsigned i = 1; i <= history.nodes; ++i)
        node_launch(i);
    create_items();
    mysql_copy_elsewhere("inventory");
    if (history.one_fault) {
        history.faulty = true;
        world_run(world_now_us() + plan_fault_draw());
        end_faults();
        return;
    }
    history.faulty = !chance(4);
    draw_faults();
    draw_requests();
    draw_moves();
    if (!plan_rare_keeps_connections())
        draw_changes();
    if (plan_rare_is_drawn())
        plan_rare_draw(window_us);
    else
        draw_tangle();
    world_run(world_now_us() + window_us + window_us / 2 + 1000);
    end_faults();
}
