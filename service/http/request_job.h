/*
 * A request that needs blocking work: a pool job that outlives its exchange if the client
 * disconnects.
 *
 * Embed a request_job_t as the first member of a struct made with alloc_zero().
 * request_job_submit() takes the struct over. `run` is called on a pool thread and must not touch
 * the exchange. `reply` is called on the loop, or left out if the client has disconnected. Then the
 * struct is freed (after `dispose`, if set), on the loop.
 *
 * With a deadline the client receives 503 when it passes: all pool threads may be blocked on a
 * silent server, and the queue may be long. A job that has not begun by then is not run; one that
 * has begun runs to its end without a client.
 *
 * Loop thread only; no function blocks.
 */
#ifndef HOLDFAST_HTTP_REQUEST_JOB_H
#define HOLDFAST_HTTP_REQUEST_JOB_H

#include "http/exchange.h"

typedef struct request_job {
    job_t job;
    exchange_t *exchange; /* NULL: answered, or the client has disconnected */
    engine_loop_t *engine;
    void (*run)(struct request_job *request, worker_t *worker);
    void (*reply)(struct request_job *request, exchange_t *exchange);
    /* The job cannot be run, or has not ended in time. NULL: the answer is 503 with `why`. */
    void (*fail)(struct request_job *request, exchange_t *exchange, const char *why);
    void (*dispose)(struct request_job *request); /* or NULL */
    uint32_t deadline_ms;                         /* 0: none */
    loop_timer_t deadline;
    atomic_bool over; /* the deadline has passed */
} request_job_t;

/* Submits `request` to the pool of `shard` and takes it over. The caller has set `run`, `reply`,
   `fail`, `dispose` and `deadline_ms`. If the pool is full or the prober reports the shard silent,
   the answer is 503 inside this call, and `request` is freed. */
void request_job_submit(exchange_t *exchange, unsigned shard, request_job_t *request);
/* The same for a job about one item: it counts in the item's slot, in the pool of the item's
   shard. */
void request_job_submit_for_item(exchange_t *exchange, const item_ref_t *item,
                                 request_job_t *request);
#endif
