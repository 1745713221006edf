/*
 * Faults at named places of a running service: base/failpoint.h says what there is to arm. A case
 * whose fault did not happen proves nothing, so each asks for the hits.
 */
#ifndef HOLDFAST_HARNESS_FAULT_H
#define HOLDFAST_HARNESS_FAULT_H

#include "harness/stack.h"

/* Replaces all that is armed in this service by these lines, "NAME ACTION [after=N] [times=N]\n";
   hits of before are forgotten. */
void fault_arm(const test_stack_t *node, const char *lines, ...)
    __attribute__((format(printf, 2, 3)));
/* The hits stay. */
void fault_disarm(const test_stack_t *node);
/* How often it has acted since fault_arm(). */
unsigned fault_hits(const test_stack_t *node, const char *name);
/* Waits until it has acted; fails if it does not. */
#define EXPECT_FAULT(node_, name_) fault_expect(__FILE__, __LINE__, node_, name_)
void fault_expect(const char *file, int line, const test_stack_t *node, const char *name);

/* --- a service's counters --- */
/* The value of "holdfast_NAME" without labels, or the sum over all labels. Fails if it is not
   there. */
double fault_metric(const test_stack_t *node, const char *name);

#endif
