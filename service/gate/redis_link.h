/*
 * One connection of a loop to Redis that never blocks, and comes back by itself.
 *
 *   DOWN ─connect─▶ HELLO ─(library old or absent: LOADING)─▶ PROBING ─▶ UP ─refused─▶ REFUSED
 *    ▲                │                                         │        │                │
 *    └─── backoff ────┴────────── refused, lost, silent ────────┴────────┴── all answered ┘
 *
 * Calls are pipelined and answered in order. A call that was taken ends in exactly one callback,
 * on the loop, later: with the reply, or with NULL, which means *unknown*: it may have happened.
 * hiredis 0.14 has no time-outs of its own; a link whose oldest call waits longer than
 * redis.timeout_ms is dropped.
 *
 * A link is up only if the server takes calls: the probe is a reserve call of no orders, which
 * Redis refuses whenever it would refuse to admit (out of memory, too few replicas, a replica...).
 * It is sent before the link counts as up, and then several times a second. A link that hears such
 * a refusal takes no more calls, waits for the answers to those that are out, and begins anew at
 * the pace of the backoff until the probe passes. While a call waits too long for its answer the
 * link counts as down, and takes no calls either.
 */
#ifndef HOLDFAST_GATE_REDIS_LINK_H
#define HOLDFAST_GATE_REDIS_LINK_H

#include "base/clock.h"
#include "config/config.h"
#include "gate/gate.h"
#include "gate/health.h"
#include "loop/loop.h"

typedef struct redis_link redis_link_t;
typedef void (*redis_reply_cb)(void *context, const redisReply *reply);

typedef enum {
    LINK_COUNTS, /* in `health`: a loop's own */
    LINK_FOLLOWS /* one of several more, which probe only when they connect: down while `health`
                    is hopeless */
} link_kind_t;

/* Starts to connect. `clock` is fed with the time of Redis at each hello. Both may be shared. */
redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             gate_health_t *health, link_kind_t kind);
/* Calls that wait end with NULL, inside this call. */
void redis_link_free(redis_link_t *link);
/* It takes calls. */
bool redis_link_is_up(const redis_link_t *link);
/* The server has refused it, and it was not up since. */
bool redis_link_is_refused(const redis_link_t *link);
/* Which Redis is behind this connection, as hello says (lua/holdfast.lua); only while it is up. */
str_t redis_link_identity(const redis_link_t *link);
/* False: not up, and nothing was sent. `args` may be reused at once. `cb` NULL: nobody wants the
   reply. */
bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context);
/* Writes now what else would go at the end of this turn of the loop. */
void redis_link_flush(redis_link_t *link);
/* Something is wrong with this connection: drop it and begin anew. */
void redis_link_drop(redis_link_t *link);

#endif
