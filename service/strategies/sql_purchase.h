/*
 * What the two SQL strategies share: one transaction a buyer on a pool thread, everything checked
 * inside it, run again after a conflict within bounds and with jitter.
 */
#ifndef HOLDFAST_STRATEGIES_SQL_PURCHASE_H
#define HOLDFAST_STRATEGIES_SQL_PURCHASE_H

#include "strategies/strategy.h"

typedef struct {
    strategy_id_t id;
    const char *begin;                        /* statements that open the transaction */
    bool check_version;                       /* the hot row must have the version that was read */
    uint32_t backoff_base_us, backoff_cap_us; /* after an abort */
} sql_strategy_t;

/* `run` calls sql_purchase_run() with its own sql_strategy_t, on a thread of the pool. */
void sql_purchase_start(attempt_t *attempt, void (*run)(job_t *, worker_t *));
void sql_purchase_run(const sql_strategy_t *strategy, job_t *job, worker_t *worker);

#endif
