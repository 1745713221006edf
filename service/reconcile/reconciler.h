/*
 * The background thread of a shard that keeps gates and rows in step. A lease lets one node at a
 * time do it for a shard; epochs keep it safe if two nodes do.
 *
 * Each pass first rebuilds or closes the gates of the repair queue. Under the lease it takes over
 * orphans (orphans.h). Then it compares (pass.h) the items that this node's purchases have used
 * (work/in_use.h), and those whose last comparison left something open: on every node, a few
 * hundred. At last, under the lease, it compares items with a fallback, and the next few of
 * all items: their number does not grow with the shard.
 *
 * An item whose gate cannot be rebuilt (another user of the server keeps its row locked, or a
 * server returns errors for it) is set aside, named in the log and counted, and tried again with a
 * backoff; the pass goes on with the other items. A server that is away sets nothing aside.
 *
 * serve owns the reconcilers. Failures are logged, counted and tried again; no function returns an
 * error.
 */
#ifndef HOLDFAST_RECONCILE_RECONCILER_H
#define HOLDFAST_RECONCILE_RECONCILER_H

#include <stdint.h>

#include "reconcile/decide.h"
#include "work/shard.h"

typedef struct reconciler reconciler_t;

/* The name of the reconciler's lease; each shard has one. */
#define RECONCILER_LEASE "reconciler"

/* Creation and start are two steps: reconciler_report() may be called after the first. `shard` must
   outlive it. reconciler_end() lets the thread end and does not block; reconciler_stop() also
   blocks until it has ended. All five: main thread. */
reconciler_t *reconciler_new(shard_t *shard);
void reconciler_start(reconciler_t *reconciler);
void reconciler_end(reconciler_t *reconciler);
void reconciler_stop(reconciler_t *reconciler);
void reconciler_free(reconciler_t *reconciler);

/* What the reconciler has done, for /v1/status. Counts are of this process. */
typedef struct {
    bool holds_lease;
    uint64_t passes, items, orphans, repairs;
    uint64_t set_aside; /* items that are set aside now */
    uint64_t tracked;   /* items that the next passes compare before those of the round */
    uint64_t findings[FINDING_COUNT];
    uint64_t last_pass_ms_ago; /* valid only if passes is not 0 */
    bool has_last;             /* the members below are valid: the last finding and action */
    char last_sku[SKU_BYTES_MAX + 1];
    finding_t last_finding;
    const char *last_action;
    uint64_t last_epoch, last_at_ms; /* wall clock */
} reconciler_report_t;
/* Any thread; does not wait for a server. */
void reconciler_report(reconciler_t *reconciler, reconciler_report_t *out);

#endif
