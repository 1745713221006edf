/*
 * The loops that are to be told how an order ends: a short list, at an order in hand
 * (engine/orders_in_hand.h) or at an order that is polled (engine/order_polls.h). The caller
 * holds the mutex of the order's table, or is the polling loop. Nothing blocks or fails.
 */
#ifndef HOLDFAST_ENGINE_ORDER_WATCHERS_H
#define HOLDFAST_ENGINE_ORDER_WATCHERS_H

#include <stdbool.h>

struct engine_loop;

typedef struct order_watcher {
    struct order_watcher *next;
    struct engine_loop *engine;
} order_watcher_t;

/* Adds the loop, unless it is in the list. */
void order_watchers_add(order_watcher_t **list, struct engine_loop *engine);
/* Takes the loop out, if it is in the list. */
void order_watchers_remove(order_watcher_t **list, struct engine_loop *engine);
/* Takes one loop out; NULL: the list is empty. */
struct engine_loop *order_watchers_pop(order_watcher_t **list);

#endif
