/*
 * The promises, checked in the stores themselves: at each COMMIT and answer, and when the world has
 * come to rest.
 *
 * At each COMMIT: allocated - released is the units of the live rows and between 0 and total; no
 * buyer owns more live units than the limit that stands in the row with it; totals, epochs and
 * versions only grow; an order only makes the moves of sale/order.h (a rejected one none at all);
 * a held order has a reminder that does not come after its deadline; what an order has left and
 * what was given back of it is what it had at first, and what was given back is that of the cancels
 * that are stored. At each answer: an order that is answered 201 is in MySQL, as it was said. At
 * each call of a function: a rebuild never sets a gate back to an older epoch. At rest: see
 * checks_at_rest().
 */
#ifndef HOLDFAST_SIMULATION_CHECKS_H
#define HOLDFAST_SIMULATION_CHECKS_H

#include "history.h"

void checks_init(void); /* once */
void checks_begin(void);
/* The order's state as committed; false: no row. */
bool checks_order(const order_id_t *id, order_state_t *state);
/* Total, allocated units and strategy of an item, as committed. `sold`: it has had an order. */
typedef struct {
    int64_t total, allocated, limit;
    uint64_t epoch;
    bool gated, gate_down, found, sold;
} row_view_t;
row_view_t checks_item(const char *sku);
/* This order was refused, or said to be rejected: it may never be live. */
void checks_refused(const order_id_t *id);
void checks_answer(const request_t *request);
/* A cancel of some units is asked for; true: one alike has been answered 200 before. */
bool checks_part_asked(const order_id_t *id, unsigned units, char key);
/* It is answered 200; `known`: what checks_part_asked() said then. */
void checks_part_received(const order_id_t *id, unsigned units, char key, bool known,
                          bool replayed);
/* What a gate has left; 0 if there is none. */
int64_t checks_available(const char *sku);
/* How often an epoch was raised, of all items. */
unsigned checks_epochs(void);
/* Why a gate and its row do not agree, or NULL. */
const char *checks_gate(const char *sku);
bool checks_unsettled_is_empty(void);
/* Some unsettled order of the item is in MySQL by now, and some is not. */
bool checks_half_settled(const char *sku);
/* Where nothing went wrong: what the gate has admitted is not rejected later, and epochs go up for
   each change of terms, `changes` in all, and for nothing else. */
void checks_without_faults(unsigned changes);
/* Some reminder has been due for so long. */
bool checks_reminder_is_due(uint64_t for_ms);
/* Every answer that was given is still true. */
void checks_at_rest(void);

#endif
