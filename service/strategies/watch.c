/*
 * Strategy watch: Redis's own optimistic lock, for one buyer at a time on a leased connection. An
 * attempt first waits for its turn (strategies/watch_turns.h).
 *
 *   LEASING ──▶ READING: WATCH, reads ──▶ decide ──refused──▶ UNWATCH, done
 *      ▲                                    │ admitted
 *      │                                    ▼
 *      └── nil: another was first ───────── EXEC: MULTI, writes, EXEC ──▶ done
 *
 * The keys, checks (sale/admission.h) and counters are those of holdfast_reserve in
 * lua/holdfast.lua, which gives the reason for the order of the checks. The checks run between
 * WATCH and MULTI. Retries are bounded, with a random backoff.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "sale/admission.h"
#include "strategies/gate_order.h"
#include "strategies/watch_pool.h"
#include "strategies/watch_turns.h"

/* If the reads take this long, Redis may be silent. */
#define READS_SLOW_MS 1024
#define READ_REPLIES 7 /* WATCH, HMGET gate, HGET buyer, HGET id, HGET key, TIME, HLEN buyers */

typedef struct {
    attempt_t *attempt;
    redis_link_t *link; /* leased; NULL: none */
    unsigned aborts;
    unsigned replies_due; /* replies of the pipeline in flight that have not come yet */
    bool lost;
    bool ran;  /* a write ran outside a transaction: its MULTI was refused and the write was not */
    bool seen; /* the gate has admitted the buyer before, or may have */
    unsigned units_back; /* of the item when the reads were sent */
    loop_timer_t timer;

    /* the values that were read */
    struct {
        bool present, closed, loading, known_id, has_first, has_units;
        uint64_t epoch;
        bool same_server;
        uint64_t frozen_until, starts_at, ends_at, now;
        int64_t limit, capacity, reserved, unreserved, released, units;
        /* number of buyers: as the gate counts them, and as its hash has them */
        int64_t known, buyers;
        /* of the value of `buyers`, behind the units: see lua/holdfast.lua */
        char tail[U64_DIGITS_MAX + 2];
        order_id_t first;
    } read;
    bool away;    /* Redis refused a read */
    bool refused; /* or the keys are no gate */
} watch_t;

static void lease(watch_t *a);

static strategy_loop_t *loop_of(const watch_t *a)
{
    return a->attempt->item->loop;
}

static void begin_attempt(attempt_t *attempt)
{
    watch_t *a = alloc_zero(1, sizeof(*a));
    a->attempt = attempt;
    attempt->data = a;
    attempt->item->loop->host->sent(attempt); /* from here on it cannot be withdrawn */
    lease(a);
}

static void give_turns(strategy_item_t *item)
{
    for (attempt_t *next; (next = watch_turns_next(item->watch)) != NULL;)
        begin_attempt(next);
}

static void start(attempt_t *attempt)
{
    strategy_item_t *item = attempt->item;
    if (item->watch == NULL)
        item->watch = watch_turns_new(item->loop->config->redis.watch_connections);
    watch_turns_wait(item->watch, attempt);
    give_turns(item);
}

static void finish(watch_t *a, const outcome_t *outcome)
{
    attempt_t *attempt = a->attempt;
    strategy_item_t *item = attempt->item;
    strategy_loop_t *loop = item->loop;
    assert(attempt->data == a && a->replies_due == 0);
    if (a->link != NULL)
        watch_pool_return(loop->watch, a->link);
    attempt->data = NULL;
    free(a);
    watch_turns_end(item->watch);
    give_turns(item); /* before done(), which may free the item */
    loop->host->done(attempt, outcome);
}

static void finish_away(watch_t *a)
{
    finish(a, &(outcome_t){OUTCOME_REFUSED, .problem = PROBLEM_UNAVAILABLE});
}

/* --- EXEC --- */

static void on_retry(loop_timer_t *timer)
{
    lease(H2O_STRUCT_FROM_MEMBER(watch_t, timer, timer));
}

static void aborted(watch_t *a)
{
    strategy_loop_t *loop = loop_of(a);
    METRIC_STRATEGY_ADD(aborts_total, STRATEGY_WATCH, 1);
    watch_turns_aborted(a->attempt->item->watch);
    if (++a->aborts > loop->config->orders.retries_max) {
        finish_away(a);
        return;
    }
    METRIC_STRATEGY_ADD(retries_total, STRATEGY_WATCH, 1);
    watch_pool_return(loop->watch, a->link);
    a->link = NULL;
    loop_timer_start(loop->loop, &a->timer, random_backoff(2, 32, a->aborts), on_retry);
}

static void on_exec_reply(void *context, const redisReply *reply)
{
    watch_t *a = context;
    assert(a->replies_due != 0 && a->link != NULL);
    if (reply == NULL)
        a->lost = true;
    if (--a->replies_due != 0) {
        a->ran = a->ran || (reply != NULL && reply->type == REDIS_REPLY_INTEGER);
        return; /* the reply to EXEC is the last one, and decides */
    }
    FAILPOINT("reserve_answered");
    if (!a->lost && reply->type == REDIS_REPLY_ARRAY) {
        finish(a, &(outcome_t){OUTCOME_ADMITTED, .seen = a->seen});
    } else if (!a->lost && reply->type == REDIS_REPLY_NIL) {
        aborted(a);
    } else if (!a->lost && !a->ran && gate_reply_is_refusal(reply)) {
        finish_away(a); /* out of memory, read-only */
    } else {
        METRIC_INC(gate_calls_unknown_total);
        finish(a, &(outcome_t){OUTCOME_UNKNOWN});
    }
}

static void send_command(watch_t *a, redis_args_t *args, redis_reply_cb cb)
{
    if (redis_link_call(a->link, args, cb, a))
        ++a->replies_due;
    else
        a->lost = true;
}

static void begin(redis_args_t *args, const char *command, const strategy_item_t *item,
                  gate_key_t key)
{
    redis_args_begin(args, command);
    gate_add_key(args, key, &item->ref);
}

/* The buyer's units with the order. Nobody has changed them since they were read, or EXEC aborts.
 */
static void add_units(redis_args_t *args, const watch_t *a)
{
    char text[U64_DIGITS_MAX + sizeof(a->read.tail) + 2];
    int n = snprintf(text, sizeof(text), "%lld%s",
                     (long long)(a->read.units + a->attempt->order.quantity), a->read.tail);
    redis_args_add(args, (str_t){text, (size_t)n});
}

static void execute(watch_t *a)
{
    const attempt_t *p = a->attempt;
    redis_args_t *args = &loop_of(a)->args;
    assert(a->replies_due == 0);
    a->lost = a->ran = false;
    redis_args_begin(args, "MULTI");
    send_command(a, args, on_exec_reply);
    begin(args, "HINCRBY", p->item, GATE_KEY_GATE);
    redis_args_add(args, STR("reserved"));
    redis_args_add_u64(args, p->order.quantity);
    send_command(a, args, on_exec_reply);
    if (!a->read.has_units) {
        begin(args, "HINCRBY", p->item, GATE_KEY_GATE);
        redis_args_add(args, STR("known"));
        redis_args_add_u64(args, 1);
        send_command(a, args, on_exec_reply);
    }
    begin(args, "HSET", p->item, GATE_KEY_BUYERS);
    redis_args_add(args, order_buyer(&p->order));
    add_units(args, a);
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
    if (a->replies_due == 0) /* no command was sent */
        finish_away(a);
}

/* --- the reads --- */

/* Returns the connection without a WATCH on it, so that its next user does not abort because of
   these keys. */
static void finish_unwatched(watch_t *a, const outcome_t *outcome)
{
    redis_args_t *args = &loop_of(a)->args;
    redis_args_begin(args, "UNWATCH");
    redis_link_call(a->link, args, NULL, NULL);
    finish(a, outcome);
}

static void finish_refused(watch_t *a, problem_t why)
{
    finish_unwatched(
        a, &(outcome_t){OUTCOME_REFUSED, .problem = why, .seen = a->seen, .of_answer = true});
}

static bool is_stale(const watch_t *a)
{
    return !a->read.present || !a->read.same_server || a->read.epoch != a->attempt->epoch ||
           a->read.closed || a->read.known != a->read.buyers;
}

static void stale(watch_t *a)
{
    const attempt_t *p = a->attempt;
    const outcome_t outcome = {OUTCOME_STALE};
    bool newer = a->read.present && a->read.epoch > p->epoch;
    if (!newer && loop_of(a)->host->gate_is_elsewhere(p->item, p->epoch)) {
        redis_link_drop(a->link);
        finish(a, &outcome);
    } else {
        finish_unwatched(a, &outcome);
    }
}

static void past_limit(watch_t *a)
{
    finish_unwatched(a, &(outcome_t){OUTCOME_REFUSED, .problem = PROBLEM_BUYER_LIMIT_EXCEEDED,
                                     .seen = a->seen, .of_answer = true,
                                     .why = {.owned_is_known = true, .owned = a->read.units}});
}

static int64_t units_left(const watch_t *a)
{
    return a->read.capacity - a->read.reserved + a->read.unreserved + a->read.released;
}

static bool is_unloaded(const watch_t *a)
{
    return a->read.loading && !a->read.has_units;
}

static admission_t admission_of(const watch_t *a)
{
    const attempt_t *p = a->attempt;
    bool has_first = a->read.has_first && !order_id_eq(&a->read.first, &p->order.id);
    return admission_decide(
        &(admission_case_t){.quantity = p->order.quantity,
                            .is_known = a->read.known_id,
                            .has_first = has_first,
                            .key_is_unchecked = a->seen && p->key_length != 0 && !p->key_is_free,
                            .is_unloaded = is_unloaded(a),
                            .now_ms = a->read.now,
                            .deadline_ms = p->commit_deadline_ms,
                            .starts_at_ms = a->read.starts_at,
                            .ends_at_ms = a->read.ends_at,
                            .left = units_left(a),
                            .limit = a->read.limit,
                            .owned = a->read.units});
}

/* The gate has the attempt's epoch, and is open. */
static void decide(watch_t *a)
{
    admission_t admission = admission_of(a);
    switch (admission) {
    case ADMISSION_KNOWN:
        finish_unwatched(a, &(outcome_t){OUTCOME_ADMITTED});
        break;
    case ADMISSION_REPEAT:
        finish_unwatched(a, &(outcome_t){OUTCOME_REPEAT, .first = a->read.first});
        break;
    case ADMISSION_CHECK_KEY:
        finish_unwatched(a, &(outcome_t){OUTCOME_KEY_UNCHECKED});
        break;
    case ADMISSION_NOT_LOADED:
        finish_unwatched(a, &(outcome_t){OUTCOME_NOT_LOADED});
        break;
    case ADMISSION_GRANTED:
        execute(a);
        break;
    case ADMISSION_BUYER_LIMIT:
        past_limit(a);
        break;
    default:
        if (admission == ADMISSION_SOLD_OUT && units_left(a) <= 0)
            loop_of(a)->host->sold_out(a->attempt->item, a->units_back);
        finish_refused(a, admission_problem(admission));
    }
}

/* The checks of the item come first, as in the Lua function. */
static void on_all_read(watch_t *a)
{
    a->seen = a->read.has_units || is_unloaded(a);
    if (is_stale(a))
        stale(a);
    else if (a->read.frozen_until > a->read.now)
        finish_unwatched(a, &(outcome_t){OUTCOME_DELAYED});
    else
        decide(a);
}

static void read_gate(watch_t *a, const redisReply *reply)
{
    if (!gate_reply_is_array(reply, 14) || reply->element[0]->type != REDIS_REPLY_STRING)
        return;
    const redisReply *server = reply->element[1];
    str_t built_under =
        server->type == REDIS_REPLY_STRING ? (str_t){server->str, (size_t)server->len} : STR_NONE;
    a->read.present = true;
    a->read.epoch = (uint64_t)gate_reply_i64(reply, 0);
    a->read.same_server = str_eq(built_under, redis_link_identity(a->link));
    a->read.closed = gate_reply_i64(reply, 2) != 0;
    a->read.frozen_until = (uint64_t)gate_reply_i64(reply, 3);
    a->read.limit = gate_reply_i64(reply, 4);
    a->read.starts_at = (uint64_t)gate_reply_i64(reply, 5);
    a->read.ends_at = (uint64_t)gate_reply_i64(reply, 6);
    a->read.capacity = gate_reply_i64(reply, 7);
    a->read.reserved = gate_reply_i64(reply, 8);
    a->read.unreserved = gate_reply_i64(reply, 9);
    a->read.released = gate_reply_i64(reply, 11);
    a->read.known = gate_reply_i64(reply, 12);
    a->read.loading = gate_reply_i64(reply, 13) != 0;
}

static void keep_tail(watch_t *a, const redisReply *reply)
{
    const char *tail = memchr(reply->str, '@', reply->len);
    if (tail != NULL)
        snprintf(a->read.tail, sizeof(a->read.tail), "%s", tail);
}

static void read_reply(watch_t *a, unsigned index, const redisReply *reply)
{
    bool text = reply->type == REDIS_REPLY_STRING;
    switch (index) {
    case 1:
        read_gate(a, reply);
        break;
    case 2:
        a->read.has_units = text;
        a->read.units = gate_reply_number(reply);
        if (text)
            keep_tail(a, reply);
        break;
    case 3:
        a->read.known_id = text;
        break;
    case 4:
        if (text && reply->len == sizeof(a->read.first.bytes) && a->attempt->key_length != 0) {
            a->read.has_first = true;
            memcpy(a->read.first.bytes, reply->str, sizeof(a->read.first.bytes));
        }
        break;
    case 5:
        a->read.now =
            (uint64_t)gate_reply_i64(reply, 0) * 1000 + (uint64_t)gate_reply_i64(reply, 1) / 1000;
        break;
    case 6:
        a->read.buyers = gate_reply_number(reply);
        break;
    default:
        break;
    }
}

static void on_read_reply(void *context, const redisReply *reply)
{
    watch_t *a = context;
    assert(a->replies_due != 0 && a->link != NULL);
    if (reply == NULL)
        a->lost = true;
    else if (gate_reply_is_refusal(reply))
        a->away = true;
    else if (reply->type == REDIS_REPLY_ERROR)
        a->refused = true;
    else
        read_reply(a, READ_REPLIES - a->replies_due, reply);
    if (--a->replies_due != 0)
        return;
    loop_timer_stop(&a->timer);
    if (a->lost) /* only reads were sent, so this attempt cannot have been admitted */
        finish_away(a);
    else if (a->away)
        finish_unwatched(a, &(outcome_t){OUTCOME_REFUSED, .problem = PROBLEM_UNAVAILABLE});
    else if (a->refused)
        finish_unwatched(a, &(outcome_t){OUTCOME_STALE});
    else
        on_all_read(a);
}

/* Only reads were sent: the buyer can be refused at once and need not wait until the connection
   times out. */
static void on_slow_reads(loop_timer_t *timer)
{
    watch_t *a = H2O_STRUCT_FROM_MEMBER(watch_t, timer, timer);
    if (redis_link_is_up(a->link))
        loop_timer_start(loop_of(a)->loop, &a->timer, READS_SLOW_MS, on_slow_reads);
    else
        redis_link_drop(a->link); /* this ends the attempt: its replies become NULL */
}

static void send_reads(watch_t *a)
{
    const attempt_t *p = a->attempt;
    redis_args_t *args = &loop_of(a)->args;
    static const char *const fields[] = {
        "epoch",     "built_under", "closed",   "frozen_until", "per_buyer_limit",
        "starts_at", "ends_at",     "capacity", "reserved",     "unreserved",
        "settled",   "released",    "known",    "loading"};
    memset(&a->read, 0, sizeof(a->read));
    a->units_back = p->item->units_back;
    a->lost = a->away = a->refused = false;
    a->replies_due = 0;
    begin(args, "WATCH", p->item, GATE_KEY_GATE);
    gate_add_key(args, GATE_KEY_BUYERS, &p->item->ref);
    send_command(a, args, on_read_reply);
    begin(args, "HMGET", p->item, GATE_KEY_GATE);
    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); ++i)
        redis_args_add(args, str_of(fields[i]));
    send_command(a, args, on_read_reply);
    begin(args, "HGET", p->item, GATE_KEY_BUYERS);
    redis_args_add(args, order_buyer(&p->order));
    send_command(a, args, on_read_reply);
    begin(args, "HGET", p->item, GATE_KEY_UNSETTLED);
    gate_order_add_id(args, p);
    send_command(a, args, on_read_reply);
    begin(args, "HGET", p->item, GATE_KEY_KEYS);
    gate_order_add_field(args, p);
    send_command(a, args, on_read_reply);
    redis_args_begin(args, "TIME");
    send_command(a, args, on_read_reply);
    begin(args, "HLEN", p->item, GATE_KEY_BUYERS);
    send_command(a, args, on_read_reply);
    if (a->replies_due == 0)
        finish_away(a);
    else
        loop_timer_start(loop_of(a)->loop, &a->timer, READS_SLOW_MS, on_slow_reads);
}

static void on_leased(attempt_t *attempt, redis_link_t *link)
{
    watch_t *a = attempt->data;
    assert(a->link == NULL && a->replies_due == 0);
    a->link = link;
    if (link == NULL)
        finish_away(a);
    else
        send_reads(a);
}

static void lease(watch_t *a)
{
    watch_pool_lease(loop_of(a)->watch, a->attempt, on_leased);
}

const strategy_t strategy_watch = {start};
