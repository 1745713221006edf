/*
 * A request that asks all shards side by side: a pool job for each, and one answer when all have
 * ended or the deadline has passed. A shard that is known to be silent is not asked at all.
 *
 * Embed a fan_t first in a struct made with alloc_zero(). `run` is on a pool thread, once for each
 * shard, and may write what belongs to that shard only. `reply` is on the loop, once, and may read
 * only what belongs to shards that have answered; it is left out when the client has gone. The
 * struct is freed (`dispose` first, if set) when the last job has ended, which may be long after
 * the answer.
 */
#ifndef HOLDFAST_HTTP_FAN_H
#define HOLDFAST_HTTP_FAN_H

#include "http/exchange.h"

typedef struct fan fan_t;

typedef struct {
    job_t job;
    fan_t *fan;
    unsigned shard;
    bool has_answered; /* loop only */
} fan_part_t;

struct fan {
    /* Set by the caller: */
    void (*run)(fan_t *fan, unsigned shard, worker_t *worker);
    void (*reply)(fan_t *fan, exchange_t *exchange);
    void (*dispose)(fan_t *fan); /* or NULL */
    uint32_t deadline_ms;        /* 0: none, waits for all. A job that is late is not begun */
    /* The fan's own: */
    exchange_t *exchange; /* NULL: answered, or the client has gone */
    engine_loop_t *engine;
    loop_timer_t deadline;
    atomic_bool over; /* the deadline has passed */
    unsigned open;    /* jobs that have not ended */
    fan_part_t *parts;
};

/* Takes `fan`. May answer inside this call. */
void fan_start(exchange_t *exchange, fan_t *fan);
/* From `reply`. */
bool fan_has_answer(const fan_t *fan, unsigned shard);

#endif
