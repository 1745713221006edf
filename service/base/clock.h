/*
 * Clocks. Durations are measured on the monotonic clock. Times that several machines compare
 * (`starts_at`, commit deadlines, ids) are milliseconds since 1970 UTC.
 *
 * A node's own wall clock decides nothing: `remote_clock_t` follows the clock of a server (Redis, a
 * shard's primary) as an offset from this node's monotonic clock.
 *
 * Any thread may call; nothing blocks. The caller owns every value.
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
/* clock_cond_init() makes a condition whose timed waits use the monotonic clock; clock_mono_in()
   returns the end of such a wait, `ms` from now. */
void clock_cond_init(pthread_cond_t *cond);
struct timespec clock_mono_in(uint32_t ms);
/* This node's wall clock, ms since 1970 UTC: only for logs and as the first guess of a remote
   clock. */
uint64_t clock_wall_ms(void);

/* The clock of another machine. Any thread may read it, and any thread that talks to that server
   may update it. */
typedef struct {
    _Atomic int64_t offset_ms; /* remote - monotonic */
    /* at least once; else the offset is a guess, from this node's wall clock or another server's */
    _Atomic bool observed;
} remote_clock_t;

void remote_clock_init(remote_clock_t *clock);
/* Updates the clock from an answer that has just arrived: the request was sent at `sent_mono_ms`,
   and the server's time in the answer was `remote_ms`. */
void remote_clock_observe(remote_clock_t *clock, uint64_t sent_mono_ms, uint64_t remote_ms);
/* Until `clock` is first observed, it takes the value of `other`, if that was observed. The servers
   of a deployment share one time; the wall clock of this node may differ from it. */
void remote_clock_guess_by(remote_clock_t *clock, const remote_clock_t *other);
uint64_t remote_clock_now_ms(const remote_clock_t *clock);
/* Was it ever observed? Decisions that cannot be undone must not rely on a guess. */
bool remote_clock_is_observed(const remote_clock_t *clock);

/* Writes "2026-01-31T12:00:00.000Z" (24 characters and a NUL). `ms` is below year 10000. */
#define TIME_TEXT_SIZE 25
void time_format_rfc3339(char out[TIME_TEXT_SIZE], uint64_t ms);
/* Parses an RFC 3339 date-time with any offset. Returns 0, or -1 if the text is not one. */
int time_parse_rfc3339(const char *text, size_t n, uint64_t *ms);
/* Parses "2026-01-31 12:00:00.000", the form in which MySQL prints a DATETIME(3) in UTC. Returns 0
   or -1. */
int time_parse_sql(const char *text, size_t n, uint64_t *ms);
/* Writes the same form: 23 characters and a NUL. */
void time_format_sql(char out[TIME_TEXT_SIZE], uint64_t ms);

#endif
