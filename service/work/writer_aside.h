/*
 * Orders that are set aside: the writer could not write them although the shard takes other orders.
 * They are tried again, each after a delay that grows, and delay no other order meanwhile.
 *
 *   by item    another transaction holds a lock that the item's orders need: all orders of the
 *              item, new ones too, wait in one queue, in the order in which they came
 *   by order   an error that is in no list met this order alone: its item goes on without it
 *
 * A value of one writer thread, which calls all functions under its mutex: no lock of its own, no
 * I/O, nothing blocks or fails; time is an argument (monotonic ms). The caller owns the orders
 * before writer_aside_put() and after writer_aside_take().
 */
#ifndef HOLDFAST_WORK_WRITER_ASIDE_H
#define HOLDFAST_WORK_WRITER_ASIDE_H

#include "work/writer.h"

typedef struct writer_aside_item writer_aside_item_t;

typedef struct {
    writer_aside_item_t *items; /* uthash by sku */
    writer_order_t *alone;      /* orders set aside by themselves */
    unsigned items_count, orders_count;
} writer_aside_t;

/* Adds an order. `order->aside` contains the reason, and whether its item is set aside with it. */
void writer_aside_put(writer_aside_t *aside, writer_order_t *order, uint64_t now_ms);
/* True if this item is set aside; then its new orders must be added with writer_aside_join(). */
bool writer_aside_has_item(const writer_aside_t *aside, str_t sku);
/* Number of waiting orders of an item that is set aside. */
unsigned writer_aside_of_item(const writer_aside_t *aside, str_t sku);
/* Adds a new order to its item, which is set aside. */
void writer_aside_join(writer_aside_t *aside, writer_order_t *order);

/* Takes what is due, at most `max`: orders of one item (*item is set; writer_aside_tried() must
   follow), or orders that are alone (*item is NULL). Returns their number; 0: nothing is due. */
unsigned writer_aside_take(writer_aside_t *aside, uint64_t now_ms, writer_order_t **orders,
                           unsigned max, writer_aside_item_t **item);
/* Orders of the item were tried, and those that still wait were put back. Forgets an item that has
   none left. */
void writer_aside_tried(writer_aside_t *aside, writer_aside_item_t *item, uint64_t now_ms);
/* When the next order is due; UINT64_MAX: none waits. */
uint64_t writer_aside_due_ms(const writer_aside_t *aside);

/* For status: calls `each` for each item, then for each order that is alone. */
void writer_aside_each(const writer_aside_t *aside, uint64_t now_ms, writer_aside_cb each,
                       void *context);
/* Only when nothing is left in it. */
void writer_aside_dispose(writer_aside_t *aside);

#endif
