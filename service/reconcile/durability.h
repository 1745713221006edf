/*
 * Watches the server settings on which the durability of a `201` depends, on each shard's server
 * and on Redis, while the service runs: an operator can change them at any time.
 *
 *   MySQL  innodb_flush_log_at_trx_commit 1, innodb_doublewrite, a flush method that syncs; with a
 *          binary log sync_binlog 1 and sql_log_bin 1
 *   Redis  appendonly yes, appendfsync always, no-appendfsync-on-rewrite no, maxmemory-policy
 *          noeviction
 *
 * A change is logged once; status and metrics show the present state. The service goes on selling:
 * to weaken durability is the operator's decision, and the log makes it visible.
 *
 * serve owns the watch; it outlives the threads that use it.
 */
#ifndef HOLDFAST_RECONCILE_DURABILITY_H
#define HOLDFAST_RECONCILE_DURABILITY_H

#include "work/pool.h"

typedef enum { DURABLE_UNKNOWN, DURABLE_YES, DURABLE_NO } durable_t;

#define DURABILITY_WHY_SIZE 256

typedef struct {
    durable_t durable;
    char why[DURABILITY_WHY_SIZE]; /* the reason for DURABLE_NO or DURABLE_UNKNOWN; "" for
                                      DURABLE_YES */
} durability_t;

typedef struct durability durability_watch_t;

durability_watch_t *durability_new(const config_t *config);
void durability_free(durability_watch_t *watch);

/*
 * Reads the settings of the worker's shard, and on the thread of the first shard those of Redis
 * too, if the last read was at least 2 s ago. Also checks the identity of the shard: see
 * db_check_identity(). Blocks as a statement does. Exactly one thread for each shard calls it,
 * outside a transaction. A failure to read makes the state DURABLE_UNKNOWN.
 */
void durability_check(durability_watch_t *watch, worker_t *worker);

/* The state that was read last. Any thread; never waits for a server. */
void durability_of_shard(durability_watch_t *watch, unsigned shard, durability_t *out);
void durability_of_redis(durability_watch_t *watch, durability_t *out);

#endif
