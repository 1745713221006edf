/*
 * One batch of the writer, from orders to an outcome for each. Split from the thread that
 * feeds it so that tests can run it without one. Blocking; the caller's thread owns all of it.
 */
#ifndef HOLDFAST_STORE_WRITER_BATCH_H
#define HOLDFAST_STORE_WRITER_BATCH_H

#include <stdatomic.h>

#include "base/clock.h"
#include "store/writer.h"

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
    atomic_bool away;       /* MySQL does not answer */
} writer_core_t;

void writer_core_init(writer_core_t *core, const config_t *config, unsigned shard,
                      remote_clock_t *clock);
void writer_core_dispose(writer_core_t *core);
/* Returns when every order has a result; while MySQL is away it waits here. */
void writer_apply(writer_core_t *core, writer_order_t **orders, unsigned count);

#endif
