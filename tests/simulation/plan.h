/*
 * What happens in a history, drawn from its seed: items and their terms, buyers and their repeats,
 * moves, changes, and the faults with their moments.
 */
#ifndef HOLDFAST_SIMULATION_PLAN_H
#define HOLDFAST_SIMULATION_PLAN_H

#include "history.h"

/* Runs the world to the end of the faults. Then all servers are up and some node runs. */
void plan_run(void);
/* The number of a node that runs. */
unsigned plan_some_node(void);
/* An order that some buyer has heard of or asked for; false: there was none this time. */
bool plan_some_order(order_id_t *id);
/* No extend reaches further from an order's creation. */
uint64_t plan_hold_max_ms(void);
uint32_t plan_answer_deadline_ms(void); /* of this history */
uint32_t plan_commit_deadline_ms(void);

#endif
