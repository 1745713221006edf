#include "engine/engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "engine/purchase.h"
#include "metrics/metrics.h"

/* Items that nobody asked for in so long are forgotten; looked for at this interval. */
#define ITEM_IDLE_MS 600000
#define HOUSEKEEPING_MS 8192
/* Ids in one settle or unreserve call. */
#define TELL_MAX 512
/* Nobody waits for a settle: those of so long share one call, of all items, and one sync of Redis
   to disk. */
#define SETTLE_DELAY_MS 32
/* Items in one settle call, and ids until no further item joins it. */
#define SETTLE_ITEMS_MAX 128
#define SETTLE_IDS_MAX 1024
/* After a call that did not get through. */
#define TELL_RETRY_MS 64

static void on_housekeeping(loop_timer_t *timer);
static void on_item_changed(void *context, str_t sku, uint64_t epoch);
static void on_order_orphaned(void *context, const order_id_t *id, const gate_record_t *record);

static void on_time(void *context, const redisReply *reply)
{
    engine_loop_t *engine = context;
    if (gate_reply_is_array(reply, 2))
        remote_clock_observe(&engine->node->gate_clock, engine->time_asked_ms,
                             (uint64_t)gate_reply_i64(reply, 0) * 1000 +
                                 (uint64_t)gate_reply_i64(reply, 1) / 1000);
    engine->time_asked_ms = 0;
}

/* A clock that was read once, slowly, or that was set since, would make every id late. */
static void follow_clock(engine_loop_t *engine)
{
    uint64_t now = clock_mono_ms();
    redis_args_begin(&engine->args, "TIME");
    if (engine->time_asked_ms == 0 && redis_link_call(engine->gate, &engine->args, on_time, engine))
        engine->time_asked_ms = now;
}

static void beat(engine_loop_t *engine)
{
    redis_args_t *args = &engine->args;
    char key[GATE_OWNER_KEY_SIZE];
    redis_args_begin(args, "SET");
    redis_args_add(args, gate_owner_key(key, str_of(engine->node->incarnation)));
    redis_args_add(args, STR("1"));
    redis_args_add(args, STR("PX"));
    redis_args_add_u64(args, HEARTBEAT_MS);
    redis_link_call(engine->gate, args, NULL, NULL);
    follow_clock(engine);
}

/* Often, so that a Redis that comes back soon knows who lives. */
static void on_heartbeat(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, heartbeat, timer);
    if (engine->loop->index == 0) /* one speaks for the process */
        beat(engine);
    strategy_loop_check(&engine->strategies);
    loop_timer_start(engine->loop, &engine->heartbeat, HEARTBEAT_INTERVAL_MS, on_heartbeat);
}

static void on_sold_out(strategy_item_t *item, unsigned units_back)
{
    engine_item_sold_out(H2O_STRUCT_FROM_MEMBER(loop_item_t, base, item), units_back);
}

static bool on_gate_missed(strategy_item_t *item, uint64_t epoch)
{
    return engine_gate_is_elsewhere(H2O_STRUCT_FROM_MEMBER(loop_item_t, base, item), epoch);
}

static void open_strategies(engine_loop_t *engine)
{
    static const strategy_host_t host = {purchase_attempt_sent, purchase_attempt_done, on_sold_out,
                                         on_gate_missed};
    engine->strategies = (strategy_loop_t){.loop = engine->loop,
                                           .config = engine->node->config,
                                           .host = &host,
                                           .owner = str_of(engine->node->incarnation),
                                           .gate = engine->gate,
                                           .gate_clock = &engine->node->gate_clock,
                                           .gate_health = &engine->node->gate_health};
    strategy_loop_open(&engine->strategies);
}

engine_loop_t *engine_loop_new(loop_t *loop, node_t *node)
{
    engine_loop_t *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        abort();
    engine->loop = loop;
    engine->node = node;
    engine->gate =
        redis_link_new(loop, node->config, &node->gate_clock, &node->gate_health, LINK_COUNTS);
    open_strategies(engine);
    announcements_listen(
        &node->announcements,
        &(announcement_listener_t){loop, engine, on_item_changed, on_order_orphaned});
    h2o_linklist_init_anchor(&engine->settling);
    loop_timer_start(loop, &engine->housekeeping, HOUSEKEEPING_MS, on_housekeeping);
    loop_timer_start(loop, &engine->heartbeat, 0, on_heartbeat);
    return engine;
}

static void outbox_free(outbox_t *outbox)
{
    for (size_t i = 0; i < outbox->count; ++i)
        free((char *)outbox->orders[i].field.p);
    free(outbox->orders);
}

static void forget_item(engine_loop_t *engine, loop_item_t *item)
{
    assert(item->purchases == 0 && h2o_linklist_is_empty(&item->parked));
    assert(!item->telling && item->state != ITEM_SYNCING);
    assert(!item->checking && h2o_linklist_is_empty(&item->unchecked));
    assert(!h2o_timeout_is_linked(&item->check_timer.entry));
    loop_timer_stop(&item->tell_timer);
    strategy_item_close(&item->base);
    if (h2o_linklist_is_linked(&item->settling))
        h2o_linklist_unlink(&item->settling);
    HASH_DEL(engine->items, item);
    outbox_free(&item->settle);
    outbox_free(&item->unreserve);
    free(item);
}

bool engine_loop_is_idle(const engine_loop_t *engine)
{
    return engine->visits == 0 && engine->purchases == 0 && engine->telling == 0 &&
           engine->jobs == 0;
}

void engine_loop_free(engine_loop_t *engine)
{
    loop_item_t *item, *next;
    loop_timer_stop(&engine->housekeeping);
    loop_timer_stop(&engine->heartbeat);
    loop_timer_stop(&engine->settle_timer);
    redis_link_free(engine->gate);
    HASH_ITER(hh, engine->items, item, next)
    {
        forget_item(engine, item);
    }
    strategy_loop_close(&engine->strategies);
    redis_args_free(&engine->args);
    free(engine);
}

static bool item_is_idle(const loop_item_t *item)
{
    return item->purchases == 0 && item->state != ITEM_SYNCING && !item->telling &&
           item->settle.count == 0 && item->unreserve.count == 0;
}

static void on_housekeeping(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, housekeeping, timer);
    uint64_t now = clock_mono_ms();
    loop_item_t *item, *next;
    HASH_ITER(hh, engine->items, item, next)
    {
        if (item_is_idle(item) && now - item->used_ms > ITEM_IDLE_MS)
            forget_item(engine, item);
    }
    loop_timer_start(engine->loop, &engine->housekeeping, HOUSEKEEPING_MS, on_housekeeping);
}

bool engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                   void (*run)(job_t *, worker_t *), void (*done)(job_t *))
{
    if (!pool_submit(engine->node->shards[shard].pool, engine->loop, job, run, done))
        return false;
    ++engine->jobs;
    return true;
}

/* --- what is known of an item --- */

static void open_item(engine_loop_t *engine, loop_item_t *item, str_t sku)
{
    uint16_t slot = slot_of_sku(sku);
    item->engine = engine;
    item->base = (strategy_item_t){.loop = &engine->strategies,
                                   .shard = node_shard_of_slot(engine->node, slot),
                                   .sku_length = (uint8_t)sku.n,
                                   .slot = slot};
    memcpy(item->base.sku_bytes, sku.p, sku.n);
    item->at_home = engine_home(engine->node, slot) == engine;
    h2o_linklist_init_anchor(&item->parked);
    h2o_linklist_init_anchor(&item->unchecked);
    HASH_ADD_KEYPTR(hh, engine->items, item->base.sku_bytes, item->base.sku_length, item);
}

loop_item_t *engine_item(engine_loop_t *engine, str_t sku)
{
    loop_item_t *item;
    HASH_FIND(hh, engine->items, sku.p, sku.n, item);
    if (item == NULL) {
        if ((item = calloc(1, sizeof(*item))) == NULL)
            abort();
        open_item(engine, item, sku);
    }
    item->used_ms = clock_mono_ms();
    return item;
}

typedef struct {
    job_t job;
    loop_item_t *item;
    item_t row;
    sync_result_t result;
} sync_job_t;

static void run_sync(job_t *job, worker_t *worker)
{
    sync_job_t *sync = H2O_STRUCT_FROM_MEMBER(sync_job_t, job, job);
    sync->result = item_sync(worker, loop_item_sku(sync->item), &sync->row);
}

static void start_sync(loop_item_t *item);

static void unpark_all(loop_item_t *item, sync_result_t why)
{
    h2o_linklist_t parked;
    h2o_linklist_init_anchor(&parked);
    h2o_linklist_insert_list(&parked, &item->parked);
    while (!h2o_linklist_is_empty(&parked)) {
        purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, parked.next);
        h2o_linklist_unlink(&purchase->link);
        purchase_unparked(purchase, why);
    }
}

static void sync_done(job_t *job)
{
    sync_job_t *sync = H2O_STRUCT_FROM_MEMBER(sync_job_t, job, job);
    loop_item_t *item = sync->item;
    engine_loop_t *engine = item->engine;
    sync_result_t result = sync->result;
    --engine->jobs;
    item->state = result == SYNC_READY ? ITEM_READY : ITEM_UNKNOWN;
    item->looks += result == SYNC_READY;
    if (result == SYNC_READY) {
        if (sync->row.epoch != item->item.epoch)
            item->sold_out_until_ms = 0;
        item->item = sync->row;
        item->base.acknowledge = sync->row.terms.acknowledge;
    }
    free(sync);
    if (item->stale) {
        item->stale = false;
        item->state = ITEM_UNKNOWN;
        if (!h2o_linklist_is_empty(&item->parked))
            start_sync(item);
        return;
    }
    unpark_all(item, result);
    /* An entry for every name that strangers try would grow without bound, also while MySQL is away
       and nobody can say that there is no such item. */
    if ((result == SYNC_UNKNOWN_ITEM || item->looks == 0) && item_is_idle(item))
        forget_item(engine, item);
}

static void start_sync(loop_item_t *item)
{
    sync_job_t *sync = calloc(1, sizeof(*sync));
    if (sync == NULL)
        abort();
    sync->item = item;
    job_set_slot(&sync->job, item->base.slot);
    item->state = ITEM_SYNCING;
    unsigned shard = item->engine->node->map.shard_of_slot[item->base.slot];
    if (!engine_submit(item->engine, shard, &sync->job, run_sync, sync_done)) {
        free(sync);
        METRIC_INC(queue_full_total);
        item->state = ITEM_UNKNOWN;
        unpark_all(item, SYNC_STORE_AWAY);
    }
}

void engine_item_park(loop_item_t *item, purchase_t *purchase)
{
    h2o_linklist_insert(&item->parked, &purchase->link);
    if (item->state == ITEM_UNKNOWN)
        start_sync(item);
}

void engine_item_doubt(loop_item_t *item)
{
    item->sold_out_until_ms = 0;
    if (item->state == ITEM_SYNCING)
        item->stale = true;
    else
        item->state = ITEM_UNKNOWN;
}

bool engine_gate_is_elsewhere(loop_item_t *item, uint64_t epoch)
{
    bool looked = item->missed_epoch == epoch && item->missed_look != item->looks;
    item->missed_epoch = epoch;
    item->missed_look = item->looks;
    return looked && item->state == ITEM_READY && item->item.epoch == epoch;
}

bool engine_gate_is_given_up(const engine_loop_t *engine)
{
    const config_t *config = engine->node->config;
    return config->redis.on_gate_down == GATE_DOWN_OPTIMISTIC &&
           gate_health_down_ms(&engine->node->gate_health) > config->redis.gate_down_after_ms;
}

/* For so long the window alone would not refuse, by the clock that the item's strategy goes by; 0:
   it does. That of a sale comes before its units. */
static uint64_t open_for_ms(const loop_item_t *item)
{
    const item_terms_t *terms = &item->item.terms;
    const remote_clock_t *clock =
        item_uses_gate(&item->item) ? &item->engine->node->gate_clock : &item->base.shard->clock;
    uint64_t now_ms = remote_clock_now_ms(clock);
    if (now_ms < terms->starts_at_ms)
        return 0;
    if (terms->ends_at_ms == 0)
        return UINT64_MAX;
    return now_ms < terms->ends_at_ms ? terms->ends_at_ms - now_ms : 0;
}

void engine_item_sold_out(loop_item_t *item, unsigned units_back)
{
    uint64_t for_ms = open_for_ms(item),
             max_ms = item->engine->node->config->orders.sold_out_cache_ms;
    if (item->base.units_back == units_back)
        item->sold_out_until_ms = clock_mono_ms() + (for_ms < max_ms ? for_ms : max_ms);
}

static void on_item_changed(void *context, str_t sku, uint64_t epoch)
{
    engine_loop_t *engine = context;
    loop_item_t *item;
    ++engine->news;
    HASH_FIND(hh, engine->items, sku.p, sku.n, item);
    if (item != NULL) {
        item->sold_out_until_ms = 0;
        ++item->base.units_back;
    }
    if (item != NULL && item->at_home && (item->state != ITEM_READY || item->item.epoch < epoch))
        engine_item_doubt(item);
}

static void on_order_orphaned(void *context, const order_id_t *id, const gate_record_t *record)
{
    purchase_adopt(context, id, record);
}

/* --- telling the gate --- */

static void outbox_add(outbox_t *outbox, const attempt_t *a)
{
    if (outbox->count == outbox->capacity) {
        outbox->capacity = outbox->capacity == 0 ? 64 : outbox->capacity * 2;
        outbox->orders = realloc(outbox->orders, outbox->capacity * sizeof(*outbox->orders));
        if (outbox->orders == NULL)
            abort();
    }
    told_order_t *order = &outbox->orders[outbox->count++];
    *order = (told_order_t){.id = a->order.id, .quantity = a->order.quantity, .epoch = a->epoch};
    if (a->key_length == 0)
        return;
    str_t sku = order_sku(&a->order), buyer = order_buyer(&a->order);
    char *field = malloc(sku.n + buyer.n + a->key_length + 2), *at = field; /* two separators */
    if (field == NULL)
        abort();
    order->field = gate_key_field_put(&at, sku, buyer, attempt_key(a));
}

static void outbox_sent(outbox_t *outbox, bool heard)
{
    if (heard) {
        for (size_t i = 0; i < outbox->sending; ++i)
            free((char *)outbox->orders[i].field.p);
        outbox->count -= outbox->sending;
        memmove(outbox->orders, outbox->orders + outbox->sending,
                outbox->count * sizeof(*outbox->orders));
    }
    outbox->sending = 0;
}

static void on_tell_timer(loop_timer_t *timer);

static void tell_later(loop_item_t *item, uint32_t delay_ms)
{
    loop_timer_start(item->engine->loop, &item->tell_timer, delay_ms, on_tell_timer);
}

/* Units that return are wanted at once. */
static bool is_urgent(const loop_item_t *item)
{
    return item->unreserve.count != 0 || item->settle.count >= TELL_MAX;
}

static void on_settle_timer(loop_timer_t *timer);

static void join_round(loop_item_t *item)
{
    engine_loop_t *engine = item->engine;
    if (h2o_linklist_is_linked(&item->settling))
        return;
    if (h2o_linklist_is_empty(&engine->settling))
        loop_timer_start(engine->loop, &engine->settle_timer, SETTLE_DELAY_MS, on_settle_timer);
    h2o_linklist_insert(&engine->settling, &item->settling);
}

static void told(loop_item_t *item, outbox_t *outbox, bool heard)
{
    item->telling = false;
    outbox_sent(outbox, heard);
    if (item->settle.count == 0 && item->unreserve.count == 0)
        --item->engine->telling;
    else if (!heard)
        tell_later(item, TELL_RETRY_MS);
    else if (is_urgent(item))
        tell_later(item, 0);
    else
        join_round(item);
}

static void on_unreserved(void *context, const redisReply *reply)
{
    loop_item_t *item = context;
    bool heard = reply != NULL && reply->type == REDIS_REPLY_INTEGER;
    if (heard)
        METRIC_ADD(unreserved_total, reply->integer);
    else
        METRIC_INC(gate_calls_unknown_total);
    told(item, &item->unreserve, heard);
}

void engine_add_keys(redis_args_t *args, const loop_item_t *item, bool buyers)
{
    str_t sku = loop_item_sku(item);
    gate_add_key(args, GATE_KEY_GATE, item->base.slot, sku, 0);
    if (buyers)
        gate_add_key(args, GATE_KEY_BUYERS, item->base.slot, sku, 0);
    gate_add_key(args, GATE_KEY_UNSETTLED, item->base.slot, sku, 0);
    gate_add_key(args, GATE_KEY_KEYS, item->base.slot, sku, 0);
}

static void add_id(redis_args_t *args, const told_order_t *order)
{
    redis_args_add(args, (str_t){(const char *)order->id.bytes, sizeof(order->id.bytes)});
}

static int by_epoch_and_quantity(const void *a, const void *b)
{
    const told_order_t *x = a, *y = b;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->quantity < y->quantity ? -1 : x->quantity > y->quantity;
}

/* What is sent is of one epoch; the rest waits. */
static void add_settled(redis_args_t *args, outbox_t *outbox)
{
    told_order_t *orders = outbox->orders;
    size_t count = 0, ends[TELL_MAX], groups = 0, keyed = 0;
    qsort(orders, outbox->sending, sizeof(*orders), by_epoch_and_quantity);
    while (count < outbox->sending && orders[count].epoch == orders[0].epoch) {
        groups += groups == 0 || orders[count].quantity != orders[count - 1].quantity;
        keyed += orders[count].field.n != 0;
        ends[groups - 1] = ++count;
    }
    outbox->sending = count;
    redis_args_add_u64(args, orders[0].epoch);
    redis_args_add_u64(args, groups);
    redis_args_add_u64(args, keyed);
    for (size_t i = 0; i < groups; ++i) {
        redis_args_add_u64(args, orders[ends[i] - 1].quantity);
        redis_args_add_u64(args, ends[i] - (i == 0 ? 0 : ends[i - 1]));
    }
    for (size_t i = 0; i < count; ++i)
        add_id(args, &orders[i]);
    for (size_t i = 0; i < count; ++i)
        if (orders[i].field.n != 0)
            redis_args_add(args, orders[i].field);
}

static void add_unreserved(redis_args_t *args, const loop_item_t *item)
{
    redis_args_add(args, loop_item_sku(item));
    redis_args_add_u64(args, 0);
    for (size_t i = 0; i < item->unreserve.sending; ++i)
        add_id(args, &item->unreserve.orders[i]);
}

static size_t choose(outbox_t *outbox)
{
    outbox->sending = outbox->count < TELL_MAX ? outbox->count : TELL_MAX;
    return outbox->sending;
}

static void note_call(loop_item_t *item, outbox_t *outbox, bool sent)
{
    item->telling = sent;
    if (sent)
        return;
    outbox->sending = 0;
    tell_later(item, TELL_RETRY_MS);
}

static void unreserve(loop_item_t *item)
{
    redis_args_t *args = &item->engine->args;
    choose(&item->unreserve);
    FAILPOINT("tell_gate");
    gate_call(args, "holdfast_unreserve", 4);
    engine_add_keys(args, item, true);
    add_unreserved(args, item);
    note_call(item, &item->unreserve,
              redis_link_call(item->engine->gate, args, on_unreserved, item));
}

/* The items of one settle call. */
typedef struct {
    unsigned count;
    loop_item_t *items[SETTLE_ITEMS_MAX];
} settle_t;

static void on_settled(void *context, const redisReply *reply)
{
    settle_t *settle = context;
    bool heard = gate_reply_is_array(reply, settle->count);
    if (!heard)
        METRIC_INC(gate_calls_unknown_total);
    for (unsigned i = 0; i < settle->count; ++i) {
        if (heard)
            METRIC_ADD(settled_total, gate_reply_i64(reply, i));
        told(settle->items[i], &settle->items[i]->settle, heard);
    }
    free(settle);
}

/* Of items that are chosen; `settle` is used up. */
static void send_settle(engine_loop_t *engine, settle_t *settle)
{
    redis_args_t *args = &engine->args;
    loop_item_t *const *items = settle->items;
    unsigned count = settle->count;
    FAILPOINT("tell_gate");
    gate_call(args, "holdfast_settle", 3 * count);
    for (unsigned i = 0; i < count; ++i)
        engine_add_keys(args, items[i], false);
    for (unsigned i = 0; i < count; ++i)
        add_settled(args, &items[i]->settle);
    bool sent = redis_link_call(engine->gate, args, on_settled, settle);
    for (unsigned i = 0; i < count; ++i)
        note_call(items[i], &items[i]->settle, sent);
    if (!sent)
        free(settle);
}

static settle_t *settle_new(void)
{
    settle_t *settle = malloc(sizeof(*settle));
    if (settle == NULL)
        abort();
    settle->count = 0;
    return settle;
}

static void on_tell_timer(loop_timer_t *timer)
{
    loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, tell_timer, timer);
    if (item->telling)
        return;
    if (item->unreserve.count != 0) {
        unreserve(item);
        return;
    }
    settle_t *settle = settle_new();
    choose(&item->settle);
    settle->items[settle->count++] = item;
    send_settle(item->engine, settle);
}

static settle_t *take_settle(engine_loop_t *engine)
{
    settle_t *settle = settle_new();
    size_t ids = 0;
    while (settle->count < SETTLE_ITEMS_MAX && ids < SETTLE_IDS_MAX &&
           !h2o_linklist_is_empty(&engine->settling)) {
        loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, settling, engine->settling.next);
        h2o_linklist_unlink(&item->settling);
        if (item->telling || h2o_timeout_is_linked(&item->tell_timer.entry) ||
            item->settle.count == 0)
            continue;
        ids += choose(&item->settle);
        settle->items[settle->count++] = item;
    }
    return settle;
}

static void on_settle_timer(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, settle_timer, timer);
    while (!h2o_linklist_is_empty(&engine->settling)) {
        settle_t *settle = take_settle(engine);
        if (settle->count != 0)
            send_settle(engine, settle);
        else
            free(settle);
    }
}

void engine_tell_gate(const purchase_t *purchase, bool rejected)
{
    loop_item_t *item = purchase->item;
    bool was_quiet = item->settle.count == 0 && item->unreserve.count == 0;
    outbox_add(rejected ? &item->unreserve : &item->settle, &purchase->attempt);
    if (was_quiet)
        ++item->engine->telling;
    bool hastens = rejected ? item->unreserve.count == 1 : item->settle.count == TELL_MAX;
    if (hastens && !item->telling)
        tell_later(item, 0);
    else if (was_quiet)
        join_round(item);
}
