#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "http/call.h"
#include "http/readiness.h"
#include "reconcile/audit_runner.h"
#include "reconcile/durability.h"
#include "reconcile/reconciler.h"

/* Findings of all shards, by kind. */
static void count_findings(const node_t *node, uint64_t findings[FINDING_COUNT])
{
    reconciler_report_t report;
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        reconciler_report(node->reconcilers[i], &report);
        for (unsigned f = 0; f < FINDING_COUNT; ++f)
            findings[f] += report.findings[f];
    }
}

static metric_sample_t sample(const char *name, const char *help, const char *label,
                              const char *value, uint64_t number)
{
    return (metric_sample_t){"gauge", name, help, label, value, (int64_t)number};
}

/* The n-th server: the shards, then Redis. */
static const char *server_health(const node_t *node, unsigned n, health_t *out)
{
    if (n == node->map.shards_count) {
        readiness_of_redis(node, out);
        return "redis";
    }
    readiness_of_shard(node, n, out);
    return node->config->shards[n].name;
}

/* What never answered has no age. */
static unsigned add_servers(const node_t *node, metric_sample_t *samples)
{
    health_t health;
    unsigned servers = node->map.shards_count + 1, count = 0;
    for (unsigned i = 0; i < servers; ++i) {
        const char *name = server_health(node, i, &health);
        samples[count++] = sample("server_ok", "1: the server answers and takes orders", "server",
                                  name, health.state == HEALTH_OK);
    }
    for (unsigned i = 0; i < servers; ++i) {
        const char *name = server_health(node, i, &health);
        if (health.has_answered)
            samples[count++] =
                sample("server_answer_age_seconds", "Time since the server last answered a probe",
                       "server", name, health.answered_ms / 1000);
    }
    return count;
}

/* A server of which nobody knows has no sample. */
static unsigned add_durability(const node_t *node, metric_sample_t *samples)
{
    unsigned count = 0, shards = node->map.shards_count;
    durability_t seen;
    for (unsigned i = 0; i <= shards; ++i) {
        if (i < shards)
            durability_of_shard(node->durability, i, &seen);
        else
            durability_of_redis(node->durability, &seen);
        if (seen.durable != DURABLE_UNKNOWN)
            samples[count++] = sample("durable", "1: the server keeps all that it has acknowledged",
                                      "server", i < shards ? node->config->shards[i].name : "redis",
                                      seen.durable == DURABLE_YES);
    }
    return count;
}

/* None before the first audit has ended. */
static unsigned add_audit(const node_t *node, metric_sample_t *samples)
{
    audit_age_t age = {.ended = false};
    if (node->audits != NULL)
        audit_runner_age(node->audits, &age);
    if (!age.ended)
        return 0;
    samples[0] = sample("audit_verdict", "Of the last audit: 0 kept, 1 broken, 2 could not look",
                        NULL, NULL, age.verdict);
    samples[1] = sample("audit_age_seconds", "Time since the last audit that has ended began", NULL,
                        NULL, age.age_ms / 1000);
    return 2;
}

void handle_metrics(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    node_t *node = exchange->engine->node;
    unsigned shards = node->map.shards_count, count = 0;
    uint64_t findings[FINDING_COUNT] = {0};
    metric_sample_t *samples = alloc_zero(1, (5 * shards + FINDING_COUNT + 5) * sizeof(*samples));
    for (unsigned i = 0; i < shards; ++i)
        samples[count++] = (metric_sample_t){
            "gauge", "writer_queue_orders",        "Places taken in the writer's queue",
            "shard", node->config->shards[i].name, writer_depth(node->shards[i].writer)};
    for (unsigned i = 0; i < shards; ++i)
        samples[count++] = (metric_sample_t){"gauge",
                                             "pool_queue_jobs",
                                             "Jobs waiting for a pool thread",
                                             "shard",
                                             node->config->shards[i].name,
                                             pool_depth(node->shards[i].pool)};
    count += add_servers(node, samples + count);
    count += add_durability(node, samples + count);
    count += add_audit(node, samples + count);
    count_findings(node, findings);
    for (unsigned f = FINDING_AGREE + 1; f < FINDING_COUNT; ++f)
        samples[count++] = (metric_sample_t){
            "counter", "reconciler_findings_total", "Gates found to disagree with MySQL",
            "found",   finding_name((finding_t)f),  (int64_t)findings[f]};
    char *text = metrics_render(samples, count);
    reply_text(exchange, 200, "text/plain; version=0.0.4", str_of(text));
    free(text);
    free(samples);
}
