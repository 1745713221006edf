/*
 * Runs the audits of a service on a thread of its own, one at a time, on request.
 *
 * No call waits for a run. A caller requests one, receives the number of the first run that begins
 * after that, and checks later whether it has ended. After an audit that took longer than 1 s the
 * runner rests for the same time (up to a maximum), so that polling does not keep the servers busy.
 *
 * serve owns the runner. Nothing here returns an error: a part that an audit could not read is in
 * its report.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_RUNNER_H
#define HOLDFAST_RECONCILE_AUDIT_RUNNER_H

#include <cjson/cJSON.h>

#include "reconcile/audit.h"

typedef struct audit_runner audit_runner_t;

/* Starts the thread. `config` and `prober` must outlive the runner. Main thread. */
audit_runner_t *audit_runner_start(const config_t *config, struct prober *prober);
/* Stops the run under way and frees the runner. Blocks, for some seconds at most. Afterwards
   audit_threads_left() shows whether a thread was left behind. Main thread. */
void audit_runner_stop(audit_runner_t *runner);

/* --- any thread; none waits for a server --- */
/* Requests a run; returns the number of the first run that begins after this call. */
uint64_t audit_runner_request(audit_runner_t *runner);
/* The number of the last run that has ended; 0: no run has. */
uint64_t audit_runner_ended(audit_runner_t *runner);
/*
 * The findings of the last run that has ended (see audit.h), and
 *
 *   "run"                its number in this process
 *   "at", "age_ms"       when it began
 *   "took_ms"            how long it took
 *   "asked"              the number that audit_runner_request() returned
 *   "running"            whether a run is under way
 *   "last_whole"         "run", "ok", "at" and "age_ms" of the last run that could read everything;
 *                        it may be this one; null: there was none
 *
 * Members that need a run are null if none has ended. The caller owns the JSON.
 */
cJSON *audit_runner_report(audit_runner_t *runner, uint64_t number);

typedef struct {
    bool ended; /* at least one has; otherwise the other members are not valid */
    audit_verdict_t verdict;
    uint64_t age_ms;
} audit_age_t;
void audit_runner_age(audit_runner_t *runner, audit_age_t *out);

#endif
