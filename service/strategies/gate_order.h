/*
 * The fields of an order in the gate's format (gate/gate.h). `lua` passes them to holdfast_reserve;
 * `watch` writes them itself.
 *
 * On the loop's thread; nothing blocks or fails. Each function copies the bytes into `args`, which
 * the caller owns.
 */
#ifndef HOLDFAST_STRATEGIES_GATE_ORDER_H
#define HOLDFAST_STRATEGIES_GATE_ORDER_H

#include "gate/redis_args.h"
#include "strategies/strategy.h"

void gate_order_add_id(redis_args_t *args, const attempt_t *attempt);
/* The record for `unsettled`. */
void gate_order_add_record(redis_args_t *args, const attempt_t *attempt);
/* Its field in the index of keys; an empty string if it has no key. */
void gate_order_add_field(redis_args_t *args, const attempt_t *attempt);

#endif
