/*
 * The log: one JSON object a line on standard error.
 *
 * Every line has `ts` (RFC 3339, UTC), `level`, `at` (file:line) and `msg`; LOG_* take
 * further members as name/value pairs made with the LOG_STR, LOG_INT... macros:
 *
 *     LOG_WARN("redis connection lost", LOG_STR("error", err), LOG_INT("retry_ms", 50));
 *
 * Any thread may log. Between log_start() and log_stop() no call waits for the reader of the log:
 * a thread writes, from a bounded buffer, and what has no room there is dropped, counted and said
 * (base/log_sink.h). Otherwise the caller writes. Lines never mix: each is in one write(2). Nothing
 * that is a secret may be passed: the log does not know which values are.
 *
 * A kind of line, which is a call of LOG_INFO, LOG_WARN or LOG_ERROR in the sources (its `at`), is
 * written at most once a second: base/log_limiter.h has the rule. A line that stands for others
 * says how many in `held_back`; the sum of these is log_lines_held_back(). A kept line has the
 * `ts` of its event. Lines of one kind may name different items: what matters of each must be in
 * a metric, too. Not limited is what an operator has asked for: debug lines, the access log
 * (log.access) and the record of a change that an operator has made, by LOG_ALWAYS.
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

/* A limited call in the sources; a static variable, all zero but for its place. */
typedef struct log_site {
    const char *file;
    int line;
    _Atomic(log_limiter_t) limiter;
    /* Of log.c, under its mutex. */
    struct log_line *kept;
    struct log_site *next; /* of those that have held something back */
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

/* Sets what is written from now on, for the whole process. Default: info. */
void log_set_level(log_level_t level);
bool log_enabled(log_level_t level);
/* `...` is a run of log_field_t that ends with LOG_END_; use the macros. */
void log_write(log_level_t level, const char *file, int line, const char *msg, ...);
void log_write_limited(log_site_t *site, log_level_t level, const char *msg, ...);

/* Starts the thread that writes, kept lines too, when their time is there. Without it these are
   written with the next line of any kind, or by log_flush(). */
void log_start(void);
/* Writes what is kept and what is in the buffer, and ends the thread. Waits a second at most for a
   reader that does not read. */
void log_stop(void);
/* Writes what is kept and what is in the buffer; waits 200 ms at most. For whoever ends the process
   at once. */
void log_flush(void);
/* From now on the log, and all else that goes to standard error, is in this file. Again, under the
   same name, after the file was moved away. False: nothing has changed, and errno says why (EINVAL:
   no regular file). For any thread. */
bool log_open_file(const char *path);
/* How many lines were held back and are not written. */
uint64_t log_lines_held_back(void);
/* How many had no room in the buffer. */
uint64_t log_lines_dropped(void);

#endif
