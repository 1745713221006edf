/*
 * The kind of an error of Redis. Pure; any thread may call.
 *
 * Redis checks a command before it runs it (memory, replicas, role, permissions, a script that
 * runs). An error from these checks proves that the call changed nothing. Any other error proves
 * nothing: a function that fails half-way is not rolled back, and the same words may come from a
 * command inside it.
 */
#ifndef HOLDFAST_GATE_GATE_ERRORS_H
#define HOLDFAST_GATE_GATE_ERRORS_H

#include "base/result.h"
#include "base/str.h"

/*
 * Returns the kind of the call that this error answers. `text` has no '-' in front, as in hiredis.
 *
 *   away     the call did not run; the server refuses other calls too
 *   refused  the call did not run, and fails again until an operator permits it or adds
 *            what is missing; other commands may succeed
 *   unknown  any other error: the call may have changed something
 */
result_t gate_classify(str_t text);

#endif
