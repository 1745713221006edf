#include "reconcile/release.h"

#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "engine/engine.h"
#include "metrics/metrics.h"
#include "reconcile/reconciler.h"

#define LATER_TRIES 50
#define LATER_PAUSE_US 20000

static bool same_gate(const release_t *a, const release_t *b)
{
    return a->epoch == b->epoch && a->sku_length == b->sku_length &&
           memcmp(a->sku_bytes, b->sku_bytes, a->sku_length) == 0;
}

static bool tell(worker_t *worker, const release_t *releases, unsigned count)
{
    gate_release_t answer = GATE_RELEASE_LATER;
    for (unsigned i = 0; i < LATER_TRIES && answer == GATE_RELEASE_LATER; ++i) {
        if (i != 0)
            usleep(LATER_PAUSE_US);
        if (gate_sync_release(worker->gate, releases, count, &answer) != GATE_CALL_OK)
            return false;
    }
    return answer != GATE_RELEASE_LATER;
}

bool release_to_gate(worker_t *worker, const release_t *releases, unsigned count)
{
    bool all = true;
    for (unsigned from = 0, to; from < count; from = to) {
        for (to = from + 1; to < count && same_gate(&releases[from], &releases[to]);)
            ++to;
        str_t sku = {releases[from].sku_bytes, releases[from].sku_length};
        bool gated = strategy_uses_gate(releases[from].strategy);
        FAILPOINT("release_before_gate");
        bool told = gated && tell(worker, releases + from, to - from);
        FAILPOINT("release_after_gate");
        engine_news(worker->node, sku, releases[from].epoch); /* there are units again */
        if (told)
            METRIC_ADD(releases_total, to - from);
        if (told || !gated)
            continue;
        METRIC_ADD(releases_given_up_total, to - from);
        LOG_WARN("a release did not reach the gate; it will be rebuilt", LOG_BYTES("sku", sku));
        reconciler_mend(worker->node->shards[worker->shard].reconciler, sku, releases[from].epoch);
        all = false;
    }
    return all;
}
