/*
 * Histories for what the draws of plan.c meet too rarely, one seed in 16: the window of a sale, a
 * node that is asked before it has read the clock of Redis, a staged table that loses a part, a
 * server that returns one row of each SELECT, loops that stay connected to another Redis; and, half
 * of them, gates whose tables of buyers are loading (plan_loading.h).
 *
 * The seeds are a fixed residue class, so that a scenario that is added here changes no other
 * history: the seeds that main.c begins with stay what they are.
 */
#ifndef HOLDFAST_SIMULATION_PLAN_RARE_H
#define HOLDFAST_SIMULATION_PLAN_RARE_H

#include "history.h"
#include "sale/item.h"

/* Draws the scenario of a history, or none. */
void plan_rare_begin(uint64_t seed);
bool plan_rare_is_drawn(void);
/* Changes the terms of an item that is about to be created. */
void plan_rare_terms(item_terms_t *terms);
/* In the place of the tangles of plan.c; returns the window in which buyers come. */
uint64_t plan_rare_window_us(uint64_t window_us);
void plan_rare_draw(uint64_t window_us);
/* The faults are over, and connections that lead to another Redis stay. */
bool plan_rare_keeps_connections(void);
/* At each answer: no sale outside its window. */
void plan_rare_check(const request_t *request);

#endif
