#include "http/fan.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "http/request_job.h"
#include "work/prober.h"

static void dispose(fan_t *fan)
{
    loop_timer_stop(&fan->deadline);
    if (fan->dispose != NULL)
        fan->dispose(fan);
    free(fan->parts);
    free(fan);
}

static void answer(fan_t *fan)
{
    exchange_t *exchange = fan->exchange;
    if (exchange == NULL)
        return;
    exchange->on_gone = NULL;
    fan->exchange = NULL;
    fan->reply(fan, exchange);
}

static void on_gone(void *waiting)
{
    ((fan_t *)waiting)->exchange = NULL;
}

/* Answers with the shards that have answered so far; the jobs that still run keep the struct until
   the last done(). */
static void on_deadline(loop_timer_t *timer)
{
    fan_t *fan = H2O_STRUCT_FROM_MEMBER(fan_t, deadline, timer);
    atomic_store(&fan->over, true);
    answer(fan);
}

static void run(job_t *job, worker_t *worker)
{
    fan_part_t *part = H2O_STRUCT_FROM_MEMBER(fan_part_t, job, job);
    if (!atomic_load(&part->fan->over))
        part->fan->run(part->fan, part->shard, worker);
}

static void done(job_t *job)
{
    fan_part_t *part = H2O_STRUCT_FROM_MEMBER(fan_part_t, job, job);
    fan_t *fan = part->fan;
    --fan->engine->jobs;
    part->has_answered = true;
    if (--fan->open != 0)
        return;
    answer(fan);
    dispose(fan);
}

bool fan_has_answer(const fan_t *fan, unsigned shard)
{
    return fan->parts[shard].has_answered;
}

static void submit_part(fan_t *fan, unsigned shard)
{
    fan_part_t *part = &fan->parts[shard];
    *part = (fan_part_t){.fan = fan, .shard = shard};
    /* A job for a silent shard would block a pool thread until its time-out, and the answer with
       it. */
    if (prober_shard_is_silent(fan->exchange->http->prober, shard))
        return;
    if (engine_submit(fan->engine, shard, &part->job, run, done))
        ++fan->open;
    else
        METRIC_INC(queue_full_total);
}

void fan_start(exchange_t *exchange, fan_t *fan)
{
    unsigned shards = exchange->http->map->shards_count;
    fan->exchange = exchange;
    fan->engine = exchange->engine;
    fan->parts = alloc_zero(1, shards * sizeof(fan->parts[0]));
    for (unsigned i = 0; i < shards; ++i)
        submit_part(fan, i);
    if (fan->open == 0) {
        answer(fan);
        dispose(fan);
        return;
    }
    exchange->on_gone = on_gone;
    exchange->waiting = fan;
    if (fan->deadline_ms != 0)
        loop_timer_start(fan->engine->loop, &fan->deadline,
                         fan->deadline_ms < LOOP_DELAY_MAX_MS ? fan->deadline_ms
                                                              : LOOP_DELAY_MAX_MS,
                         on_deadline);
}
