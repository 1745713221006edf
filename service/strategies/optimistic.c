/*
 * Strategy optimistic: read the version, do the work, and change the row only if it still has that
 * version. One REPEATABLE READ snapshot, version first; each retry checks limit and window again.
 */
#include "strategies/sql_purchase.h"

static const sql_strategy_t optimistic = {
    STRATEGY_OPTIMISTIC,
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION",
    true,
    500,
    10000,
};

static void run(job_t *job, worker_t *worker)
{
    sql_purchase_run(&optimistic, job, worker);
}

static void start(attempt_t *attempt)
{
    sql_purchase_start(attempt, run);
}

const strategy_t strategy_optimistic = {start};
