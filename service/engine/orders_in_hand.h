/*
 * The orders in hand of a loop: orders that were answered 202 and whose purchases, which this loop
 * owns, have not ended. Only their ids can be known to a client before their rows are in MySQL, so
 * a read of an order begins here.
 *
 *   loop of the connection            owner loop of the order's slot        the shard's polling
 * loop orders_in_hand_ask()   ────────▶  in hand? the answer             ◀────────
 *   orders_in_hand_watch() ────────▶  in hand: it is told at the end
 *                                     else ────────────────────────────────▶ order_polls_watch()
 *   order_waits_told()     ◀──────────────────────── the end ────────────────────────────
 *
 * An order that is in hand reads `reserved`. If a move finds its row in MySQL first (the answer to
 * its COMMIT is on its way, or was lost), orders_in_hand_seen() takes it out, before the move is
 * answered: a later read through this process does not show an older state.
 *
 * An entry lives in its purchase. The owner loop owns its table and is the only one that uses it,
 * except of the number of its entries, which any loop may read. Messages between two loops arrive
 * in the order in which they were posted. Nothing blocks or fails.
 */
#ifndef HOLDFAST_ENGINE_ORDERS_IN_HAND_H
#define HOLDFAST_ENGINE_ORDERS_IN_HAND_H

#include <stdatomic.h>

#include <uthash.h>

#include "engine/order_watchers.h"
#include "sale/order.h"

/* A purchase embeds it. Zero-initialised means "not in hand". */
typedef struct order_in_hand {
    UT_hash_handle hh;
    const order_t *order; /* of the purchase; NULL: not in hand */
    order_watcher_t *watchers;
} order_in_hand_t;

typedef struct {
    order_in_hand_t *orders; /* uthash by id */
    atomic_uint count;
} orders_in_hand_t;

/* --- for purchase.c, on the owner loop --- */
/* The order is answered 202. Call it before the answer. Borrows `order` until the end. */
void orders_in_hand_add(struct engine_loop *engine, order_in_hand_t *entry, const order_t *order);
/* The order has ended as `row`; NULL: as its row in MySQL says, which was not read. Does nothing to
   an entry that is not in hand. */
void orders_in_hand_end(struct engine_loop *engine, order_in_hand_t *entry, const order_t *row);

/* --- on any loop --- */
/* MySQL has the order's row: it is not in hand any more. Call it before the answer that shows the
   row. */
void orders_in_hand_seen(struct engine_loop *engine, const order_t *row);

typedef enum { IN_HAND_NO, IN_HAND_YES, IN_HAND_ASK } in_hand_t;
/* Looks without asking another loop. IN_HAND_YES: `*out` is the order, `reserved`. IN_HAND_ASK:
   only orders_in_hand_ask() can tell. */
in_hand_t orders_in_hand_look(struct engine_loop *engine, const order_id_t *id, order_t *out);

typedef struct in_hand_ask in_hand_ask_t;
/* `order` NULL: it is not in hand. Borrowed until the callback returns. */
typedef void (*in_hand_cb)(void *waiter, const order_id_t *id, const order_t *order);
/* Asks the owner loop. `answer` runs on this loop: once, and never inside this call. The engine
   owns the returned object and frees it after the answer. */
in_hand_ask_t *orders_in_hand_ask(struct engine_loop *engine, const order_id_t *id,
                                  in_hand_cb answer, void *waiter);
/* `answer` is not called. */
void orders_in_hand_forget_waiter(in_hand_ask_t *ask);

/* From now on this loop is told when the order ends, by order_waits_told(), or is not. */
void orders_in_hand_watch(struct engine_loop *engine, const order_id_t *id);
void orders_in_hand_unwatch(struct engine_loop *engine, const order_id_t *id);

#endif
