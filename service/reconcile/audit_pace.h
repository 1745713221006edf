/*
 * The pace of a scan beside a sale: while others write at the server, the scan rests between its
 * chunks, so that the sale keeps the processor. Without them it takes all it gets.
 *
 * The server's counter of COMMIT statements shows whether others write; the scan itself commits
 * nothing. The thread of the audit owns a pace; audit_pace() blocks it.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_PACE_H
#define HOLDFAST_RECONCILE_AUDIT_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/db.h"

typedef struct {
    uint64_t orders_per_s; /* beside a sale */
    uint64_t looked_us;    /* monotonic: the last look at the counter */
    uint64_t begun_us;     /* when the present chunk began */
    uint64_t commits;
    bool busy; /* others write */
} audit_pace_t;

/* Before the first chunk. The scan counts as beside a sale until the first look. */
void audit_pace_begin(audit_pace_t *pace);
/* After a chunk of so many orders: rests if others write. RESULT_DONE, or the error of the look. */
result_t audit_pace(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t orders);

#endif
