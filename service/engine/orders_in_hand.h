/*
 * The orders in hand of a process: orders that were answered 202 and whose purchases, which its
 * loops own, have not ended. Only such an order's id can be known to a client before its row is in
 * MySQL, so a read of an order begins here.
 *
 *   any loop                                                              the shard's polling loop
 *   orders_in_hand_look()   in hand: it is `reserved`
 *   orders_in_hand_watch()  in hand: the loop is told at the end
 *                           else ─────────────────────────────────────────▶ order_polls_watch()
 *   order_waits_told()      ◀──────────── the end ────────────────────────────────┘
 *
 * If something else finds the row in MySQL first (the answer to its COMMIT is on its way, or was
 * lost), orders_in_hand_seen() takes the order out before the row is shown: no later read through
 * this process shows an older state.
 *
 * The node owns the tables. Each has a mutex, held for a few instructions, so any loop may look
 * without a message. An entry belongs to its purchase, and only the purchase's loop frees it.
 * Nothing waits for a server or fails.
 */
#ifndef HOLDFAST_ENGINE_ORDERS_IN_HAND_H
#define HOLDFAST_ENGINE_ORDERS_IN_HAND_H

#include <pthread.h>
#include <stdatomic.h>

#include "sale/order.h"

struct engine_loop;
struct node;
struct order_in_hand;

#define ORDERS_IN_HAND_TABLES 16

typedef struct {
    struct {
        pthread_mutex_t mutex;
        struct order_in_hand *orders; /* uthash by id */
        atomic_uint count;
    } tables[ORDERS_IN_HAND_TABLES]; /* by a random byte of the id */
} orders_in_hand_t;

void orders_in_hand_init(orders_in_hand_t *all);

/* --- for purchase.c, on its loop --- */
/* The order is answered 202. Call it before the answer. Copies `order`. Does nothing if `*entry` is
   not NULL. */
void orders_in_hand_add(struct engine_loop *engine, struct order_in_hand **entry,
                        const order_t *order);
/* The order has ended as `row`; NULL: as its row in MySQL says, which was not read. Frees `*entry`
   and sets it to NULL, which it may be. */
void orders_in_hand_end(struct engine_loop *engine, struct order_in_hand **entry,
                        const order_t *row);

/* --- on any loop --- */
/* True: it is in hand, and `*out` is the order, `reserved`. */
bool orders_in_hand_look(struct node *node, const order_id_t *id, order_t *out);
bool orders_in_hand_has(struct node *node, const order_id_t *id);
/* MySQL has the order's row: it is not in hand any more. Call it on the loop `engine`, before an
   answer that shows the row. */
void orders_in_hand_seen(struct engine_loop *engine, const order_t *row);
/* From now on the loop `engine` is told when the order ends, by order_waits_told(); or is not. Call
   it on that loop. */
void orders_in_hand_watch(struct engine_loop *engine, const order_id_t *id);
void orders_in_hand_unwatch(struct engine_loop *engine, const order_id_t *id);

#endif
