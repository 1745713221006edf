/*
 * The four ways to keep competing buyers of an item apart, behind one interface.
 *
 *   lua           one atomic call admits all buyers who wait for the item; then group commit
 *   watch         WATCH / MULTI / EXEC for each buyer over the same counters; then group commit
 *   optimistic    one transaction a buyer, guarded by the row's version column
 *   serializable  one transaction a buyer under SERIALIZABLE isolation
 *
 * start() is called on the purchase's loop with a purchase that has an id, the item's terms and
 * epoch, and a place in the writer's queue. It never calls back inside itself; later, on the
 * same loop, it ends in exactly one of the outcomes below. A strategy knows nothing of HTTP.
 *
 * Where several refusals apply, the buyer hears the first of these, under every strategy, from a
 * gate, from MySQL or from what a loop remembers (engine/visit.h):
 *
 *   1. its key has an order: no refusal but that order; idempotency_key_reused if it asked another
 *      thing
 *   2. sale_not_started, sale_ended
 *   3. sold_out: fewer units are left than it asks for
 *   4. buyer_limit_exceeded
 *
 * A gate knows the keys of unsettled orders only. For the others it says whether it has admitted
 * the buyer before (`seen`); then MySQL is asked for the key before any refusal is told. Who has
 * not been seen has no order under the gate's epoch or an earlier one; engine/epoch_check.h sees to
 * it that there is no later one.
 */
#ifndef HOLDFAST_STRATEGIES_STRATEGY_H
#define HOLDFAST_STRATEGIES_STRATEGY_H

#include "sale/order.h"
#include "sale/problem.h"

struct purchase;

typedef struct {
    void (*start)(struct purchase *purchase);
} strategy_t;

extern const strategy_t strategy_lua, strategy_watch, strategy_optimistic, strategy_serializable;

static inline const strategy_t *strategy_of(strategy_id_t id)
{
    static const strategy_t *const all[STRATEGY_COUNT] = {
        &strategy_lua, &strategy_watch, &strategy_optimistic, &strategy_serializable};
    return all[id];
}

/* --- outcomes; implemented in engine/purchase.c --- */

/* The gate holds its units under purchase_epoch(); now it has to reach MySQL. `seen`: the gate had
   admitted this buyer before. */
void purchase_admitted(struct purchase *purchase, bool seen);
/* Known to be refused, by this attempt. */
void purchase_refused(struct purchase *purchase, problem_t why, bool seen);
/* It would be admitted, but the gate has admitted this buyer before and no longer knows for which
   keys: only after a look in MySQL. Then a repeat leaves no row of its own. */
void purchase_seen_before(struct purchase *purchase);
/* Its key belongs to another order that is on its way to MySQL. */
void purchase_is_repeat(struct purchase *purchase, const order_id_t *first);
/* Epoch, strategy or gate are not what they were: look at the item again. */
void purchase_stale(struct purchase *purchase);
/* The gate admits nobody for some milliseconds: the same again soon. */
void purchase_delayed(struct purchase *purchase);
/* Nobody knows whether the attempt took effect. */
void purchase_unknown(struct purchase *purchase);
/* SQL strategies: MySQL has decided, this is the row. */
void purchase_decided(struct purchase *purchase, const order_t *row, bool inserted);
/* SQL strategies: the key belongs to this order. */
void purchase_replays(struct purchase *purchase, const order_t *first);

#endif
