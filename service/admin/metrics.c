#include <stdlib.h>

#include "admin/handlers.h"
#include "http/call.h"
#include "reconcile/reconciler.h"

/* Findings of all shards, by kind. */
static void count_findings(const node_t *node, uint64_t findings[FINDING_COUNT])
{
    reconciler_report_t report;
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        reconciler_report(node->shards[i].reconciler, &report);
        for (unsigned f = 0; f < FINDING_COUNT; ++f)
            findings[f] += report.findings[f];
    }
}

void handle_metrics(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    node_t *node = exchange->engine->node;
    unsigned shards = node->map.shards_count, count = 0;
    uint64_t findings[FINDING_COUNT] = {0};
    metric_sample_t *samples = call_new((2 * shards + FINDING_COUNT) * sizeof(*samples));
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
