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

typedef struct redis_link redis_link_t;
typedef void (*redis_reply_cb)(void *context, const redisReply *reply);

/* Starts to connect. `clock` is fed with the time of Redis at each hello; `up_count`, if not NULL,
   is one higher while this link is up. Both may be shared. */
redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             atomic_uint *up_count);
/* Calls that wait end with NULL, inside this call. */
void redis_link_free(redis_link_t *link);
bool redis_link_is_up(const redis_link_t *link);
/* The run id of the Redis process behind this connection; only while it is up. */
str_t redis_link_run_id(const redis_link_t *link);
/* False: not up, and nothing was sent. `args` may be reused at once; finishes them. */
bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context);
/* Something is wrong with this connection: drop it and begin anew. */
void redis_link_drop(redis_link_t *link);

#endif
