#include "engine/order_waits.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>

#include <uthash.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

/* The interval of the looks at the connections, and how many are looked at in one call. */
#define LOOK_MS 1024
#define LOOK_COUNT 64

typedef struct order_watch {
    UT_hash_handle hh;
    order_id_t id;
    h2o_linklist_t waits;
} order_watch_t;

/* --- the list of an order --- */

static order_watch_t *find(const engine_loop_t *engine, const order_id_t *id)
{
    order_watch_t *watch;
    HASH_FIND(hh, engine->waits.orders, id->bytes, sizeof(id->bytes), watch);
    return watch;
}

static order_watch_t *get(engine_loop_t *engine, const order_id_t *id)
{
    order_watch_t *watch = find(engine, id);
    if (watch != NULL)
        return watch;
    watch = alloc_zero(1, sizeof(*watch));
    watch->id = *id;
    h2o_linklist_init_anchor(&watch->waits);
    HASH_ADD(hh, engine->waits.orders, id, sizeof(watch->id), watch);
    orders_in_hand_watch(engine, id);
    return watch;
}

static void free_watch(engine_loop_t *engine, order_watch_t *watch)
{
    assert(h2o_linklist_is_empty(&watch->waits));
    HASH_DELETE(hh, engine->waits.orders, watch);
    free(watch);
}

/* --- a wait --- */

uint32_t order_wait_delay_ms(uint64_t left_ms)
{
    static const uint32_t delays_ms[LOOP_DELAYS_COUNT] = LOOP_DELAYS_MS;
    uint32_t longest = 8;
    for (unsigned i = 0; i < LOOP_DELAYS_COUNT && delays_ms[i] <= left_ms; ++i)
        longest = delays_ms[i] > longest ? delays_ms[i] : longest;
    return left_ms < longest ? (uint32_t)left_ms : longest;
}

/* Takes the wait off its list and frees it. The last one of an order takes the order's entry with
   it: the loop needs not be told any more. */
static void remove_wait(order_wait_t *wait)
{
    order_watch_t *watch = wait->watch;
    h2o_linklist_unlink(&wait->link);
    if (h2o_linklist_is_linked(&wait->all_link)) {
        h2o_linklist_unlink(&wait->all_link);
        --wait->engine->waits.all_count;
    }
    loop_timer_stop(&wait->timer);
    atomic_fetch_sub(&wait->engine->node->order_waits, 1);
    METRIC_ADD(order_waits, -1);
    if (watch != NULL && h2o_linklist_is_empty(&watch->waits)) {
        orders_in_hand_unwatch(wait->engine, &watch->id);
        free_watch(wait->engine, watch);
    }
    free(wait);
}

static void end_wait(order_wait_t *wait, const order_t *row)
{
    const order_wait_cb done = wait->done;
    void *waiter = wait->waiter;
    const order_id_t id = wait->id;
    remove_wait(wait);
    done(waiter, &id, row);
}

static void on_timer(loop_timer_t *timer)
{
    order_wait_t *wait = H2O_STRUCT_FROM_MEMBER(order_wait_t, timer, timer);
    uint64_t now_ms = clock_mono_ms();
    if (now_ms < wait->until_ms)
        loop_timer_start(wait->engine->loop, timer, order_wait_delay_ms(wait->until_ms - now_ms),
                         on_timer);
    else
        end_wait(wait, NULL);
}

/* --- connections --- */

static bool has_hung_up(const struct pollfd *connection)
{
    return (connection->revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* Looks at the first `count` of the list, which go to its end. */
static void look_at(order_waits_t *waits, unsigned count)
{
    struct pollfd connections[LOOK_COUNT];
    order_wait_t *looked_at[LOOK_COUNT];
    for (unsigned i = 0; i < count; ++i) {
        order_wait_t *wait = H2O_STRUCT_FROM_MEMBER(order_wait_t, all_link, waits->all.next);
        h2o_linklist_unlink(&wait->all_link);
        h2o_linklist_insert(&waits->all, &wait->all_link);
        connections[i] = (struct pollfd){.fd = wait->fd, .events = POLLRDHUP};
        looked_at[i] = wait;
    }
    if (poll(connections, count, 0) <= 0)
        return;
    for (unsigned i = 0; i < count; ++i)
        if (has_hung_up(&connections[i]))
            end_wait(looked_at[i], NULL);
}

static void on_look(loop_timer_t *timer)
{
    order_waits_t *waits = H2O_STRUCT_FROM_MEMBER(order_waits_t, look_timer, timer);
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, waits, waits);
    for (unsigned left = waits->all_count; left != 0 && waits->all_count != 0;) {
        unsigned count = left < LOOK_COUNT ? left : LOOK_COUNT;
        look_at(waits, count < waits->all_count ? count : waits->all_count);
        left -= count;
    }
    if (waits->all_count != 0)
        loop_timer_start(engine->loop, timer, LOOK_MS, on_look);
}

static void look_from_now_on(order_waits_t *waits, order_wait_t *wait)
{
    h2o_linklist_insert(&waits->all, &wait->all_link);
    if (waits->all_count++ == 0 && !h2o_timeout_is_linked(&waits->look_timer.entry))
        loop_timer_start(wait->engine->loop, &waits->look_timer, LOOK_MS, on_look);
}

void order_waits_open(engine_loop_t *engine)
{
    h2o_linklist_init_anchor(&engine->waits.all);
}

/* --- the beginning --- */

/* Takes a place among the waits of the process. */
static bool take_place(engine_loop_t *engine)
{
    atomic_uint *waits = &engine->node->order_waits;
    if (!engine->waits.closed &&
        atomic_fetch_add(waits, 1) < engine->node->config->orders.waiters_max) {
        METRIC_ADD(order_waits, 1);
        METRIC_INC(order_waits_total);
        return true;
    }
    if (!engine->waits.closed)
        atomic_fetch_sub(waits, 1);
    METRIC_INC(order_waits_refused_total);
    return false;
}

order_wait_t *order_wait_start(engine_loop_t *engine, const order_id_t *id, uint32_t wait_ms,
                               int fd, order_wait_cb done, void *waiter)
{
    assert(wait_ms != 0 && waiter != NULL);
    if (!take_place(engine))
        return NULL;
    order_wait_t *wait = alloc_zero(1, sizeof(*wait));
    *wait = (order_wait_t){.engine = engine,
                           .watch = get(engine, id),
                           .id = *id,
                           .since_us = clock_mono_us(),
                           .until_ms = clock_mono_ms() + wait_ms,
                           .fd = fd,
                           .done = done,
                           .waiter = waiter};
    h2o_linklist_insert(&wait->watch->waits, &wait->link);
    loop_timer_start(engine->loop, &wait->timer, order_wait_delay_ms(wait_ms), on_timer);
    if (fd >= 0)
        look_from_now_on(&engine->waits, wait);
    return wait;
}

void order_wait_forget(order_wait_t *wait)
{
    remove_wait(wait);
}

/* --- ends --- */

/* Ends the waits that began by `as_of_us`. Detaches them first, because a callback may end others.
   If some are left, the order stays watched. */
static void end_until(engine_loop_t *engine, order_watch_t *watch, const order_t *row,
                      uint64_t as_of_us)
{
    h2o_linklist_t ended;
    h2o_linklist_init_anchor(&ended);
    for (h2o_linklist_t *at = watch->waits.next, *next; at != &watch->waits; at = next) {
        order_wait_t *wait = H2O_STRUCT_FROM_MEMBER(order_wait_t, link, at);
        next = at->next;
        if (wait->since_us > as_of_us)
            continue;
        h2o_linklist_unlink(at);
        h2o_linklist_insert(&ended, at);
        wait->watch = NULL;
    }
    if (h2o_linklist_is_empty(&watch->waits))
        free_watch(engine, watch);
    else
        orders_in_hand_watch(engine, &watch->id);
    while (!h2o_linklist_is_empty(&ended))
        end_wait(H2O_STRUCT_FROM_MEMBER(order_wait_t, link, ended.next), row);
}

void order_waits_close(engine_loop_t *engine)
{
    order_watch_t *watch, *next;
    engine->waits.closed = true;
    HASH_ITER(hh, engine->waits.orders, watch, next)
    {
        orders_in_hand_unwatch(engine, &watch->id);
        end_until(engine, watch, NULL, UINT64_MAX);
    }
}

void order_waits_told(engine_loop_t *engine, const order_t *row, uint64_t as_of_us)
{
    order_watch_t *watch = find(engine, &row->id);
    if (watch != NULL)
        end_until(engine, watch, row, as_of_us);
}

typedef struct {
    loop_message_t message;
    engine_loop_t *engine;
    order_t row;
    uint64_t as_of_us;
} told_message_t;

static void on_told(loop_message_t *message)
{
    told_message_t *told = H2O_STRUCT_FROM_MEMBER(told_message_t, message, message);
    order_waits_told(told->engine, &told->row, told->as_of_us);
    free(told);
}

void order_waits_tell(engine_loop_t *here, engine_loop_t *engine, const order_t *row,
                      uint64_t as_of_us)
{
    if (here == engine) {
        order_waits_told(engine, row, as_of_us);
        return;
    }
    told_message_t *told = alloc_bytes(sizeof(*told));
    *told = (told_message_t){
        .message = {.run = on_told}, .engine = engine, .row = *row, .as_of_us = as_of_us};
    loop_post(engine->loop, &told->message);
}
