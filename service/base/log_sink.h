/*
 * The output of the log: a thread of its own writes the lines to standard error.
 *
 * sink_put() never waits for the reader of the log. It copies the line into a buffer of SINK_BYTES.
 * A line that does not fit is dropped and counted; when there is room again, a line with the number
 * of dropped lines is written. Before sink_start() and after sink_stop() the caller writes, and
 * waits.
 *
 * The process has one sink. Any thread may call sink_put(), sink_wake(), sink_dropped() and
 * sink_open_file(); the others are for one thread at a time.
 */
#ifndef HOLDFAST_BASE_LOG_SINK_H
#define HOLDFAST_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SINK_BYTES (1u << 20)
/* At most PIPE_BUF, so that a write to a pipe (journald, `holdfast ... 2>&1 | ...`) is atomic and
   the lines of two processes do not mix. */
#define SINK_LINE_BYTES_MAX 4096

typedef struct {
    /* Called by the thread before it sleeps; may put lines. Returns true if it must be called again
       within SINK_SLEEP_MS; else the next line triggers the next call. */
    bool (*before_sleep)(void);
    /* Makes the line that reports the number of dropped lines; returns its length. */
    size_t (*report_dropped)(char line[SINK_LINE_BYTES_MAX], uint64_t dropped);
} sink_calls_t;
#define SINK_SLEEP_MS 100

/* `calls` must outlive the process. */
void sink_start(const sink_calls_t *calls);
/* A whole line with its newline, at most SINK_LINE_BYTES_MAX bytes. */
void sink_put(const char *bytes, size_t n);
/* Makes the thread call before_sleep() soon. */
void sink_wake(void);
/* Waits until all lines are written, for `ms` at most. Returns whether all are. */
bool sink_flush(uint32_t ms);
/* The same, and then ends the thread. A thread that is blocked by the reader ends with the
   process. */
void sink_stop(uint32_t ms);
/* The number of lines dropped since the start of the process. */
uint64_t sink_dropped(void);
/* Makes the file standard error, for this process: opens it for appending, and creates it if there
   is none. Returns 0, or an errno; then standard error has not changed. Accepts a regular file only
   (else EINVAL), since a pipe could block the caller. Any thread may call, also while others
   write. */
int sink_open_file(const char *path);

#endif
