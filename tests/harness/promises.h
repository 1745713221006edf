/*
 * The promises of PROMISES.md, held against what a crowd was told, after whatever a case has done:
 *
 *   A  each order that was answered 201 is in MySQL and live, unless its cancel was asked for or
 *      its hold ran out; what was confirmed or cancelled is so; of an order one unit was given
 *      back, once, if that was answered 200, and none if nobody asked for it
 *   B  units of live orders = allocated, and never above total
 *   C  no buyer is past the limit
 *   D  gate and MySQL agree after a while of quiet, and every audit is content
 *   E  no order is live that nobody was told of, nothing that was refused is; every 202 ends, and
 *      what was rejected stays so; one key has one order.
 *      Counted apart: orders that are live although its request heard 503 without a Location
 *      ("503-live"), and orders of `accepted` items that are rejected although Redis had them
 *      when the 202 was sent, and lost nothing ("202-rejected"; of crowds with redis_keeps_all).
 *      A 202 that was sent because the gate did not answer in time says nothing of that
 *   F  what is left can be bought to the last unit
 */
#ifndef HOLDFAST_HARNESS_PROMISES_H
#define HOLDFAST_HARNESS_PROMISES_H

#include "harness/crowd.h"

/* Stops the crowd first. The services that it knows, and that of the stack, must be up. Prints one
   line, with `faults` (a format: what has happened), and then fails if a promise is broken. */
#define EXPECT_PROMISES(stack_, crowd_, ...)                                                       \
    promises_expect(__FILE__, __LINE__, __func__, stack_, crowd_, __VA_ARGS__)
void promises_expect(const char *file, int line, const char *name, const test_stack_t *stack,
                     crowd_t *crowd, const char *faults, ...) __attribute__((format(printf, 6, 7)));

#endif
