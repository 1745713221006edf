/*
 * The loader of a shard: a thread that fills the tables of buyers of gates that began to admit
 * before their tables were whole. A rebuild names such a gate in `loads` of the shard, and so does
 * whatever meets a gate that no process loads, since its process may have died.
 *
 * Any number of nodes may run it at once (reconcile/buyers_load.h). A table is loaded part by part,
 * with pauses: a sale goes on beside it. serve owns the loader. There are no errors to handle: a
 * part that cannot be read or loaded is tried again, and a gate that has got another epoch is left.
 */
#ifndef HOLDFAST_RECONCILE_LOADER_H
#define HOLDFAST_RECONCILE_LOADER_H

#include "work/shard.h"

typedef struct loader loader_t;

/* Starts the thread. `shard` must outlive it. Main thread. */
loader_t *loader_start(shard_t *shard);
/* The thread ends after the part that is under way. Does not block. */
void loader_end(loader_t *loader);
/* The same, and blocks until then, and frees it. */
void loader_stop(loader_t *loader);

#endif
