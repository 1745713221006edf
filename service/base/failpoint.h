/*
 * Failpoints: named places at which a test injects a fault. They are compiled only into the test
 * build (cmake -DHOLDFAST_TESTS=ON); elsewhere the macros are empty.
 *
 * The file named by $HOLDFAST_FAILPOINTS has one fault a line. It is read again when it changes, so
 * that a test can arm a running process:
 *
 *     NAME ACTION [after=N] [times=N] [every=N]
 *
 * The action is taken from hit after + 1 on, at each every-th hit, at most `times` times.
 *
 *     kill      SIGKILL to the process       pause=MS  this thread sleeps for MS milliseconds
 *     stop      SIGSTOP to the process       fail      FAILPOINT_FAILS() is true; the code at
 *                                                      the place defines the failure
 *     error=N   FAILPOINT_NUMBER() is N      error=N-M  it is N, the next time N + 1, up to M
 *
 * Each action is appended to FILE.hits as "NAME ACTION PID" before it is taken, so that a test can
 * prove that its fault happened. Any thread may call; a call blocks for the file and for `pause`.
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
