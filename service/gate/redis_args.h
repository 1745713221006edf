/*
 * One Redis command in the form in which it is sent.
 *
 * Words are copied, so the caller may free or reuse its bytes at once. The caller owns the struct
 * and frees its memory with redis_args_free(); the memory is reused from command to command. One
 * thread at a time. Does not block and does not fail.
 */
#ifndef HOLDFAST_GATE_REDIS_ARGS_H
#define HOLDFAST_GATE_REDIS_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct {
    const char *name; /* name of the command or function, for the log: a literal, or NULL */
    unsigned count;   /* words */
    char *bytes;      /* room for the head (the number of words), then the words */
    size_t used, capacity;
} redis_args_t;

/* Begins a plain command. `name` is a literal. */
void redis_args_begin(redis_args_t *args, const char *name);
void redis_args_free(redis_args_t *args);
void redis_args_add(redis_args_t *args, str_t word);
void redis_args_add_u64(redis_args_t *args, uint64_t number);
void redis_args_add_i64(redis_args_t *args, int64_t number);
/* The complete command, borrowed until the next word or reset. */
str_t redis_args_command(redis_args_t *args);

#endif
