/*
 * Connections to Redis that the watch strategy leases: WATCH is a state of a connection, so one
 * attempt has it to itself until EXEC. A loop's, on its thread; nothing blocks. Bounded by
 * redis.watch_connections; attempts that find none free wait in order.
 */
#ifndef HOLDFAST_STRATEGIES_WATCH_POOL_H
#define HOLDFAST_STRATEGIES_WATCH_POOL_H

#include "strategies/strategy.h"

typedef struct watch_pool watch_pool_t;

/* The attempt gets a connection that is up, or NULL: Redis is away. */
typedef void (*watch_leased_cb)(attempt_t *attempt, redis_link_t *link);

watch_pool_t *watch_pool_new(strategy_loop_t *loop);
/* When no connection is leased and no attempt waits. */
void watch_pool_free(watch_pool_t *pool);
/* Calls `leased` once, later. The attempt's `link` is used for the queue. */
void watch_pool_lease(watch_pool_t *pool, attempt_t *attempt, watch_leased_cb leased);
void watch_pool_return(watch_pool_t *pool, redis_link_t *link);

#endif
