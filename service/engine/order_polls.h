/*
 * Orders that clients wait for and that are not in hand of this process: another node has them, or
 * had them when it died, or they have ended. Of each shard one loop, its polling loop, reads the
 * rows of all of them in one SELECT for each 1,000, at most each ORDER_POLL_MS, by one job of the
 * pool, however many wait. A row that is there has ended what its order is waited for; an order
 * without a row is `reserved`, or is not known, and stays.
 *
 * The polling loop owns the list of its shard and is the only caller. Nothing blocks. A SELECT that
 * fails tells nothing; it is repeated.
 */
#ifndef HOLDFAST_ENGINE_ORDER_POLLS_H
#define HOLDFAST_ENGINE_ORDER_POLLS_H

#include "loop/loop.h"
#include "sale/order.h"

struct engine_loop;
struct node;

#define ORDER_POLL_MS 50

/* The list of one shard on one loop. */
typedef struct {
    struct engine_loop *engine;
    unsigned shard;
    struct polled_order *orders; /* uthash by id */
    loop_timer_t timer;          /* until the next SELECT */
    bool waits, reads;           /* the timer runs; a job is under way */
    uint64_t begun_ms;           /* monotonic; when the last SELECT began; 0: none has */
} order_poll_t;

/* The polling loop of a shard. Any thread. */
struct engine_loop *order_polls_loop(const struct node *node, unsigned shard);

/* One list for each shard. */
order_poll_t *order_polls_new(struct engine_loop *engine);
/* Only when no job is under way. */
void order_polls_free(order_poll_t *polls, unsigned shards_count);

/* `watcher` is told when the order's row is in MySQL, by order_waits_told(), or is not any more. */
void order_polls_watch(struct engine_loop *engine, const order_id_t *id,
                       struct engine_loop *watcher);
void order_polls_unwatch(struct engine_loop *engine, const order_id_t *id,
                         struct engine_loop *watcher);

#endif
