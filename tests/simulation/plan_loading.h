/*
 * Histories of an item with several buyers whose gate changes and begins to admit before its table
 * of buyers is whole (lua/holdfast.lua): Redis loses it, a SQL strategy sells for a moment, terms
 * change. Meanwhile buyers who are not loaded buy, orders are cancelled, nodes die. The parts of a
 * table have two buyers each here, and the loader makes long pauses.
 *
 * One of the scenarios of plan_rare.h.
 */
#ifndef HOLDFAST_SIMULATION_PLAN_LOADING_H
#define HOLDFAST_SIMULATION_PLAN_LOADING_H

#include "history.h"
#include "sale/item.h"

/* Changes the terms of an item that is about to be created. */
void plan_loading_terms(item_terms_t *terms);
/* The window in which buyers come. */
#define PLAN_LOADING_WINDOW_US UINT64_C(2000000)
void plan_loading_draw(void);

#endif
