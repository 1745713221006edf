#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log_sink.h"

#define LINE_BYTES_MAX SINK_LINE_BYTES_MAX
/* The end of a line that was cut. Room for it is reserved, so that every line is valid JSON. */
#define LINE_CUT ",\"truncated\":true}\n"

/* Limit in ms of the wait for the reader of the log at the end of the process. */
#define STOP_MS 1000
#define FLUSH_MS 200

typedef struct log_line {
    size_t n;
    bool cut;
    char bytes[LINE_BYTES_MAX];
} line_t;

static _Atomic int level_now = LOG_LEVEL_INFO;

void log_set_level(log_level_t level)
{
    atomic_store_explicit(&level_now, (int)level, memory_order_relaxed);
}

bool log_enabled(log_level_t level)
{
    return (int)level >= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* Appends all of `s` or nothing: an escape or a character is never split. */
static bool line_put(line_t *line, str_t s)
{
    if (s.n > LINE_BYTES_MAX - sizeof(LINE_CUT) - line->n)
        return false;
    memcpy(line->bytes + line->n, s.p, s.n);
    line->n += s.n;
    return true;
}

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the well-formed UTF-8 sequence at `p` (RFC 3629: no overlong forms, no surrogates),
   or 0. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return n >= 2 && is_continuation(p[1]) ? 2 : 0;
    if (n < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
        return 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
        bool surrogate = p[0] == 0xed && p[1] > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (n < 4 || p[0] < 0xf0 || p[0] > 0xf4 || !is_continuation(p[3]))
        return 0;
    bool overlong = p[0] == 0xf0 && p[1] < 0x90;
    bool beyond = p[0] == 0xf4 && p[1] > 0x8f;
    return overlong || beyond ? 0 : 4;
}

static bool line_put_control(line_t *line, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    switch (c) {
    case '\n':
        return line_put(line, STR("\\n"));
    case '\r':
        return line_put(line, STR("\\r"));
    case '\t':
        return line_put(line, STR("\\t"));
    default:
        return line_put(line, (str_t){escape, sizeof(escape)});
    }
}

/* Appends one character at `p`. Returns the bytes that it took; 0 if the line is full. */
static size_t line_put_char(line_t *line, const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    if (c == '"' || c == '\\')
        return line_put(line, (str_t){(char[2]){'\\', *p}, 2});
    if (c < 0x20 || c == 0x7f)
        return line_put_control(line, c);
    size_t length = utf8_length((const unsigned char *)p, n);
    if (length == 0)
        return line_put(line, STR("\\ufffd"));
    return line_put(line, (str_t){p, length}) ? length : 0;
}

/* Appends a JSON string, cut to the room. False if not even the quotes fit. */
static bool line_put_string(line_t *line, str_t s)
{
    if (s.p == NULL)
        return line_put(line, STR("null"));
    if (!line_put(line, STR("\"\"")))
        return false;
    --line->n; /* room for the closing quote is reserved */
    size_t room_for_quote = 1;
    for (size_t i = 0, step; i < s.n; i += step) {
        size_t before = line->n;
        step = line_put_char(line, s.p + i, s.n - i);
        if (step != 0 && line->n + room_for_quote <= LINE_BYTES_MAX - sizeof(LINE_CUT))
            continue;
        line->n = before;
        line->cut = true;
        break;
    }
    line->bytes[line->n++] = '"';
    return true;
}

static bool line_put_number(line_t *line, long long number)
{
    char digits[24];
    size_t at = sizeof(digits);
    unsigned long long rest =
        number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0)
        digits[--at] = '-';
    return line_put(line, (str_t){digits + at, sizeof(digits) - at});
}

/* Appends a member. One that does not fit at all is left out, and the line is marked as cut. */
static void line_put_member(line_t *line, const log_field_t *field)
{
    size_t before = line->n;
    bool whole = line_put(line, line->n == 0 ? STR("{\"") : STR(",\"")) &&
                 line_put(line, str_of(field->name)) && line_put(line, STR("\":")) &&
                 (field->kind == LOG_FIELD_INT ? line_put_number(line, field->number)
                                               : line_put_string(line, field->str));
    if (whole)
        return;
    line->n = before;
    line->cut = true;
}

/* The last folder and the name: "http/server.c", independent of the compiler's directory. */
static str_t short_path(const char *file)
{
    const char *start = file;
    for (const char *slash = strchr(file, '/'); slash != NULL;) {
        const char *next = strchr(slash + 1, '/');
        if (next != NULL)
            start = slash + 1;
        slash = next;
    }
    return str_of(start);
}

static void line_put_place(line_t *line, const char *file, int number)
{
    line_t place = {.n = 0};
    line_put(&place, short_path(file));
    line_put(&place, STR(":"));
    line_put_number(&place, number);
    log_field_t field = LOG_BYTES("at", ((str_t){place.bytes, place.n}));
    line_put_member(line, &field);
}

static void line_put_head(line_t *line, log_level_t level)
{
    static const char *const words[] = {"debug", "info", "warn", "error"};
    char now[TIME_TEXT_SIZE];
    time_format_rfc3339(now, clock_wall_ms());
    log_field_t ts = LOG_STR("ts", now);
    log_field_t word = LOG_STR("level", words[level]);
    line_put_member(line, &ts);
    line_put_member(line, &word);
}

static void line_end(line_t *line)
{
    /* line_put() never uses the room for LINE_CUT. */
    str_t end = line->cut ? STR(LINE_CUT) : STR("}\n");
    memcpy(line->bytes + line->n, end.p, end.n);
    line->n += end.n;
}

static void line_write(line_t *line)
{
    line_end(line);
    sink_put(line->bytes, line->n);
}

/* --- the limit of each kind --- */

/* Guards the kept lines. Lines that are only counted do not take it, so that a flood of them never
   blocks; they change a limiter by compare-and-swap. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static log_site_t *sites;
static unsigned kept_count;
static _Atomic uint64_t held_back_total;

/* The verdict on a line now. The change is stored only for LOG_LINE_COUNT. */
static log_verdict_t site_count(log_site_t *site, uint64_t now_ms)
{
    log_limiter_t old = atomic_load_explicit(&site->limiter, memory_order_relaxed), new;
    uint32_t unused;
    do {
        new = old;
        log_verdict_t verdict = log_limiter_line(&new, now_ms, &unused);
        if (verdict != LOG_LINE_COUNT)
            return verdict;
    } while (!atomic_compare_exchange_weak(&site->limiter, &old, new));
    return LOG_LINE_COUNT;
}

/* Under the mutex. */
static log_verdict_t site_step(log_site_t *site, uint64_t now_ms, uint32_t *held_back)
{
    log_limiter_t old = atomic_load(&site->limiter), new;
    log_verdict_t verdict;
    do {
        new = old;
        verdict = log_limiter_line(&new, now_ms, held_back);
    } while (!atomic_compare_exchange_weak(&site->limiter, &old, new));
    return verdict;
}

/* Under the mutex. The caller frees the result; NULL: no line is kept. */
static line_t *site_take_kept(log_site_t *site)
{
    line_t *line = site->kept;
    site->kept = NULL;
    kept_count -= line != NULL;
    return line;
}

/* Under the mutex. If there is no memory for a copy, the line is only counted. */
static void site_keep(log_site_t *site, const line_t *line)
{
    assert(site->kept == NULL);
    site->kept = malloc(sizeof(*line));
    if (site->kept == NULL)
        return;
    memcpy(site->kept, line, sizeof(*line));
    ++kept_count;
    if (!site->listed) {
        site->next = sites;
        sites = site;
        site->listed = true;
    }
    sink_wake();
}

/* Under the mutex. The kept line of this site, if it is due or `all` is true; then `held_back` is
   set. */
static line_t *site_due(log_site_t *site, uint64_t now_ms, bool all, uint32_t *held_back)
{
    log_limiter_t old = atomic_load(&site->limiter), new;
    if (site->kept == NULL)
        return NULL;
    do {
        new = old;
        if (!log_limiter_flush(&new, all ? old.next_ms : now_ms, held_back))
            return NULL;
    } while (!atomic_compare_exchange_weak(&site->limiter, &old, new));
    return site_take_kept(site);
}

static void line_write_for_others(line_t *line, uint32_t held_back)
{
    log_field_t field = LOG_INT("held_back", held_back);
    if (held_back != 0)
        line_put_member(line, &field);
    atomic_fetch_add_explicit(&held_back_total, held_back, memory_order_relaxed);
    line_write(line);
}

/* Lines are written without the mutex, because a write may block for long if there is no sink
   thread. */
static void write_due(uint64_t now_ms, bool all)
{
    uint32_t held_back = 0;
    line_t *line;
    do {
        line = NULL;
        pthread_mutex_lock(&mutex);
        for (log_site_t *site = sites; site != NULL && line == NULL; site = site->next)
            line = site_due(site, now_ms, all, &held_back);
        pthread_mutex_unlock(&mutex);
        if (line != NULL)
            line_write_for_others(line, held_back);
        free(line);
    } while (line != NULL);
}

/* Called by the sink's thread. */
static bool write_kept(void)
{
    write_due(clock_mono_ms(), false);
    pthread_mutex_lock(&mutex);
    bool again = kept_count != 0;
    pthread_mutex_unlock(&mutex);
    return again;
}

static size_t report_dropped(char out[SINK_LINE_BYTES_MAX], uint64_t dropped)
{
    line_t line = {.n = 0, .cut = false};
    log_field_t msg = LOG_STR("msg", "log lines were dropped: the reader of the log is too slow");
    log_field_t count = LOG_INT("dropped", dropped);
    line_put_head(&line, LOG_LEVEL_WARN);
    line_put_place(&line, __FILE__, __LINE__);
    line_put_member(&line, &msg);
    line_put_member(&line, &count);
    line_end(&line);
    memcpy(out, line.bytes, line.n);
    return line.n;
}

void log_start(void)
{
    static const sink_calls_t calls = {.before_sleep = write_kept,
                                       .report_dropped = report_dropped};
    sink_start(&calls);
}

void log_stop(void)
{
    write_due(clock_mono_ms(), true);
    sink_stop(STOP_MS);
}

void log_flush(void)
{
    write_due(clock_mono_ms(), true);
    sink_flush(FLUSH_MS);
}

bool log_open_file(const char *path)
{
    errno = sink_open_file(path);
    return errno == 0;
}

uint64_t log_lines_held_back(void)
{
    return atomic_load_explicit(&held_back_total, memory_order_relaxed);
}

uint64_t log_lines_dropped(void)
{
    return sink_dropped();
}

/* --- one line --- */

/* Fills all of a line except its end, which line_write() adds. */
static void line_fill(line_t *line, log_level_t level, const char *file, int line_number,
                      const char *msg, va_list fields)
{
    log_field_t text = LOG_STR("msg", msg), field;
    line->n = 0;
    line->cut = false;
    line_put_head(line, level);
    line_put_place(line, file, line_number);
    line_put_member(line, &text);
    while (field = va_arg(fields, log_field_t), field.kind != LOG_FIELD_END)
        line_put_member(line, &field);
}

void log_write(log_level_t level, const char *file, int line_number, const char *msg, ...)
{
    int saved_errno = errno;
    line_t line;
    va_list fields;
    va_start(fields, msg);
    line_fill(&line, level, file, line_number, msg, fields);
    va_end(fields);
    line_write(&line);
    errno = saved_errno;
}

void log_write_limited(log_site_t *site, log_level_t level, const char *msg, ...)
{
    int saved_errno = errno;
    uint64_t now_ms = clock_mono_ms();
    uint32_t held_back = 0;
    line_t line, *superseded = NULL;
    va_list fields;
    if (site_count(site, now_ms) == LOG_LINE_COUNT)
        return;
    va_start(fields, msg);
    line_fill(&line, level, site->file, site->line, msg, fields);
    va_end(fields);
    pthread_mutex_lock(&mutex);
    log_verdict_t verdict = site_step(site, now_ms, &held_back);
    if (verdict == LOG_LINE_KEEP)
        site_keep(site, &line);
    else if (verdict == LOG_LINE_WRITE)
        superseded = site_take_kept(site);
    pthread_mutex_unlock(&mutex);
    free(superseded);
    if (verdict == LOG_LINE_WRITE) {
        line_write_for_others(&line, held_back);
        write_due(now_ms, false);
    }
    errno = saved_errno;
}
