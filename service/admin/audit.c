/*
 * GET /v1/audit: requests a run and delays the answer for a moment. On a large shard a run takes
 * longer; the answer is then the report of the last run, with its age.
 */
#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "http/request_job.h"

#define WAIT_MS 800
#define CHECK_MS 16

typedef struct {
    exchange_t *exchange;
    audit_runner_t *runner;
    uint64_t number;   /* of the run that the answer waits for */
    uint64_t until_ms; /* monotonic */
    loop_timer_t timer;
} audit_wait_t;

static void on_gone(void *waiting)
{
    audit_wait_t *wait = waiting;
    loop_timer_stop(&wait->timer);
    free(wait);
}

static void check_ended(loop_timer_t *timer)
{
    audit_wait_t *wait = H2O_STRUCT_FROM_MEMBER(audit_wait_t, timer, timer);
    exchange_t *exchange = wait->exchange;
    if (audit_runner_ended(wait->runner) < wait->number && clock_mono_ms() < wait->until_ms) {
        loop_timer_start(exchange->engine->loop, &wait->timer, CHECK_MS, check_ended);
        return;
    }
    cJSON *report = audit_runner_report(wait->runner, wait->number);
    exchange->on_gone = NULL;
    free(wait);
    reply_json(exchange, 200, report);
}

void handle_audit(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    audit_runner_t *runner = admin_of(exchange)->audits;
    if (runner == NULL) {
        reply_problem(exchange, PROBLEM_UNAVAILABLE, NULL);
        return;
    }
    audit_wait_t *wait = alloc_zero(1, sizeof(*wait));
    *wait = (audit_wait_t){.exchange = exchange,
                           .runner = runner,
                           .number = audit_runner_request(runner),
                           .until_ms = clock_mono_ms() + WAIT_MS};
    exchange->on_gone = on_gone;
    exchange->waiting = wait;
    loop_timer_start(exchange->engine->loop, &wait->timer, CHECK_MS, check_ended);
}
