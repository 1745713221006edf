#include "strategies/sql_purchase.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "sale/admission.h"
#include "store/expiry.h"
#include "store/items.h"
#include "store/orders.h"

/* How the transactions of one job ended. */
typedef enum {
    ENDED_DECIDED, /* `row` is in MySQL */
    ENDED_REPEAT,  /* `row` is the first order of the key */
    ENDED_REFUSED, /* `problem`; this job wrote nothing */
    ENDED_STALE,   /* another strategy is in force, or the row is gone */
    ENDED_UNKNOWN, /* the answer to a COMMIT was lost, and MySQL did not come back in time */
    ENDED_LOCKED,  /* a wait for a lock timed out; the pool's thread is given up for other jobs */
    ENDED_CONFLICT /* only between transactions */
} ended_t;

/* One attempt. The pool owns it between sql_purchase_start() and done(). */
typedef struct {
    job_t job;
    attempt_t *attempt; /* read only while the job runs */
    loop_timer_t timer; /* delay after the pool was full */
    ended_t ended;
    problem_t problem;
    refusal_t why;
    order_t row;
    bool inserted;    /* this job inserted `row` */
    bool none_left;   /* no unit of the item is left */
    bool lost_commit; /* a COMMIT of this job, at any time */
    bool duplicate;   /* a row had the id or the key already */
} sql_attempt_t;

static ended_t refuse(sql_attempt_t *a, problem_t why)
{
    a->problem = why;
    return ENDED_REFUSED;
}

static ended_t failed(sql_attempt_t *a, worker_t *worker, result_t result)
{
    if (result == RESULT_REFUSED && db_error_is_duplicate(worker->db)) {
        a->duplicate = true; /* the next transaction reads which order has it */
        return ENDED_CONFLICT;
    }
    switch (result) {
    case RESULT_RETRY: /* the version has changed, or another transaction holds the lock */
        return db_error_is_lock(worker->db) ? ENDED_LOCKED : ENDED_CONFLICT;
    case RESULT_UNKNOWN:
        a->lost_commit = true;
        return ENDED_CONFLICT;
    /* away, or refused: nothing of this transaction is left. An earlier COMMIT whose answer was
       lost may still have taken effect. The connection has logged the error. */
    default:
        METRIC_INC(sql_purchase_errors_total);
        return a->lost_commit ? ENDED_CONFLICT : refuse(a, PROBLEM_UNAVAILABLE);
    }
}

static result_t units_of_buyer(const order_t *order, worker_t *worker, int64_t *units)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE sku = %s AND buyer_id = %s AND "
            "state IN ('held', 'confirmed')",
            order_sku(order), order_buyer(order));
    result_t result = db_query(worker->db, &worker->sql);
    *units = result == RESULT_DONE && db_next(worker->db) ? db_i64(worker->db, 0) : 0;
    return result;
}

/* The checks of the gate, made against the row and the orders of this snapshot. The limit is
   checked last, so that a sold-out item does not cost a sum over the buyer's orders. */
static result_t check(sql_attempt_t *a, worker_t *worker, const item_t *item, uint64_t now_ms)
{
    const order_t *order = &a->attempt->order;
    const item_terms_t *terms = &item->terms;
    admission_case_t facts = {.quantity = order->quantity,
                              .now_ms = now_ms,
                              .deadline_ms = UINT64_MAX,
                              .starts_at_ms = terms->starts_at_ms,
                              .ends_at_ms = terms->ends_at_ms,
                              .left = terms->total - item_allocated(item)};
    a->none_left = facts.left <= 0;
    a->why = (refusal_t){.starts_at_ms = terms->starts_at_ms, .limit = terms->per_buyer_limit};
    a->problem = admission_problem(admission_decide(&facts));
    if (a->problem != PROBLEM_NONE || terms->per_buyer_limit == 0)
        return RESULT_DONE;
    result_t result = units_of_buyer(order, worker, &facts.owned);
    a->why.owned = facts.owned;
    a->why.owned_is_known = result == RESULT_DONE;
    facts.limit = terms->per_buyer_limit;
    if (result == RESULT_DONE)
        a->problem = admission_problem(admission_decide(&facts));
    return result;
}

static void insert_statement(sql_attempt_t *a, sql_t *sql, const item_t *item, uint64_t now_ms)
{
    order_t *row = &a->row;
    uint32_t hold = item->terms.hold_seconds;
    *row = a->attempt->order;
    row->state = hold == 0 ? ORDER_CONFIRMED : ORDER_HELD;
    row->created_at_ms = now_ms;
    row->expires_at_ms = hold == 0 ? 0 : now_ms + (uint64_t)hold * 1000;
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO orders (order_id, sku, bucket, buyer_id, quantity, state, "
            "idempotency_key, request_digest, epoch, created_at, expires_at, updated_at) "
            "VALUES (%o, %s, %u, %s, %u, %w, %s, %u, %u, %t, %t, %t)",
            &row->id, order_sku(row), (uint64_t)item->ref.bucket, order_buyer(row),
            (uint64_t)row->quantity, order_state_name(row->state), attempt_key(a->attempt),
            row->digest, item->epoch, now_ms, row->expires_at_ms, now_ms);
    if (row->state == ORDER_HELD) {
        sql_add(sql, "; ");
        reminder_add(sql, 0, row);
        reminder_end(sql);
    }
}

static void update_statement(uint64_t units, const sql_strategy_t *strategy, sql_t *sql,
                             const item_t *item)
{
    sql_reset(sql);
    sql_add(sql,
            "UPDATE " SQL_INVENTORY_BY_KEY
            " SET allocated_total = allocated_total + %u, version = version + 1, "
            "updated_at = NOW(3) WHERE %i AND epoch = %u "
            "AND allocated_total - released_total + %u <= total",
            units, &item->ref, item->epoch, units);
    if (strategy->check_version)
        sql_add(sql, " AND version = %u", item->version);
}

static result_t write_order(sql_attempt_t *a, const sql_strategy_t *strategy, worker_t *worker,
                            const item_t *item, uint64_t now_ms)
{
    uint64_t affected[1] = {0};
    insert_statement(a, &worker->sql, item, now_ms);
    result_t result = db_exec(worker->db, &worker->sql, NULL, 0);
    if (result != RESULT_DONE)
        return result;
    update_statement(a->attempt->order.quantity, strategy, &worker->sql, item);
    result = db_exec(worker->db, &worker->sql, affected, 1);
    if (result == RESULT_DONE && affected[0] != 1)
        return RESULT_RETRY; /* the version or the epoch has changed, or the last unit is gone */
    FAILPOINT("sql_before_commit");
    return result == RESULT_DONE ? db_commit(worker->db) : result;
}

/* Reads whether this id or this key has a row already: an earlier attempt may have written it, or
   another process that decided the order. The id is read only if that is possible. Ids grow, so
   under SERIALIZABLE the read of an id that does not exist would lock the end of the index, and
   with it the next orders of all items. */
static result_t find_written(sql_attempt_t *a, worker_t *worker, ended_t *ended)
{
    const attempt_t *attempt = a->attempt;
    const order_t *order = &attempt->order;
    bool found = false;
    result_t result = RESULT_DONE;
    if (attempt->may_be_written || a->lost_commit || a->duplicate)
        result = order_read(worker->db, &worker->sql, &order->id, false, &a->row, &found);
    if (result == RESULT_DONE && found)
        *ended = ENDED_DECIDED;
    if (result != RESULT_DONE || found || attempt->key_length == 0)
        return result;
    result = order_read_by_key(worker->db, &worker->sql, order_sku(order), order_buyer(order),
                               attempt_key(attempt), false, &a->row, &found);
    if (result == RESULT_DONE && found)
        *ended = ENDED_REPEAT;
    return result;
}

static ended_t in_transaction(sql_attempt_t *a, const sql_strategy_t *strategy, worker_t *worker)
{
    item_t item;
    bool found;
    ended_t ended = ENDED_CONFLICT;
    result_t result = db_run(worker->db, strategy->begin);
    if (result ==
        RESULT_DONE) /* the version is read first: the whole snapshot is checked against it */
        result = item_read(worker->db, &worker->sql, &a->attempt->item->ref, false, &item, &found);
    if (result != RESULT_DONE)
        return failed(a, worker, result);
    if (!found || item_strategy(&item) != strategy->id)
        return ENDED_STALE;
    result = find_written(a, worker, &ended);
    if (result != RESULT_DONE)
        return failed(a, worker, result);
    if (ended != ENDED_CONFLICT)
        return ended;
    uint64_t now_ms = remote_clock_now_ms(&worker->shard->clock);
    result = check(a, worker, &item, now_ms);
    if (result != RESULT_DONE)
        return failed(a, worker, result);
    if (a->problem != PROBLEM_NONE)
        return ENDED_REFUSED;
    result = write_order(a, strategy, worker, &item, now_ms);
    if (result != RESULT_DONE)
        return failed(a, worker, result);
    FAILPOINT("sql_after_commit");
    a->inserted = true;
    return ENDED_DECIDED;
}

/* The end of a job that stopped between transactions, or whose wait for a lock timed out. */
static ended_t ended_at_last(sql_attempt_t *a, ended_t ended)
{
    if (a->lost_commit && ended == ENDED_LOCKED)
        return ENDED_UNKNOWN;
    if (ended == ENDED_CONFLICT)
        return a->lost_commit ? ENDED_UNKNOWN : refuse(a, PROBLEM_UNAVAILABLE);
    return ended;
}

void sql_purchase_run(const sql_strategy_t *strategy, job_t *job, worker_t *worker)
{
    sql_attempt_t *a = H2O_STRUCT_FROM_MEMBER(sql_attempt_t, job, job);
    const config_t *config = worker->shard->config;
    uint64_t deadline = clock_mono_ms() + config->orders.commit_deadline_ms;
    ended_t ended = ENDED_CONFLICT;
    for (unsigned tries = 0; ended == ENDED_CONFLICT; ++tries) {
        if (tries > config->orders.retries_max || clock_mono_ms() > deadline)
            break;
        if (tries != 0) {
            METRIC_STRATEGY_ADD(retries_total, strategy->id, 1);
            usleep(random_backoff(strategy->backoff_base_us, strategy->backoff_cap_us, tries));
        }
        ended = in_transaction(a, strategy, worker);
        if (!(ended == ENDED_DECIDED && a->inserted))
            db_rollback(worker->db);
        if (ended == ENDED_CONFLICT || ended == ENDED_LOCKED)
            METRIC_STRATEGY_ADD(aborts_total, strategy->id, 1);
    }
    a->ended = ended_at_last(a, ended);
}

static outcome_t outcome_of(const sql_attempt_t *a)
{
    static const outcome_kind_t kinds[] = {
        [ENDED_DECIDED] = OUTCOME_DECIDED, [ENDED_REPEAT] = OUTCOME_REPEAT,
        [ENDED_REFUSED] = OUTCOME_REFUSED, [ENDED_STALE] = OUTCOME_STALE,
        [ENDED_UNKNOWN] = OUTCOME_UNKNOWN, [ENDED_LOCKED] = OUTCOME_DELAYED,
    };
    assert(a->ended != ENDED_CONFLICT && (a->ended == ENDED_DECIDED || !a->inserted));
    /* A plain read that did not find the row decides nothing: the COMMIT whose answer was lost may
       still be under way. */
    outcome_t outcome = {kinds[a->ended], .lost_commit = a->lost_commit};
    if (a->ended == ENDED_REFUSED) {
        outcome.problem = a->problem;
        outcome.why = a->why;
    }
    if (a->ended == ENDED_DECIDED || a->ended == ENDED_REPEAT)
        outcome.row = &a->row;
    if (a->ended == ENDED_REPEAT)
        outcome.first = a->row.id;
    return outcome;
}

static void finish(sql_attempt_t *a, const outcome_t *outcome)
{
    attempt_t *attempt = a->attempt;
    attempt->item->loop->host->done(attempt, outcome);
    free(a);
}

static void done(job_t *job)
{
    sql_attempt_t *a = H2O_STRUCT_FROM_MEMBER(sql_attempt_t, job, job);
    strategy_item_t *item = a->attempt->item;
    const outcome_t outcome = outcome_of(a);
    if (a->inserted)
        METRIC_INC(orders_committed_total);
    if (a->ended == ENDED_REFUSED && a->problem == PROBLEM_SOLD_OUT && a->none_left)
        item->loop->host->sold_out(item, a->attempt->units_back);
    finish(a, &outcome);
}

static void on_full(loop_timer_t *timer)
{
    finish(H2O_STRUCT_FROM_MEMBER(sql_attempt_t, timer, timer),
           &(outcome_t){OUTCOME_REFUSED, .problem = PROBLEM_UNAVAILABLE});
}

void sql_purchase_start(attempt_t *attempt, void (*run)(job_t *, worker_t *))
{
    strategy_item_t *item = attempt->item;
    loop_t *loop = item->loop->loop;
    sql_attempt_t *a = alloc_zero(1, sizeof(*a));
    a->attempt = attempt;
    job_set_slot(&a->job, item->ref.slot);
    item->loop->host->sent(attempt);
    if (!pool_submit(item->shard->pool, loop, &a->job, run, done)) {
        METRIC_INC(queue_full_total);
        loop_timer_start(loop, &a->timer, 0, on_full);
    }
}
