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

#include "base/str.h"

typedef enum {
    GATE_ERROR_UNKNOWN,  /* the call may have changed something */
    GATE_ERROR_REFUSED,  /* the call did not run; the server refuses other calls too */
    GATE_ERROR_FORBIDDEN /* the call did not run; this says nothing about other commands */
} gate_error_t;

/* `text` is the error without the '-' in front, as hiredis hands it over. */
gate_error_t gate_classify(str_t text);

#endif
