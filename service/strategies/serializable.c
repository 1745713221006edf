/*
 * Strategy serializable: the isolation level does all the work. Every read locks the rows that it
 * reads, so two buyers of one item deadlock, and one of them begins again. Kept for comparison.
 */
#include "strategies/sql_purchase.h"

static const sql_strategy_t serializable = {
    STRATEGY_SERIALIZABLE,
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION",
    false,
    /* Longer backoffs than those of optimistic: the read lock of each new transaction delays all
       others that have to write. With short backoffs, no transaction of a slow machine would get
       through. */
    2000,
    1000000,
};

static void run(job_t *job, worker_t *worker)
{
    sql_purchase_run(&serializable, job, worker);
}

static void start(attempt_t *attempt)
{
    sql_purchase_start(attempt, run);
}

const strategy_t strategy_serializable = {start};
