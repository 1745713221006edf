/*
 * One event loop and its thread: libh2o's evloop with a mailbox and one-shot timers.
 *
 * What belongs to a loop is touched on its thread only. Other threads post messages. A callback
 * never runs inside the call that asked for it.
 */
#ifndef HOLDFAST_LOOP_LOOP_H
#define HOLDFAST_LOOP_LOOP_H

#include <stdbool.h>

#include <h2o.h>

/* libh2o 2.2 has one list of timers for each duration; a delay is rounded up to one of these. */
#define LOOP_DELAYS_MS                                                                             \
    {                                                                                              \
        0, 1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 5120,    \
            6144, 8192, 12288, 16384                                                               \
    }
#define LOOP_DELAYS_COUNT 23
#define LOOP_DELAY_MAX_MS 16384

typedef struct {
    h2o_loop_t *h2o;
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t mailbox;
    h2o_timeout_t delays[LOOP_DELAYS_COUNT];
    unsigned index;
    bool stop; /* set by a message */
} loop_t;

/* Embedded in what is sent; `run` is called once, on the loop's thread. */
typedef struct loop_message {
    h2o_multithread_message_t super;
    void (*run)(struct loop_message *message);
} loop_message_t;

/* Embedded in what waits; zero-initialised is "not started". */
typedef struct loop_timer {
    h2o_timeout_entry_t entry;
    void (*expired)(struct loop_timer *timer);
} loop_timer_t;

/* On the thread that will run it: h2o keeps buffers per thread. */
void loop_init(loop_t *loop, unsigned index);
/* Runs until loop->stop, on the calling thread. */
void loop_run(loop_t *loop);
/* From any thread. The message is owned by the loop until it runs. */
void loop_post(loop_t *loop, loop_message_t *message);
/* On the loop's thread. A running timer is started anew. At most LOOP_DELAY_MAX_MS. */
void loop_timer_start(loop_t *loop, loop_timer_t *timer, uint32_t delay_ms,
                      void (*expired)(loop_timer_t *timer));
void loop_timer_stop(loop_timer_t *timer);

#endif
