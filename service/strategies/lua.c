/*
 * Strategy lua: the combining gate. While a loop's reserve call is in flight, new buyers of any
 * item wait for the next call. One atomic call then decides about all of them and returns an answer
 * for each. Redis syncs to disk once for the whole call. (One Redis has all slots. With several, a
 * call must not leave a slot, and there would be one call in flight for each slot.)
 *
 *   an attempt:  waiting ──▶ in the call in flight ──▶ its outcome
 *                   └── withdrawn, or refused because Redis does not answer
 */
#include "strategies/lua.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "metrics/metrics.h"
#include "strategies/gate_order.h"

/* At most this many items in one call, as redis.batch_max bounds its orders: Redis serves no other
   client during a call. */
#define SHARES_MAX 128
/* Delay of the next call after a connection was dropped, so that a new one can be made. */
#define RECONNECT_MS 16

struct lua_loop {
    strategy_loop_t *loop;
    h2o_linklist_t items; /* lua_item_t */
    h2o_linklist_t due;   /* the items that go with the next call */
    bool reserving;       /* a call is in flight; at most one */
    loop_timer_t timer;   /* until the next call */
};

struct lua_item {
    h2o_linklist_t link; /* in `items` of the loop */
    strategy_item_t *item;
    h2o_linklist_t waiting; /* attempts that go with the next call */
    h2o_linklist_t due;     /* in `due` of the loop */
    bool reserving;         /* it has a part in the call that is in flight */
    loop_timer_t timer;     /* until the item is due */
};

/* An item's part of a call. */
typedef struct {
    lua_item_t *item;
    unsigned units_back;   /* of the item when the call was sent */
    unsigned first, count; /* its range in `attempts` */
} share_t;

/* One reserve call and the attempts in it, in the order of the answers. */
typedef struct {
    lua_loop_t *lua;
    uint64_t sent_us;
    unsigned shares_count, count;
    bool elsewhere; /* the connection leads to another Redis than it should */
    share_t shares[SHARES_MAX];
    attempt_t *attempts[];
} batch_t;

static void on_item_due(loop_timer_t *timer);
static void on_round(loop_timer_t *timer);

/* If other orders wait for the writer, an earlier admission brings no earlier answer; with a delay
   of 1 ms more attempts share a call. Where the gate's own answer is enough (202), there is no
   delay. */
static uint32_t call_delay_ms(const strategy_item_t *item)
{
    return item->acknowledge == ACKNOWLEDGE_COMMITTED &&
                   writer_is_behind(item->shard->writer, item->ref.slot)
               ? 1
               : 0;
}

/* Makes the item due at the end of this turn of the loop at the earliest, so that all requests read
   in this turn go together. */
static void schedule(lua_item_t *item)
{
    if (!item->reserving && !h2o_linklist_is_linked(&item->due) &&
        !h2o_linklist_is_empty(&item->waiting))
        loop_timer_start(item->item->loop->loop, &item->timer, call_delay_ms(item->item),
                         on_item_due);
}

static lua_item_t *lua_item_new(strategy_item_t *item)
{
    lua_item_t *lua = alloc_zero(1, sizeof(*lua));
    lua->item = item;
    h2o_linklist_init_anchor(&lua->waiting);
    h2o_linklist_insert(&item->loop->lua->items, &lua->link);
    return lua;
}

static void start(attempt_t *attempt)
{
    strategy_item_t *of = attempt->item;
    lua_item_t *item = of->lua != NULL ? of->lua : (of->lua = lua_item_new(of));
    h2o_linklist_insert(&item->waiting, &attempt->link);
    if (!h2o_timeout_is_linked(&item->timer.entry))
        schedule(item);
}

/* --- answers --- */

static void done(attempt_t *attempt, const outcome_t *outcome)
{
    attempt->item->loop->host->done(attempt, outcome);
}

/* The gate may require a read of the key only if that read has not been made yet. */
static bool may_be_unchecked(const attempt_t *attempt)
{
    return attempt->key_length != 0 && !attempt->key_is_free;
}

static outcome_t outcome_of(const attempt_t *attempt, int answer)
{
    gate_answer_t plain = gate_answer_plain(answer);
    bool seen = answer >= GATE_SEEN;
    if (plain == GATE_ADMITTED)
        return (outcome_t){OUTCOME_ADMITTED, .seen = seen};
    if (plain == GATE_NOT_LOADED)
        return (outcome_t){OUTCOME_NOT_LOADED};
    if (plain != GATE_CHECK_KEY)
        return (outcome_t){OUTCOME_REFUSED, .problem = gate_answer_problem(plain), .seen = seen,
                           .of_answer = true};
    return (outcome_t){may_be_unchecked(attempt) ? OUTCOME_KEY_UNCHECKED : OUTCOME_UNKNOWN};
}

static outcome_t outcome_of_repeat(const attempt_t *attempt, const redisReply *first)
{
    outcome_t outcome = {OUTCOME_REPEAT};
    if (first == NULL || first->type != REDIS_REPLY_STRING ||
        first->len != sizeof(outcome.first.bytes) || attempt->key_length == 0)
        return (outcome_t){OUTCOME_UNKNOWN};
    memcpy(outcome.first.bytes, first->str, sizeof(outcome.first.bytes));
    if (order_id_eq(&outcome.first, &attempt->order.id)) /* a correct gate never returns that */
        return (outcome_t){OUTCOME_UNKNOWN};
    return outcome;
}

static void each(batch_t *batch, const share_t *share, outcome_t outcome)
{
    for (unsigned i = 0; i < share->count; ++i)
        done(batch->attempts[share->first + i], &outcome);
}

static void answer_each(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    size_t next = part + GATE_PART_IDS;
    for (unsigned i = 0; i < share->count; ++i) {
        attempt_t *attempt = batch->attempts[share->first + i];
        int answer = gate_reply_answer(reply, part, i);
        outcome_t outcome;
        if (answer < 0)
            outcome = (outcome_t){OUTCOME_UNKNOWN};
        else if (gate_answer_plain(answer) != GATE_FIRST)
            outcome = outcome_of(attempt, answer);
        else
            outcome =
                outcome_of_repeat(attempt, next < reply->elements ? reply->element[next++] : NULL);
        done(attempt, &outcome);
    }
}

#define REFUSED_UNAVAILABLE ((outcome_t){OUTCOME_REFUSED, .problem = PROBLEM_UNAVAILABLE})

static bool has_part(const redisReply *reply, size_t part)
{
    return gate_reply_is_array(reply, part + GATE_PART_IDS);
}

static void answer_share(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    if (gate_reply_is_refusal(reply)) {
        each(batch, share, REFUSED_UNAVAILABLE); /* none was admitted */
        return;
    }
    if (!has_part(reply, part)) {
        METRIC_INC(gate_calls_unknown_total);
        each(batch, share, (outcome_t){OUTCOME_UNKNOWN});
        return;
    }
    switch ((gate_item_t)gate_reply_i64(reply, part)) {
    case GATE_ITEM_OK:
        answer_each(batch, share, reply, part);
        break;
    case GATE_ITEM_FROZEN:
        each(batch, share, (outcome_t){OUTCOME_DELAYED});
        break;
    default:
        each(batch, share, (outcome_t){OUTCOME_STALE});
    }
}

static void send_due(lua_loop_t *lua);

static void note_available(const share_t *share, int64_t available)
{
    lua_item_t *item = share->item;
    strategy_loop_t *loop = item->item->loop;
    if (available <= 0)
        loop->host->sold_out(item->item, share->units_back);
    if (h2o_linklist_is_empty(&item->waiting) || call_delay_ms(item->item) != 0)
        return;
    loop_timer_stop(&item->timer);
    h2o_linklist_insert(&loop->lua->due, &item->due);
}

static bool gate_is_elsewhere(const batch_t *batch, const share_t *share, gate_item_t answer,
                              uint64_t gate_epoch)
{
    strategy_item_t *item = share->item->item;
    uint64_t epoch = batch->attempts[share->first]->epoch;
    return answer != GATE_ITEM_FROZEN && gate_epoch <= epoch &&
           item->loop->host->gate_is_elsewhere(item, epoch);
}

static void note_item(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    gate_item_t answer = (gate_item_t)gate_reply_i64(reply, part);
    uint64_t epoch = (uint64_t)gate_reply_i64(reply, part + 1);
    if (answer == GATE_ITEM_OK)
        note_available(share, gate_reply_i64(reply, part + 2));
    else if (gate_is_elsewhere(batch, share, answer, epoch))
        batch->elsewhere = true;
}

/* Handles the parts of the answer that are about items, before any attempt ends, and sends the next
   call before the outcomes of this one are reported: so Redis works meanwhile. */
static void send_next(batch_t *batch, const redisReply *reply)
{
    lua_loop_t *lua = batch->lua;
    size_t part = 0;
    assert(lua->reserving);
    lua->reserving = false;
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        assert(batch->shares[i].item->reserving);
        batch->shares[i].item->reserving = false;
        if (!has_part(reply, part))
            continue;
        note_item(batch, &batch->shares[i], reply, part);
        part = gate_reply_next(reply, part);
    }
    if (batch->elsewhere) {
        loop_timer_start(lua->loop->loop, &lua->timer, RECONNECT_MS, on_round);
    } else if (!h2o_linklist_is_empty(&lua->due)) {
        send_due(lua);
        redis_link_flush(lua->loop->gate);
    }
}

static void on_reply(void *context, const redisReply *reply)
{
    batch_t *batch = context;
    redis_link_t *gate = batch->lua->loop->gate;
    size_t part = 0;
    metric_observe(HISTOGRAM_gate_call_seconds, clock_mono_us() - batch->sent_us);
    FAILPOINT("reserve_answered");
    send_next(batch, reply);
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        const share_t *share = &batch->shares[i];
        lua_item_t *item = share->item;
        answer_share(batch, share, reply, part);
        writer_expect(item->item->shard->writer, item->item->ref.slot, -(int)share->count);
        if (!h2o_timeout_is_linked(&item->timer.entry))
            schedule(item);
        if (has_part(reply, part))
            part = gate_reply_next(reply, part);
    }
    if (batch->elsewhere)
        redis_link_drop(gate);
    free(batch);
}

/* --- the call --- */

/* One quantity for all, if all are equal. */
static void add_quantities(redis_args_t *args, attempt_t *const *attempts, unsigned count)
{
    char text[REDIS_BATCH_MAX * (U64_DIGITS_MAX + 1)], *at = text;
    unsigned same = 1;
    while (same < count && attempts[same]->order.quantity == attempts[0]->order.quantity)
        ++same;
    for (unsigned i = 0; i < (same == count ? 1 : count); ++i) {
        if (i != 0)
            str_put(&at, STR(","));
        str_put_u64(&at, attempts[i]->order.quantity);
    }
    redis_args_add(args, (str_t){text, (size_t)(at - text)});
}

static gate_mark_t mark_of(const attempt_t *attempt)
{
    if (attempt->key_length == 0)
        return GATE_MARK_NO_KEY;
    return attempt->key_is_free ? GATE_MARK_KEY_FREE : GATE_MARK_KEY;
}

/* One digit for each attempt; an empty string if no attempt has a key. */
static void add_marks(redis_args_t *args, attempt_t *const *attempts, unsigned count)
{
    char digits[REDIS_BATCH_MAX];
    bool any = false;
    for (unsigned i = 0; i < count; ++i) {
        gate_mark_t mark = mark_of(attempts[i]);
        any = any || mark != GATE_MARK_NO_KEY;
        digits[i] = (char)('0' + mark);
    }
    redis_args_add(args, (str_t){digits, any ? count : 0});
}

static void add_earliest_deadline(redis_args_t *args, attempt_t *const *attempts, unsigned count)
{
    uint64_t earliest_ms = UINT64_MAX;
    for (unsigned i = 0; i < count; ++i)
        if (attempts[i]->commit_deadline_ms < earliest_ms)
            earliest_ms = attempts[i]->commit_deadline_ms;
    redis_args_add_u64(args, earliest_ms);
}

/* The orders of one item, in the format of lua/holdfast.lua. */
static void add_orders(redis_args_t *args, attempt_t *const *attempts, unsigned count)
{
    redis_args_add_u64(args, attempts[0]->epoch);
    redis_args_add_u64(args, count);
    add_earliest_deadline(args, attempts, count);
    add_quantities(args, attempts, count);
    add_marks(args, attempts, count);
    for (unsigned i = 0; i < count; ++i)
        gate_order_add_id(args, attempts[i]);
    for (unsigned i = 0; i < count; ++i)
        redis_args_add(args, order_buyer(&attempts[i]->order));
    for (unsigned i = 0; i < count; ++i)
        gate_order_add_record(args, attempts[i]);
    for (unsigned i = 0; i < count; ++i)
        if (attempts[i]->key_length != 0)
            gate_order_add_field(args, attempts[i]);
}

/* Takes as many waiting attempts as the call has room for. An item's part has one epoch: attempts
   that were routed under another go with the next call. */
static void take_share(batch_t *batch, lua_item_t *item, unsigned max)
{
    share_t *share = &batch->shares[batch->shares_count++];
    *share = (share_t){.item = item, .units_back = item->item->units_back, .first = batch->count};
    while (batch->count < max && !h2o_linklist_is_empty(&item->waiting)) {
        attempt_t *attempt = H2O_STRUCT_FROM_MEMBER(attempt_t, link, item->waiting.next);
        assert(attempt->item == item->item);
        if (share->count != 0 && attempt->epoch != batch->attempts[share->first]->epoch)
            break;
        h2o_linklist_unlink(&attempt->link);
        batch->attempts[batch->count++] = attempt;
        ++share->count;
    }
}

/* Takes as many due items as one call has room for. An item may have no attempt left, because those
   that waited were withdrawn. */
static batch_t *take_batch(lua_loop_t *lua)
{
    unsigned max = lua->loop->config->redis.batch_max;
    batch_t *batch = alloc_bytes(sizeof(*batch) + max * sizeof(batch->attempts[0]));
    batch->lua = lua;
    batch->sent_us = clock_mono_us();
    batch->count = batch->shares_count = 0;
    batch->elsewhere = false;
    while (batch->count < max && batch->shares_count < SHARES_MAX &&
           !h2o_linklist_is_empty(&lua->due)) {
        lua_item_t *item = H2O_STRUCT_FROM_MEMBER(lua_item_t, due, lua->due.next);
        h2o_linklist_unlink(&item->due);
        if (!h2o_linklist_is_empty(&item->waiting))
            take_share(batch, item, max);
    }
    return batch;
}

/* The attempts are with Redis now: only the answer ends them, and the writer's batch window counts
   them. */
static void note_sent(batch_t *batch, const share_t *share)
{
    strategy_item_t *item = share->item->item;
    assert(!share->item->reserving && share->count != 0);
    share->item->reserving = true;
    writer_expect(item->shard->writer, item->ref.slot, (int)share->count);
    for (unsigned i = 0; i < share->count; ++i)
        item->loop->host->sent(batch->attempts[share->first + i]);
}

static void add_keys(redis_args_t *args, const strategy_item_t *item)
{
    static const gate_key_t keys[] = {GATE_KEY_GATE, GATE_KEY_BUYERS, GATE_KEY_UNSETTLED,
                                      GATE_KEY_KEYS};
    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); ++i)
        gate_add_key(args, keys[i], &item->ref);
}

static void send_batch(lua_loop_t *lua, batch_t *batch)
{
    redis_args_t *args = &lua->loop->args;
    assert(!lua->reserving);
    gate_call(args, "holdfast_reserve", 4 * batch->shares_count);
    for (unsigned i = 0; i < batch->shares_count; ++i)
        add_keys(args, batch->shares[i].item->item);
    for (unsigned i = 0; i < batch->shares_count; ++i)
        add_orders(args, batch->attempts + batch->shares[i].first, batch->shares[i].count);
    metric_observe(HISTOGRAM_gate_batch_orders, batch->count);
    bool sent = redis_link_call(lua->loop->gate, args, on_reply, batch);
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        if (sent)
            note_sent(batch, &batch->shares[i]);
        else
            each(batch, &batch->shares[i], REFUSED_UNAVAILABLE);
    }
    lua->reserving = sent;
    if (sent)
        return;
    for (unsigned i = 0; i < batch->shares_count; ++i)
        schedule(batch->shares[i].item);
    free(batch);
}

static void send_due(lua_loop_t *lua)
{
    while (!lua->reserving && !h2o_linklist_is_empty(&lua->due)) {
        batch_t *batch = take_batch(lua);
        if (batch->count != 0)
            send_batch(lua, batch);
        else
            free(batch);
    }
}

static void on_round(loop_timer_t *timer)
{
    send_due(H2O_STRUCT_FROM_MEMBER(lua_loop_t, timer, timer));
}

/* The call goes out after all timers of this turn, so that all items that are due take part. */
static void on_item_due(loop_timer_t *timer)
{
    lua_item_t *item = H2O_STRUCT_FROM_MEMBER(lua_item_t, timer, timer);
    lua_loop_t *lua = item->item->loop->lua;
    if (item->reserving || h2o_linklist_is_empty(&item->waiting))
        return;
    h2o_linklist_insert(&lua->due, &item->due);
    if (!h2o_timeout_is_linked(&lua->timer.entry))
        loop_timer_start(lua->loop->loop, &lua->timer, 0, on_round);
}

const strategy_t strategy_lua = {start};

/* --- state of a loop and of an item --- */

lua_loop_t *lua_loop_new(strategy_loop_t *loop)
{
    lua_loop_t *lua = alloc_zero(1, sizeof(*lua));
    lua->loop = loop;
    h2o_linklist_init_anchor(&lua->items);
    h2o_linklist_init_anchor(&lua->due);
    return lua;
}

void lua_loop_free(lua_loop_t *lua)
{
    assert(!lua->reserving && h2o_linklist_is_empty(&lua->items));
    loop_timer_stop(&lua->timer);
    free(lua);
}

void lua_item_free(lua_item_t *lua)
{
    assert(!lua->reserving && h2o_linklist_is_empty(&lua->waiting));
    loop_timer_stop(&lua->timer);
    if (h2o_linklist_is_linked(&lua->due))
        h2o_linklist_unlink(&lua->due);
    h2o_linklist_unlink(&lua->link);
    free(lua);
}

static void refuse_waiting(lua_item_t *item)
{
    const outcome_t refused = REFUSED_UNAVAILABLE;
    while (!h2o_linklist_is_empty(&item->waiting)) {
        attempt_t *attempt = H2O_STRUCT_FROM_MEMBER(attempt_t, link, item->waiting.next);
        h2o_linklist_unlink(&attempt->link);
        done(attempt, &refused);
    }
}

void lua_loop_check(lua_loop_t *lua)
{
    if (!lua->reserving || redis_link_is_up(lua->loop->gate))
        return;
    for (h2o_linklist_t *at = lua->items.next; at != &lua->items; at = at->next)
        refuse_waiting(H2O_STRUCT_FROM_MEMBER(lua_item_t, link, at));
}
