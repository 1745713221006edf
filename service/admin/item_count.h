/*
 * How many items a shard has, for the status. Counting reads an index of the whole table: some
 * 0.2 s for a million items. So an item count is kept, and counted anew when it is asked for, but
 * not more often than each ITEM_COUNT_AGE_MS, and so that counting takes a twentieth of the time at
 * most.
 *
 * serve makes one for each shard, zero-initialised. Any thread may call; item_count_refresh()
 * blocks on MySQL, so it is for pool threads.
 */
#ifndef HOLDFAST_ADMIN_ITEM_COUNT_H
#define HOLDFAST_ADMIN_ITEM_COUNT_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/items.h"

#define ITEM_COUNT_AGE_MS 1000

typedef struct {
    atomic_flag counting;                /* a thread counts now */
    pthread_mutex_t lock;                /* over the rest */
    uint64_t items, counted_ms, took_ms; /* counted_ms is monotonic; 0: never counted */
} item_count_t;

void item_count_init(item_count_t *count);
void item_count_dispose(item_count_t *count);
/* Counts if the count is old and no other thread counts. A failure leaves the old count. */
void item_count_refresh(item_count_t *count, db_t *db, sql_t *sql);
/* False: the items were never counted. */
bool item_count_read(item_count_t *count, uint64_t *items, uint64_t *age_ms);

#endif
