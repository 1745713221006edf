/*
 * The common part of the two SQL strategies: one transaction for each buyer, on a thread of the
 * shard's pool, with all checks inside it. After a conflict it runs again, after a random backoff,
 * at most orders.retries_max times and for at most orders.commit_deadline_ms.
 *
 * The attempt belongs to this module between sql_purchase_start() and done(), which runs on the
 * loop.
 */
#ifndef HOLDFAST_STRATEGIES_SQL_PURCHASE_H
#define HOLDFAST_STRATEGIES_SQL_PURCHASE_H

#include "strategies/strategy.h"

typedef struct {
    strategy_id_t id;
    const char *begin; /* statements that open the transaction */
    /* the UPDATE of the hot row requires the version that was read */
    bool check_version;
    /* backoff after an aborted transaction, in microseconds */
    uint32_t backoff_base_us, backoff_cap_us;
} sql_strategy_t;

/* On the loop's thread; does not block. `run` calls sql_purchase_run() with its own sql_strategy_t,
   on a thread of the pool. */
void sql_purchase_start(attempt_t *attempt, void (*run)(job_t *, worker_t *));
/* On a thread of the pool. Blocks for the transactions and the backoffs between them. The outcome
   is kept in the job; done() reports it, also for errors. */
void sql_purchase_run(const sql_strategy_t *strategy, job_t *job, worker_t *worker);

#endif
