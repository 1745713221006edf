/*
 * Strategy lua: the combining gate. While a reserve call for an item is in flight, new buyers
 * join the next; one atomic call then decides about all of them, each with an answer of its own.
 */
#include <stdlib.h>

#include "base/failpoint.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"
#include "strategies/gate_order.h"
#include "strategies/strategy.h"

/* One reserve call and who is in it, in the order of the answers. */
typedef struct {
    loop_item_t *item;
    uint64_t sent_us;
    unsigned units_back; /* of the item when it was sent */
    unsigned count;
    purchase_t *purchases[];
} batch_t;

static void on_reserve_timer(loop_timer_t *timer);

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
    if (!item->reserving && !h2o_linklist_is_empty(&item->joining))
        loop_timer_start(item->engine->loop, &item->reserve_timer, call_delay_ms(item),
                         on_reserve_timer);
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

static void each(batch_t *batch, void (*outcome)(purchase_t *))
{
    for (unsigned i = 0; i < batch->count; ++i)
        outcome(batch->purchases[i]);
}

/* The first orders of repeated keys stand behind the answers, in their order. */
static void answer_each(batch_t *batch, const redisReply *reply)
{
    size_t next = 4;
    for (unsigned i = 0; i < batch->count; ++i) {
        int answer = gate_reply_answer(reply, i);
        if (answer < 0)
            purchase_unknown(batch->purchases[i]);
        else if (answer % GATE_SEEN != GATE_FIRST)
            answer_one(batch->purchases[i], answer);
        else
            answer_repeat(batch->purchases[i],
                          next < reply->elements ? reply->element[next++] : NULL);
    }
}

static void answer_all(batch_t *batch, const redisReply *reply)
{
    if (!gate_reply_is_array(reply, 4)) {
        METRIC_INC(gate_calls_unknown_total);
        each(batch, purchase_unknown);
        return;
    }
    switch ((gate_item_t)gate_reply_i64(reply, 0)) {
    case GATE_ITEM_OK:
        break;
    case GATE_ITEM_FROZEN:
        each(batch, purchase_delayed);
        return;
    default:
        each(batch, purchase_stale);
        return;
    }
    if (gate_reply_i64(reply, 2) <= 0)
        engine_item_sold_out(batch->item, batch->units_back);
    answer_each(batch, reply);
}

static void on_reply(void *context, const redisReply *reply)
{
    batch_t *batch = context;
    metric_observe(HISTOGRAM_gate_call_seconds, clock_mono_us() - batch->sent_us);
    FAILPOINT("reserve_answered");
    batch->item->reserving = false;
    answer_all(batch, reply);
    writer_expect(batch->item->shard->writer, batch->item->slot, -(int)batch->count);
    schedule(batch->item);
    free(batch);
}

/* --- the call --- */

/* One for all, if they have the same. */
static void add_quantities(redis_args_t *args, const batch_t *batch)
{
    char text[REDIS_BATCH_MAX * (U64_DIGITS_MAX + 1)], *at = text;
    unsigned same = 1;
    while (same < batch->count &&
           batch->purchases[same]->order.quantity == batch->purchases[0]->order.quantity)
        ++same;
    for (unsigned i = 0; i < (same == batch->count ? 1 : batch->count); ++i) {
        if (i != 0)
            str_put(&at, STR(","));
        str_put_u64(&at, batch->purchases[i]->order.quantity);
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
static void add_marks(redis_args_t *args, const batch_t *batch)
{
    char digits[REDIS_BATCH_MAX];
    bool any = false;
    for (unsigned i = 0; i < batch->count; ++i) {
        gate_mark_t mark = mark_of(batch->purchases[i]);
        any = any || mark != GATE_MARK_NO_KEY;
        digits[i] = (char)('0' + mark);
    }
    redis_args_add(args, (str_t){digits, any ? batch->count : 0});
}

static void add_earliest_deadline(redis_args_t *args, const batch_t *batch)
{
    uint64_t earliest_ms = UINT64_MAX;
    for (unsigned i = 0; i < batch->count; ++i)
        if (batch->purchases[i]->commit_deadline_ms < earliest_ms)
            earliest_ms = batch->purchases[i]->commit_deadline_ms;
    redis_args_add_u64(args, earliest_ms);
}

/* In the order of lua/holdfast.lua. */
static void add_orders(redis_args_t *args, const batch_t *batch)
{
    purchase_t *const *purchases = batch->purchases;
    redis_args_add_u64(args, purchases[0]->epoch);
    redis_args_add_u64(args, batch->count);
    add_earliest_deadline(args, batch);
    add_quantities(args, batch);
    add_marks(args, batch);
    for (unsigned i = 0; i < batch->count; ++i)
        gate_order_add_id(args, purchases[i]);
    for (unsigned i = 0; i < batch->count; ++i)
        redis_args_add(args, order_buyer(&purchases[i]->order));
    for (unsigned i = 0; i < batch->count; ++i)
        gate_order_add_record(args, purchases[i]);
    for (unsigned i = 0; i < batch->count; ++i)
        if (purchases[i]->key_length != 0)
            gate_order_add_field(args, purchases[i]);
}

/* One call speaks of one epoch: who was routed under another goes with the next. */
static bool fits(const batch_t *batch, const purchase_t *purchase)
{
    return batch->count == 0 || purchase->epoch == batch->purchases[0]->epoch;
}

static batch_t *take_batch(loop_item_t *item)
{
    unsigned max = item->engine->node->config->redis.batch_max;
    batch_t *batch = malloc(sizeof(*batch) + max * sizeof(batch->purchases[0]));
    if (batch == NULL)
        abort();
    *batch = (batch_t){.item = item, .sent_us = clock_mono_us(), .units_back = item->units_back};
    while (batch->count < max && !h2o_linklist_is_empty(&item->joining)) {
        purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, item->joining.next);
        if (!fits(batch, purchase))
            break;
        h2o_linklist_unlink(&purchase->link);
        batch->purchases[batch->count++] = purchase;
    }
    return batch;
}

static void on_reserve_timer(loop_timer_t *timer)
{
    loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, reserve_timer, timer);
    redis_args_t *args = &item->engine->args;
    str_t sku = loop_item_sku(item);
    if (item->reserving || h2o_linklist_is_empty(&item->joining))
        return;
    batch_t *batch = take_batch(item);
    gate_call(args, "holdfast_reserve", 4);
    gate_add_key(args, GATE_KEY_GATE, item->slot, sku, 0);
    gate_add_key(args, GATE_KEY_BUYERS, item->slot, sku, 0);
    gate_add_key(args, GATE_KEY_UNSETTLED, item->slot, sku, 0);
    gate_add_key(args, GATE_KEY_KEYS, item->slot, sku, 0);
    add_orders(args, batch);
    metric_observe(HISTOGRAM_gate_batch_orders, batch->count);
    item->reserving = redis_link_call(item->engine->gate, args, on_reply, batch);
    if (item->reserving)
        writer_expect(item->shard->writer, item->slot, (int)batch->count);
    for (unsigned i = 0; i < batch->count; ++i) {
        if (item->reserving)
            batch->purchases[i]->sent = true;
        else
            purchase_refused(batch->purchases[i], PROBLEM_UNAVAILABLE, false);
    }
    if (!item->reserving) {
        free(batch);
        schedule(item);
    }
}

const strategy_t strategy_lua = {start};
