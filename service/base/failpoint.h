/*
 * Failpoints: named places where a test makes something happen. They are compiled only into the
 * test build (cmake -DHOLDFAST_TESTS=ON); elsewhere the macros are nothing and cost nothing.
 *
 * The file that $HOLDFAST_FAILPOINTS names says what happens, a line each. It is read again
 * when it changes, so that a test arms a process that is running:
 *
 *     NAME ACTION [after=N] [times=N] [every=N]
 *
 * It acts from hit after + 1 on, at each every-th hit, at most so many times.
 *
 *     kill      SIGKILL to the process       pause=MS  this thread sleeps
 *     stop      SIGSTOP to the process       fail      FAILPOINT_FAILS() is true: the place says
 *                                                      what then fails
 *     error=N   FAILPOINT_NUMBER() is N      error=N-M  it is N, the next time N + 1, up to M
 *
 * Each action that is taken is first appended to FILE.hits as "NAME ACTION PID": a test can
 * prove that its fault happened. Any thread.
 */
#ifndef HOLDFAST_BASE_FAILPOINT_H
#define HOLDFAST_BASE_FAILPOINT_H

#ifdef HOLDFAST_FAILPOINTS
#include <stdbool.h>
/* True if the action is `fail`. */
bool failpoint_hit(const char *name);
#define FAILPOINT(name_) ((void)failpoint_hit(name_))
#define FAILPOINT_FAILS(name_) failpoint_hit(name_)
/* 0 unless the action is `error`. */
unsigned failpoint_number(const char *name);
#define FAILPOINT_NUMBER(name_) failpoint_number(name_)
#else
#define FAILPOINT(name_) ((void)0)
#define FAILPOINT_FAILS(name_) false
#define FAILPOINT_NUMBER(name_) 0U
#endif

#endif
