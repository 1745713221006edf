/*
 * Strategy serializable: leave it all to the isolation level. Every read locks what it read, so
 * that two buyers of one item deadlock and one of them begins again. Kept for comparison.
 */
#include "strategies/sql_purchase.h"

static const sql_strategy_t serializable = {
    STRATEGY_SERIALIZABLE,
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION",
    false,
    /* Sparser than optimistic: each newcomer's read lock holds up all who want to write, so that
       on a slow machine nobody gets through unless the others stay away for long. */
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
