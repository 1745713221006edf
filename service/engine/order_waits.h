/*
 * The reads of orders that wait on a loop, for clients whose connections are on it:
 *
 *   waiting ──the order has ended──────────────▶ `done` with its row
 *      │
 *      └──its time is over, or the process ends─▶ `done` without; then the caller reads the order
 *
 * All that wait for the same order on this loop share one entry, and the loop watches the order
 * (engine/orders_in_hand.h). A wait costs no thread and no call to a server. The loop owns its
 * waits; only its thread may call. Nothing blocks or fails.
 */
#ifndef HOLDFAST_ENGINE_ORDER_WAITS_H
#define HOLDFAST_ENGINE_ORDER_WAITS_H

#include "loop/loop.h"
#include "sale/order.h"

struct engine_loop;
struct order_watch;

/* Called once, and never inside order_wait_start(). `row` NULL: the order has not ended as far as
   is known here. Both are borrowed until the callback returns. */
typedef void (*order_wait_cb)(void *waiter, const order_id_t *id, const order_t *row);

typedef struct order_wait {
    h2o_linklist_t link;     /* in its watch */
    h2o_linklist_t all_link; /* in order_waits_t.all */
    struct engine_loop *engine;
    struct order_watch *watch; /* NULL: it is being ended, with all others of its order */
    order_id_t id;
    loop_timer_t timer;
    uint64_t since_us, until_ms; /* monotonic */
    int fd;                      /* of the client's connection; -1: it is not looked at */
    order_wait_cb done;
    void *waiter;
} order_wait_t;

typedef struct {
    struct order_watch *orders; /* uthash by id */
    h2o_linklist_t all;         /* the waits whose connections are looked at, in turns */
    unsigned all_count;
    loop_timer_t look_timer; /* runs while that list has entries */
    bool closed;             /* the process ends */
} order_waits_t;

void order_waits_open(struct engine_loop *engine);
/* Waits up to `wait_ms`, which is not 0. `fd` is the client's connection, or -1 if its end is
   noticed anyway: libh2o does not read a connection of HTTP/1 while a request is under way. When
   the client has hung up, the wait is over within about a second. The engine owns the returned
   object and frees it before the callback. NULL: too many wait, or the process ends: nothing was
   started. */
order_wait_t *order_wait_start(struct engine_loop *engine, const order_id_t *id, uint32_t wait_ms,
                               int fd, order_wait_cb done, void *waiter);
/* The client has disconnected: `done` is not called. */
void order_wait_forget(order_wait_t *wait);
/* The process ends: all that wait are called back, and no more may wait. */
void order_waits_close(struct engine_loop *engine);

/* An order has ended; `row` is how it stood at `as_of_us` (monotonic), or later. It answers the
   waits that began before that time. For others it may be too old (their clients may know of a
   move): the order is watched again. On the loop `engine`. */
void order_waits_told(struct engine_loop *engine, const order_t *row, uint64_t as_of_us);
/* The same, called on the loop `here`. */
void order_waits_tell(struct engine_loop *here, struct engine_loop *engine, const order_t *row,
                      uint64_t as_of_us);

/* The delay of the next timer of a wait that has `left_ms` left: the longest of the loop's delays
   that is not past its end. What is left is then at most a fraction of it; the last 8 ms are
   rounded up. Pure. */
uint32_t order_wait_delay_ms(uint64_t left_ms);

#endif
