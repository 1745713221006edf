/*
 * Strategy watch: Redis's own optimistic lock, one buyer at a time on a leased connection.
 *
 *   LEASING ──▶ LOOKING: WATCH, reads ──▶ decide ──refused──▶ UNWATCH, done
 *      ▲                                    │ admitted
 *      │                                    ▼
 *      └── nil: somebody else was first ── EXEC: MULTI, writes, EXEC ──▶ done
 *
 * The same keys, checks and counters as holdfast_reserve in lua/holdfast.lua, which says why each
 * check stands where it stands. The value is checked between WATCH and MULTI. Retries are bounded
 * and jittered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/random.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"
#include "strategies/gate_order.h"
#include "strategies/strategy.h"
#include "strategies/watch_pool.h"

/* A look that lasts so long may have met a Redis that is silent. */
#define LOOK_SLOW_MS 1024
#define LOOK_REPLIES 7 /* WATCH, HMGET gate, HGET buyer, HGET id, HGET key, TIME, HLEN buyers */

typedef struct {
    purchase_t *purchase;
    redis_link_t *link;
    unsigned aborts;
    unsigned replies_due; /* of the pipeline in flight */
    bool lost;
    bool ran; /* a write by itself: its MULTI was refused, the write was not */
    bool seen;
    unsigned units_back; /* of the item when the look began */
    loop_timer_t timer;

    /* what the look found */
    struct {
        bool present, closed, known_id, has_first, has_units;
        uint64_t epoch;
        bool same_server;
        uint64_t frozen_until, starts_at, ends_at, now;
        int64_t limit, capacity, reserved, unreserved, released, units;
        int64_t known, buyers; /* fields of `buyers`: as counted, and really there */
        order_id_t first;
    } look;
    bool away;    /* Redis refused to look */
    bool refused; /* or what stands there is no gate */
} attempt_t;

static void lease(attempt_t *a);

static void start(purchase_t *purchase)
{
    attempt_t *a = calloc(1, sizeof(*a));
    if (a == NULL)
        abort();
    a->purchase = purchase;
    purchase->strategy_data = a;
    purchase->sent = true; /* from here on only this attempt may end it */
    lease(a);
}

static purchase_t *finish(attempt_t *a)
{
    purchase_t *purchase = a->purchase;
    if (a->link != NULL)
        watch_pool_return(purchase->engine->watchers, a->link);
    purchase->strategy_data = NULL;
    free(a);
    return purchase;
}

/* --- EXEC --- */

static void on_retry(loop_timer_t *timer)
{
    lease(H2O_STRUCT_FROM_MEMBER(attempt_t, timer, timer));
}

static void aborted(attempt_t *a)
{
    purchase_t *p = a->purchase;
    METRIC_STRATEGY_ADD(aborts_total, STRATEGY_WATCH, 1);
    if (++a->aborts > p->engine->node->config->orders.retries_max) {
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false);
        return;
    }
    METRIC_STRATEGY_ADD(retries_total, STRATEGY_WATCH, 1);
    watch_pool_return(p->engine->watchers, a->link);
    a->link = NULL;
    loop_timer_start(p->engine->loop, &a->timer, random_backoff(1, 16, a->aborts), on_retry);
}

static void on_exec_reply(void *context, const redisReply *reply)
{
    attempt_t *a = context;
    if (reply == NULL)
        a->lost = true;
    if (--a->replies_due != 0) {
        a->ran = a->ran || (reply != NULL && reply->type == REDIS_REPLY_INTEGER);
        return; /* the answer to EXEC is the last, and the one that tells */
    }
    FAILPOINT("reserve_answered");
    if (!a->lost && reply->type == REDIS_REPLY_ARRAY) {
        bool seen = a->seen;
        purchase_admitted(finish(a), seen);
    } else if (!a->lost && reply->type == REDIS_REPLY_NIL) {
        aborted(a);
    } else if (!a->lost && !a->ran && gate_reply_is_refusal(reply)) {
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false); /* out of memory, read-only */
    } else {
        METRIC_INC(gate_calls_unknown_total);
        purchase_unknown(finish(a));
    }
}

static void send_command(attempt_t *a, redis_args_t *args, redis_reply_cb cb)
{
    if (redis_link_call(a->link, args, cb, a))
        ++a->replies_due;
    else
        a->lost = true;
}

static void begin(redis_args_t *args, const char *command, const loop_item_t *item, gate_key_t key)
{
    redis_args_begin(args, command);
    gate_add_key(args, key, item->slot, loop_item_sku(item), 0);
}

static void execute(attempt_t *a)
{
    purchase_t *p = a->purchase;
    redis_args_t *args = &p->engine->args;
    a->lost = a->ran = false;
    redis_args_begin(args, "MULTI");
    send_command(a, args, on_exec_reply);
    begin(args, "HINCRBY", p->item, GATE_KEY_GATE);
    redis_args_add(args, STR("reserved"));
    redis_args_add_u64(args, p->order.quantity);
    send_command(a, args, on_exec_reply);
    if (!a->look.has_units) {
        begin(args, "HINCRBY", p->item, GATE_KEY_GATE);
        redis_args_add(args, STR("known"));
        redis_args_add_u64(args, 1);
        send_command(a, args, on_exec_reply);
    }
    begin(args, "HINCRBY", p->item, GATE_KEY_BUYERS);
    redis_args_add(args, order_buyer(&p->order));
    redis_args_add_u64(args, p->order.quantity);
    send_command(a, args, on_exec_reply);
    begin(args, "HSET", p->item, GATE_KEY_UNSETTLED);
    gate_order_add_id(args, p);
    gate_order_add_record(args, p);
    send_command(a, args, on_exec_reply);
    if (p->key_length != 0) {
        begin(args, "HSET", p->item, GATE_KEY_KEYS);
        gate_order_add_field(args, p);
        gate_order_add_id(args, p);
        send_command(a, args, on_exec_reply);
    }
    redis_args_begin(args, "EXEC");
    send_command(a, args, on_exec_reply);
    if (a->replies_due == 0) /* nothing of it was sent */
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false);
}

/* --- the look --- */

/* The connection goes back without a watch on it. */
static purchase_t *finish_unwatched(attempt_t *a)
{
    redis_args_t *args = &a->purchase->engine->args;
    redis_args_begin(args, "UNWATCH");
    redis_link_call(a->link, args, NULL, NULL);
    return finish(a);
}

static bool is_stale(const attempt_t *a)
{
    return !a->look.present || !a->look.same_server || a->look.epoch != a->purchase->epoch ||
           a->look.closed || a->look.known != a->look.buyers;
}

static void stale(attempt_t *a)
{
    purchase_t *p = a->purchase;
    bool newer = a->look.present && a->look.epoch > p->epoch;
    if (!newer && engine_gate_is_elsewhere(p->item, p->epoch)) {
        redis_link_drop(a->link);
        purchase_stale(finish(a));
    } else {
        purchase_stale(finish_unwatched(a));
    }
}

/* The checks of the Lua function, in its order. */
static void decide(attempt_t *a)
{
    purchase_t *p = a->purchase;
    a->seen = a->look.has_units;
    bool seen = a->seen;
    int64_t left = a->look.capacity - a->look.reserved + a->look.unreserved + a->look.released;
    if (is_stale(a)) {
        stale(a);
    } else if (a->look.frozen_until > a->look.now) {
        purchase_delayed(finish_unwatched(a));
    } else if (a->look.known_id) {
        purchase_admitted(finish_unwatched(a), false);
    } else if (a->look.has_first && !order_id_eq(&a->look.first, &p->order.id)) {
        order_id_t first = a->look.first;
        purchase_is_repeat(finish_unwatched(a), &first);
    } else if (a->look.now > p->commit_deadline_ms) {
        purchase_refused(finish_unwatched(a), PROBLEM_UNAVAILABLE, seen);
    } else if (a->look.starts_at != 0 && a->look.now < a->look.starts_at) {
        purchase_refused(finish_unwatched(a), PROBLEM_SALE_NOT_STARTED, seen);
    } else if (a->look.ends_at != 0 && a->look.now >= a->look.ends_at) {
        purchase_refused(finish_unwatched(a), PROBLEM_SALE_ENDED, seen);
    } else if ((int64_t)p->order.quantity > left) {
        if (left <= 0)
            engine_item_sold_out(p->item, a->units_back);
        purchase_refused(finish_unwatched(a), PROBLEM_SOLD_OUT, seen);
    } else if (a->look.limit != 0 && a->look.units + p->order.quantity > a->look.limit) {
        p->why = (refusal_t){.owned_is_known = true, .owned = a->look.units};
        purchase_refused(finish_unwatched(a), PROBLEM_BUYER_LIMIT_EXCEEDED, seen);
    } else if (seen && p->key_length != 0 && !p->looked) {
        purchase_seen_before(finish_unwatched(a));
    } else {
        execute(a);
    }
}

static void read_gate(attempt_t *a, const redisReply *reply)
{
    if (!gate_reply_is_array(reply, 13) || reply->element[0]->type != REDIS_REPLY_STRING)
        return;
    const redisReply *server = reply->element[1];
    str_t built_under =
        server->type == REDIS_REPLY_STRING ? (str_t){server->str, (size_t)server->len} : STR_NONE;
    a->look.present = true;
    a->look.epoch = (uint64_t)gate_reply_i64(reply, 0);
    a->look.same_server = str_eq(built_under, redis_link_identity(a->link));
    a->look.closed = gate_reply_i64(reply, 2) != 0;
    a->look.frozen_until = (uint64_t)gate_reply_i64(reply, 3);
    a->look.limit = gate_reply_i64(reply, 4);
    a->look.starts_at = (uint64_t)gate_reply_i64(reply, 5);
    a->look.ends_at = (uint64_t)gate_reply_i64(reply, 6);
    a->look.capacity = gate_reply_i64(reply, 7);
    a->look.reserved = gate_reply_i64(reply, 8);
    a->look.unreserved = gate_reply_i64(reply, 9);
    a->look.released = gate_reply_i64(reply, 11);
    a->look.known = gate_reply_i64(reply, 12);
}

static void read_reply(attempt_t *a, unsigned index, const redisReply *reply)
{
    bool text = reply->type == REDIS_REPLY_STRING;
    switch (index) {
    case 1:
        read_gate(a, reply);
        break;
    case 2:
        a->look.has_units = text;
        a->look.units = gate_reply_number(reply);
        break;
    case 3:
        a->look.known_id = text;
        break;
    case 4:
        if (text && reply->len == sizeof(a->look.first.bytes) && a->purchase->key_length != 0) {
            a->look.has_first = true;
            memcpy(a->look.first.bytes, reply->str, sizeof(a->look.first.bytes));
        }
        break;
    case 5:
        a->look.now =
            (uint64_t)gate_reply_i64(reply, 0) * 1000 + (uint64_t)gate_reply_i64(reply, 1) / 1000;
        break;
    case 6:
        a->look.buyers = gate_reply_number(reply);
        break;
    default:
        break;
    }
}

static void on_look_reply(void *context, const redisReply *reply)
{
    attempt_t *a = context;
    if (reply == NULL)
        a->lost = true;
    else if (gate_reply_is_refusal(reply))
        a->away = true;
    else if (reply->type == REDIS_REPLY_ERROR)
        a->refused = true;
    else
        read_reply(a, LOOK_REPLIES - a->replies_due, reply);
    if (--a->replies_due != 0)
        return;
    loop_timer_stop(&a->timer);
    if (a->lost) /* only reads were asked: known not to be admitted by this attempt */
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false);
    else if (a->away)
        purchase_refused(finish_unwatched(a), PROBLEM_UNAVAILABLE, false);
    else if (a->refused)
        purchase_stale(finish_unwatched(a));
    else
        decide(a);
}

/* Nothing was asked for but reads: its buyer need not wait until the connection is given up. */
static void on_slow_look(loop_timer_t *timer)
{
    attempt_t *a = H2O_STRUCT_FROM_MEMBER(attempt_t, timer, timer);
    if (redis_link_is_up(a->link))
        loop_timer_start(a->purchase->engine->loop, &a->timer, LOOK_SLOW_MS, on_slow_look);
    else
        redis_link_drop(a->link); /* which ends the attempt */
}

static void look(attempt_t *a)
{
    purchase_t *p = a->purchase;
    redis_args_t *args = &p->engine->args;
    static const char *const fields[] = {
        "epoch",     "built_under", "closed",   "frozen_until", "per_buyer_limit",
        "starts_at", "ends_at",     "capacity", "reserved",     "unreserved",
        "settled",   "released",    "known"};
    memset(&a->look, 0, sizeof(a->look));
    a->units_back = p->item->units_back;
    a->lost = a->away = a->refused = false;
    a->replies_due = 0;
    begin(args, "WATCH", p->item, GATE_KEY_GATE);
    gate_add_key(args, GATE_KEY_BUYERS, p->item->slot, loop_item_sku(p->item), 0);
    send_command(a, args, on_look_reply);
    begin(args, "HMGET", p->item, GATE_KEY_GATE);
    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); ++i)
        redis_args_add(args, str_of(fields[i]));
    send_command(a, args, on_look_reply);
    begin(args, "HGET", p->item, GATE_KEY_BUYERS);
    redis_args_add(args, order_buyer(&p->order));
    send_command(a, args, on_look_reply);
    begin(args, "HGET", p->item, GATE_KEY_UNSETTLED);
    gate_order_add_id(args, p);
    send_command(a, args, on_look_reply);
    begin(args, "HGET", p->item, GATE_KEY_KEYS);
    gate_order_add_field(args, p);
    send_command(a, args, on_look_reply);
    redis_args_begin(args, "TIME");
    send_command(a, args, on_look_reply);
    begin(args, "HLEN", p->item, GATE_KEY_BUYERS);
    send_command(a, args, on_look_reply);
    if (a->replies_due == 0)
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false);
    else
        loop_timer_start(p->engine->loop, &a->timer, LOOK_SLOW_MS, on_slow_look);
}

static void on_leased(purchase_t *purchase, redis_link_t *link)
{
    attempt_t *a = purchase->strategy_data;
    a->link = link;
    if (link == NULL)
        purchase_refused(finish(a), PROBLEM_UNAVAILABLE, false);
    else
        look(a);
}

static void lease(attempt_t *a)
{
    watch_pool_lease(a->purchase->engine->watchers, a->purchase, on_leased);
}

const strategy_t strategy_watch = {start};
