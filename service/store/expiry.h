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
 *
 * What is due is walked through in batches, from the oldest reminder on; a walk goes on behind what
 * stays, so that orders which cannot be expired hide none that can. A batch that fails is made
 * smaller until what fails is found: an item (its row is missing, or somebody has locked it) or a
 * single order. That is set aside, named in the log and counted, and tried again with a backoff
 * until it succeeds; meanwhile the walks pass it over. A server that takes no writes at all sets
 * nothing aside.
 */
#ifndef HOLDFAST_STORE_EXPIRY_H
#define HOLDFAST_STORE_EXPIRY_H

#include "base/aside.h"
#include "store/orders.h"

/* An INSERT of reminders, for a transaction that inserts held orders: the first (`nth` 0) begins it
   and the end must follow the last. A reminder that is there already is no error. */
void reminder_add(sql_t *sql, unsigned nth, const order_t *order);
void reminder_end(sql_t *sql);

/* A walk through what is due. */
typedef struct {
    bool under_way;
    bool whole;           /* it began with the oldest reminder */
    bool careful;         /* somebody has locked an item: locks of items are not waited for */
    uint64_t at_ms;       /* of the last reminder that was met; 0: none yet */
    order_id_t id;        /* likewise */
    uint64_t begun_ms;    /* monotonic */
    unsigned passed_over; /* reminders of what is set aside */
    uint64_t whole_at_ms; /* monotonic: until then walks go on where the last one ended */
} expiry_walk_t;

typedef struct {
    unsigned max;        /* reminders of a batch */
    release_t *releases; /* the orders that the last call has expired */
    unsigned count;
    bool more; /* the walk goes on: others may be due now */
    /* private */
    struct reminder *reminders;
    unsigned picked;    /* reminders of the present transaction */
    unsigned size;      /* reminders of the next batch: fewer after a failure */
    unsigned lost;      /* connections lost in a row */
    unsigned conflicts; /* likewise */
    aside_t *aside;     /* items and orders */
    bool trial;         /* one reminder is tried again although it is set aside */
    release_t *sick;    /* of the item whose row refused the present transaction, or NULL */
    sql_t *sql;         /* of the call */
    db_t *db;
    expiry_walk_t walk;
} expiry_t;

void expiry_init(expiry_t *expiry, unsigned max);
void expiry_dispose(expiry_t *expiry);

/*
 * The next batch of the walk, or the first of a new one: looks at reminders of this shard that are
 * due by its own clock, in one transaction. Blocks. Unless it is RESULT_DONE, nothing was expired,
 * or (RESULT_UNKNOWN) nobody knows; `more` says whether the walk can go on all the same.
 */
result_t expiry_batch(expiry_t *expiry, db_t *db, sql_t *sql);

/* Tries again what has been set aside for long enough: one item or order. Blocks. False: there is
   none, or MySQL is away. */
bool expiry_retry(expiry_t *expiry, db_t *db, sql_t *sql);

#endif
