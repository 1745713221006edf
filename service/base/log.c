#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"

/* Not above PIPE_BUF: then a write to a pipe (journald, `holdfast ... 2>&1 | ...`) is atomic. */
#define LINE_BYTES_MAX 4096
/* What ends a line that was cut. Room for it is kept free, so that it is always valid JSON. */
#define LINE_CUT ",\"truncated\":true}\n"

typedef struct {
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

/* Whole or not at all: an escape or a character is never split. */
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

/* One character at `p`; returns the bytes it took, 0 if the line is full. */
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

/* A JSON string; what does not fit is cut off. False if not even the quotes fit. */
static bool line_put_string(line_t *line, str_t s)
{
    if (s.p == NULL)
        return line_put(line, STR("null"));
    if (!line_put(line, STR("\"\"")))
        return false;
    line->n--; /* the closing quote has its place already */
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

/* A member that does not fit at all is left out, and the line says that it was cut. */
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

/* The last folder and the name: "http/server.c", wherever the compiler ran. */
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

static void line_write(line_t *line)
{
    /* The room for LINE_CUT was never given away by line_put(). */
    str_t end = line->cut ? STR(LINE_CUT) : STR("}\n");
    memcpy(line->bytes + line->n, end.p, end.n);
    line->n += end.n;
    for (size_t sent = 0; sent < line->n;) {
        ssize_t n = write(STDERR_FILENO, line->bytes + sent, line->n - sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* there is nowhere to report that the log is gone */
        sent += (size_t)n;
    }
}

void log_write(log_level_t level, const char *file, int line_number, const char *msg, ...)
{
    int saved_errno = errno;
    line_t line = {.n = 0, .cut = false};
    line_put_head(&line, level);
    line_put_place(&line, file, line_number);
    log_field_t text = LOG_STR("msg", msg);
    line_put_member(&line, &text);
    va_list fields;
    va_start(fields, msg);
    for (;;) {
        log_field_t field = va_arg(fields, log_field_t);
        if (field.kind == LOG_FIELD_END)
            break;
        line_put_member(&line, &field);
    }
    va_end(fields);
    line_write(&line);
    errno = saved_errno;
}
