/*
 * How often a kind of log line is written: at most one a LOG_LIMITER_MS.
 *
 * The first line of a kind is written at once. Of those that follow within the time, the first is
 * kept, to be written when the time is over, and the others are only counted. So a burst shows its
 * first two lines and its size, a lasting fault one line a second, and a kind that stops leaves
 * nothing unsaid.
 *
 * Pure: the state is a value of one word, which its owner may change by compare-and-swap, and the
 * time is an argument (milliseconds of the monotonic clock).
 */
#ifndef HOLDFAST_BASE_LOG_LIMITER_H
#define HOLDFAST_BASE_LOG_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMITER_MS 1000

/* All zero: no line yet. */
typedef struct {
    uint64_t next_ms : 40;   /* no line is written before: enough for 34 years */
    uint64_t held_back : 24; /* since the last line that was written, the kept one included */
} log_limiter_t;

typedef enum {
    LOG_LINE_WRITE, /* write it, with the number of those held back before it */
    LOG_LINE_KEEP,  /* keep it: log_limiter_flush() says when it is written */
    LOG_LINE_COUNT  /* it is counted, nothing more */
} log_verdict_t;

/* A line comes. `held_back` is set with LOG_LINE_WRITE only; if it is not 0, one of those was kept
   and is now superseded. */
log_verdict_t log_limiter_line(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back);
/* Is a kept line to be written now? `held_back` is how many there were besides it. */
bool log_limiter_flush(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back);

#endif
