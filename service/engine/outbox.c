#include "engine/outbox.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

/* At most this many ids of an item go into one settle or unreserve call. */
#define NOTICES_MAX 512
/* A settle has no buyer that it delays. So the notices of this time, of all items, share one call
   and one sync of Redis to disk. */
#define ROUND_DELAY_MS 32
/* At most this many items in one settle call; from this many ids on, no further item joins it. */
#define ROUND_ITEMS_MAX 128
#define ROUND_IDS_MAX 1024
/* Delay before a call that failed is sent again. */
#define RETRY_MS 64

/* --- lists --- */

static void list_add(notices_t *list, const attempt_t *a)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 4 : list->capacity * 2;
        list->notices = alloc_resize(list->notices, list->capacity, sizeof(*list->notices));
    }
    notice_t *notice = &list->notices[list->count++];
    *notice = (notice_t){.id = a->order.id, .quantity = a->order.quantity, .epoch = a->epoch};
    if (a->key_length == 0)
        return;
    str_t sku = order_sku(&a->order), buyer = order_buyer(&a->order);
    size_t separators = 2;
    char *at = alloc_bytes(sku.n + buyer.n + a->key_length + separators);
    notice->field = gate_key_field_put(&at, sku, buyer, attempt_key(a));
}

/* The call with the first `sending` notices has ended. `answered`: Redis has answered it. */
static void list_sent(notices_t *list, bool answered)
{
    assert(list->sending <= list->count);
    if (answered) {
        for (size_t i = 0; i < list->sending; ++i)
            free((char *)list->notices[i].field.p);
        list->count -= list->sending;
        memmove(list->notices, list->notices + list->sending, list->count * sizeof(*list->notices));
    }
    list->sending = 0;
}

static void list_free(notices_t *list)
{
    for (size_t i = 0; i < list->count; ++i)
        free((char *)list->notices[i].field.p);
    free(list->notices);
}

static size_t list_choose(notices_t *list)
{
    assert(list->sending == 0 && list->count != 0);
    list->sending = list->count < NOTICES_MAX ? list->count : NOTICES_MAX;
    return list->sending;
}

/* --- when an item has its next call --- */

static void on_item_due(loop_timer_t *timer);
static void on_round(loop_timer_t *timer);

static void call_later(loop_item_t *item, uint32_t delay_ms)
{
    loop_timer_start(item->engine->loop, &item->outbox.timer, delay_ms, on_item_due);
}

/* Units that return can be sold again: they are sent without delay. */
static bool is_urgent(const item_outbox_t *outbox)
{
    return outbox->rejected.count != 0 || outbox->settled.count >= NOTICES_MAX;
}

static void join_round(loop_item_t *item)
{
    engine_loop_t *engine = item->engine;
    if (h2o_linklist_is_linked(&item->outbox.round))
        return;
    if (h2o_linklist_is_empty(&engine->outbox.round))
        loop_timer_start(engine->loop, &engine->outbox.timer, ROUND_DELAY_MS, on_round);
    h2o_linklist_insert(&engine->outbox.round, &item->outbox.round);
}

bool outbox_is_quiet(const item_outbox_t *outbox)
{
    return outbox->settled.count == 0 && outbox->rejected.count == 0;
}

/* The call with notices of `list` has ended. `answered`: Redis has answered it. */
static void on_called(loop_item_t *item, notices_t *list, bool answered)
{
    item_outbox_t *outbox = &item->outbox;
    assert(outbox->calling && item->engine->outbox.items != 0);
    outbox->calling = false;
    list_sent(list, answered);
    if (outbox_is_quiet(outbox))
        --item->engine->outbox.items;
    else if (!answered)
        call_later(item, RETRY_MS);
    else if (is_urgent(outbox))
        call_later(item, 0);
    else
        join_round(item);
}

static void note_call(loop_item_t *item, notices_t *list, bool sent)
{
    assert(!item->outbox.calling);
    item->outbox.calling = sent;
    if (sent)
        return;
    list->sending = 0;
    call_later(item, RETRY_MS);
}

/* --- unreserve: rejected orders of an item --- */

static void add_id(redis_args_t *args, const notice_t *notice)
{
    redis_args_add(args, (str_t){(const char *)notice->id.bytes, sizeof(notice->id.bytes)});
}

static void on_unreserved(void *context, const redisReply *reply)
{
    loop_item_t *item = context;
    bool answered = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    if (answered)
        METRIC_ADD(unreserved_total, reply->integer);
    else
        METRIC_INC(gate_calls_unknown_total);
    on_called(item, &item->outbox.rejected, answered);
}

static void add_keys(redis_args_t *args, const loop_item_t *item, bool buyers)
{
    const item_ref_t *ref = &item->base.ref;
    gate_add_key(args, GATE_KEY_GATE, ref);
    if (buyers)
        gate_add_key(args, GATE_KEY_BUYERS, ref);
    gate_add_key(args, GATE_KEY_UNSETTLED, ref);
    gate_add_key(args, GATE_KEY_KEYS, ref);
}

static void unreserve(loop_item_t *item)
{
    redis_args_t *args = &item->engine->args;
    notices_t *list = &item->outbox.rejected;
    list_choose(list);
    FAILPOINT("notify_gate");
    gate_call(args, "holdfast_unreserve", 4);
    add_keys(args, item, true);
    redis_args_add(args, loop_item_sku(item));
    redis_args_add_u64(args, 0);
    for (size_t i = 0; i < list->sending; ++i)
        add_id(args, &list->notices[i]);
    note_call(item, list, redis_link_call(item->engine->gate, args, on_unreserved, item));
}

/* --- settle: committed orders of many items --- */

static int by_epoch_and_quantity(const void *a, const void *b)
{
    const notice_t *x = a, *y = b;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->quantity < y->quantity ? -1 : x->quantity > y->quantity;
}

/* One call contains notices of one epoch; the others go with a later call. */
static void add_settled(redis_args_t *args, notices_t *list)
{
    notice_t *notices = list->notices;
    size_t count = 0, ends[NOTICES_MAX], groups = 0, keyed = 0;
    qsort(notices, list->sending, sizeof(*notices), by_epoch_and_quantity);
    while (count < list->sending && notices[count].epoch == notices[0].epoch) {
        groups += groups == 0 || notices[count].quantity != notices[count - 1].quantity;
        keyed += notices[count].field.n != 0;
        ends[groups - 1] = ++count;
    }
    list->sending = count;
    redis_args_add_u64(args, notices[0].epoch);
    redis_args_add_u64(args, groups);
    redis_args_add_u64(args, keyed);
    for (size_t i = 0; i < groups; ++i) {
        redis_args_add_u64(args, notices[ends[i] - 1].quantity);
        redis_args_add_u64(args, ends[i] - (i == 0 ? 0 : ends[i - 1]));
    }
    for (size_t i = 0; i < count; ++i)
        add_id(args, &notices[i]);
    for (size_t i = 0; i < count; ++i)
        if (notices[i].field.n != 0)
            redis_args_add(args, notices[i].field);
}

/* The items of one settle call. */
typedef struct {
    unsigned count;
    loop_item_t *items[ROUND_ITEMS_MAX];
} settle_t;

static void on_settled(void *context, const redisReply *reply)
{
    settle_t *settle = context;
    bool answered = gate_reply_is_array(reply, settle->count);
    if (!answered)
        METRIC_INC(gate_calls_unknown_total);
    for (unsigned i = 0; i < settle->count; ++i) {
        if (answered)
            METRIC_ADD(settled_total, gate_reply_i64(reply, i));
        on_called(settle->items[i], &settle->items[i]->outbox.settled, answered);
    }
    free(settle);
}

/* Sends the call. The notices of its items are chosen already. Uses up `settle`. */
static void send_settle(engine_loop_t *engine, settle_t *settle)
{
    redis_args_t *args = &engine->args;
    loop_item_t *const *items = settle->items;
    unsigned count = settle->count;
    FAILPOINT("notify_gate");
    gate_call(args, "holdfast_settle", 3 * count);
    for (unsigned i = 0; i < count; ++i)
        add_keys(args, items[i], false);
    for (unsigned i = 0; i < count; ++i)
        add_settled(args, &items[i]->outbox.settled);
    bool sent = redis_link_call(engine->gate, args, on_settled, settle);
    for (unsigned i = 0; i < count; ++i)
        note_call(items[i], &items[i]->outbox.settled, sent);
    if (!sent)
        free(settle);
}

static settle_t *settle_new(void)
{
    settle_t *settle = alloc_bytes(sizeof(*settle));
    settle->count = 0;
    return settle;
}

static void on_item_due(loop_timer_t *timer)
{
    loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, outbox.timer, timer);
    if (item->outbox.calling)
        return;
    if (item->outbox.rejected.count != 0) {
        unreserve(item);
        return;
    }
    settle_t *settle = settle_new();
    list_choose(&item->outbox.settled);
    settle->items[settle->count++] = item;
    send_settle(item->engine, settle);
}

static settle_t *take_settle(engine_loop_t *engine)
{
    settle_t *settle = settle_new();
    size_t ids = 0;
    while (settle->count < ROUND_ITEMS_MAX && ids < ROUND_IDS_MAX &&
           !h2o_linklist_is_empty(&engine->outbox.round)) {
        loop_item_t *item =
            H2O_STRUCT_FROM_MEMBER(loop_item_t, outbox.round, engine->outbox.round.next);
        item_outbox_t *outbox = &item->outbox;
        h2o_linklist_unlink(&outbox->round);
        if (outbox->calling || h2o_timeout_is_linked(&outbox->timer.entry) ||
            outbox->settled.count == 0)
            continue;
        ids += list_choose(&outbox->settled);
        settle->items[settle->count++] = item;
    }
    return settle;
}

static void on_round(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, outbox.timer, timer);
    while (!h2o_linklist_is_empty(&engine->outbox.round)) {
        settle_t *settle = take_settle(engine);
        if (settle->count != 0)
            send_settle(engine, settle);
        else
            free(settle);
    }
}

/* --- from outside --- */

void outbox_open(engine_loop_t *engine)
{
    h2o_linklist_init_anchor(&engine->outbox.round);
}

void outbox_close(engine_loop_t *engine)
{
    assert(engine->outbox.items == 0);
    loop_timer_stop(&engine->outbox.timer);
}

void outbox_add(loop_item_t *item, const attempt_t *order, bool rejected)
{
    item_outbox_t *outbox = &item->outbox;
    bool was_quiet = outbox_is_quiet(outbox);
    list_add(rejected ? &outbox->rejected : &outbox->settled, order);
    if (was_quiet)
        ++item->engine->outbox.items;
    bool hastens = rejected ? outbox->rejected.count == 1 : outbox->settled.count == NOTICES_MAX;
    if (hastens && !outbox->calling)
        call_later(item, 0);
    else if (was_quiet)
        join_round(item);
}

void outbox_forget(item_outbox_t *outbox)
{
    assert(!outbox->calling);
    loop_timer_stop(&outbox->timer);
    if (h2o_linklist_is_linked(&outbox->round))
        h2o_linklist_unlink(&outbox->round);
    list_free(&outbox->settled);
    list_free(&outbox->rejected);
}
