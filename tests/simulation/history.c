#include "history.h"

#include <stdio.h>
#include <string.h>

#include "actions.h"
#include "checks.h"
#include "faults.h"
#include "machine.h"
#include "metrics/metrics.h"
#include "mysql_fault.h"
#include "mysql_server.h"
#include "node.h"
#include "plan.h"
#include "plan_fault.h"
#include "plan_rare.h"
#include "redis_wire.h"

/* Longer than the longest wait of the service: 20 s until an own order is taken up again, and its
   next try 10 s later. */
#define REST_LIMIT_US UINT64_C(90000000)
#define CHECK_EVERY_US 20000
#define ROUNDS_MAX 12

history_t history;

/* --- coming to rest --- */

static const char *why_not_at_rest(void)
{
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *r = &history.requests[i];
        if (r->sent && !r->answered && world_owner_lives(r->owner))
            return "a buyer waits for an answer";
    }
    for (unsigned i = 1; i <= history.nodes; ++i)
        if (!node_is_idle(i) || world_is_frozen(i))
            return "a node has something under way";
    if (!checks_unsettled_is_empty())
        return "an order is unsettled";
    for (unsigned i = 0; i < history.sales_count; ++i) {
        const char *why = checks_gate(history.sales[i].sku);
        if (why != NULL)
            return why;
    }
    return mysql_is_quiet() ? NULL : "a transaction is open";
}

static void wait_for_rest(void)
{
    uint64_t limit = world_now_us() + REST_LIMIT_US;
    const char *why;
    while ((why = why_not_at_rest()) != NULL && world_failure() == NULL) {
        if (world_now_us() > limit) {
            world_fail("the world does not come to rest: %s", why);
            return;
        }
        world_run(world_now_us() + CHECK_EVERY_US);
    }
}

/* Orders that were answered 202 and have no row: whoever could have written them is gone, and a GET
   decides them. Where nobody was killed and Redis lost nothing there is none. */
static bool send_missing(void)
{
    bool any = false;
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *r = &history.requests[i];
        order_state_t state;
        if (!r->answered || r->answer.kind != ANSWER_PENDING || checks_order(&r->order.id, &state))
            continue;
        if (!history.killed && !history.redis_lost) {
            world_fail("request %u was answered 202 and its order has no row at rest", r->number);
            return false;
        }
        action_get(&r->order.id);
        any = true;
    }
    return any;
}

static void settle_everything(void)
{
    wait_for_rest();
    for (unsigned i = 0; send_missing() && world_failure() == NULL; ++i) {
        if (i == ROUNDS_MAX) {
            world_fail("an order that was answered 202 is not decided by a GET");
            return;
        }
        world_run(world_now_us() + 1000000);
        wait_for_rest();
    }
}

/* --- until all is sold --- */

/* Not all at once: the queue of a pool may have two places. */
#define CLOSER_EVERY_US 2000

static bool send_closers(void)
{
    bool any = false;
    for (unsigned i = 0; i < history.sales_count; ++i) {
        row_view_t row = checks_item(history.sales[i].sku);
        if (history.sales[i].sold_out)
            continue;
        for (int64_t n = row.total - row.allocated; row.found && n > 0; --n) {
            char buyer[8];
            snprintf(buyer, sizeof(buyer), "z%u", history.requests_count % 1000);
            history_request(i, buyer, "", 1, plan_some_node(),
                            chance_time_us(1, 5000) + (uint64_t)(n - 1) * CLOSER_EVERY_US);
            any = true;
        }
    }
    return any;
}

static void sell_out(void)
{
    for (unsigned i = 0; i < history.sales_count; ++i)
        history.sales[i].sold_out = false;
    for (unsigned i = 0; send_closers() && world_failure() == NULL; ++i) {
        if (i == ROUNDS_MAX) {
            world_fail("buyers keep coming and not all is sold");
            return;
        }
        world_run(world_now_us() + (UINT64_C(30000) << i)); /* whatever stands still comes back */
        settle_everything();
    }
}

/* Between two comparisons of a service, and for what it may have to wait. */
#define EXPIRY_MS 5000

/* Whatever became of their orders, reminders do not stay. */
static void let_holds_end(void)
{
    if (!checks_reminder_is_due(0))
        return;
    world_run(world_now_us() + EXPIRY_MS * UINT64_C(1000));
    if (checks_reminder_is_due(EXPIRY_MS))
        world_fail("a hold's time is over and nobody has looked at it");
}

static bool is_remembered(const node_t *node, str_t sku)
{
    loop_item_t *item = NULL;
    for (unsigned i = 0; i < node->loops_count && item == NULL; ++i)
        HASH_FIND(hh, node->loops[i]->items, sku.p, sku.n, item);
    return item != NULL;
}

/* An entry for every name that strangers try would grow without bound. */
static void check_strangers(void)
{
    for (unsigned i = 1; i <= history.nodes; ++i)
        if (sim_nodes[i].node != NULL && is_remembered(sim_nodes[i].node, str_of(ACTION_NO_SKU)))
            world_fail("node %u remembers an item that is not there", i);
}

static void come_as_strangers(void)
{
    action_buy_nothing();
    world_run(world_now_us() + 100000);
    wait_for_rest();
    check_strangers();
}

/* A gate that lost nothing never admits what the row then refuses. */
static void check_drift(int64_t drift)
{
    if (!history.faulty && !history.slow && machine_findings != 0)
        world_fail("the comparison found something where nothing went wrong");
    /* An order that MySQL has may be admitted anew, and is then settled a second time: by a call
       that comes late, by a second owner, or after a SQL strategy that lost its COMMIT. */
    bool twice = history.faulty && strcmp(machine_wrong, "undersold") == 0;
    bool half = redis_ran_without_multi; /* what is counted and what is held differ then */
    if (!history.redis_lost && machine_wrong[0] != '\0' && !twice && !half)
        world_fail("the comparison found %s at a gate that lost nothing", machine_wrong);
    if (!history.redis_lost && METRIC_GET(gate_drift_total) != drift)
        world_fail("the row refused what a gate that lost nothing had admitted");
    if (!history.faulty && !history.slow)
        checks_without_faults(action_changes());
}

const char *history_run(uint64_t seed)
{
    int64_t drift = METRIC_GET(gate_drift_total);
    memset(&history, 0, sizeof(history));
    machine_findings = 0;
    machine_wrong[0] = '\0';
    machine_redis_failed = redis_ran_without_multi = false;
    world_begin(seed);
    redis_begin();
    mysql_begin();
    mysql_fault_begin();
    checks_begin();
    plan_rare_begin(seed);
    plan_run();
    TRACE("--- the faults are over");
    settle_everything();
    check_drift(drift);
    if (history.one_fault)
        plan_fault_check();
    if (!history.windowed)
        sell_out();
    let_holds_end();
    if (history.strangers)
        check_strangers();
    if (world_failure() == NULL && chance(16))
        come_as_strangers();
    if (world_failure() == NULL)
        checks_at_rest();
    world_end();
    redis_end();
    machine_forget();
    return world_failure();
}
