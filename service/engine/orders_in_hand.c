#include "engine/orders_in_hand.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

static engine_loop_t *owner_of(const engine_loop_t *engine, const order_id_t *id)
{
    return engine_owner_loop(engine->node, order_id_slot(id));
}

static engine_loop_t *poller_of(const engine_loop_t *engine, const order_id_t *id)
{
    const node_t *node = engine->node;
    return order_polls_loop(node, node->map.shard_of_slot[order_id_slot(id)]);
}

static order_in_hand_t *find(const engine_loop_t *owner, const order_id_t *id)
{
    order_in_hand_t *entry;
    HASH_FIND(hh, owner->in_hand.orders, id->bytes, sizeof(id->bytes), entry);
    return entry;
}

/* As a reader sees it: the purchase's own order has no state and no times yet. */
static void show(const order_in_hand_t *entry, order_t *out)
{
    *out = *entry->order;
    out->state = ORDER_RESERVED;
    out->created_at_ms = order_id_time_ms(&out->id);
    out->expires_at_ms = 0;
    METRIC_INC(order_reads_in_hand_total);
}

/* --- watching --- */

/* On its way: to the owner loop, and from there to the polling loop if the order is not in hand. */
typedef struct {
    loop_message_t message;
    engine_loop_t *at; /* the loop that it runs on */
    engine_loop_t *watcher;
    order_id_t id;
    bool watches; /* false: not any more */
} watch_message_t;

static void pass_on(watch_message_t *watch, engine_loop_t *to, void (*run)(loop_message_t *message))
{
    watch->at = to;
    watch->message.run = run;
    loop_post(to->loop, &watch->message);
}

static void change_poll(engine_loop_t *engine, const order_id_t *id, engine_loop_t *watcher,
                        bool watches)
{
    if (watches)
        order_polls_watch(engine, id, watcher);
    else
        order_polls_unwatch(engine, id, watcher);
}

static void on_poll(loop_message_t *message)
{
    watch_message_t *watch = H2O_STRUCT_FROM_MEMBER(watch_message_t, message, message);
    change_poll(watch->at, &watch->id, watch->watcher, watch->watches);
    free(watch);
}

/* On the loop `here`. */
static void poll_elsewhere(engine_loop_t *here, const order_id_t *id, engine_loop_t *watcher,
                           bool watches)
{
    engine_loop_t *poller = poller_of(here, id);
    if (poller == here) {
        change_poll(here, id, watcher, watches);
        return;
    }
    watch_message_t *watch = alloc_bytes(sizeof(*watch));
    *watch = (watch_message_t){.watcher = watcher, .id = *id, .watches = watches};
    pass_on(watch, poller, on_poll);
}

/* On the owner loop. An order that was in hand when it was watched may be polled now. */
static void watch_here(engine_loop_t *owner, const order_id_t *id, engine_loop_t *watcher,
                       bool watches)
{
    order_in_hand_t *entry = find(owner, id);
    if (entry == NULL)
        poll_elsewhere(owner, id, watcher, watches);
    else if (watches)
        order_watchers_add(&entry->watchers, watcher);
    else
        order_watchers_remove(&entry->watchers, watcher);
}

static void on_watch(loop_message_t *message)
{
    watch_message_t *watch = H2O_STRUCT_FROM_MEMBER(watch_message_t, message, message);
    watch_here(watch->at, &watch->id, watch->watcher, watch->watches);
    free(watch);
}

static void change_watch(engine_loop_t *engine, const order_id_t *id, bool watches)
{
    engine_loop_t *owner = owner_of(engine, id);
    if (owner == engine) {
        watch_here(engine, id, engine, watches);
        return;
    }
    watch_message_t *watch = alloc_bytes(sizeof(*watch));
    *watch = (watch_message_t){.watcher = engine, .id = *id, .watches = watches};
    pass_on(watch, owner, on_watch);
}

void orders_in_hand_watch(engine_loop_t *engine, const order_id_t *id)
{
    change_watch(engine, id, true);
}

void orders_in_hand_unwatch(engine_loop_t *engine, const order_id_t *id)
{
    change_watch(engine, id, false);
}

/* --- the life of an entry --- */

void orders_in_hand_add(engine_loop_t *engine, order_in_hand_t *entry, const order_t *order)
{
    if (entry->order != NULL)
        return;
    assert(owner_of(engine, &order->id) == engine && find(engine, &order->id) == NULL);
    entry->order = order;
    HASH_ADD_KEYPTR(hh, engine->in_hand.orders, order->id.bytes, sizeof(order->id.bytes), entry);
    atomic_fetch_add(&engine->in_hand.count, 1);
}

void orders_in_hand_end(engine_loop_t *engine, order_in_hand_t *entry, const order_t *row)
{
    engine_loop_t *watcher;
    if (entry->order == NULL)
        return;
    const order_id_t id = entry->order->id;
    HASH_DELETE(hh, engine->in_hand.orders, entry);
    entry->order = NULL;
    atomic_fetch_sub(&engine->in_hand.count, 1);
    while ((watcher = order_watchers_pop(&entry->watchers)) != NULL) {
        if (row != NULL)
            order_waits_tell(engine, watcher, row);
        else
            poll_elsewhere(engine, &id, watcher, true);
    }
}

typedef struct {
    loop_message_t message;
    engine_loop_t *owner;
    order_t row;
} seen_message_t;

static void end_seen(engine_loop_t *owner, const order_t *row)
{
    order_in_hand_t *entry = find(owner, &row->id);
    if (entry != NULL)
        orders_in_hand_end(owner, entry, row);
}

static void on_seen(loop_message_t *message)
{
    seen_message_t *seen = H2O_STRUCT_FROM_MEMBER(seen_message_t, message, message);
    end_seen(seen->owner, &seen->row);
    free(seen);
}

void orders_in_hand_seen(engine_loop_t *engine, const order_t *row)
{
    engine_loop_t *owner = owner_of(engine, &row->id);
    if (owner == engine) {
        end_seen(engine, row);
    } else if (atomic_load(&owner->in_hand.count) != 0) {
        seen_message_t *seen = alloc_bytes(sizeof(*seen));
        *seen = (seen_message_t){.message = {.run = on_seen}, .owner = owner, .row = *row};
        loop_post(owner->loop, &seen->message);
    }
}

/* --- reading --- */

/* A message that waits may say that the row was seen: then it comes first. */
in_hand_t orders_in_hand_look(engine_loop_t *engine, const order_id_t *id, order_t *out)
{
    engine_loop_t *owner = owner_of(engine, id);
    if (atomic_load(&owner->in_hand.count) == 0)
        return IN_HAND_NO;
    if (owner != engine || loop_has_mail(engine->loop))
        return IN_HAND_ASK;
    const order_in_hand_t *entry = find(engine, id);
    if (entry != NULL)
        show(entry, out);
    return entry != NULL ? IN_HAND_YES : IN_HAND_NO;
}

struct in_hand_ask {
    loop_message_t message;
    engine_loop_t *origin, *owner;
    in_hand_cb answer;
    void *waiter; /* used by the origin; NULL: the client has disconnected */
    order_id_t id;
    bool found;
    order_t order;
};

static void on_ask_answered(loop_message_t *message)
{
    in_hand_ask_t *ask = H2O_STRUCT_FROM_MEMBER(in_hand_ask_t, message, message);
    assert(ask->origin->cross_requests != 0);
    --ask->origin->cross_requests;
    if (ask->waiter != NULL)
        ask->answer(ask->waiter, &ask->id, ask->found ? &ask->order : NULL);
    free(ask);
}

static void on_ask(loop_message_t *message)
{
    in_hand_ask_t *ask = H2O_STRUCT_FROM_MEMBER(in_hand_ask_t, message, message);
    const order_in_hand_t *entry = find(ask->owner, &ask->id);
    ask->found = entry != NULL;
    if (ask->found)
        show(entry, &ask->order);
    ask->message.run = on_ask_answered;
    if (ask->origin == ask->owner)
        on_ask_answered(&ask->message);
    else
        loop_post(ask->origin->loop, &ask->message);
}

in_hand_ask_t *orders_in_hand_ask(engine_loop_t *engine, const order_id_t *id, in_hand_cb answer,
                                  void *waiter)
{
    in_hand_ask_t *ask = alloc_bytes(sizeof(*ask));
    ask->origin = engine;
    ask->owner = owner_of(engine, id);
    ask->answer = answer;
    ask->waiter = waiter;
    ask->id = *id;
    ask->message.run = on_ask;
    ++engine->cross_requests;
    loop_post(ask->owner->loop, &ask->message);
    return ask;
}

void orders_in_hand_forget_waiter(in_hand_ask_t *ask)
{
    ask->waiter = NULL;
}
