#include "gate/redis_args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

/* Bytes of a length line: a letter, a number and the end of the line. */
#define HEAD_MAX (1 + U64_DIGITS_MAX + 2)

void redis_args_begin(redis_args_t *args, const char *name)
{
    args->count = 0;
    args->used = 0;
    args->name = name;
    redis_args_add(args, str_of(name));
}

void redis_args_free(redis_args_t *args)
{
    free(args->bytes);
    memset(args, 0, sizeof(*args));
}

static void grow(redis_args_t *args, size_t more)
{
    if (args->used == 0)
        args->used = HEAD_MAX;
    if (args->capacity - args->used >= more && args->bytes != NULL)
        return;
    do
        args->capacity = args->capacity == 0 ? 4096 : args->capacity * 2;
    while (args->capacity - args->used < more);
    args->bytes = alloc_resize(args->bytes, args->capacity, 1);
}

static void put_head(char **at, char kind, uint64_t number)
{
    *(*at)++ = kind;
    str_put_u64(at, number);
    str_put(at, STR("\r\n"));
}

void redis_args_add(redis_args_t *args, str_t word)
{
    grow(args, HEAD_MAX + word.n + 2);
    char *at = args->bytes + args->used;
    put_head(&at, '$', word.n);
    str_put(&at, word);
    str_put(&at, STR("\r\n"));
    args->used = (size_t)(at - args->bytes);
    ++args->count;
}

void redis_args_add_u64(redis_args_t *args, uint64_t number)
{
    char text[U64_DIGITS_MAX], *at = text;
    redis_args_add(args, str_put_u64(&at, number));
}

void redis_args_add_i64(redis_args_t *args, int64_t number)
{
    char text[24];
    redis_args_add(args, (str_t){text, (size_t)snprintf(text, sizeof(text), "%" PRId64, number)});
}

str_t redis_args_command(redis_args_t *args)
{
    char head[HEAD_MAX], *at = head;
    grow(args, 0);
    put_head(&at, '*', args->count);
    size_t n = (size_t)(at - head);
    memcpy(args->bytes + HEAD_MAX - n, head, n);
    return (str_t){args->bytes + HEAD_MAX - n, args->used - HEAD_MAX + n};
}
