/*
 * One blocking connection to Redis: connect, send, wait for the answer. Of one thread at a time.
 *
 * A wait ends with the answer, after redis.timeout_ms, or as soon as the loops' connections find
 * that Redis does not answer or refuses calls (gate/health.h): a pool thread has other work.
 */
#ifndef HOLDFAST_GATE_SYNC_WIRE_H
#define HOLDFAST_GATE_SYNC_WIRE_H

#include <hiredis/hiredis.h>

#include "config/config.h"
#include "gate/health.h"
#include "gate/redis_args.h"

/* NULL, or a context with `err` set: no connection. `health` may be NULL: nobody knows more. */
redisContext *sync_wire_connect(const config_t *config, const gate_health_t *health);
/* Sends the command and waits. NULL: no answer, and the connection is of no more use. */
redisReply *sync_wire_ask(redisContext *redis, redis_args_t *args, const config_t *config,
                          const gate_health_t *health);

#endif
