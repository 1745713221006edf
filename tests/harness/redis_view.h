/* The gate as it stands in Redis, read (and spoiled) past the service. Keys: lua/holdfast.lua. */
#ifndef HOLDFAST_HARNESS_REDIS_VIEW_H
#define HOLDFAST_HARNESS_REDIS_VIEW_H

#include "harness/stack.h"

typedef struct {
    bool exists, closed;
    long long epoch, capacity, reserved, unreserved, settled, released;
    long long available; /* derived */
    long long unsettled; /* records of the item's whole slot: other items of it were settled */
} redis_view_t;

redis_view_t redis_view(const test_stack_t *stack, const char *sku);
/* One command on the stack's Redis, its words split at blanks; a number, or 0. Fails on an error.
 */
long long redis_run(const test_stack_t *stack, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Likewise, of an answer that is an array: the number that stands `at` there. */
long long redis_run_at(const test_stack_t *stack, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same command; true if the answer is an error. */
bool redis_refuses(const test_stack_t *stack, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* How often Redis has run this command, in functions too, by its own count. */
long long redis_count(const test_stack_t *stack, const char *command);
/* The key "gate" or "buyers" of an item, "unsettled" or "keys" of its slot. */
const char *redis_key(const test_stack_t *stack, const char *which, const char *sku);
/* Waits until the gate has heard of all that is in MySQL; fails if in the end it disagrees: what
   it has left must be `total` - allocated, or under a SQL strategy it must be closed. An item that
   nobody has bought needs none. */
#define EXPECT_GATE_AGREES(stack_, sku_) redis_expect_agrees(__FILE__, __LINE__, stack_, sku_)
void redis_expect_agrees(const char *file, int line, const test_stack_t *stack, const char *sku);

#endif
