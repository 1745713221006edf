/*
 * The background thread of a shard that keeps gates and rows in step. A lease lets one node at a
 * time do it for a shard; epochs keep it safe if two do.
 *
 * Each pass: the gates of the repair queue are rebuilt or closed (by any node); then, under
 * the lease, orders whose owner is gone are taken over (orphans.h), and items are compared
 * (pass.h), as many as fit into a second; the next pass goes on behind them.
 *
 * An item whose gate cannot be mended (its row is locked by a stranger, a server answers errors for
 * it) is set aside, named in the log and counted, and tried again with a backoff: the pass goes on
 * with the others. A server that is away for all sets nothing aside.
 */
#ifndef HOLDFAST_RECONCILE_RECONCILER_H
#define HOLDFAST_RECONCILE_RECONCILER_H

#include <stdint.h>

#include "reconcile/decide.h"
#include "work/shard.h"

typedef struct reconciler reconciler_t;

/* The name of its lease, one in each shard. */
#define RECONCILER_LEASE "reconciler"

/* Two steps: its report may be read from here on. */
reconciler_t *reconciler_new(shard_t *shard);
void reconciler_start(reconciler_t *reconciler);
void reconciler_stop(reconciler_t *reconciler);
void reconciler_free(reconciler_t *reconciler);

/* What it has done, for /v1/status; any thread. Counts are of this process. */
typedef struct {
    bool holds_lease;
    uint64_t passes, items, orphans, repairs;
    uint64_t set_aside; /* items, at present */
    uint64_t findings[FINDING_COUNT];
    uint64_t last_pass_ms_ago; /* only if passes is not 0 */
    bool has_last;             /* a finding, and what was done about it: */
    char last_sku[SKU_BYTES_MAX + 1];
    finding_t last_finding;
    const char *last_action;
    uint64_t last_epoch, last_at_ms; /* wall clock */
} reconciler_report_t;
void reconciler_report(reconciler_t *reconciler, reconciler_report_t *out);

#endif
