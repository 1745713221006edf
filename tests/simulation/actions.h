/*
 * What buyers and administrators do in a history, at the entrances of the real code: a purchase, a
 * move or look of an order (http/orders.c), a change of terms, a reconcile call.
 */
#ifndef HOLDFAST_SIMULATION_ACTIONS_H
#define HOLDFAST_SIMULATION_ACTIONS_H

#include "history.h"
#include "reconcile/change.h"
#include "store/move.h"

/* Each at a node that runs; nothing if there is none. Every second read waits for the end. */
void action_get(const order_id_t *id);
void action_get_at(unsigned node, const order_id_t *id);
void action_move(const order_id_t *id, order_move_t move);
/* A cancel of some units, with a key of one letter. */
void action_give_back(const order_id_t *id, unsigned units, char key);
void action_change(const char *sku, const item_change_t *change);
void action_reconcile(const char *sku);
/* At each node that runs: a purchase of an item that is not there. */
#define ACTION_NO_SKU "no such item"
void action_buy_nothing(void);
/* Changes of terms that were asked for, but those that create an item. */
unsigned action_changes(void);
void action_begin(void); /* of a history */

#endif
