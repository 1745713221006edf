/*
 * Connections to Redis that the watch strategy leases. WATCH is a state of a connection, so one
 * attempt has a connection to itself until EXEC. The pool makes at most redis.watch_connections of
 * them; attempts that find none free wait in order of arrival.
 *
 * The loop owns the pool and uses it on its thread; nothing blocks. While Redis is away an attempt
 * gets NULL instead of a connection.
 */
#ifndef HOLDFAST_STRATEGIES_WATCH_POOL_H
#define HOLDFAST_STRATEGIES_WATCH_POOL_H

#include "strategies/strategy.h"

typedef struct watch_pool watch_pool_t;

/* Gives the attempt a connection that is up, or NULL if Redis is away. */
typedef void (*watch_leased_cb)(attempt_t *attempt, redis_link_t *link);

watch_pool_t *watch_pool_new(strategy_loop_t *loop);
/* Only when no connection is leased and no attempt waits. */
void watch_pool_free(watch_pool_t *pool);
/* Calls `leased` once, later. Uses the attempt's `link` for the queue. */
void watch_pool_lease(watch_pool_t *pool, attempt_t *attempt, watch_leased_cb leased);
/* Returns a leased connection, up or not. */
void watch_pool_return(watch_pool_t *pool, redis_link_t *link);

#endif
