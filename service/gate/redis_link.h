/*
 * One connection of a loop to Redis. It does not block, and it reconnects by itself.
 *
 *   DOWN ─connect─▶ HELLO ─(library old or absent: LOADING)─▶ PROBING ─▶ UP ─refused─▶ REFUSED
 *    ▲                │                                         │        │                │
 *    └─── backoff ────┴────────── refused, lost, silent ────────┴────────┴── all answered ┘
 *
 * Calls are pipelined and answered in order. An accepted call ends in exactly one callback, on the
 * loop, later: with the reply, or with NULL. NULL means *unknown*: the call may have run. hiredis
 * 0.14 has no time-outs of commands; the link drops a connection whose oldest call waits longer
 * than redis.timeout_ms.
 *
 * A link is up only if the server takes calls. The probe is a reserve call without orders, which
 * Redis refuses whenever it would refuse to admit (out of memory, too few replicas, a replica...).
 * The link sends it before it counts as up, and then several times a second. After such a refusal
 * the link takes no more calls, waits for the answers to the calls in flight, and starts again with
 * backoff until the probe passes. While a call waits too long for its answer the link counts as
 * down, and takes no calls.
 *
 * The loop that created a link owns it; only its thread may call.
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
    LINK_COUNTS, /* counts in `health`: the loop's own connection */
    LINK_FOLLOWS /* one of several further connections. It probes only when it connects, and is down
                    while `health` is hopeless */
} link_kind_t;

/* Starts to connect. Each hello sets `clock` from the time of Redis. `clock` and `health` may be
   shared, and outlive the link, as do `loop` and `config`. */
redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             gate_health_t *health, link_kind_t kind);
/* Ends all waiting calls with NULL, inside this call, and frees the link. */
void redis_link_free(redis_link_t *link);
/* Does the link take calls? */
bool redis_link_is_up(const redis_link_t *link);
/* Has the server refused the link since it was last up? */
bool redis_link_is_refused(const redis_link_t *link);
/* The identity of the Redis behind this connection, from hello (lua/holdfast.lua). Valid only while
   the link is up. */
str_t redis_link_identity(const redis_link_t *link);
/* Sends a call. False: the link is not up, and nothing was sent. The caller may reuse `args` at
   once. `cb` NULL: the reply is discarded. */
bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context);
/* Writes the pending calls now instead of at the end of this turn of the loop. */
void redis_link_flush(redis_link_t *link);
/* Drops the connection and connects again: for a caller that has found an error on it. */
void redis_link_drop(redis_link_t *link);

#endif
