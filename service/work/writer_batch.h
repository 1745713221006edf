/*
 * One batch of the writer, from orders to a result for each. It is separate from the writer's
 * threads, so that tests can run it without one.
 *
 * writer_batch.c makes one attempt: a transaction. writer_apply.c repeats until every order has a
 * result. writer_decide.c makes the decisions.
 *
 * The caller's thread owns the core and the orders; the functions block for MySQL. Only
 * away_since_ms and away_why may be read by other threads. An error of MySQL is logged and counted
 * in store/db.h and becomes a result of an order, or `away` of the core.
 */
#ifndef HOLDFAST_WORK_WRITER_BATCH_H
#define HOLDFAST_WORK_WRITER_BATCH_H

#include <stdatomic.h>

#include "base/aside.h"
#include "base/clock.h"
#include "store/db.h"
#include "work/writer.h"
#include "work/writer_decide.h"

#define WRITER_FAILING_MS 10000

/* The copy of a hot row that is kept between batches. */
typedef struct hot_row hot_row_t;

typedef struct {
    const config_t *config;
    db_t *db;
    sql_t sql;
    rows_t inserts;         /* of the attempt's orders */
    remote_clock_t *clock;  /* the shard's */
    uint64_t clock_read_ms; /* monotonic; when it was last read */
    hot_row_t *rows;        /* uthash by sku */
    bool lock_first;        /* the next attempt locks the rows before it writes */
    uint64_t lock_wait_us;  /* see writer_lock_wait_us() */
    unsigned locked;        /* lock waits since the last COMMIT */
    /* by sku: items whose orders met errors alone in the last WRITER_FAILING_MS */
    aside_t *failing;
    uint64_t canary_ms; /* monotonic; when the canary last passed; 0: an error came since */
    /* a side core: it tries orders that are set aside, and sets them aside again when they fail */
    bool is_side;
    /* monotonic; since when the shard takes no orders; 0: it takes them */
    _Atomic uint64_t away_since_ms;
    pthread_mutex_t away_mutex;     /* over `away_why` */
    char away_why[WRITER_WHY_SIZE]; /* the server's words while away */
} writer_core_t;

/* For the main thread or the side thread of a writer thread. */
void writer_core_init(writer_core_t *core, const config_t *config, unsigned shard,
                      remote_clock_t *clock, bool is_side);
void writer_core_dispose(writer_core_t *core);
/* Returns when every order has a result: WRITER_ROW, WRITER_STALE or WRITER_ASIDE. Blocks while the
   shard is away, unless the core is a side core. */
void writer_apply(writer_core_t *core, writer_order_t **orders, unsigned count);
/* How long the next batch should wait for more orders, from the end of the last one: about as long
   as batches have lately waited for the locks of rows that other processes change too. A batch that
   waits for a lock does not grow; orders that wait before it is taken share its COMMIT. 0: no other
   process changes the rows. */
uint64_t writer_lock_wait_us(const writer_core_t *core);
/* Tries the canary and sets `away`. Returns true if the shard takes orders. */
bool writer_probe(writer_core_t *core);

/* --- between writer_batch.c and writer_apply.c --- */

typedef enum {
    ATTEMPT_COMMITTED,
    ATTEMPT_AGAIN, /* some orders are decided, or a row was read anew: try the rest again */
    ATTEMPT_SPLIT, /* two orders of the batch conflict with each other */
    ATTEMPT_FAILED /* see *failure */
} writer_attempt_t;

/* One transaction with all of `orders`. Sorts them by item. `groups` has room for `count`
   groups. */
writer_attempt_t writer_attempt(writer_core_t *core, writer_order_t **orders, unsigned count,
                                writer_group_t *groups, writer_failure_kind_t *failure);
/* Inserts the order as rejected, unless its id has a row; that row is then the result. */
result_t writer_reject(writer_core_t *core, writer_order_t *order);
#endif
