/*
 * One pass of the reconciler over one item, now: look, compare, mend. Blocking.
 */
#ifndef HOLDFAST_RECONCILE_PASS_H
#define HOLDFAST_RECONCILE_PASS_H

#include "reconcile/compare.h"
#include "reconcile/rebuild.h"

typedef struct {
    sync_result_t result; /* SYNC_READY: the pass was made */
    finding_t finding;
    bool rebuilt;
    item_t item;
    gate_state_t gate; /* as last seen before the mending */
} pass_t;

pass_t reconcile_pass(worker_t *worker, str_t sku);

#endif
