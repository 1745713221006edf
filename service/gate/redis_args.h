/*
 * The words of one Redis command. Bytes are copied, so that the caller's may go at once; the
 * memory is reused from command to command. One thread at a time.
 */
#ifndef HOLDFAST_GATE_REDIS_ARGS_H
#define HOLDFAST_GATE_REDIS_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct {
    int count;
    int capacity;
    const char **argv; /* valid after redis_args_finish() */
    size_t *lengths;
    char *bytes;
    size_t used, bytes_capacity;
} redis_args_t;

void redis_args_reset(redis_args_t *args);
void redis_args_free(redis_args_t *args);
void redis_args_add(redis_args_t *args, str_t word);
void redis_args_add_u64(redis_args_t *args, uint64_t number);
void redis_args_add_i64(redis_args_t *args, int64_t number);
/* Sets argv; nothing may be added after it before the next reset. */
void redis_args_finish(redis_args_t *args);

#endif
