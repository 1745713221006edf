/*
 * The log: one JSON object a line on standard error.
 *
 * Every line has `ts` (RFC 3339, UTC), `level`, `at` (file:line) and `msg`. LOG_* take further
 * members as name/value pairs made with the LOG_STR, LOG_INT... macros:
 *
 *     LOG_WARN("redis connection lost", LOG_STR("error", err), LOG_INT("retry_ms", 50));
 *
 * Any thread may log. Between log_start() and log_stop() no call waits for the reader of the log: a
 * thread writes from a bounded buffer, and a line that does not fit is dropped, counted and
 * reported (base/log_sink.h). Before and after, the caller writes, and waits. Lines never mix: each
 * is in one write(2). Callers must not pass secrets: the log cannot recognise them.
 *
 * A kind of line is a call of LOG_INFO, LOG_WARN or LOG_ERROR in the sources (its `at`). It is
 * written at most once a second: base/log_limiter.h has the rule. A line that stands for others has
 * their number in `held_back`; log_lines_held_back() is the sum of these. A kept line has the `ts`
 * of its event. Lines of one kind may name different items, so the important facts about each must
 * be in a metric too. Output that an operator has requested is not limited: debug lines, the access
 * log (log.access), and the record of an operator's change, by LOG_ALWAYS.
 *
 * Arguments are borrowed for the duration of the call.
 */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

#include <stdatomic.h>

#include "base/log_limiter.h"
#include "base/str.h"

typedef enum { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR } log_level_t;

typedef struct {
    const char *name;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_END } kind;
    str_t str;
    long long number;
} log_field_t;

#define LOG_STR(name_, z_) ((log_field_t){(name_), LOG_FIELD_STR, str_of(z_), 0})
#define LOG_BYTES(name_, s_) ((log_field_t){(name_), LOG_FIELD_STR, (s_), 0})
#define LOG_INT(name_, n_) ((log_field_t){(name_), LOG_FIELD_INT, STR_NONE, (long long)(n_)})
#define LOG_END_ ((log_field_t){NULL, LOG_FIELD_END, STR_NONE, 0})

/* One limited call in the sources: a static variable, all zero except for its place. */
typedef struct log_site {
    const char *file;
    int line;
    _Atomic(log_limiter_t) limiter;
    /* Private to log.c, under its mutex. */
    struct log_line *kept;
    struct log_site *next; /* list of sites that have held a line back */
    bool listed;
} log_site_t;

#define LOG_ALWAYS(level_, ...)                                                                    \
    do {                                                                                           \
        if (log_enabled(level_))                                                                   \
            log_write(level_, __FILE__, __LINE__, __VA_ARGS__, LOG_END_);                          \
    } while (0)
#define LOG_LIMITED_(level_, ...)                                                                  \
    do {                                                                                           \
        static log_site_t log_site_ = {.file = __FILE__, .line = __LINE__};                        \
        if (log_enabled(level_))                                                                   \
            log_write_limited(&log_site_, level_, __VA_ARGS__, LOG_END_);                          \
    } while (0)
#define LOG_DEBUG(...) LOG_ALWAYS(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...) LOG_LIMITED_(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...) LOG_LIMITED_(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG_LIMITED_(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Sets the lowest level that is written, for the whole process. Default: info. */
void log_set_level(log_level_t level);
bool log_enabled(log_level_t level);
/* `...` is a sequence of log_field_t that ends with LOG_END_; use the macros. */
void log_write(log_level_t level, const char *file, int line, const char *msg, ...);
void log_write_limited(log_site_t *site, log_level_t level, const char *msg, ...);

/* Starts the thread that writes lines, and kept lines when they are due. Without it kept lines are
   written with the next line of any kind, or by log_flush(). */
void log_start(void);
/* Writes kept lines and the buffer, and ends the thread. Waits 1 s at most for a blocked reader. */
void log_stop(void);
/* Writes kept lines and the buffer; waits 200 ms at most. For a caller that ends the process at
   once. */
void log_flush(void);
/* From now on the log, and all other output to standard error, goes to this file. A call with the
   same path opens the file anew after it was moved away. False: nothing has changed, and errno has
   the reason (EINVAL: not a regular file). Any thread may call. */
bool log_open_file(const char *path);
/* The number of lines that were held back and not written. */
uint64_t log_lines_held_back(void);
/* The number of lines that had no room in the buffer. */
uint64_t log_lines_dropped(void);

#endif
