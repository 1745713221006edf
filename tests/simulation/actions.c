#include "actions.h"

#include <stdio.h>

#include "check_news.h"
#include "checks.h"
#include "http/exchange.h"
#include "http/orders.h"
#include "http/route.h"
#include "node.h"
#include "plan.h"
#include "plan_rare.h"
#include "reconcile/pass.h"

static unsigned changes_count, shown_count, waits_count;

void action_begin(void)
{
    changes_count = shown_count = waits_count = 0;
}

unsigned action_changes(void)
{
    return changes_count;
}

/* Runs on a node's own time: one that is stopped gets to it later. */
static void at_node(unsigned node, void (*run)(void *context, uint64_t number), void *context)
{
    if (sim_nodes[node].node != NULL)
        world_after(chance_time_us(1, 200), sim_nodes[node].owner, run, context, node);
}

/* --- purchases --- */

static const char *const kinds[] = {"201", "202", "refused"};

static void on_answer(void *waiter, const answer_t *answer)
{
    request_t *r = waiter;
    char id[ORDER_ID_TEXT + 1] = "no order";
    r->answered = true;
    r->answered_us = world_now_us();
    r->answer = *answer;
    r->has_order = answer->order != NULL;
    r->own_id = answer->own_id;
    if (r->has_order) {
        r->order = *answer->order;
        order_id_format(id, &r->order.id);
    }
    TRACE("request %u of %s is answered %s%s %s, %s", r->number, r->buyer, kinds[answer->kind],
          answer->replayed ? " (replayed)" : "", problem_code(answer->problem), id);
    checks_answer(r);
    plan_rare_check(r);
}

static void start_purchase(void *context, uint64_t node)
{
    request_t *r = context;
    engine_loop_t *engine = node_loop((unsigned)node);
    const purchase_request_t asked = {str_of(history.sales[r->item].sku), str_of(r->buyer),
                                      r->key[0] == '\0' ? STR_NONE : str_of(r->key), r->quantity};
    TRACE("request %u: %s wants %u of %s, key '%s'", r->number, r->buyer, r->quantity,
          history.sales[r->item].sku, r->key);
    r->sent = true;
    r->sent_us = world_now_us();
    r->owner = sim_nodes[node].owner;
    problem_t early = cross_request_refuse_early(engine, &asked);
    if (early == PROBLEM_NONE) {
        cross_request_start(engine, &asked, on_answer, r);
        return;
    }
    news_refused_early(r);
    on_answer(r, &(answer_t){.kind = ANSWER_REFUSED, .problem = early});
}

static void send_request(void *context, uint64_t number)
{
    request_t *r = context;
    (void)number;
    if (!r->sent)
        at_node(r->node, start_purchase, r);
}

request_t *history_request(unsigned item, const char *buyer, const char *key, unsigned quantity,
                           unsigned node, uint64_t delay_us)
{
    if (history.requests_count == REQUESTS_MAX)
        world_unknown("so many requests", "", 0);
    request_t *r = &history.requests[history.requests_count];
    *r = (request_t){.number = history.requests_count++, .node = node, .item = item};
    r->quantity = quantity;
    snprintf(r->buyer, sizeof(r->buyer), "%s", buyer);
    snprintf(r->key, sizeof(r->key), "%s", key);
    world_after(delay_us, (owner_t){0, 0}, send_request, r, 0);
    return r;
}

/* 503: a connection to MySQL may turn out to be lost just now. */
static void on_no_item(void *waiter, const answer_t *answer)
{
    (void)waiter;
    TRACE("who wants what is not there hears %s", problem_code(answer->problem));
    if (answer->kind != ANSWER_REFUSED ||
        (answer->problem != PROBLEM_UNKNOWN_ITEM && answer->problem != PROBLEM_UNAVAILABLE))
        world_fail("an item that is not there is answered %s", problem_code(answer->problem));
}

static void start_in_vain(void *context, uint64_t node)
{
    static char other_user;
    const purchase_request_t asked = {str_of(ACTION_NO_SKU), STR("nobody"), STR_NONE, 1};
    (void)context;
    cross_request_start(node_loop((unsigned)node), &asked, on_no_item, &other_user);
}

void action_buy_nothing(void)
{
    for (unsigned i = 1; i <= history.nodes; ++i)
        at_node(i, start_in_vain, NULL);
}

/* --- orders --- */

typedef struct {
    exchange_t exchange;
    route_match_t match;
    order_id_t id;
    bool moves;
    move_request_t wish;
    char key;      /* of `wish` */
    bool received; /* when this was sent, an answer 200 to the same cancel had been heard */
    owner_t node;  /* that it was sent to */
    bool shown;    /* when it arrived, that node had shown the order's row */
} order_action_t;

/* What a node has shown of an order, no later read through it takes back. */
#define SHOWN_MAX 256
static struct {
    order_id_t id;
    owner_t node;
} shown[SHOWN_MAX];

static bool is_shown(owner_t node, const order_id_t *id)
{
    for (unsigned i = 0; i < shown_count; ++i)
        if (order_id_eq(&shown[i].id, id) && shown[i].node.node == node.node &&
            shown[i].node.life == node.life)
            return true;
    return false;
}

static void note_shown(const order_action_t *action, const order_t *order)
{
    if (order->state == ORDER_RESERVED) {
        if (action->shown)
            world_fail("node %u has shown the row of an order, and says reserved again",
                       action->node.node);
    } else if (shown_count < SHOWN_MAX && !is_shown(action->node, &order->id)) {
        shown[shown_count].id = order->id;
        shown[shown_count++].node = action->node;
    }
}

static void start_order_action(void *context, uint64_t node)
{
    order_action_t *action = context;
    action->node = sim_nodes[node].owner;
    action->shown = is_shown(action->node, &action->id);
    action->exchange.engine = node_loop((unsigned)node);
    action->exchange.http = sim_nodes[node].http;
    if (action->moves)
        order_move_start(&action->exchange, &action->match, &action->wish);
    else
        handle_order_get(&action->exchange, &action->match);
}

static order_action_t *new_action(const order_id_t *id)
{
    order_action_t *action = world_alloc_zero(sizeof(*action));
    action->id = *id;
    order_id_format(action->match.bytes, id);
    action->match.param = (str_t){action->match.bytes, ORDER_ID_TEXT};
    return action;
}

/* Every second read waits for the order's end. */
void action_get_at(unsigned node, const order_id_t *id)
{
    order_action_t *action = new_action(id);
    if (waits_count++ % 2 == 0)
        action->match.query = STR("3000"); /* wait_ms: see http_model.c */
    at_node(node, start_order_action, action);
}

void action_get(const order_id_t *id)
{
    action_get_at(plan_some_node(), id);
}

void action_move(const order_id_t *id, order_move_t move)
{
    order_action_t *action = new_action(id);
    action->moves = true;
    action->wish.move = move;
    at_node(plan_some_node(), start_order_action, action);
}

void action_give_back(const order_id_t *id, unsigned units, char key)
{
    order_action_t *action = new_action(id);
    action->moves = true;
    action->key = key;
    action->wish = (move_request_t){
        .move = ORDER_MOVE_CANCEL, .id = *id, .units = units, .key = {&action->key, 1}};
    action->received = checks_part_asked(id, units, key);
    at_node(plan_some_node(), start_order_action, action);
}

void history_received(exchange_t *exchange, const order_t *order, bool replayed)
{
    const order_action_t *action = H2O_STRUCT_FROM_MEMBER(order_action_t, exchange, exchange);
    if (order == NULL)
        return;
    note_shown(action, order);
    if (order->state == ORDER_REJECTED)
        checks_refused(&order->id);
    if (action->wish.units != 0)
        checks_part_received(&order->id, action->wish.units, action->key, action->received,
                             replayed);
}

/* --- administration: as admin/terms.c and admin/reconcile.c do it --- */

typedef struct {
    job_t job;
    engine_loop_t *engine;
    char sku[16];
    item_change_t change;
} admin_action_t;

static void run_change(job_t *job, worker_t *worker)
{
    admin_action_t *action = H2O_STRUCT_FROM_MEMBER(admin_action_t, job, job);
    static const char *const names[] = {"done",        "none",           "created", "unknown item",
                                        "wrong state", "invalid window", "away"};
    static const change_origin_t origin = {.who = "admin", .request_id = "r"};
    const item_ref_t ref = item_ref_of(str_of(action->sku));
    item_t item;
    change_outcome_t outcome;
    sync_result_t result = item_change(worker, &ref, &action->change, &origin, &item, &outcome);
    TRACE("the change of %s: %s", action->sku, names[result]);
    if (result == SYNC_READY && CHANGE_IS_MADE(outcome))
        announce_item_changed(worker->shard->announcements, str_of(action->sku), item.epoch);
}

static void run_pass(job_t *job, worker_t *worker)
{
    admin_action_t *action = H2O_STRUCT_FROM_MEMBER(admin_action_t, job, job);
    const item_ref_t ref = item_ref_of(str_of(action->sku));
    pass_t pass = reconcile_pass(worker, &ref);
    TRACE("reconciled %s: %s", action->sku, finding_name(pass.finding));
    if (pass.done != ACTION_NONE)
        announce_item_changed(worker->shard->announcements, str_of(action->sku), pass.item.epoch);
}

static void admin_done(job_t *job)
{
    --H2O_STRUCT_FROM_MEMBER(admin_action_t, job, job)->engine->jobs;
}

static void start_change(void *context, uint64_t node)
{
    admin_action_t *action = context;
    const item_change_t *c = &action->change;
    action->engine = node_loop((unsigned)node);
    TRACE("change of %s:%s%s%s%s total %lld limit %u hold %u %s", action->sku,
          c->has_total ? " total" : "", c->has_limit ? " limit" : "",
          c->has_strategy ? " strategy" : "", c->has_hold ? " hold" : "", (long long)c->terms.total,
          c->terms.per_buyer_limit, c->terms.hold_seconds, strategy_name(c->terms.strategy));
    engine_submit(action->engine, 0, &action->job, run_change, admin_done);
}

static void start_pass(void *context, uint64_t node)
{
    admin_action_t *action = context;
    action->engine = node_loop((unsigned)node);
    engine_submit(action->engine, 0, &action->job, run_pass, admin_done);
}

void action_change(const char *sku, const item_change_t *change)
{
    admin_action_t *action = world_alloc_zero(sizeof(*action));
    snprintf(action->sku, sizeof(action->sku), "%s", sku);
    action->change = *change;
    changes_count += !change->create;
    at_node(plan_some_node(), start_change, action);
}

void action_reconcile(const char *sku)
{
    admin_action_t *action = world_alloc_zero(sizeof(*action));
    snprintf(action->sku, sizeof(action->sku), "%s", sku);
    at_node(plan_some_node(), start_pass, action);
}
