#include "http/request_job.h"

#include <stdlib.h>

#include "work/prober.h"

static void finish(request_job_t *request)
{
    loop_timer_stop(&request->deadline);
    if (request->exchange != NULL)
        request->exchange->on_gone = NULL;
    if (request->dispose != NULL)
        request->dispose(request);
    free(request);
}

static void on_gone(void *waiting)
{
    ((request_job_t *)waiting)->exchange = NULL;
}

/* Gives up the exchange: from here on the request has no client. */
static void fail(request_job_t *request, const char *why)
{
    exchange_t *exchange = request->exchange;
    exchange->on_gone = NULL;
    request->exchange = NULL;
    if (request->fail != NULL)
        request->fail(request, exchange, why);
    else
        reply_problem(exchange, PROBLEM_UNAVAILABLE, why);
}

/* Answers 503, since the job may be blocked on a silent server for long. The job keeps the struct
   until done(); `over` keeps a job from beginning that has no client any more. */
static void on_deadline(loop_timer_t *timer)
{
    request_job_t *request = H2O_STRUCT_FROM_MEMBER(request_job_t, deadline, timer);
    if (request->exchange == NULL)
        return;
    atomic_store(&request->over, true);
    fail(request, "No answer in time; ask again");
}

static void run(job_t *job, worker_t *worker)
{
    request_job_t *request = H2O_STRUCT_FROM_MEMBER(request_job_t, job, job);
    if (!atomic_load(&request->over))
        request->run(request, worker);
}

static void done(job_t *job)
{
    request_job_t *request = H2O_STRUCT_FROM_MEMBER(request_job_t, job, job);
    exchange_t *exchange = request->exchange;
    --request->engine->jobs;
    if (exchange != NULL) { /* before `reply`, which may let the exchange wait for something else */
        exchange->on_gone = NULL;
        request->exchange = NULL;
        request->reply(request, exchange);
    }
    finish(request);
}

void request_job_submit(exchange_t *exchange, unsigned shard, request_job_t *request)
{
    request->exchange = exchange;
    request->engine = exchange->engine;
    prober_t *prober = exchange->http->prober;
    if (prober != NULL && prober_shard_is_silent(prober, shard)) {
        fail(request, "The shard does not answer");
        finish(request);
        return;
    }
    exchange->on_gone = on_gone;
    exchange->waiting = request;
    if (!engine_submit(request->engine, shard, &request->job, run, done)) {
        METRIC_INC(queue_full_total);
        fail(request, "The queue is full");
        finish(request);
    } else if (request->deadline_ms != 0) {
        loop_timer_start(request->engine->loop, &request->deadline,
                         request->deadline_ms < LOOP_DELAY_MAX_MS ? request->deadline_ms
                                                                  : LOOP_DELAY_MAX_MS,
                         on_deadline);
    }
}

void request_job_submit_for_item(exchange_t *exchange, const item_ref_t *item,
                                 request_job_t *request)
{
    job_set_slot(&request->job, item->slot);
    request_job_submit(exchange, exchange->http->map->shard_of_slot[item->slot], request);
}
