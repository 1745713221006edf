#include "gate/redis_args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void redis_args_reset(redis_args_t *args)
{
    args->count = 0;
    args->used = 0;
}

void redis_args_free(redis_args_t *args)
{
    free(args->argv);
    free(args->lengths);
    free(args->bytes);
    memset(args, 0, sizeof(*args));
}

static void grow(redis_args_t *args, size_t more)
{
    if (args->count == args->capacity) {
        args->capacity = args->capacity == 0 ? 64 : args->capacity * 2;
        args->argv = realloc(args->argv, (size_t)args->capacity * sizeof(*args->argv));
        args->lengths = realloc(args->lengths, (size_t)args->capacity * sizeof(*args->lengths));
    }
    while (args->bytes_capacity - args->used < more) {
        args->bytes_capacity = args->bytes_capacity == 0 ? 4096 : args->bytes_capacity * 2;
        args->bytes = realloc(args->bytes, args->bytes_capacity);
    }
    if (args->argv == NULL || args->lengths == NULL || args->bytes == NULL)
        abort();
}

void redis_args_add(redis_args_t *args, str_t word)
{
    grow(args, word.n + 1);
    if (word.n != 0)
        memcpy(args->bytes + args->used, word.p, word.n);
    args->lengths[args->count++] = word.n;
    args->used += word.n;
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

void redis_args_finish(redis_args_t *args)
{
    const char *at = args->bytes;
    for (int i = 0; i < args->count; ++i) {
        args->argv[i] = at;
        at += args->lengths[i];
    }
}
