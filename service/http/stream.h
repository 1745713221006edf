/*
 * An answer in parts, each made by a job of an item's shard: for what is too long for one job, or
 * for memory.
 *
 *   run() of the first part ──▶ head and part 1 ──client has taken it──▶ run() ──▶ part 2 ... last
 *        │ fails                                                          │ fails
 *        ▼                                                                ▼
 *     a problem                                             the answer ends early, visibly
 *
 * A part is begun when the client has taken the one before. So an answer keeps one part in memory
 * however long it is, and a client that does not read, or disconnects, stops it
 * (http/connection.h ends the connection of one that does not read). A part that is empty is not
 * sent, and the next one is begun at once. An answer that ends early is seen to be cut: a broken
 * chunk in HTTP/1.1, a reset stream in HTTP/2, only the end of the connection in HTTP/1.0. That
 * happens when a server is away, when a part is not made in time, and when the process is to end.
 *
 * Embed a stream_t as the first member of a struct made with alloc_zero(). stream_start() takes the
 * struct over, and frees it (after `dispose`, if set) on the loop when neither the client nor a job
 * needs it any more. Loop thread only, except `run`; no function blocks.
 */
#ifndef HOLDFAST_HTTP_STREAM_H
#define HOLDFAST_HTTP_STREAM_H

#include "base/text.h"
#include "http/exchange.h"

struct stream_part;

typedef struct stream {
    /* Set by the caller: */
    const char *content_type; /* static */
    item_ref_t item;          /* in whose slot and shard the jobs run */
    uint32_t deadline_ms;     /* of a part */
    /* On a pool thread: writes the next part into `text`, which is empty, and sets `is_last` if
       there is no other. Anything but PROBLEM_NONE: it could not be made. */
    problem_t (*run)(struct stream *stream, worker_t *worker);
    void (*sends)(struct stream *stream);   /* before a part is sent; or NULL */
    void (*dispose)(struct stream *stream); /* or NULL */
    /* For `run`: */
    text_t text;
    bool is_last;
    /* Private, on the loop: */
    h2o_generator_t generator;
    exchange_t *exchange; /* NULL: it has ended */
    engine_loop_t *engine;
    struct stream_part *part; /* whose job has not ended; NULL: none */
    loop_timer_t timer;       /* sends an end without a part */
    h2o_send_state_t end;     /* that the timer sends */
    bool has_begun;           /* the head was sent */
    bool begins_next;         /* when the job before has ended */
} stream_t;

void stream_start(exchange_t *exchange, stream_t *stream);

#endif
