/*
 * The frame of a suite whose cases share a stack of the suite's own: the stack starts before the
 * first case and stops after the last one, and the suite fails if a sanitizer has reported in the
 * log of a service.
 *
 * A program has one suite. `stack` and `node` belong to the frame. Main thread; blocks.
 */
#ifndef HOLDFAST_HARNESS_SUITE_H
#define HOLDFAST_HARNESS_SUITE_H

#include "harness/stack.h"

#define SUITE_SETTINGS_MAX 8
/* What most suites of faults set, so that an answer does not wait long for a server that is away.
 */
#define SUITE_SHORT_DEADLINES "orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=4000"

typedef struct {
    const char *name;                         /* of the group and of the stack's directory */
    const char *settings[SUITE_SETTINGS_MAX]; /* "section.key=value" */
    bool pair;    /* a second service, `node`, runs beside the stack's */
    bool repeats; /* as chance_run(); else once, as test_run() */
    /* Starts the stack instead, where `settings` are known only at run time. NULL from it: this
       machine cannot run the suite, whose cases then find no stack. */
    test_stack_t *(*start)(void);
    void (*prepare)(void); /* after the start */
    /* Before the stop, of a stack that has started; and after it. */
    void (*before_stop)(void), (*after_stop)(void);
    /* Of each case that has none of its own. */
    CMFixtureFunction setup, teardown;
} suite_t;

/* NULL: none runs. */
extern test_stack_t *stack, *node;

/* Runs the cases; returns how many have failed. */
int suite_run(const suite_t *suite, const struct CMUnitTest *tests, size_t count);

/* For `suite_t.setup` of a pair: whatever the last case has left of it, both services run, and no
   fault is armed in them. */
int suite_pair_up(void **state);

#endif
