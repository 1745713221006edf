/*
 * Is a 201 worth what it promises? Watches the settings of each shard's server and of Redis on
 * which that depends, while the service runs: they can be changed under it.
 *
 *   MySQL  innodb_flush_log_at_trx_commit 1, innodb_doublewrite, a flush method that syncs; with a
 *          binary log sync_binlog 1 and sql_log_bin 1
 *   Redis  appendonly yes, appendfsync always, no-appendfsync-on-rewrite no, maxmemory-policy
 *          noeviction
 *
 * A change is logged once; status and metrics show how it is. The service goes on selling: what is
 * promised less is an operator's choice, and nobody is to be surprised by it.
 */
#ifndef HOLDFAST_RECONCILE_DURABILITY_H
#define HOLDFAST_RECONCILE_DURABILITY_H

#include "work/pool.h"

typedef enum { DURABLE_UNKNOWN, DURABLE_YES, DURABLE_NO } durable_t;

#define DURABILITY_WHY_SIZE 256

typedef struct {
    durable_t durable;
    char why[DURABILITY_WHY_SIZE]; /* not, or nobody knows; "" if it is durable */
} durability_t;

typedef struct durability durability_watch_t;

durability_watch_t *durability_new(const config_t *config);
void durability_free(durability_watch_t *watch);

/*
 * Looks at the server of the worker's shard, and from the thread of the first shard at Redis too,
 * if the last look was some seconds ago. Also asks whether the shard is still the right one: see
 * db_check_identity(). Blocks as a statement does; one thread for each shard calls it, outside a
 * transaction.
 */
void durability_check(durability_watch_t *watch, worker_t *worker);

/* What was seen last. Any thread; never blocks on a server. */
void durability_of_shard(durability_watch_t *watch, unsigned shard, durability_t *out);
void durability_of_redis(durability_watch_t *watch, durability_t *out);

#endif
