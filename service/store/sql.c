#include "store/sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/order_id.h"

static inline char *reserve(sql_t *sql, size_t more)
{
    if (sql->capacity - sql->n < more) {
        size_t capacity = sql->capacity == 0 ? 4096 : sql->capacity;
        while (capacity - sql->n < more)
            capacity *= 2;
        sql->p = alloc_resize(sql->p, capacity, 1);
        sql->capacity = capacity;
    }
    return sql->p + sql->n;
}

static inline void add_raw(sql_t *sql, const char *p, size_t n)
{
    if (n == 0)
        return;
    memcpy(reserve(sql, n), p, n);
    sql->n += n;
}

static inline void add_u64(sql_t *sql, uint64_t number)
{
    char *end = reserve(sql, U64_DIGITS_MAX);
    str_put_u64(&end, number);
    sql->n = (size_t)(end - sql->p);
}

static inline void add_hex(sql_t *sql, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *in = bytes;
    if (in == NULL) {
        add_raw(sql, "NULL", 4);
        return;
    }
    char *out = reserve(sql, 2 * n + 3);
    *out++ = 'x';
    *out++ = '\'';
    for (size_t i = 0; i < n; ++i) {
        *out++ = digits[in[i] >> 4];
        *out++ = digits[in[i] & 15];
    }
    *out++ = '\'';
    sql->n = (size_t)(out - sql->p);
}

static void add_time(sql_t *sql, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms == 0) {
        add_raw(sql, "NULL", 4);
        return;
    }
    time_format_sql(text, ms);
    add_raw(sql, "'", 1);
    add_raw(sql, text, strlen(text));
    add_raw(sql, "'", 1);
}

static void add_word(sql_t *sql, const char *word)
{
    if (word == NULL) {
        add_raw(sql, "NULL", 4);
        return;
    }
    assert(strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word));
    add_raw(sql, "'", 1);
    add_raw(sql, word, strlen(word));
    add_raw(sql, "'", 1);
}

static void add_order_id(sql_t *sql, const order_id_t *id)
{
    add_hex(sql, id == NULL || order_id_is_none(id) ? NULL : id->bytes, sizeof(id->bytes));
}

static void add_item(sql_t *sql, const item_ref_t *item)
{
    add_raw(sql, "sku = ", 6);
    add_hex(sql, item->sku.bytes, item->sku.length);
    add_raw(sql, " AND bucket = ", 14);
    add_u64(sql, item->bucket);
}

void sql_reset(sql_t *sql)
{
    sql->n = 0;
}

void sql_free(sql_t *sql)
{
    free(sql->p);
    *sql = (sql_t){NULL, 0, 0};
}

void sql_add(sql_t *sql, const char *format, ...)
{
    va_list args;
    char number[32];
    va_start(args, format);
    for (const char *at = format; *at != '\0';) {
        size_t plain = strcspn(at, "%");
        add_raw(sql, at, plain);
        at += plain;
        if (*at == '\0')
            break;
        switch (at[1]) {
        case 's': {
            str_t s = va_arg(args, str_t);
            add_hex(sql, s.p, s.n);
            break;
        }
        case 'u':
            add_u64(sql, va_arg(args, uint64_t));
            break;
        case 'd':
            add_raw(sql, number,
                    (size_t)snprintf(number, sizeof(number), "%" PRId64, va_arg(args, int64_t)));
            break;
        case 'o':
            add_order_id(sql, va_arg(args, const order_id_t *));
            break;
        case 't':
            add_time(sql, va_arg(args, uint64_t));
            break;
        case 'i':
            add_item(sql, va_arg(args, const item_ref_t *));
            break;
        case 'w':
            add_word(sql, va_arg(args, const char *));
            break;
        case '%':
            add_raw(sql, "%", 1);
            break;
        default:
            assert(!"unknown directive in a SQL format");
        }
        at += 2;
    }
    va_end(args);
}
