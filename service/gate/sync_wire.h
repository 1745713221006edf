/*
 * One blocking connection to Redis: connects, sends, waits for the answer.
 *
 * The caller owns the context; one thread at a time may use it. A wait ends with the answer, after
 * redis.timeout_ms, or as soon as `health` (gate/health.h) is hopeless, so that the pool thread is
 * free for other work.
 */
#ifndef HOLDFAST_GATE_SYNC_WIRE_H
#define HOLDFAST_GATE_SYNC_WIRE_H

#include <hiredis/hiredis.h>

#include "config/config.h"
#include "gate/health.h"
#include "gate/redis_args.h"

/* Returns a context. NULL, or a context with `err` set: there is no connection. `health` may be
   NULL: then only the time-out ends a wait. */
redisContext *sync_wire_connect(const config_t *config, const gate_health_t *health);
/* Sends the command and waits for the reply, which the caller frees. NULL: there is no answer, and
   the connection is not usable any more. */
redisReply *sync_wire_call(redisContext *redis, redis_args_t *args, const config_t *config,
                           const gate_health_t *health);

#endif
