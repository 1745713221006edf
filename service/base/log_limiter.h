/*
 * Limits a kind of log line to one every LOG_LIMITER_MS.
 *
 * The first line of a kind is written at once. Of the lines that follow within that time, the first
 * is kept and written when the time is over; the others are only counted. So a burst shows its
 * first two lines and its size, a lasting fault shows one line a second, and no line is left over
 * when a kind stops.
 *
 * Pure: the state is a value of one word, which its owner may change by compare-and-swap, and the
 * time is an argument (ms of the monotonic clock). Any thread may call.
 */
#ifndef HOLDFAST_BASE_LOG_LIMITER_H
#define HOLDFAST_BASE_LOG_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMITER_MS 1000

/* All zero: no line yet. */
typedef struct {
    uint64_t next_ms : 40;   /* no line is written before this time; 40 bits last 34 years */
    uint64_t held_back : 24; /* lines since the last written one, including the kept one */
} log_limiter_t;

typedef enum {
    LOG_LINE_WRITE, /* write it, with the number of lines held back before it */
    LOG_LINE_KEEP,  /* keep it until log_limiter_flush() returns true */
    LOG_LINE_COUNT  /* only count it */
} log_verdict_t;

/* Decides about a new line. `held_back` is set with LOG_LINE_WRITE only. If it is not 0, one of
   those lines was kept, and this line replaces it. */
log_verdict_t log_limiter_line(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back);
/* Is a kept line due? `held_back` is then the number of the others. */
bool log_limiter_flush(log_limiter_t *state, uint64_t now_ms, uint32_t *held_back);

#endif
