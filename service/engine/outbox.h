/*
 * What the gate is still to be told of orders that are in MySQL: that they are settled, or that
 * they are rejected, so that their units return. Sent in batches until Redis has answered; both
 * calls count only what is still there, so that telling twice does no harm.
 *
 *   of an item:  quiet ──an order──▶ in the round (settled) or due at once (rejected, or many)
 *                  ▲                           │
 *                  └──── all are told ◀──── calling ──no answer──▶ due a little later
 *
 * A loop's, on its thread; nothing blocks. Settled orders of all items share a call every 32 ms.
 */
#ifndef HOLDFAST_ENGINE_OUTBOX_H
#define HOLDFAST_ENGINE_OUTBOX_H

#include "loop/loop.h"
#include "strategies/strategy.h"

struct engine_loop;
struct loop_item;

/* An order as the gate has to be told of it: what it was committed with. */
typedef struct {
    order_id_t id;
    uint32_t quantity;
    uint64_t epoch;
    str_t field; /* in the index of keys, owned; STR_NONE: it has no key */
} notice_t;

typedef struct {
    notice_t *notices;
    size_t count, capacity;
    size_t sending; /* the first so many are in a call now */
} notices_t;

/* Of an item. */
typedef struct {
    notices_t settled, rejected;
    bool calling;         /* a call with some of them is in flight: at most one an item */
    h2o_linklist_t round; /* in the loop's round while its settled orders wait for the next call */
    loop_timer_t timer;
} item_outbox_t;

/* Of a loop. */
typedef struct {
    unsigned items; /* with anything to tell */
    h2o_linklist_t round;
    loop_timer_t timer; /* of the call that tells of all of them */
} loop_outbox_t;

void outbox_open(struct engine_loop *engine);
void outbox_close(struct engine_loop *engine);
/* The order is in MySQL, under the epoch of the attempt; `rejected`: its units return. */
void outbox_add(struct loop_item *item, const attempt_t *order, bool rejected);
/* The gate has heard of all orders of the item. */
bool outbox_is_quiet(const item_outbox_t *outbox);
/* No call is in flight; what is in it is forgotten. */
void outbox_forget(item_outbox_t *outbox);

#endif
