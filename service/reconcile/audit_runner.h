/*
 * The audits of a service: one at a time, in a thread of its own, whenever somebody asks for one.
 *
 * Nobody waits for it inside a call. Who asks gets the number of the first run that begins from
 * then on, and looks later whether it has ended. An audit that took longer than a second is
 * followed by a rest of the same length, so that polling does not keep the servers busy.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_RUNNER_H
#define HOLDFAST_RECONCILE_AUDIT_RUNNER_H

#include <cjson/cJSON.h>

#include "reconcile/audit.h"

typedef struct audit_runner audit_runner_t;

/* All that is given outlives it. */
audit_runner_t *audit_runner_start(const config_t *config, struct prober *prober);
/* Ends the run under way, within some seconds. Then audit_threads_left() says whether a thread had
   to be left behind. */
void audit_runner_stop(audit_runner_t *runner);

/* --- any thread, none blocks --- */
/* The number of a run that begins after this call. */
uint64_t audit_runner_ask(audit_runner_t *runner);
/* The number of the last run that has ended; 0: none. */
uint64_t audit_runner_ended(audit_runner_t *runner);
/*
 * What the last run found (see audit.h), and
 *   "run"                its number in this process
 *   "at", "age_ms"       when it began
 *   "took_ms"
 *   "asked"              the number that audit_runner_ask() gave
 *   "running"            is a run under way?
 *   "last_whole"         "run", "ok", "at" and "age_ms" of the last run that could look at
 *                        everything, which may be this one; null: none has
 * What only a run can tell is null if none has ended. The caller's.
 */
cJSON *audit_runner_report(audit_runner_t *runner, uint64_t asked);

typedef struct {
    bool ended; /* at least one; else the rest says nothing */
    audit_verdict_t verdict;
    uint64_t age_ms;
} audit_age_t;
void audit_runner_age(audit_runner_t *runner, audit_age_t *out);

#endif
