/*
 * Strategy lua: the combining gate. While a loop's reserve call is in flight, new buyers join the
 * next, for whatever items; one atomic call then decides about all of them, each with an answer of
 * its own. What is synced to disk together costs Redis one sync. (One Redis has all slots: with
 * several, a call must not leave a slot, and there would be one in flight for each of them.)
 */
#include <stdlib.h>

#include "base/failpoint.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"
#include "strategies/gate_order.h"
#include "strategies/strategy.h"

/* Items in one call at the most, as redis.batch_max bounds its orders: Redis answers nobody else
   meanwhile. */
#define SHARES_MAX 128
/* The next call waits so long for a new connection. */
#define RECONNECT_MS 16

/* An item's part of a call. */
typedef struct {
    loop_item_t *item;
    unsigned units_back;   /* of the item when the call was sent */
    unsigned first, count; /* of the call's purchases */
} share_t;

/* One reserve call and who is in it, in the order of the answers. */
typedef struct {
    uint64_t sent_us;
    unsigned shares_count, count;
    bool elsewhere; /* the connection leads to another Redis than it should */
    share_t shares[SHARES_MAX];
    purchase_t *purchases[];
} batch_t;

static void on_item_due(loop_timer_t *timer);
static void on_round(loop_timer_t *timer);

/* While others stand before the writer as it is, nobody hears sooner for having been admitted a
   moment sooner: more can go together. Those whom the gate's own answer is enough for do not wait.
 */
static uint32_t call_delay_ms(const loop_item_t *item)
{
    return item->item.terms.acknowledge == ACKNOWLEDGE_COMMITTED &&
                   writer_is_behind(item->shard->writer, item->slot)
               ? 1
               : 0;
}

/* At the end of this turn of the loop at the soonest: all that it has read by then goes together.
 */
static void schedule(loop_item_t *item)
{
    if (!item->reserving && !h2o_linklist_is_linked(&item->due) &&
        !h2o_linklist_is_empty(&item->joining))
        loop_timer_start(item->engine->loop, &item->reserve_timer, call_delay_ms(item),
                         on_item_due);
}

static void start(purchase_t *purchase)
{
    loop_item_t *item = purchase->item;
    h2o_linklist_insert(&item->joining, &purchase->link);
    if (!h2o_timeout_is_linked(&item->reserve_timer.entry))
        schedule(item);
}

/* --- answers --- */

static void answer_one(purchase_t *purchase, int answer)
{
    gate_answer_t plain = (gate_answer_t)(answer % GATE_SEEN);
    bool seen = answer >= GATE_SEEN;
    if (plain == GATE_ADMITTED)
        purchase_admitted(purchase, seen);
    else if (plain == GATE_LOOK)
        purchase_seen_before(purchase);
    else
        purchase_refused(purchase, gate_answer_problem(plain), seen);
}

static void answer_repeat(purchase_t *purchase, const redisReply *first)
{
    order_id_t id;
    if (first == NULL || first->type != REDIS_REPLY_STRING || first->len != sizeof(id.bytes)) {
        purchase_unknown(purchase);
        return;
    }
    memcpy(id.bytes, first->str, sizeof(id.bytes));
    purchase_is_repeat(purchase, &id);
}

static void each(batch_t *batch, const share_t *share, void (*outcome)(purchase_t *))
{
    for (unsigned i = 0; i < share->count; ++i)
        outcome(batch->purchases[share->first + i]);
}

static void answer_each(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    size_t next = part + GATE_PART_IDS;
    for (unsigned i = 0; i < share->count; ++i) {
        purchase_t *purchase = batch->purchases[share->first + i];
        int answer = gate_reply_answer(reply, part, i);
        if (answer < 0)
            purchase_unknown(purchase);
        else if (answer % GATE_SEEN != GATE_FIRST)
            answer_one(purchase, answer);
        else
            answer_repeat(purchase, next < reply->elements ? reply->element[next++] : NULL);
    }
}

static void refuse(purchase_t *purchase)
{
    purchase_refused(purchase, PROBLEM_UNAVAILABLE, false);
}

static bool has_part(const redisReply *reply, size_t part)
{
    return gate_reply_is_array(reply, part + GATE_PART_IDS);
}

static void answer_share(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    if (gate_reply_is_refusal(reply)) {
        each(batch, share, refuse); /* nobody was admitted */
        return;
    }
    if (!has_part(reply, part)) {
        METRIC_INC(gate_calls_unknown_total);
        each(batch, share, purchase_unknown);
        return;
    }
    switch ((gate_item_t)gate_reply_i64(reply, part)) {
    case GATE_ITEM_OK:
        break;
    case GATE_ITEM_FROZEN:
        each(batch, share, purchase_delayed);
        return;
    default:
        each(batch, share, purchase_stale);
        return;
    }
    answer_each(batch, share, reply, part);
}

static void send_due(engine_loop_t *engine);

static void go_on(const share_t *share, int64_t available)
{
    loop_item_t *item = share->item;
    if (available <= 0)
        engine_item_sold_out(item, share->units_back);
    if (h2o_linklist_is_empty(&item->joining) || call_delay_ms(item) != 0)
        return;
    loop_timer_stop(&item->reserve_timer);
    h2o_linklist_insert(&item->engine->due, &item->due);
}

static bool leads_elsewhere(const batch_t *batch, const share_t *share, gate_item_t answer,
                            uint64_t gate_epoch)
{
    uint64_t epoch = batch->purchases[share->first]->epoch;
    return answer != GATE_ITEM_FROZEN && gate_epoch <= epoch &&
           engine_gate_is_elsewhere(share->item, epoch);
}

static void note_item(batch_t *batch, const share_t *share, const redisReply *reply, size_t part)
{
    gate_item_t answer = (gate_item_t)gate_reply_i64(reply, part);
    uint64_t epoch = (uint64_t)gate_reply_i64(reply, part + 1);
    if (answer == GATE_ITEM_OK)
        go_on(share, gate_reply_i64(reply, part + 2));
    else if (leads_elsewhere(batch, share, answer, epoch))
        batch->elsewhere = true;
}

/* What there is to know of items before anybody is answered. Who joined meanwhile goes with the
   next call before those of this one hear, so that Redis works while they are told. */
static void send_next(engine_loop_t *engine, batch_t *batch, const redisReply *reply)
{
    size_t part = 0;
    engine->reserving = false;
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        batch->shares[i].item->reserving = false;
        if (!has_part(reply, part))
            continue;
        note_item(batch, &batch->shares[i], reply, part);
        part = gate_reply_next(reply, part);
    }
    if (batch->elsewhere) {
        loop_timer_start(engine->loop, &engine->reserve_timer, RECONNECT_MS, on_round);
    } else if (!h2o_linklist_is_empty(&engine->due)) {
        send_due(engine);
        redis_link_flush(engine->gate);
    }
}

static void on_reply(void *context, const redisReply *reply)
{
    batch_t *batch = context;
    engine_loop_t *engine = batch->shares[0].item->engine;
    size_t part = 0;
    metric_observe(HISTOGRAM_gate_call_seconds, clock_mono_us() - batch->sent_us);
    FAILPOINT("reserve_answered");
    send_next(engine, batch, reply);
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        const share_t *share = &batch->shares[i];
        loop_item_t *item = share->item;
        answer_share(batch, share, reply, part);
        writer_expect(item->shard->writer, item->slot, -(int)share->count);
        if (!h2o_timeout_is_linked(&item->reserve_timer.entry))
            schedule(item);
        if (has_part(reply, part))
            part = gate_reply_next(reply, part);
    }
    if (batch->elsewhere)
        redis_link_drop(engine->gate);
    free(batch);
}

/* --- the call --- */

/* One for all, if they have the same. */
static void add_quantities(redis_args_t *args, purchase_t *const *purchases, unsigned count)
{
    char text[REDIS_BATCH_MAX * (U64_DIGITS_MAX + 1)], *at = text;
    unsigned same = 1;
    while (same < count && purchases[same]->order.quantity == purchases[0]->order.quantity)
        ++same;
    for (unsigned i = 0; i < (same == count ? 1 : count); ++i) {
        if (i != 0)
            str_put(&at, STR(","));
        str_put_u64(&at, purchases[i]->order.quantity);
    }
    redis_args_add(args, (str_t){text, (size_t)(at - text)});
}

static gate_mark_t mark_of(const purchase_t *purchase)
{
    if (purchase->key_length == 0)
        return GATE_MARK_NO_KEY;
    return purchase->looked ? GATE_MARK_LOOKED : GATE_MARK_KEY;
}

/* One digit for each; none if nobody has a key. */
static void add_marks(redis_args_t *args, purchase_t *const *purchases, unsigned count)
{
    char digits[REDIS_BATCH_MAX];
    bool any = false;
    for (unsigned i = 0; i < count; ++i) {
        gate_mark_t mark = mark_of(purchases[i]);
        any = any || mark != GATE_MARK_NO_KEY;
        digits[i] = (char)('0' + mark);
    }
    redis_args_add(args, (str_t){digits, any ? count : 0});
}

static void add_earliest_deadline(redis_args_t *args, purchase_t *const *purchases, unsigned count)
{
    uint64_t earliest_ms = UINT64_MAX;
    for (unsigned i = 0; i < count; ++i)
        if (purchases[i]->commit_deadline_ms < earliest_ms)
            earliest_ms = purchases[i]->commit_deadline_ms;
    redis_args_add_u64(args, earliest_ms);
}

/* Of one item, in the order of lua/holdfast.lua. */
static void add_orders(redis_args_t *args, purchase_t *const *purchases, unsigned count)
{
    redis_args_add_u64(args, purchases[0]->epoch);
    redis_args_add_u64(args, count);
    add_earliest_deadline(args, purchases, count);
    add_quantities(args, purchases, count);
    add_marks(args, purchases, count);
    for (unsigned i = 0; i < count; ++i)
        gate_order_add_id(args, purchases[i]);
    for (unsigned i = 0; i < count; ++i)
        redis_args_add(args, order_buyer(&purchases[i]->order));
    for (unsigned i = 0; i < count; ++i)
        gate_order_add_record(args, purchases[i]);
    for (unsigned i = 0; i < count; ++i)
        if (purchases[i]->key_length != 0)
            gate_order_add_field(args, purchases[i]);
}

/* As many of those who joined as the call has room for. An item's part speaks of one epoch: who was
   routed under another goes with the next. */
static void take_share(batch_t *batch, loop_item_t *item, unsigned max)
{
    share_t *share = &batch->shares[batch->shares_count++];
    *share = (share_t){.item = item, .units_back = item->units_back, .first = batch->count};
    while (batch->count < max && !h2o_linklist_is_empty(&item->joining)) {
        purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, item->joining.next);
        if (share->count != 0 && purchase->epoch != batch->purchases[share->first]->epoch)
            break;
        h2o_linklist_unlink(&purchase->link);
        batch->purchases[batch->count++] = purchase;
        ++share->count;
    }
}

/* Of the items that are due, as many as go into one call. Some have nobody left: who joined has
   heard something else meanwhile. */
static batch_t *take_batch(engine_loop_t *engine)
{
    unsigned max = engine->node->config->redis.batch_max;
    batch_t *batch = malloc(sizeof(*batch) + max * sizeof(batch->purchases[0]));
    if (batch == NULL)
        abort();
    batch->sent_us = clock_mono_us();
    batch->count = batch->shares_count = 0;
    batch->elsewhere = false;
    while (batch->count < max && batch->shares_count < SHARES_MAX &&
           !h2o_linklist_is_empty(&engine->due)) {
        loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, due, engine->due.next);
        h2o_linklist_unlink(&item->due);
        if (!h2o_linklist_is_empty(&item->joining))
            take_share(batch, item, max);
    }
    return batch;
}

static void note_sent(batch_t *batch, const share_t *share)
{
    share->item->reserving = true;
    writer_expect(share->item->shard->writer, share->item->slot, (int)share->count);
    for (unsigned i = 0; i < share->count; ++i)
        batch->purchases[share->first + i]->sent = true;
}

static void send_batch(engine_loop_t *engine, batch_t *batch)
{
    redis_args_t *args = &engine->args;
    gate_call(args, "holdfast_reserve", 4 * batch->shares_count);
    for (unsigned i = 0; i < batch->shares_count; ++i)
        engine_add_keys(args, batch->shares[i].item, true);
    for (unsigned i = 0; i < batch->shares_count; ++i)
        add_orders(args, batch->purchases + batch->shares[i].first, batch->shares[i].count);
    metric_observe(HISTOGRAM_gate_batch_orders, batch->count);
    bool sent = redis_link_call(engine->gate, args, on_reply, batch);
    for (unsigned i = 0; i < batch->shares_count; ++i) {
        if (sent)
            note_sent(batch, &batch->shares[i]);
        else
            each(batch, &batch->shares[i], refuse);
    }
    engine->reserving = sent;
    if (sent)
        return;
    for (unsigned i = 0; i < batch->shares_count; ++i)
        schedule(batch->shares[i].item);
    free(batch);
}

static void send_due(engine_loop_t *engine)
{
    while (!engine->reserving && !h2o_linklist_is_empty(&engine->due)) {
        batch_t *batch = take_batch(engine);
        if (batch->count != 0)
            send_batch(engine, batch);
        else
            free(batch);
    }
}

static void on_round(loop_timer_t *timer)
{
    send_due(H2O_STRUCT_FROM_MEMBER(engine_loop_t, reserve_timer, timer));
}

/* The round comes after all whose time is up in this turn. */
static void on_item_due(loop_timer_t *timer)
{
    loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, reserve_timer, timer);
    engine_loop_t *engine = item->engine;
    if (item->reserving || h2o_linklist_is_empty(&item->joining))
        return;
    h2o_linklist_insert(&engine->due, &item->due);
    if (!h2o_timeout_is_linked(&engine->reserve_timer.entry))
        loop_timer_start(engine->loop, &engine->reserve_timer, 0, on_round);
}

const strategy_t strategy_lua = {start};
