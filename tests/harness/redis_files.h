/* What a stopped Redis has on disk, cut and put back: the AOF (appendonly yes) of a stack. */
#ifndef HOLDFAST_HARNESS_REDIS_FILES_H
#define HOLDFAST_HARNESS_REDIS_FILES_H

#include "harness/stack.h"

/* SIGKILL, and it is gone. */
void redis_files_kill(const test_stack_t *stack);
/* Takes the last `entries` commands from the AOF of a Redis that is gone; `torn`: and of the one
   before, its end. Returns how many whole ones were taken, fewer if there are not so many. */
unsigned redis_files_cut(const test_stack_t *stack, unsigned entries, bool torn);
/* A copy of all files, also while it runs; and a Redis that is gone gets them back. */
void redis_files_save(const test_stack_t *stack);
void redis_files_restore(const test_stack_t *stack);

#endif
