/*
 * A lease: one node at a time does a piece of work for a shard. Kept in the shard's own MySQL and
 * timed by its clock, so that nodes with differing clocks agree.
 *
 * It saves work and never gives safety: a holder that was paused may wake up after its time. What
 * it then does must be refused by epochs and, to spare useless work, by the fence:
 * a number that goes up whenever the holder changes. lease_condition() puts "still mine" into
 * the statement that acts.
 */
#ifndef HOLDFAST_STORE_LEASE_H
#define HOLDFAST_STORE_LEASE_H

#include "store/db.h"

typedef struct {
    const char *name;   /* of the work; a literal */
    const char *holder; /* the incarnation that asks; outlives the lease */
    uint64_t fence;     /* 0: not held */
    uint64_t until_ms;  /* monotonic: not relied upon after it; before the server's own end */
} lease_t;

/* Takes the lease, or renews it, for `ms`. RESULT_DONE and lease->fence 0: another holds it. */
result_t lease_take(db_t *db, sql_t *sql, lease_t *lease, uint32_t ms);
/* By this node's monotonic clock. */
bool lease_is_held(const lease_t *lease);
/* Who holds it, by the server: "" if nobody does. `out` has 65 bytes. */
result_t lease_holder(db_t *db, sql_t *sql, const char *name, char *out);
/* Appends " AND EXISTS (...)": true while the server too says that it is still held. */
void lease_condition(sql_t *sql, const lease_t *lease);

#endif
