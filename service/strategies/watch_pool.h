/*
 * Connections to Redis that the watch strategy leases: WATCH is a state of a connection, so one
 * purchase has it to itself until EXEC. A loop's; bounded by redis.watch_connections; those who
 * find none free wait in order.
 */
#ifndef HOLDFAST_STRATEGIES_WATCH_POOL_H
#define HOLDFAST_STRATEGIES_WATCH_POOL_H

#include "engine/node.h"
#include "gate/redis_link.h"

struct purchase;
typedef struct watch_pool watch_pool_t;

/* The lessee gets a connection that is up, or NULL: Redis is away. */
typedef void (*watch_leased_cb)(struct purchase *purchase, redis_link_t *link);

watch_pool_t *watch_pool_new(loop_t *loop, node_t *node);
void watch_pool_free(watch_pool_t *pool);
/* Calls `leased` once, later. The purchase's `link` is used for the queue. */
void watch_pool_lease(watch_pool_t *pool, struct purchase *purchase, watch_leased_cb leased);
void watch_pool_return(watch_pool_t *pool, redis_link_t *link);

#endif
