/*
 * A request to all shards in parallel: a pool job for each, and one answer when all have ended or
 * the deadline has passed. A shard that the prober reports silent gets no job.
 *
 * Embed a fan_t as the first member of a struct made with alloc_zero(). fan_start() takes the
 * struct over. `run` is called on a pool thread, once for each shard, and may write that shard's
 * data only. `reply` is called on the loop, at most once, and may read the data of shards that have
 * answered only; it is left out if the client has disconnected. The struct is freed on the loop
 * (after `dispose`, if set) when the last job has ended, which may be long after the answer.
 *
 * Loop thread only, except `run`; no function blocks. A shard without an answer is the only sign of
 * a failure: fan_has_answer().
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
    uint32_t deadline_ms;        /* 0: none, waits for all. A job is not begun after it */
    /* Private: */
    exchange_t *exchange; /* NULL: answered, or the client has disconnected */
    engine_loop_t *engine;
    loop_timer_t deadline;
    atomic_bool over; /* the deadline has passed */
    unsigned open;    /* jobs that have not ended */
    fan_part_t *parts;
};

/* Starts the jobs and takes `fan` over. If no job could be started, it answers and frees `fan`
   inside this call. */
void fan_start(exchange_t *exchange, fan_t *fan);
/* For `reply`: whether this shard's job has ended. */
bool fan_has_answer(const fan_t *fan, unsigned shard);

#endif
