#include "http/call.h"

#include <stdlib.h>

static void finish(call_t *call)
{
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

static void run(job_t *job, worker_t *worker)
{
    call_t *call = H2O_STRUCT_FROM_MEMBER(call_t, job, job);
    call->run(call, worker);
}

static void done(job_t *job)
{
    call_t *call = H2O_STRUCT_FROM_MEMBER(call_t, job, job);
    exchange_t *exchange = call->exchange;
    --call->engine->jobs;
    if (exchange == NULL) {
        finish(call);
        return;
    }
    unsigned jobs = call->engine->jobs;
    call->reply(call, exchange);
    if (call->engine->jobs == jobs) /* else it runs again */
        finish(call);
}

void call_again(call_t *call, unsigned shard)
{
    if (!engine_submit(call->engine, shard, &call->job, run, done))
        reply_problem(call->exchange, PROBLEM_UNAVAILABLE, "The queue is full");
}

void call_submit(exchange_t *exchange, unsigned shard, call_t *call)
{
    call->exchange = exchange;
    call->engine = exchange->engine;
    exchange->on_gone = on_gone;
    exchange->waiting = call;
    if (!engine_submit(call->engine, shard, &call->job, run, done)) {
        METRIC_INC(queue_full_total);
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "The queue is full");
        finish(call);
    }
}

void *call_new(size_t size)
{
    void *call = calloc(1, size);
    if (call == NULL)
        abort();
    return call;
}
