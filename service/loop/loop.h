/*
 * One event loop and its thread: libh2o's evloop with a mailbox, one-shot timers, and watches on
 * the connections to our own servers.
 *
 * Each object of a loop is used on the loop's thread only. Other threads post messages; loop_post()
 * is the only function here that another thread may call. No function blocks except loop_run(). A
 * callback never runs inside the call that requested it. Delays are in milliseconds. If the process
 * has no descriptor left, it ends (FATAL): there is no error to return.
 *
 * Messages and the answers of our own servers go before new requests. The kernel lists the ready
 * descriptors in the order in which they became ready; on a saturated loop that list is as long as
 * the crowd of buyers. So the loop runs its messages, and polls its watches, between two turns,
 * before it reads that list again. (Without this, the orders of a saturated loop waited for a
 * server's answer behind all the requests that were to be refused.)
 */
#ifndef HOLDFAST_LOOP_LOOP_H
#define HOLDFAST_LOOP_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
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
    pthread_mutex_t mailbox_lock; /* over `mailbox` */
    h2o_linklist_t mailbox;
    atomic_bool has_mail;
    h2o_socket_t *wakeup; /* an eventfd; written to when there is mail */
    h2o_linklist_t watches;
    uint64_t polled_ms; /* monotonic; when the watches were last polled */
    h2o_timeout_t delays[LOOP_DELAYS_COUNT];
    unsigned index;
    bool stop; /* set by a message */
} loop_t;

/* The sender embeds it in its message. The loop calls `run` once, on its thread. */
typedef struct loop_message {
    h2o_linklist_t link;
    void (*run)(struct loop_message *message);
} loop_message_t;

/* The owner of a descriptor embeds it. Zero-initialised means "not watched". Both callbacks may run
   without cause (the descriptor is not ready), and may stop the watch. */
typedef struct loop_watch {
    h2o_linklist_t link;
    h2o_socket_t *socket;
    bool reads, writes; /* the events that it waits for */
    void (*readable)(struct loop_watch *watch);
    void (*writable)(struct loop_watch *watch);
} loop_watch_t;

/* The owner of a wait embeds it. Zero-initialised means "not started". */
typedef struct loop_timer {
    h2o_timeout_entry_t entry;
    void (*expired)(struct loop_timer *timer);
} loop_timer_t;

/* Call it on the thread that will run the loop: h2o keeps buffers for each thread. */
void loop_init(loop_t *loop, unsigned index);
/* Runs until loop->stop, on the calling thread. */
void loop_run(loop_t *loop);
/* Any thread. The loop owns the message until it runs. */
void loop_post(loop_t *loop, loop_message_t *message);
/* On the loop's thread. Restarts a running timer. `delay_ms` is at most LOOP_DELAY_MAX_MS, and is
   rounded up to one of LOOP_DELAYS_MS. */
void loop_timer_start(loop_t *loop, loop_timer_t *timer, uint32_t delay_ms,
                      void (*expired)(loop_timer_t *timer));
/* On the loop's thread. Does nothing to a timer that is not running. */
void loop_timer_stop(loop_timer_t *timer);
/* On the loop's thread. The caller keeps `fd` and closes it. The watch waits for nothing until one
   of the next two functions is called. */
void loop_watch_start(loop_t *loop, loop_watch_t *watch, int fd, void (*readable)(loop_watch_t *),
                      void (*writable)(loop_watch_t *));
/* Switches on or off whether the watch waits for bytes to read. */
void loop_watch_reads(loop_watch_t *watch, bool wanted);
/* Waits for room to write, once. */
void loop_watch_write(loop_watch_t *watch);
/* Call it before `fd` is closed. Does nothing to a watch that is not started. */
void loop_watch_stop(loop_watch_t *watch);

#endif
