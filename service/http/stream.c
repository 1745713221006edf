#include "http/stream.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "http/request_job.h"

typedef struct stream_part {
    request_job_t request; /* first */
    stream_t *stream;
    problem_t problem; /* result of the job */
    bool made;         /* the job has ended while there was a client */
    bool failed;       /* the stream was told that the job has no client any more */
} stream_part_t;

static void free_stream(stream_t *stream)
{
    loop_timer_stop(&stream->timer);
    if (stream->dispose != NULL)
        stream->dispose(stream);
    text_free(&stream->text);
    free(stream);
}

/* The request has ended. libh2o has no part any more; a job may still write one. */
static void on_gone(void *waiting)
{
    stream_t *stream = waiting;
    stream->exchange = NULL;
    loop_timer_stop(&stream->timer);
    if (stream->part == NULL)
        free_stream(stream);
}

/* While no job runs the exchange tells the stream when the request ends, and else the job. */
static void await_client(stream_t *stream)
{
    stream->exchange->on_gone = on_gone;
    stream->exchange->waiting = stream;
}

/* libh2o may end the request inside this call, and the stream with it. */
static void on_timer(loop_timer_t *timer)
{
    stream_t *stream = H2O_STRUCT_FROM_MEMBER(stream_t, timer, timer);
    reply_part(stream->exchange, STR_NONE, stream->end);
}

/* Ends the answer without another part: later, when no caller needs the request any more. */
static void end_answer(stream_t *stream, h2o_send_state_t state)
{
    stream->end = state;
    loop_timer_start(stream->engine->loop, &stream->timer, 0, on_timer);
}

static void fail_stream(stream_t *stream, problem_t problem, const char *why)
{
    if (stream->has_begun) {
        METRIC_INC(http_answers_cut_total);
        end_answer(stream, H2O_SEND_STATE_ERROR);
        return;
    }
    exchange_t *exchange = stream->exchange;
    stream->exchange = NULL;
    exchange->on_gone = NULL;
    reply_problem(exchange, problem, why);
}

static void send_part(stream_t *stream)
{
    bool is_head = exchange_is_head(stream->exchange);
    bool is_last = stream->is_last || is_head;
    if (stream->text.n == 0 && !is_last) {
        stream->begins_next = true;
        return;
    }
    if (stream->sends != NULL)
        stream->sends(stream);
    if (!stream->has_begun)
        reply_begin(stream->exchange, stream->content_type, &stream->generator);
    stream->has_begun = true;
    if (stream->text.n == 0 || is_head)
        end_answer(stream, H2O_SEND_STATE_FINAL);
    else
        reply_part(stream->exchange, text_str(&stream->text),
                   is_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

/* --- the job of a part --- */

static void run(request_job_t *request, worker_t *worker)
{
    stream_part_t *part = (stream_part_t *)request;
    text_clear(&part->stream->text);
    part->problem = part->stream->run(part->stream, worker);
}

/* The request may end inside these calls; the stream is told, and on_ended() sees it. */
static void on_made(request_job_t *request, exchange_t *exchange)
{
    stream_part_t *part = (stream_part_t *)request;
    (void)exchange;
    part->made = true;
    await_client(part->stream);
    if (part->problem != PROBLEM_NONE)
        fail_stream(part->stream, part->problem, NULL);
    else
        send_part(part->stream);
}

/* The job may still run: it writes into the text, which nobody sends any more. */
static void on_failed(request_job_t *request, exchange_t *exchange, const char *why)
{
    stream_part_t *part = (stream_part_t *)request;
    (void)exchange;
    part->failed = true;
    fail_stream(part->stream, PROBLEM_UNAVAILABLE, why);
    if (part->stream->exchange != NULL)
        await_client(part->stream);
}

static void begin_next(stream_t *stream);

/* The job has ended; request_job.c does not use the exchange after this call. */
static void on_ended(request_job_t *request)
{
    stream_part_t *part = (stream_part_t *)request;
    stream_t *stream = part->stream;
    stream->part = NULL;
    if (!part->made && !part->failed)
        stream->exchange = NULL;
    if (stream->exchange == NULL) {
        free_stream(stream);
        return;
    }
    await_client(stream);
    if (stream->begins_next) {
        stream->begins_next = false;
        begin_next(stream);
    }
}

static void begin_part(stream_t *stream)
{
    stream_part_t *part = alloc_zero(1, sizeof(*part));
    part->request.run = run;
    part->request.reply = on_made;
    part->request.fail = on_failed;
    part->request.dispose = on_ended;
    part->request.deadline_ms = stream->deadline_ms;
    part->stream = stream;
    stream->part = part;
    request_job_submit_for_item(stream->exchange, &stream->item, &part->request);
}

/* When the process is to end, its loops wait for no answer, and their stores are stopped. */
static void begin_next(stream_t *stream)
{
    if (!atomic_load(&stream->exchange->http->draining)) {
        begin_part(stream);
        return;
    }
    fail_stream(stream, PROBLEM_UNAVAILABLE, "Shutting down");
    if (stream->exchange == NULL)
        free_stream(stream);
}

static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    stream_t *stream = H2O_STRUCT_FROM_MEMBER(stream_t, generator, generator);
    (void)req;
    connection_part_taken(&stream->exchange->taking);
    begin_next(stream);
}

void stream_start(exchange_t *exchange, stream_t *stream)
{
    stream->exchange = exchange;
    stream->engine = exchange->engine;
    stream->generator = (h2o_generator_t){.proceed = on_proceed};
    begin_part(stream);
}
