#include "engine/orders_in_hand.h"

#include <assert.h>
#include <stdlib.h>

/* Ids of this service are random here, and no others are added: their bytes are hash enough. */
#define HASH_FUNCTION(key_, length_, hash_)                                                        \
    memcpy(&(hash_), (const unsigned char *)(key_) + (length_)-1 - sizeof(hash_), sizeof(hash_))
#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/order_watchers.h"
#include "metrics/metrics.h"

typedef struct order_in_hand {
    UT_hash_handle hh;
    bool listed; /* in its table */
    order_t order;
    order_watcher_t *watchers;
} order_in_hand_t;

void orders_in_hand_init(orders_in_hand_t *all)
{
    for (unsigned i = 0; i < ORDERS_IN_HAND_TABLES; ++i) {
        pthread_mutex_init(&all->tables[i].mutex, NULL);
        all->tables[i].orders = NULL;
        atomic_store(&all->tables[i].count, 0);
    }
}

static unsigned table_of(const order_id_t *id)
{
    return id->bytes[sizeof(id->bytes) - 1] % ORDERS_IN_HAND_TABLES;
}

/* The caller holds the mutex of the table. */
static order_in_hand_t *find(const orders_in_hand_t *all, const order_id_t *id)
{
    order_in_hand_t *entry;
    HASH_FIND(hh, all->tables[table_of(id)].orders, id->bytes, sizeof(id->bytes), entry);
    return entry;
}

/* --- watching --- */

/* On its way to the polling loop of the order's shard. */
typedef struct {
    loop_message_t message;
    engine_loop_t *poller, *watcher;
    order_id_t id;
    bool watches; /* false: not any more */
} poll_message_t;

static void change_poll(engine_loop_t *poller, const order_id_t *id, engine_loop_t *watcher,
                        bool watches)
{
    if (watches)
        order_polls_watch(poller, id, watcher);
    else
        order_polls_unwatch(poller, id, watcher);
}

static void on_poll(loop_message_t *message)
{
    poll_message_t *poll = H2O_STRUCT_FROM_MEMBER(poll_message_t, message, message);
    change_poll(poll->poller, &poll->id, poll->watcher, poll->watches);
    free(poll);
}

/* On the loop `here`. */
static void send_poll(engine_loop_t *here, const order_id_t *id, engine_loop_t *watcher,
                      bool watches)
{
    const node_t *node = here->node;
    engine_loop_t *poller = order_polls_loop(node, node->map.shard_of_slot[order_id_slot(id)]);
    if (poller == here) {
        change_poll(here, id, watcher, watches);
        return;
    }
    poll_message_t *poll = alloc_bytes(sizeof(*poll));
    *poll = (poll_message_t){.message = {.run = on_poll},
                             .poller = poller,
                             .watcher = watcher,
                             .id = *id,
                             .watches = watches};
    loop_post(poller->loop, &poll->message);
}

/* An order that was in hand when it was watched may be polled now. */
static void change_watch(engine_loop_t *engine, const order_id_t *id, bool watches)
{
    orders_in_hand_t *all = &engine->node->in_hand;
    pthread_mutex_t *mutex = &all->tables[table_of(id)].mutex;
    pthread_mutex_lock(mutex);
    order_in_hand_t *entry = find(all, id);
    if (entry != NULL && watches)
        order_watchers_add(&entry->watchers, engine);
    else if (entry != NULL)
        order_watchers_remove(&entry->watchers, engine);
    pthread_mutex_unlock(mutex);
    if (entry == NULL)
        send_poll(engine, id, engine, watches);
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

void orders_in_hand_add(engine_loop_t *engine, order_in_hand_t **entry, const order_t *order)
{
    orders_in_hand_t *all = &engine->node->in_hand;
    unsigned table = table_of(&order->id);
    if (*entry != NULL)
        return;
    order_in_hand_t *added = alloc_bytes(sizeof(*added));
    *added = (order_in_hand_t){.listed = true, .order = *order};
    assert(added->order.state == ORDER_RESERVED);
    pthread_mutex_lock(&all->tables[table].mutex);
    HASH_ADD(hh, all->tables[table].orders, order.id, sizeof(added->order.id), added);
    atomic_fetch_add(&all->tables[table].count, 1);
    pthread_mutex_unlock(&all->tables[table].mutex);
    *entry = added;
}

/* Takes the entry out of its table. The caller holds the mutex. Returns its watchers. */
static order_watcher_t *take_out(orders_in_hand_t *all, order_in_hand_t *entry)
{
    unsigned table = table_of(&entry->order.id);
    order_watcher_t *watchers = entry->watchers;
    HASH_DELETE(hh, all->tables[table].orders, entry);
    atomic_fetch_sub(&all->tables[table].count, 1);
    entry->listed = false;
    entry->watchers = NULL;
    return watchers;
}

static void tell(engine_loop_t *engine, order_watcher_t *watchers, const order_id_t *id,
                 const order_t *row)
{
    engine_loop_t *watcher;
    uint64_t now_us = watchers == NULL ? 0 : clock_mono_us();
    while ((watcher = order_watchers_pop(&watchers)) != NULL) {
        if (row != NULL)
            order_waits_tell(engine, watcher, row, now_us);
        else
            send_poll(engine, id, watcher, true);
    }
}

void orders_in_hand_end(engine_loop_t *engine, order_in_hand_t **entry, const order_t *row)
{
    orders_in_hand_t *all = &engine->node->in_hand;
    order_in_hand_t *ended = *entry;
    if (ended == NULL)
        return;
    pthread_mutex_t *mutex = &all->tables[table_of(&ended->order.id)].mutex;
    pthread_mutex_lock(mutex);
    order_watcher_t *watchers = ended->listed ? take_out(all, ended) : NULL;
    pthread_mutex_unlock(mutex);
    tell(engine, watchers, &ended->order.id, row);
    free(ended);
    *entry = NULL;
}

/* --- reading --- */

/* Whether the order cannot be in hand. An order is added before its id leaves the process. */
static bool is_surely_not(const orders_in_hand_t *all, const order_id_t *id)
{
    return atomic_load(&all->tables[table_of(id)].count) == 0;
}

void orders_in_hand_seen(engine_loop_t *engine, const order_t *row)
{
    orders_in_hand_t *all = &engine->node->in_hand;
    if (is_surely_not(all, &row->id))
        return;
    pthread_mutex_t *mutex = &all->tables[table_of(&row->id)].mutex;
    pthread_mutex_lock(mutex);
    order_in_hand_t *entry = find(all, &row->id);
    order_watcher_t *watchers = entry != NULL ? take_out(all, entry) : NULL;
    pthread_mutex_unlock(mutex);
    tell(engine, watchers, &row->id, row);
}

bool orders_in_hand_has(struct node *node, const order_id_t *id)
{
    orders_in_hand_t *all = &node->in_hand;
    pthread_mutex_t *mutex = &all->tables[table_of(id)].mutex;
    pthread_mutex_lock(mutex);
    bool found = find(all, id) != NULL;
    pthread_mutex_unlock(mutex);
    return found;
}

bool orders_in_hand_look(struct node *node, const order_id_t *id, order_t *out)
{
    orders_in_hand_t *all = &node->in_hand;
    if (is_surely_not(all, id))
        return false;
    pthread_mutex_t *mutex = &all->tables[table_of(id)].mutex;
    pthread_mutex_lock(mutex);
    const order_in_hand_t *entry = find(all, id);
    if (entry != NULL)
        *out = entry->order;
    pthread_mutex_unlock(mutex);
    if (entry != NULL)
        METRIC_INC(order_reads_in_hand_total);
    return entry != NULL;
}
