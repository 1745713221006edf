/*
 * A borrowed run of bytes: pointer and length, not terminated, may hold any byte.
 *
 * A `str_t` never owns its bytes; the struct that holds one states the owner. All functions here
 * are pure; any thread may call.
 */
#ifndef HOLDFAST_BASE_STR_H
#define HOLDFAST_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *p;
    size_t n;
} str_t;

#define STR(literal) ((str_t){(literal), sizeof(literal) - 1})
#define STR_NONE ((str_t){NULL, 0})
/* For printf("%.*s"). */
#define STR_ARG(s) (int)(s).n, (s).p

static inline str_t str_of(const char *z)
{
    return z == NULL ? STR_NONE : (str_t){z, strlen(z)};
}

static inline bool str_eq(str_t a, str_t b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Returns a number below, above or equal to 0: bytewise order, a prefix before the longer
   string. */
static inline int str_compare(str_t a, str_t b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

/* Appends `s` at `*at` (which has room) and returns the copy; moves `*at` past it. */
static inline str_t str_put(char **at, str_t s)
{
    str_t copy = {*at, s.n};
    if (s.n != 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

#define U64_DIGITS_MAX 20

/* The same for a number, as decimal text. */
static inline str_t str_put_u64(char **at, uint64_t number)
{
    char text[U64_DIGITS_MAX], *from = text + sizeof(text);
    do {
        *--from = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return str_put(at, (str_t){from, (size_t)(text + sizeof(text) - from)});
}

#endif
