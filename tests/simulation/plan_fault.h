/*
 * A history in which one thing is ill and nothing else goes wrong: a stranger's lock on the first
 * item or on the orders of one of its buyers, or an error that one of its buyers meets. Buyers of
 * the second item come all the while: after at most two waits for a lock, on each node, they do not
 * notice.
 */
#ifndef HOLDFAST_SIMULATION_PLAN_FAULT_H
#define HOLDFAST_SIMULATION_PLAN_FAULT_H

#include "config/config.h"
#include "reconcile/change.h"

/* Draws what is ill; changes the configuration, which is drawn, to one with long deadlines. */
void plan_fault_config(config_t *config);
/* The terms of item `i`, of two. */
item_terms_t plan_fault_terms(unsigned i);
/* When the items exist. Returns how long the history lasts. */
uint64_t plan_fault_draw(void);
/* At rest: the buyers of the second item. */
void plan_fault_check(void);

#endif
