/*
 * One connection of a loop to Redis that never blocks, and comes back by itself.
 *
 *   DOWN ──connect──▶ HELLO ──(library old or absent: LOADING)──▶ UP
 *    ▲                  │                                          │
 *    └──── backoff ─────┴──────────── lost, or silent for too long ┘
 *
 * Calls are pipelined and answered in order. A call that was taken ends in exactly one callback,
 * on the loop, later: with the reply, or with NULL, which means *unknown*: it may have happened.
 * hiredis 0.14 has no time-outs of its own; a link whose oldest call waits longer than
 * redis.timeout_ms is dropped.
 */
#ifndef HOLDFAST_GATE_REDIS_LINK_H
#define HOLDFAST_GATE_REDIS_LINK_H

#include <stdatomic.h>

#include "base/clock.h"
#include "config/config.h"
#include "gate/gate.h"
#include "loop/loop.h"

/* Of a process: how many of its loops' connections are up. Any thread reads. */
typedef struct {
    atomic_uint up;
    _Atomic uint64_t down_since_ms; /* monotonic; while none is up */
} gate_health_t;

void gate_health_init(gate_health_t *health);
/* For how long none has been up; 0 while one is. */
uint64_t gate_health_down_ms(const gate_health_t *health);

typedef struct redis_link redis_link_t;
typedef void (*redis_reply_cb)(void *context, const redisReply *reply);

/* Starts to connect. `clock` is fed with the time of Redis at each hello; this link counts in
   `health`, if that is not NULL. Both may be shared. */
redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             gate_health_t *health);
/* Calls that wait end with NULL, inside this call. */
void redis_link_free(redis_link_t *link);
bool redis_link_is_up(const redis_link_t *link);
/* Which Redis is behind this connection, as hello says (lua/holdfast.lua); only while it is up. */
str_t redis_link_identity(const redis_link_t *link);
/* False: not up, and nothing was sent. `args` may be reused at once. */
bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context);
/* Writes now what else would go at the end of this turn of the loop. */
void redis_link_flush(redis_link_t *link);
/* Something is wrong with this connection: drop it and begin anew. */
void redis_link_drop(redis_link_t *link);

#endif
