/*
 * A pass of the reconciler over one item: read, decide, act. reconcile/decide.h has the decisions;
 * this is the I/O around them. Blocks on Redis and MySQL; for pool threads and the reconciler.
 */
#ifndef HOLDFAST_RECONCILE_PASS_H
#define HOLDFAST_RECONCILE_PASS_H

#include "reconcile/decide.h"
#include "reconcile/sync.h"

typedef struct {
    sync_result_t result; /* SYNC_READY: the pass was made */
    bool compare_again;   /* nothing is decided before another comparison, PASS_COMPARE_AGAIN_US
                          later */
    bool open;            /* the memory is needed: compare the item again soon */
    bool failed;          /* an action was due and failed: see `result` */
    finding_t finding;
    action_t done; /* NONE, SYNC, REBUILD or RESTORE */
    item_t item;
    gate_state_t gate; /* as read last, before the action */
} pass_t;

#define PASS_COMPARE_AGAIN_US 50000

typedef enum {
    COMPARE_BY_HAND = 1, /* an operator requested it */
    /* Wait for a row that another transaction has locked; otherwise such an item is SYNC_BUSY at
       once, and the caller can go on with other items. */
    COMPARE_WAITS = 2
} compare_flags_t;

/* One comparison and the action that follows from it. The caller owns `memory`, which is the item's
   between comparisons; all zero if the last comparison left nothing open. `lease`: the action needs
   it to be held. NULL: it needs none, but then a fallback is ended only by hand, so that one node
   does it. */
pass_t reconcile_compare(worker_t *worker, const item_ref_t *ref, memory_t *memory,
                         const lease_t *lease, unsigned flags);
/* Returns whether the item's row exists and is not locked, at one of several reads within
   PASS_FREE_US. A sale locks its row often, for a short time each; another user of the server may
   keep the lock. True also if MySQL returned an error: the caller's next statement meets it. */
#define PASS_FREE_US 40000
bool reconcile_row_is_free(worker_t *worker, const item_ref_t *ref);
/* For an operator: compares, and waits in between, until all is decided. */
pass_t reconcile_pass(worker_t *worker, const item_ref_t *ref);
/* The action that was carried out ("nothing", "rebuilt", "restored"), for people. Static. */
const char *pass_action(const pass_t *pass);

#endif
