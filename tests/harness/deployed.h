/* deploy's own shell functions, for what a test does to a server of its stack as deploy/up would.
 */
#ifndef HOLDFAST_HARNESS_DEPLOYED_H
#define HOLDFAST_HARNESS_DEPLOYED_H

#include "harness/stack.h"

/* Runs `script` under bash -eu, with deploy/lib.sh, servers.sh and stack.sh sourced for the stack;
   $name and $extra are these. Its output goes to DIR.up.log. Returns its status. Main thread. */
int deployed_run(const test_stack_t *stack, const char *name, const char *extra,
                 const char *script);
/* Fails if the status is not 0. */
void deployed_must(const test_stack_t *stack, const char *name, const char *extra,
                   const char *script);
/* Of a process that deploy's process_start has started. */
pid_t deployed_pid(const test_stack_t *stack, const char *name);

#endif
