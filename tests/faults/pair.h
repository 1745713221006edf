/*
 * What most fault tests run on: a stack of their own with short deadlines, and one more service
 * beside it.
 */
#ifndef HOLDFAST_FAULTS_PAIR_H
#define HOLDFAST_FAULTS_PAIR_H

#include "harness/stack.h"

static test_stack_t *stack, *node;

static inline void pair_start(const char *name)
{
    stack = STACK_START(name, "orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=4000");
    node = stack_node_start(stack, 2, NULL, 0);
}

/* The teardown of the group. */
static inline int stop(void **state)
{
    (void)state;
    stack_node_stop(node);
    bool clean = stack_stop(stack);
    test_forget();
    return clean ? 0 : -1;
}

#endif
