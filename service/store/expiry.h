/*
 * Expiry of held orders by means of reminders: the rows of table `holds`.
 *
 * A reminder contains an order and the time at which to read it. Each order in state held has one
 * that is not later than the order's deadline: a transaction that inserts a held order inserts its
 * reminder too. confirm, cancel and extend do not change it, so they cost no more than their own
 * row, and a deadline never moves to an earlier time. When a reminder is due, expiry reads the
 * order:
 *
 *     held, its time is over          ─▶ expires; the reminder goes
 *     held, extended meanwhile        ─▶ the reminder moves to the new deadline
 *     no longer held, or not there    ─▶ the reminder goes
 *     locked by another transaction   ─▶ stays, and is read again later
 *
 * Any number of services may run expiry at once: the service that has a reminder's lock reads its
 * order, and deletes or moves the reminder in the same transaction.
 *
 * A scan handles due reminders in batches, from the oldest on. It continues behind reminders that
 * stay, so orders that cannot expire do not hide orders that can. A batch that fails is made
 * smaller until the cause is found: an item (its row is missing, or another user has locked it) or
 * a single order. Expiry sets it aside, logs and counts it, and tries it again with a backoff until
 * it succeeds; meanwhile the scans skip it. A server that takes no writes at all sets nothing
 * aside.
 *
 * The caller owns an expiry_t; one thread at a time may use it. Times are ms: since 1970 UTC by the
 * shard's clock, or monotonic where it is noted.
 */
#ifndef HOLDFAST_STORE_EXPIRY_H
#define HOLDFAST_STORE_EXPIRY_H

#include "base/aside.h"
#include "store/orders.h"

/* Appends an INSERT of reminders to a transaction that inserts held orders. The call with `nth` 0
   begins the statement; reminder_end() follows the last. An existing reminder is not an error. */
void reminder_add(sql_t *sql, unsigned nth, const order_t *order);
void reminder_end(sql_t *sql);

/* A scan through the due reminders. */
typedef struct {
    bool under_way;
    bool whole;     /* it began with the oldest reminder */
    bool careful;   /* another transaction has locked an item: the scan does not wait for locks of
                       items */
    uint64_t at_ms; /* of the last reminder that was read; 0: none yet */
    order_id_t id;  /* id of its order */
    uint64_t begun_ms;    /* monotonic */
    unsigned passed_over; /* reminders skipped because their order or item is set aside */
    uint64_t whole_at_ms; /* monotonic: until then a scan starts where the last one ended */
} expiry_scan_t;

typedef struct {
    unsigned max;        /* reminders of a batch */
    release_t *releases; /* the orders that the last call expired; valid until the next call */
    unsigned count;
    bool more; /* the scan continues: others may be due now */
    /* private */
    struct reminder *reminders;
    unsigned picked;    /* reminders of the current transaction */
    unsigned size;      /* reminders of the next batch: fewer after a failure */
    unsigned lost;      /* connections lost one after the other */
    unsigned conflicts; /* conflicts one after the other */
    aside_t *aside;     /* items and orders */
    bool trial;         /* retrying one reminder that is set aside */
    release_t *failing; /* the item whose row refused the current transaction, or NULL */
    sql_t *sql;         /* of the call */
    db_t *db;
    expiry_scan_t scan;
} expiry_t;

void expiry_init(expiry_t *expiry, unsigned max);
void expiry_dispose(expiry_t *expiry);

/*
 * Handles the next batch of the scan, or the first of a new one: reads reminders of this shard that
 * are due by its own clock, in one transaction. Blocks. With RESULT_UNKNOWN the outcome of the
 * batch is not known; with any other result than RESULT_DONE nothing has expired. `more` is set in
 * every case.
 */
result_t expiry_batch(expiry_t *expiry, db_t *db, sql_t *sql);

/* Tries one item or order again whose backoff has ended. Blocks. False: there is none, or MySQL is
   away. */
bool expiry_retry(expiry_t *expiry, db_t *db, sql_t *sql);

#endif
