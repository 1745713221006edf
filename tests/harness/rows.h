/* The truth: MySQL, read past the service. Every statement goes to all shards. */
#ifndef HOLDFAST_HARNESS_ROWS_H
#define HOLDFAST_HARNESS_ROWS_H

#include "harness/stack.h"

/* The sum over all shards of the one number that each gives (NULL is 0). `sku`s and ids in the text
   are the test's own, so nothing is escaped. */
long long rows_sum(const test_stack_t *stack, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Changes something on each shard; 0, or the error number of the first that refuses. */
unsigned rows_change(const test_stack_t *stack, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Hands each row of each shard to `take`; its columns are text, NULL where the value is. */
void rows_each(const test_stack_t *stack, void (*take)(void *context, char **columns),
               void *context, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* An order's id as a literal of SQL. */
const char *rows_order_id(const char *uuid);
/* Which shard has the item. */
unsigned rows_shard_of(const test_stack_t *stack, const char *sku);

#endif
