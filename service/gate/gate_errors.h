/*
 * What an error of Redis says about the call that it answers. Pure.
 *
 * Redis checks a command before it runs it (memory, replicas, role, permissions, a script that
 * runs). An error of that kind proves that the call changed nothing. Every other error proves
 * nothing: a function that fails half-way is not rolled back, and the same words may come from a
 * command inside it.
 */
#ifndef HOLDFAST_GATE_GATE_ERRORS_H
#define HOLDFAST_GATE_GATE_ERRORS_H

#include "base/result.h"
#include "base/str.h"

/*
 * Of the call that this error answers; `text` is without the '-' in front, as hiredis hands it
 * over.
 *
 *   away     the call did not run; the server refuses other calls too
 *   refused  the call did not run, and will not until somebody permits it or adds what it lacks;
 * this says nothing about other commands unknown  any other error: the call may have changed
 * something
 */
result_t gate_classify(str_t text);

#endif
