/*
 * A request that needs blocking work: a pool job that outlives its exchange if the client goes.
 *
 * Embed a call_t first in a struct made with alloc_zero(). `run` is on a pool thread and may not
 * touch the exchange; `reply` is on the loop and is left out when the client has gone; then the
 * struct is freed (`dispose` first, if set).
 *
 * With a deadline the client hears 503 when it passes: all threads of the pool may be waiting for a
 * server that is silent, and the queue is long. A job that was not begun by then is left out; one
 * that was goes on without a client.
 */
#ifndef HOLDFAST_HTTP_CALL_H
#define HOLDFAST_HTTP_CALL_H

#include "http/exchange.h"

typedef struct call {
    job_t job;
    exchange_t *exchange; /* NULL: the client has gone */
    engine_loop_t *engine;
    void (*run)(struct call *call, worker_t *worker);
    void (*reply)(struct call *call, exchange_t *exchange);
    void (*dispose)(struct call *call); /* or NULL */
    uint32_t deadline_ms;               /* 0: none */
    loop_timer_t deadline;
    atomic_bool over; /* the deadline has passed */
} call_t;

/* Takes `call`. A full pool, or a shard that is known to be silent, is answered 503 at once. `run`,
   `reply`, `dispose` and `deadline_ms` are set by the caller. */
void call_submit(exchange_t *exchange, unsigned shard, call_t *call);
/* Likewise, for what is about one item: in its slot of the pool of its shard. */
void call_submit_for_item(exchange_t *exchange, const item_ref_t *item, call_t *call);
#endif
