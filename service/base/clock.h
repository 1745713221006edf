/*
 * Clocks. Durations are measured on the monotonic clock; moments that others compare
 * (`starts_at`, commit deadlines, ids) are milliseconds since 1970 UTC.
 *
 * A node's own wall clock decides nothing: `remote_clock_t` follows the clock of a server
 * (Redis, a shard's primary) as an offset from this node's monotonic clock.
 */
#ifndef HOLDFAST_BASE_CLOCK_H
#define HOLDFAST_BASE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

uint64_t clock_mono_us(void);
uint64_t clock_mono_ms(void);
/* A condition whose timed waits end at a moment of the monotonic clock, and such a moment. */
void clock_cond_init(pthread_cond_t *cond);
struct timespec clock_mono_in(uint32_t ms);
/* This node's wall clock; for logs and as the first guess of a remote clock only. */
uint64_t clock_wall_ms(void);

/* Another machine's clock. Any thread may read; whoever talks to that server feeds it. */
typedef struct {
    _Atomic int64_t offset_ms; /* remote - monotonic */
    _Atomic bool heard;        /* else it is a guess, by this node's wall clock or another
                                  server's */
} remote_clock_t;

void remote_clock_init(remote_clock_t *clock);
/* The server said `remote_ms`, asked at `sent_mono_ms` and heard now. */
void remote_clock_observe(remote_clock_t *clock, uint64_t sent_mono_ms, uint64_t remote_ms);
/* As long as `clock` was never observed it shows what `other` does, if that one was: the servers of
   a deployment have one time, the wall clock of this node may have another. */
void remote_clock_guess_by(remote_clock_t *clock, const remote_clock_t *other);
uint64_t remote_clock_now_ms(const remote_clock_t *clock);
/* Has it ever been observed? What cannot be taken back is not decided by a guess. */
bool remote_clock_is_heard(const remote_clock_t *clock);

/* "2026-01-31T12:00:00.000Z" (24 characters and a NUL). `ms` is below year 10000. */
#define TIME_TEXT_SIZE 25
void time_format_rfc3339(char out[TIME_TEXT_SIZE], uint64_t ms);
/* Parses an RFC 3339 date-time with any offset; returns 0, or -1 if it is not one. */
int time_parse_rfc3339(const char *text, size_t n, uint64_t *ms);
/* "2026-01-31 12:00:00.000", as MySQL prints a DATETIME(3) in UTC; 0 or -1. */
int time_parse_sql(const char *text, size_t n, uint64_t *ms);
/* The same, written: 23 characters and a NUL. */
void time_format_sql(char out[TIME_TEXT_SIZE], uint64_t ms);

#endif
