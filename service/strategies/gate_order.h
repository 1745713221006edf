/*
 * An order in the words of the gate (gate/gate.h): what `lua` hands to holdfast_reserve is what
 * `watch` writes itself. Loop thread only; copied into `args`.
 */
#ifndef HOLDFAST_STRATEGIES_GATE_ORDER_H
#define HOLDFAST_STRATEGIES_GATE_ORDER_H

#include "gate/redis_args.h"
#include "strategies/strategy.h"

void gate_order_add_id(redis_args_t *args, const attempt_t *attempt);
/* As it will stand in `unsettled`. */
void gate_order_add_record(redis_args_t *args, const attempt_t *attempt);
/* Its field in the index of keys; empty if it has no key. */
void gate_order_add_field(redis_args_t *args, const attempt_t *attempt);

#endif
