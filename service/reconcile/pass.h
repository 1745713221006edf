/*
 * One pass of the reconciler over one item, now: look, decide, act. Blocking. The decisions are in
 * reconcile/decide.h; this is the I/O around them.
 */
#ifndef HOLDFAST_RECONCILE_PASS_H
#define HOLDFAST_RECONCILE_PASS_H

#include "reconcile/decide.h"
#include "reconcile/sync.h"

typedef struct {
    sync_result_t result; /* SYNC_READY: the pass was made */
    finding_t finding;
    action_t done; /* NONE, SYNC, REBUILD or RESTORE */
    item_t item;
    gate_state_t gate; /* as last seen before the mending */
} pass_t;

/* `memory` is the item's between passes. `lease` NULL: somebody asked for this pass by hand. */
pass_t reconcile_pass(worker_t *worker, str_t sku, memory_t *memory, const lease_t *lease);
/* "nothing", "rebuilt", ...: for people. */
const char *pass_deed(const pass_t *pass);

#endif
