/*
 * The outbox: the orders of which the gate has to be notified, because they are in MySQL. They are
 * settled, or they are rejected and their units return. The outbox sends them in batches and
 * repeats a batch until Redis has answered. Both calls count only orders that are still in
 * `unsettled`, so that a repeated notice does no harm.
 *
 *   of an item:  quiet ──an order──▶ in the round (settled) or due at once (rejected, or many)
 *                  ▲                           │
 *                  └─── all are sent ◀───── calling ──no answer──▶ due 64 ms later
 *
 * Settled orders of all items share a call every 32 ms.
 *
 * The loop owns its outboxes and uses them on its thread only; nothing blocks. No error is
 * returned: a call that fails is sent again.
 */
#ifndef HOLDFAST_ENGINE_OUTBOX_H
#define HOLDFAST_ENGINE_OUTBOX_H

#include "loop/loop.h"
#include "strategies/strategy.h"

struct engine_loop;
struct loop_item;

/* The values of an order that the gate needs: those that it was committed with. */
typedef struct {
    order_id_t id;
    uint32_t quantity;
    uint64_t epoch;
    str_t field; /* its field in the index of keys, owned; STR_NONE: it has no key */
} notice_t;

typedef struct {
    notice_t *notices;
    size_t count, capacity;
    size_t sending; /* the first `sending` notices are in a call now */
} notices_t;

/* Of an item. */
typedef struct {
    notices_t settled, rejected;
    bool calling; /* a call with some of them is in flight; at most one for an item */
    /* linked into the loop's round while its settled orders wait for the next call */
    h2o_linklist_t round;
    loop_timer_t timer;
} item_outbox_t;

/* Of a loop. */
typedef struct {
    unsigned items; /* that are not quiet */
    h2o_linklist_t round;
    loop_timer_t timer; /* of the next settle call */
} loop_outbox_t;

/* Opens and closes the outbox of a loop. It is closed only when all its items are quiet. */
void outbox_open(struct engine_loop *engine);
void outbox_close(struct engine_loop *engine);
/* The order is in MySQL, under the epoch of the attempt. `rejected`: its units return. Copies what
   it needs. */
void outbox_add(struct loop_item *item, const attempt_t *order, bool rejected);
/* The gate has been notified of all orders of the item. */
bool outbox_is_quiet(const item_outbox_t *outbox);
/* Frees the outbox of an item, with the notices that are in it. Only when no call is in flight. */
void outbox_forget(item_outbox_t *outbox);

#endif
