/*
 * The log: one JSON object a line on standard error.
 *
 * Every line has `ts` (RFC 3339, UTC), `level`, `at` (file:line) and `msg`; LOG_* take
 * further members as name/value pairs made with the LOG_STR, LOG_INT... macros:
 *
 *     LOG_WARN("redis connection lost", LOG_STR("error", err), LOG_INT("retry_ms", 50));
 *
 * Any thread may log; a line is written with one write(2), so lines never mix. Nothing that
 * is a secret may be passed: the log does not know which values are.
 */
#ifndef HOLDFAST_BASE_LOG_H
#define HOLDFAST_BASE_LOG_H

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

#define LOG_AT_(level_, ...)                                                                       \
    do {                                                                                           \
        if (log_enabled(level_))                                                                   \
            log_write(level_, __FILE__, __LINE__, __VA_ARGS__, LOG_END_);                          \
    } while (0)
#define LOG_DEBUG(...) LOG_AT_(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define LOG_INFO(...) LOG_AT_(LOG_LEVEL_INFO, __VA_ARGS__)
#define LOG_WARN(...) LOG_AT_(LOG_LEVEL_WARN, __VA_ARGS__)
#define LOG_ERROR(...) LOG_AT_(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Sets what is written from now on, for the whole process. Default: info. */
void log_set_level(log_level_t level);
bool log_enabled(log_level_t level);
/* `...` is a run of log_field_t that ends with LOG_END_; use the macros. */
void log_write(log_level_t level, const char *file, int line, const char *msg, ...);

#endif
