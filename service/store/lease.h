/*
 * A lease: one node at a time does a piece of work for a shard. The shard's own MySQL holds it and
 * its clock times it, so that nodes with differing clocks agree.
 *
 * A lease saves work and gives no safety: a holder that was paused may continue after its time.
 * Epochs must refuse its changes. The fence, a number that is raised whenever the holder changes,
 * avoids useless work: lease_condition() makes a statement depend on the caller's fence.
 *
 * The caller owns a lease_t; one thread at a time may use it. Functions that take a db_t block.
 */
#ifndef HOLDFAST_STORE_LEASE_H
#define HOLDFAST_STORE_LEASE_H

#include "store/db.h"

typedef struct {
    const char *name;   /* name of the work; a literal */
    const char *holder; /* incarnation of this process; outlives the lease */
    uint64_t fence;     /* 0: not held */
    uint64_t until_ms;  /* monotonic ms: valid here until then; before the server's end */
} lease_t;

/* Takes the lease, or renews it, for `ms`. RESULT_DONE and lease->fence 0: another holds it. All
   nodes take a lease of this name for the same time: one that ends later counts as over. */
result_t lease_take(db_t *db, sql_t *sql, lease_t *lease, uint32_t ms);
/* Is it held, by this node's monotonic clock? Asks no server. */
bool lease_is_held(const lease_t *lease);
/* Reads the holder from the server: "" if the lease is free. `out` has 65 bytes. */
result_t lease_holder(db_t *db, sql_t *sql, const char *name, char *out);
/* Appends " AND EXISTS (...)": true while the lease is still held by the server's row too. */
void lease_condition(sql_t *sql, const lease_t *lease);

#endif
