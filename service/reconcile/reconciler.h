/*
 * The reconciler of a shard, a thread: takes orphans over, compares gates with their rows a few at
 * a time, and rebuilds what was put down for it. Every node may run it; nothing it does depends on
 * being the only one.
 */
#ifndef HOLDFAST_RECONCILE_RECONCILER_H
#define HOLDFAST_RECONCILE_RECONCILER_H

#include "base/str.h"

struct node;
typedef struct reconciler reconciler_t;

/* From here on it may be asked to mend; its thread begins with reconciler_start(), when the loops
   are there, and has ended after reconciler_stop(). */
reconciler_t *reconciler_new(struct node *node, unsigned shard);
void reconciler_start(reconciler_t *reconciler);
void reconciler_stop(reconciler_t *reconciler);
void reconciler_free(reconciler_t *reconciler);
/* From any thread: the item's gate is known to disagree with MySQL; rebuild it soon. */
void reconciler_mend(reconciler_t *reconciler, str_t sku);

#endif
