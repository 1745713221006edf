#include "reconcile/audit_runner.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fatal.h"
#include "base/log.h"

/* A shorter run is cheap enough to be followed by another at once. */
#define SHORT_MS 1000
#define REST_MAX_MS 60000

/* A run that has ended. */
typedef struct {
    uint64_t number;                   /* 0: there is none */
    uint64_t began_ms, took_ms, at_ms; /* monotonic; wall clock */
    audit_verdict_t verdict;
} ended_t;

struct audit_runner {
    const config_t *config;
    struct prober *prober;
    pthread_t thread;
    pthread_mutex_t mutex; /* protects all members below */
    pthread_cond_t requested;
    bool stopping;
    uint64_t wanted, begun; /* numbers of runs */
    ended_t last, last_whole;
    cJSON *report; /* of the last run; NULL: none has ended */
};

static bool is_stopping(audit_runner_t *runner)
{
    pthread_mutex_lock(&runner->mutex);
    bool stopping = runner->stopping;
    pthread_mutex_unlock(&runner->mutex);
    return stopping;
}

static bool watch(void *context, const char *line)
{
    (void)line;
    return !is_stopping(context);
}

/* Blocks until a run is requested and the rest is over. False: the runner stops. */
static bool wait_for_work(audit_runner_t *runner, uint64_t rest_ms)
{
    struct timespec until = clock_mono_in((uint32_t)rest_ms);
    uint64_t over_ms = clock_mono_ms() + rest_ms;
    pthread_mutex_lock(&runner->mutex);
    while (!runner->stopping && clock_mono_ms() < over_ms)
        pthread_cond_timedwait(&runner->requested, &runner->mutex, &until);
    while (!runner->stopping && runner->wanted == runner->begun)
        pthread_cond_wait(&runner->requested, &runner->mutex);
    bool go_on = !runner->stopping;
    if (go_on)
        ++runner->begun;
    pthread_mutex_unlock(&runner->mutex);
    return go_on;
}

static void publish(audit_runner_t *runner, ended_t ended, cJSON *report)
{
    pthread_mutex_lock(&runner->mutex);
    ended.number = runner->begun;
    runner->last = ended;
    if (ended.verdict != AUDIT_BLIND)
        runner->last_whole = ended;
    cJSON *old = runner->report;
    runner->report = report;
    pthread_mutex_unlock(&runner->mutex);
    cJSON_Delete(old);
    if (ended.verdict == AUDIT_BROKEN)
        LOG_ERROR("the audit found a broken promise: see GET /v1/audit",
                  LOG_INT("took_ms", ended.took_ms));
}

static void *runner_thread(void *arg)
{
    audit_runner_t *runner = arg;
    uint64_t rest_ms = 0;
    while (wait_for_work(runner, rest_ms)) {
        ended_t ended = {.began_ms = clock_mono_ms(), .at_ms = clock_wall_ms()};
        cJSON *report = audit_run(runner->config, runner->prober, watch, runner, &ended.verdict);
        ended.took_ms = clock_mono_ms() - ended.began_ms;
        publish(runner, ended, report);
        rest_ms = ended.took_ms <= SHORT_MS     ? 0
                  : ended.took_ms < REST_MAX_MS ? ended.took_ms
                                                : REST_MAX_MS;
    }
    return NULL;
}

audit_runner_t *audit_runner_start(const config_t *config, struct prober *prober)
{
    audit_runner_t *runner = alloc_zero(1, sizeof(*runner));
    runner->config = config;
    runner->prober = prober;
    pthread_mutex_init(&runner->mutex, NULL);
    clock_cond_init(&runner->requested);
    int error = pthread_create(&runner->thread, NULL, runner_thread, runner);
    if (error != 0)
        FATAL("the thread of audits", error);
    return runner;
}

void audit_runner_stop(audit_runner_t *runner)
{
    pthread_mutex_lock(&runner->mutex);
    runner->stopping = true;
    pthread_cond_broadcast(&runner->requested);
    pthread_mutex_unlock(&runner->mutex);
    pthread_join(runner->thread, NULL);
    pthread_cond_destroy(&runner->requested);
    pthread_mutex_destroy(&runner->mutex);
    cJSON_Delete(runner->report);
    free(runner);
}

uint64_t audit_runner_request(audit_runner_t *runner)
{
    pthread_mutex_lock(&runner->mutex);
    uint64_t number = runner->wanted = runner->begun + 1;
    pthread_cond_broadcast(&runner->requested);
    pthread_mutex_unlock(&runner->mutex);
    return number;
}

uint64_t audit_runner_ended(audit_runner_t *runner)
{
    pthread_mutex_lock(&runner->mutex);
    uint64_t number = runner->last.number;
    pthread_mutex_unlock(&runner->mutex);
    return number;
}

static void add_moment(cJSON *json, const ended_t *ended)
{
    char at[TIME_TEXT_SIZE];
    time_format_rfc3339(at, ended->at_ms);
    cJSON_AddNumberToObject(json, "run", (double)ended->number);
    cJSON_AddStringToObject(json, "at", at);
    cJSON_AddNumberToObject(json, "age_ms", (double)(clock_mono_ms() - ended->began_ms));
}

static cJSON *report_of_none(void)
{
    static const char *const names[] = {"ok", "invariants", "totals", "run",
                                        "at", "age_ms",     "took_ms"};
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i)
        cJSON_AddNullToObject(json, names[i]);
    return json;
}

static void add_last_whole(cJSON *json, const ended_t *whole)
{
    if (whole->number == 0) {
        cJSON_AddNullToObject(json, "last_whole");
        return;
    }
    cJSON *out = cJSON_AddObjectToObject(json, "last_whole");
    cJSON_AddBoolToObject(out, "ok", whole->verdict == AUDIT_OK);
    add_moment(out, whole);
}

cJSON *audit_runner_report(audit_runner_t *runner, uint64_t number)
{
    pthread_mutex_lock(&runner->mutex);
    cJSON *json = runner->report == NULL ? report_of_none() : cJSON_Duplicate(runner->report, true);
    if (runner->report != NULL) {
        add_moment(json, &runner->last);
        cJSON_AddNumberToObject(json, "took_ms", (double)runner->last.took_ms);
    }
    cJSON_AddNumberToObject(json, "asked", (double)number);
    cJSON_AddBoolToObject(json, "running", runner->begun != runner->last.number);
    add_last_whole(json, &runner->last_whole);
    pthread_mutex_unlock(&runner->mutex);
    return json;
}

void audit_runner_age(audit_runner_t *runner, audit_age_t *out)
{
    pthread_mutex_lock(&runner->mutex);
    *out = (audit_age_t){.ended = runner->last.number != 0,
                         .verdict = runner->last.verdict,
                         .age_ms = clock_mono_ms() - runner->last.began_ms};
    pthread_mutex_unlock(&runner->mutex);
}
