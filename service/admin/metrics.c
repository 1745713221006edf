#include <assert.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "http/readiness.h"
#include "http/request_job.h"

/* Adds up the findings of all shards, by kind. */
static void count_findings(const exchange_t *exchange, uint64_t findings[FINDING_COUNT])
{
    reconciler_report_t report;
    for (unsigned i = 0; i < exchange->http->map->shards_count; ++i) {
        reconciler_report(admin_of(exchange)->reconcilers[i], &report);
        for (unsigned f = 0; f < FINDING_COUNT; ++f)
            findings[f] += report.findings[f];
    }
}

static metric_sample_t sample(const char *name, const char *help, const char *label,
                              const char *value, uint64_t number)
{
    return (metric_sample_t){"gauge", name, help, label, value, (int64_t)number};
}

/* Reads the state of the n-th server: the shards, then Redis. Returns its name. */
static const char *server_health(const http_context_t *http, unsigned n, health_t *out)
{
    if (n == http->map->shards_count) {
        readiness_of_redis(http, out);
        return "redis";
    }
    readiness_of_shard(http, n, out);
    return http->config->shards[n].name;
}

/* A server that never answered has no age. */
static unsigned add_servers(const http_context_t *http, metric_sample_t *samples)
{
    health_t health;
    unsigned servers = http->map->shards_count + 1, count = 0;
    for (unsigned i = 0; i < servers; ++i) {
        const char *name = server_health(http, i, &health);
        samples[count++] = sample("server_ok", "1: the server answers and takes orders", "server",
                                  name, health.state == HEALTH_OK);
    }
    for (unsigned i = 0; i < servers; ++i) {
        const char *name = server_health(http, i, &health);
        if (health.has_answered)
            samples[count++] =
                sample("server_answer_age_seconds", "Time since the server last answered a probe",
                       "server", name, health.answered_ms / 1000);
    }
    return count;
}

/* A server whose durability is unknown has no sample. */
static unsigned add_durability(const exchange_t *exchange, metric_sample_t *samples)
{
    unsigned count = 0, shards = exchange->http->map->shards_count;
    durability_watch_t *watch = admin_of(exchange)->durability;
    durability_t seen;
    for (unsigned i = 0; i <= shards; ++i) {
        if (i < shards)
            durability_of_shard(watch, i, &seen);
        else
            durability_of_redis(watch, &seen);
        if (seen.durable != DURABLE_UNKNOWN)
            samples[count++] =
                sample("durable", "1: the server keeps all that it has acknowledged", "server",
                       i < shards ? exchange->http->config->shards[i].name : "redis",
                       seen.durable == DURABLE_YES);
    }
    return count;
}

/* Adds no samples before the first audit has ended. */
static unsigned add_audit(const admin_t *admin, metric_sample_t *samples)
{
    audit_age_t age = {.ended = false};
    if (admin->audits != NULL)
        audit_runner_age(admin->audits, &age);
    if (!age.ended)
        return 0;
    samples[0] = sample("audit_verdict", "Of the last audit: 0 kept, 1 broken, 2 could not read",
                        NULL, NULL, age.verdict);
    samples[1] = sample("audit_age_seconds", "Time since the last audit that has ended began", NULL,
                        NULL, age.age_ms / 1000);
    return 2;
}

void handle_metrics(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    const http_context_t *http = exchange->http;
    unsigned shards = http->map->shards_count, count = 0;
    uint64_t findings[FINDING_COUNT] = {0};
    /* Of a shard five; of Redis three; two of the audit; one of each finding. */
    unsigned room = 5 * shards + 3 + 2 + FINDING_COUNT;
    metric_sample_t *samples = alloc_zero(room, sizeof(*samples));
    for (unsigned i = 0; i < shards; ++i)
        samples[count++] = (metric_sample_t){
            "gauge", "writer_queue_orders",        "Taken permits of the writer's queue",
            "shard", http->config->shards[i].name, writer_depth(http->shards[i].writer)};
    for (unsigned i = 0; i < shards; ++i)
        samples[count++] = (metric_sample_t){"gauge",
                                             "pool_queue_jobs",
                                             "Jobs waiting for a pool thread",
                                             "shard",
                                             http->config->shards[i].name,
                                             pool_depth(http->shards[i].pool)};
    count += add_servers(http, samples + count);
    count += add_durability(exchange, samples + count);
    count += add_audit(admin_of(exchange), samples + count);
    count_findings(exchange, findings);
    for (unsigned f = FINDING_AGREE + 1; f < FINDING_COUNT; ++f)
        samples[count++] = (metric_sample_t){
            "counter", "reconciler_findings_total", "Differences found between gates and MySQL",
            "found",   finding_name((finding_t)f),  (int64_t)findings[f]};
    assert(count <= room);
    char *text = metrics_render(samples, count);
    reply_text(exchange, 200, "text/plain; version=0.0.4", str_of(text));
    free(text);
    free(samples);
}
