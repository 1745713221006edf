/*
 * A pass of the reconciler over one item: look, decide, act. Blocking. The decisions are in
 * reconcile/decide.h; this is the I/O around them.
 */
#ifndef HOLDFAST_RECONCILE_PASS_H
#define HOLDFAST_RECONCILE_PASS_H

#include "reconcile/decide.h"
#include "reconcile/sync.h"

typedef struct {
    sync_result_t result; /* SYNC_READY: the pass was made */
    bool look_again;      /* nothing is decided until a look PASS_LOOK_AGAIN_US later */
    bool failed;          /* there was something to be done, and it could not be: see `result` */
    finding_t finding;
    action_t done; /* NONE, SYNC, REBUILD or RESTORE */
    item_t item;
    gate_state_t gate; /* as last seen before the mending */
} pass_t;

#define PASS_LOOK_AGAIN_US 50000

/* One look, and what follows from it. `memory` is the item's between looks. `lease` NULL: somebody
   asked for it by hand. `wait`: for a row that another transaction has locked; else such an item is
   SYNC_BUSY at once, and the caller can go on with others. */
pass_t reconcile_look(worker_t *worker, str_t sku, memory_t *memory, const lease_t *lease,
                      bool wait);
/* Is the item's row there, and free of locks at one of some looks within PASS_FREE_US? A sale locks
   its row again and again, for a short time; a stranger may keep it. */
#define PASS_FREE_US 40000
bool reconcile_row_is_free(worker_t *worker, str_t sku);
/* By hand: looks, and waits in between, until all is decided. */
pass_t reconcile_pass(worker_t *worker, str_t sku);
/* "nothing", "rebuilt", ...: for people. */
const char *pass_action(const pass_t *pass);

#endif
