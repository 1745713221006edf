/*
 * Where the lines of the log go: to standard error, by a thread of its own.
 *
 * sink_put() never waits for the reader of the log. It copies into a buffer of SINK_BYTES, and a
 * line that does not fit is dropped and counted; when there is room again, a line says how many
 * were. Before sink_start() and after sink_stop() lines are written by the caller, who then waits.
 *
 * sink_put() is for any thread; the others are for one thread at a time.
 */
#ifndef HOLDFAST_BASE_LOG_SINK_H
#define HOLDFAST_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SINK_BYTES (1u << 20)
/* Not above PIPE_BUF: then a write to a pipe (journald, `holdfast ... 2>&1 | ...`) is atomic, and
   the lines of two processes do not mix. */
#define SINK_LINE_BYTES_MAX 4096

typedef struct {
    /* Called by the thread, before it sleeps; it may put lines. Returns whether it is to be called
       again within SINK_LOOK_MS, else it is called when a line comes. */
    bool (*look)(void);
    /* Makes the line that says that so many were dropped; returns its length. */
    size_t (*say_dropped)(char line[SINK_LINE_BYTES_MAX], uint64_t dropped);
} sink_calls_t;
#define SINK_LOOK_MS 100

/* `calls` must outlive the process. */
void sink_start(const sink_calls_t *calls);
/* A whole line with its newline, at most SINK_LINE_BYTES_MAX bytes. */
void sink_put(const char *bytes, size_t n);
/* The thread is to look soon. */
void sink_wake(void);
/* Waits until all that was put is written, at most so long; returns whether it is. */
bool sink_flush(uint32_t ms);
/* Likewise, and ends the thread. One that waits for a reader ends with the process. */
void sink_stop(uint32_t ms);
/* Of all time. */
uint64_t sink_dropped(void);
/* Makes the file standard error, for this process: it is opened for appending, and created if there
   is none. Returns 0, or an errno; then standard error is what it was. Only a regular file is taken
   (else EINVAL), since a pipe could make the caller wait. For any thread, also while others write.
 */
int sink_open_file(const char *path);

#endif
