#include "base/clock.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

/* 9999-12-31T23:59:59.999Z: the last time that both text forms can express. */
#define TIME_MS_MAX INT64_C(253402300799999)

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

void clock_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec clock_mono_in(uint32_t ms)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    moment.tv_nsec += (long)(ms % 1000) * 1000000;
    moment.tv_sec += ms / 1000 + moment.tv_nsec / 1000000000;
    moment.tv_nsec %= 1000000000;
    return moment;
}

uint64_t clock_wall_ms(void)
{
    return clock_read_us(CLOCK_REALTIME) / 1000;
}

void remote_clock_init(remote_clock_t *clock)
{
    atomic_store(&clock->offset_ms, (int64_t)clock_wall_ms() - (int64_t)clock_mono_ms());
    atomic_store(&clock->observed, false);
}

/*
 * The server read its clock at some moment between the request and now, so the true offset is
 * within [remote - now, remote - sent]. The estimate moves by the least that brings it into that
 * interval: a quick answer makes it exact, and a slow one never makes it worse.
 */
void remote_clock_observe(remote_clock_t *clock, uint64_t sent_mono_ms, uint64_t remote_ms)
{
    int64_t low = (int64_t)remote_ms - (int64_t)clock_mono_ms();
    int64_t high = (int64_t)remote_ms - (int64_t)sent_mono_ms;
    int64_t offset = atomic_load_explicit(&clock->offset_ms, memory_order_relaxed);
    if (offset > high)
        offset = high;
    if (offset < low)
        offset = low;
    /* Two observers may race: either value lies within an interval that was just measured. */
    atomic_store_explicit(&clock->offset_ms, offset, memory_order_relaxed);
    atomic_store_explicit(&clock->observed, true, memory_order_release);
}

/* The offset is read before `observed`. If an observation comes in between, the compare-and-swap
   fails, and the observation stays. */
void remote_clock_guess_by(remote_clock_t *clock, const remote_clock_t *other)
{
    int64_t before = atomic_load(&clock->offset_ms);
    if (!remote_clock_is_observed(clock) && remote_clock_is_observed(other))
        atomic_compare_exchange_strong(&clock->offset_ms, &before, atomic_load(&other->offset_ms));
}

uint64_t remote_clock_now_ms(const remote_clock_t *clock)
{
    int64_t offset = atomic_load_explicit(&clock->offset_ms, memory_order_relaxed);
    return (uint64_t)((int64_t)clock_mono_ms() + offset);
}

bool remote_clock_is_observed(const remote_clock_t *clock)
{
    return atomic_load_explicit(&clock->observed, memory_order_acquire);
}

static char *put_digits(char *at, unsigned value, int width, char after)
{
    for (int i = width - 1; i >= 0; --i) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    at[width] = after;
    return at + width + 1;
}

#define SECOND_TEXT 20 /* "2026-01-31 12:00:00." */
#define BETWEEN_AT 10

static void put_second(char *at, time_t seconds)
{
    struct tm tm;
    gmtime_r(&seconds, &tm);
    at = put_digits(at, (unsigned)tm.tm_year + 1900, 4, '-');
    at = put_digits(at, (unsigned)tm.tm_mon + 1, 2, '-');
    at = put_digits(at, (unsigned)tm.tm_mday, 2, ' ');
    at = put_digits(at, (unsigned)tm.tm_hour, 2, ':');
    at = put_digits(at, (unsigned)tm.tm_min, 2, ':');
    put_digits(at, (unsigned)tm.tm_sec, 2, '.');
}

/* Most calls of a thread are for the same second, so the text is cached: gmtime_r() takes a lock
   and reads the zone each time. */
static char *put_date_time(char *at, uint64_t ms, char between)
{
    static _Thread_local struct {
        time_t seconds;
        bool is_set;
        char text[SECOND_TEXT];
    } last;
    time_t seconds = (time_t)(ms / 1000);
    if (!last.is_set || last.seconds != seconds) {
        put_second(last.text, seconds);
        last.seconds = seconds;
        last.is_set = true;
    }
    memcpy(at, last.text, SECOND_TEXT);
    at[BETWEEN_AT] = between;
    return put_digits(at + SECOND_TEXT, (unsigned)(ms % 1000), 3, '\0');
}

void time_format_rfc3339(char out[TIME_TEXT_SIZE], uint64_t ms)
{
    char *end = put_date_time(out, ms, 'T');
    end[-1] = 'Z';
    end[0] = '\0';
}

void time_format_sql(char out[TIME_TEXT_SIZE], uint64_t ms)
{
    put_date_time(out, ms, ' ');
}

typedef struct {
    const char *at, *end;
} cursor_t;

static bool take_digits(cursor_t *c, int width, int *value)
{
    *value = 0;
    for (int i = 0; i < width; ++i, ++c->at) {
        if (c->at == c->end || *c->at < '0' || *c->at > '9')
            return false;
        *value = *value * 10 + (*c->at - '0');
    }
    return true;
}

/* Takes one character of `set`. */
static bool take_one_of(cursor_t *c, const char *set)
{
    if (c->at == c->end || *c->at == '\0' || strchr(set, *c->at) == NULL)
        return false;
    ++c->at;
    return true;
}

/* Takes "2026-01-31T12:00:00" as seconds since 1970; refuses a 30th of February. */
static bool take_date_time(cursor_t *c, const char *between, int64_t *seconds)
{
    struct tm tm = {0};
    bool shaped =
        take_digits(c, 4, &tm.tm_year) && take_one_of(c, "-") && take_digits(c, 2, &tm.tm_mon) &&
        take_one_of(c, "-") && take_digits(c, 2, &tm.tm_mday) && take_one_of(c, between) &&
        take_digits(c, 2, &tm.tm_hour) && take_one_of(c, ":") && take_digits(c, 2, &tm.tm_min) &&
        take_one_of(c, ":") && take_digits(c, 2, &tm.tm_sec);
    /* 60 is a leap second; it becomes the first moment of the next minute. */
    if (!shaped || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int month = tm.tm_mon, second = tm.tm_sec;
    struct tm date = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    timegm(&date); /* timegm() normalises: the month changes if the day does not exist */
    if (date.tm_mon != month || date.tm_mday != tm.tm_mday)
        return false;
    tm.tm_sec = 0;
    *seconds = (int64_t)timegm(&tm) + second;
    return true;
}

/* Takes ".123456" as 123 ms; no fraction is 0. */
static bool take_fraction(cursor_t *c, int64_t *ms)
{
    *ms = 0;
    if (!take_one_of(c, "."))
        return true;
    int digit;
    int64_t scale = 100;
    if (!take_digits(c, 1, &digit))
        return false;
    do {
        *ms += digit * scale;
        scale /= 10;
    } while (c->at != c->end && *c->at >= '0' && *c->at <= '9' && take_digits(c, 1, &digit));
    return true;
}

static bool take_offset(cursor_t *c, int64_t *seconds)
{
    *seconds = 0;
    if (take_one_of(c, "Zz"))
        return true;
    int sign = c->at != c->end && *c->at == '-' ? -1 : 1;
    int hours, minutes;
    if (!take_one_of(c, "+-") || !take_digits(c, 2, &hours) || !take_one_of(c, ":") ||
        !take_digits(c, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int time_result(int64_t time_ms, uint64_t *ms)
{
    if (time_ms < 0 || time_ms > TIME_MS_MAX)
        return -1;
    *ms = (uint64_t)time_ms;
    return 0;
}

int time_parse_rfc3339(const char *text, size_t n, uint64_t *ms)
{
    cursor_t c = {text, text + n};
    int64_t seconds, fraction, offset;
    if (!take_date_time(&c, "Tt", &seconds) || !take_fraction(&c, &fraction) ||
        !take_offset(&c, &offset) || c.at != c.end)
        return -1;
    return time_result((seconds - offset) * 1000 + fraction, ms);
}

int time_parse_sql(const char *text, size_t n, uint64_t *ms)
{
    cursor_t c = {text, text + n};
    int64_t seconds, fraction;
    if (!take_date_time(&c, " ", &seconds) || !take_fraction(&c, &fraction) || c.at != c.end)
        return -1;
    return time_result(seconds * 1000 + fraction, ms);
}
