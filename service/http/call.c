#include "http/call.h"

#include <stdlib.h>

#include "work/prober.h"

static void finish(call_t *call)
{
    loop_timer_stop(&call->deadline);
    if (call->exchange != NULL)
        call->exchange->on_gone = NULL;
    if (call->dispose != NULL)
        call->dispose(call);
    free(call);
}

static void on_gone(void *waiting)
{
    ((call_t *)waiting)->exchange = NULL;
}

/* Answers 503, since the job may be blocked on a silent server for long. The job keeps the struct
   until done(); `over` keeps a job from beginning that has no client any more. */
static void on_deadline(loop_timer_t *timer)
{
    call_t *call = H2O_STRUCT_FROM_MEMBER(call_t, deadline, timer);
    exchange_t *exchange = call->exchange;
    if (exchange == NULL)
        return;
    atomic_store(&call->over, true);
    exchange->on_gone = NULL;
    call->exchange = NULL;
    reply_problem(exchange, PROBLEM_UNAVAILABLE, "No answer in time; ask again");
}

static void run(job_t *job, worker_t *worker)
{
    call_t *call = H2O_STRUCT_FROM_MEMBER(call_t, job, job);
    if (!atomic_load(&call->over))
        call->run(call, worker);
}

static void done(job_t *job)
{
    call_t *call = H2O_STRUCT_FROM_MEMBER(call_t, job, job);
    --call->engine->jobs;
    if (call->exchange != NULL)
        call->reply(call, call->exchange);
    finish(call);
}

void call_submit(exchange_t *exchange, unsigned shard, call_t *call)
{
    call->exchange = exchange;
    call->engine = exchange->engine;
    prober_t *prober = exchange->http->prober;
    if (prober != NULL && prober_shard_is_silent(prober, shard)) {
        call->exchange = NULL;
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "The shard does not answer");
        finish(call);
        return;
    }
    exchange->on_gone = on_gone;
    exchange->waiting = call;
    if (!engine_submit(call->engine, shard, &call->job, run, done)) {
        METRIC_INC(queue_full_total);
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "The queue is full");
        finish(call);
    } else if (call->deadline_ms != 0) {
        loop_timer_start(call->engine->loop, &call->deadline,
                         call->deadline_ms < LOOP_DELAY_MAX_MS ? call->deadline_ms
                                                               : LOOP_DELAY_MAX_MS,
                         on_deadline);
    }
}

void call_submit_for_item(exchange_t *exchange, const item_ref_t *item, call_t *call)
{
    job_set_slot(&call->job, item->slot);
    call_submit(exchange, exchange->http->map->shard_of_slot[item->slot], call);
}
