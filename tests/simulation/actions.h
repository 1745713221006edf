/*
 * What buyers and administrators do in a history, at the entrances of the real code: a purchase, a
 * move or look of an order (http/orders.c), a change of terms, a reconcile call.
 */
#ifndef HOLDFAST_SIMULATION_ACTIONS_H
#define HOLDFAST_SIMULATION_ACTIONS_H

#include "history.h"
#include "reconcile/change.h"

/* Each at a node that runs; nothing if there is none. */
void action_get(const order_id_t *id);
void action_move(const order_id_t *id, order_move_t move);
void action_change(const char *sku, const item_change_t *change);
void action_reconcile(const char *sku);
/* At each node that runs: a purchase of an item that is not there. */
#define ACTION_NO_SKU "no such item"
void action_buy_nothing(void);
/* Changes of terms that were asked for, but those that create an item. */
unsigned action_changes(void);
/* Has a cancel of this order ever been asked for? */
bool action_cancel_was_asked(const order_id_t *id);
void action_begin(void); /* of a history */

#endif
