/*
 * One event loop and its thread: libh2o's evloop with a mailbox, one-shot timers, and watches on
 * the connections to our own servers.
 *
 * What belongs to a loop is touched on its thread only. Other threads post messages. A callback
 * never runs inside the call that asked for it.
 *
 * Those who are served already go before those who come: the kernel lists what is ready in the
 * order in which it became so, and under more than a loop can do that list is as long as the crowd.
 * So messages, and watches after a long turn, are looked at between turns, ahead of that list.
 * (Without it the orders of a saturated loop waited for a server's answer behind all who were to be
 * refused.)
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
    h2o_socket_t *bell; /* rung when there is mail; an eventfd */
    h2o_linklist_t watches;
    uint64_t looked_ms; /* at them; monotonic */
    h2o_timeout_t delays[LOOP_DELAYS_COUNT];
    unsigned index;
    bool stop; /* set by a message */
} loop_t;

/* Embedded in what is sent; `run` is called once, on the loop's thread. */
typedef struct loop_message {
    h2o_linklist_t link;
    void (*run)(struct loop_message *message);
} loop_message_t;

/* Embedded in what has a descriptor to watch; zero-initialised is "not watched". Both callbacks may
   run without cause, and may stop the watch. */
typedef struct loop_watch {
    h2o_linklist_t link;
    h2o_socket_t *socket;
    bool reads, writes; /* what is waited for */
    void (*readable)(struct loop_watch *watch);
    void (*writable)(struct loop_watch *watch);
} loop_watch_t;

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
/* On the loop's thread. The caller keeps and closes `fd`. Nothing is waited for yet. */
void loop_watch_start(loop_t *loop, loop_watch_t *watch, int fd, void (*readable)(loop_watch_t *),
                      void (*writable)(loop_watch_t *));
/* Whether to wait for bytes to read, from now on. */
void loop_watch_reads(loop_watch_t *watch, bool wanted);
/* Waits for room to write, once. */
void loop_watch_write(loop_watch_t *watch);
/* Before `fd` is closed. Of one that is not watched: nothing. */
void loop_watch_stop(loop_watch_t *watch);

#endif
