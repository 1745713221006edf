/*
 * Expiry of held orders, and the reminders that it goes by: the rows of table `holds`.
 *
 * A reminder says only "look at this order then". Each order in state held has one that does not
 * come after the order's deadline: whoever inserts a held order inserts its reminder in the same
 * transaction. confirm, cancel and extend leave it alone, so that they cost no more than their own
 * row, and a deadline never moves to an earlier time. When a reminder is due, expiry looks:
 *
 *     held, its time is over          ─▶ expires; the reminder goes
 *     held, extended meanwhile        ─▶ the reminder moves to the new deadline
 *     no longer held, or not there    ─▶ the reminder goes
 *     locked by another transaction   ─▶ stays as it is, to be looked at again
 *
 * Any number of services may do so at once: a reminder is looked at by whoever has its lock, and
 * goes or moves in the transaction that looked.
 */
#ifndef HOLDFAST_STORE_EXPIRY_H
#define HOLDFAST_STORE_EXPIRY_H

#include "store/order.h"

/* An INSERT of reminders, for a transaction that inserts held orders: the first (`nth` 0) begins it
   and the end must follow the last. A reminder that is there already is no error. */
void reminder_add(sql_t *sql, unsigned nth, const order_t *order);
void reminder_end(sql_t *sql);

typedef struct {
    unsigned max;        /* reminders of a batch */
    release_t *releases; /* the orders that the last batch has expired */
    unsigned count;
    bool more; /* others may be due now */
    struct reminder *reminders;
} expiry_t;

void expiry_init(expiry_t *expiry, unsigned max);
void expiry_dispose(expiry_t *expiry);

/*
 * Looks at the reminders of this shard that are due by its own clock, in one transaction. Blocks.
 * Unless it is DB_OK, nothing was expired, or (DB_LOST) nobody knows.
 */
db_result_t expiry_batch(expiry_t *expiry, db_t *db, sql_t *sql);

#endif
