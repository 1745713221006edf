/*
 * The pace of a scan beside a sale: while others write at the server, the scan rests between its
 * chunks, so that the sale keeps the processor. Without them it takes all it gets.
 *
 * The server's counter of COMMIT statements shows whether others write; the audit itself commits
 * nothing. Servers may share the cores of a machine, and no counter shows that. So the scans of all
 * shards rest while others write at any of them; a part of an audit that has ended its scan goes on
 * looking for the scans that have not.
 *
 * The thread of one part of an audit owns a pace. Each function blocks it.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_PACE_H
#define HOLDFAST_RECONCILE_AUDIT_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/db.h"

typedef struct {
    uint64_t orders_per_s; /* beside a sale */
    uint64_t looked_us;    /* monotonic: the last look at the counter; 0: none yet */
    uint64_t begun_us;     /* when the present chunk began */
    uint64_t commits;
    bool busy; /* others write at this server, or that is not known yet */
} audit_pace_t;

/* Before the first chunk of a scan. */
void audit_pace_begin(audit_pace_t *pace);
/* After a chunk of so many orders: rests if others write. RESULT_DONE, or the error of the look. */
result_t audit_pace(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t orders);
/* For work that has no pace: looks at the counter if the last look was some time ago. The result is
   that of the look, or RESULT_DONE. */
result_t audit_pace_look(audit_pace_t *pace, db_t *db, sql_t *sql);
/* Looks at the counter until `stop` or the first error. */
void audit_pace_look_on(audit_pace_t *pace, db_t *db, sql_t *sql, const atomic_bool *stop);

#endif
