/*
 * One batch of the writer, from orders to an outcome for each. Split from the threads that feed it
 * so that tests can run it without one. Blocking; the caller's thread owns all of it.
 *
 * writer_batch.c makes one attempt: a transaction. writer_apply.c goes on until every order has a
 * result. What is decided meanwhile is decided by writer_decide.c.
 */
#ifndef HOLDFAST_WORK_WRITER_BATCH_H
#define HOLDFAST_WORK_WRITER_BATCH_H

#include <stdatomic.h>

#include "base/aside.h"
#include "base/clock.h"
#include "store/db.h"
#include "work/writer.h"
#include "work/writer_decide.h"

#define WRITER_SICK_MS 10000

/* What is remembered of a hot row between batches. */
typedef struct hot_row hot_row_t;

typedef struct {
    const config_t *config;
    db_t *db;
    sql_t sql;
    remote_clock_t *clock;  /* the shard's */
    uint64_t clock_read_ms; /* monotonic, when it was last asked */
    hot_row_t *rows;        /* uthash by sku */
    unsigned misses;        /* version misses in a row: after some, lock first */
    unsigned locked;        /* lock waits since the last COMMIT */
    aside_t *sick;      /* by sku: items whose orders met errors alone in the last WRITER_SICK_MS */
    uint64_t canary_ms; /* monotonic, when the canary last passed; 0: an error came since */
    bool is_side;       /* it tries what is set aside: what fails is set aside again at once */
    _Atomic uint64_t away_since_ms; /* monotonic; the shard takes no orders. 0: it takes them */
    pthread_mutex_t away_mutex;     /* of what follows */
    char away_why[WRITER_WHY_SIZE]; /* as long as it takes none: the server's words */
} writer_core_t;

/* Of the main thread, or of the side thread, of a thread. */
void writer_core_init(writer_core_t *core, const config_t *config, unsigned shard,
                      remote_clock_t *clock, bool is_side);
void writer_core_dispose(writer_core_t *core);
/* Returns when every order has a result: WRITER_ROW, WRITER_STALE or WRITER_ASIDE. While the shard
   is away it waits here, unless the core is a side one. */
void writer_apply(writer_core_t *core, writer_order_t **orders, unsigned count);
/* Asks whether the shard takes orders, and sets `away`. */
bool writer_probe(writer_core_t *core);

/* --- between writer_batch.c and writer_apply.c --- */

typedef enum {
    ATTEMPT_COMMITTED,
    ATTEMPT_AGAIN, /* some orders are decided, or a row was read anew: the rest again */
    ATTEMPT_SPLIT, /* two orders of the batch are in each other's way */
    ATTEMPT_FAILED /* see *failure */
} writer_attempt_t;

/* One transaction with all of `orders`. Sorts them by item. `groups` has room for one an order. */
writer_attempt_t writer_attempt(writer_core_t *core, writer_order_t **orders, unsigned count,
                                writer_group_t *groups, writer_failure_kind_t *failure);
/* Decides: the order's row says rejected, or what it said before. */
result_t writer_reject(writer_core_t *core, writer_order_t *order);
#endif
