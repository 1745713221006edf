#include "strategies/sql_purchase.h"

#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "store/expiry.h"

/* How one purchase came out of its job. */
typedef enum {
    OUTCOME_DECIDED, /* p->sql.row is in MySQL */
    OUTCOME_REPLAY,  /* p->sql.row is the first order of the key */
    OUTCOME_REFUSED, /* p->sql.problem; this job wrote nothing */
    OUTCOME_STALE,   /* another strategy rules */
    OUTCOME_UNKNOWN, /* a COMMIT was lost and MySQL did not come back in time */
    OUTCOME_LOCKED,  /* waited for a lock in vain: the pool's thread is for others now */
    OUTCOME_CONFLICT /* only between attempts */
} outcome_t;

/* What the attempts of one job have met so far. */
typedef struct {
    bool doubt;     /* a COMMIT was lost */
    bool duplicate; /* a row had the id or the key already */
} past_t;

static outcome_t refuse(purchase_t *p, problem_t why)
{
    p->sql.problem = why;
    return OUTCOME_REFUSED;
}

static outcome_t failed(purchase_t *p, worker_t *worker, db_result_t result, past_t *past)
{
    switch (result) {
    case DB_LOCKED:
        return OUTCOME_LOCKED;
    case DB_DUPLICATE: /* the next attempt reads who has it */
        past->duplicate = true;
        return OUTCOME_CONFLICT;
    case DB_CONFLICT:
        return OUTCOME_CONFLICT;
    case DB_LOST:
        past->doubt = true;
        return OUTCOME_CONFLICT;
    default: /* away, or refused: nothing of this transaction is left, or of an earlier one nobody
                knows yet */
        METRIC_INC(sql_purchase_errors_total);
        if (result == DB_INVALID) /* others are told by the connection */
            LOG_WARN("MySQL refuses the values of a purchase",
                     LOG_BYTES("sku", order_sku(&p->order)),
                     LOG_STR("error", db_error(worker->db)));
        return past->doubt ? OUTCOME_CONFLICT : refuse(p, PROBLEM_UNAVAILABLE);
    }
}

static db_result_t units_of_buyer(purchase_t *p, worker_t *worker, int64_t *units)
{
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE sku = %s AND buyer_id = %s AND "
            "state IN ('held', 'confirmed')",
            order_sku(&p->order), order_buyer(&p->order));
    db_result_t result = db_query(worker->db, &worker->sql);
    *units = result == DB_OK && db_next(worker->db) ? db_i64(worker->db, 0) : 0;
    return result;
}

/* The limit comes last, so that an item that is sold out costs no sum over the buyer's orders. */
static db_result_t check_limit(purchase_t *p, worker_t *worker, uint32_t limit)
{
    int64_t units;
    db_result_t result = units_of_buyer(p, worker, &units);
    p->sql.why.owned = units;
    p->sql.why.owned_is_known = result == DB_OK;
    if (result == DB_OK && units + p->order.quantity > limit)
        p->sql.problem = PROBLEM_BUYER_LIMIT_EXCEEDED;
    return result;
}

/* The checks of the gate, in the order that strategy.h has, against the row and the orders of this
   snapshot. */
static db_result_t check(purchase_t *p, worker_t *worker, const item_t *item, uint64_t now_ms)
{
    const item_terms_t *terms = &item->terms;
    p->sql.problem = PROBLEM_NONE;
    p->sql.none_left = item_allocated(item) >= terms->total;
    p->sql.why = (refusal_t){.starts_at_ms = terms->starts_at_ms, .limit = terms->per_buyer_limit};
    if (terms->starts_at_ms != 0 && now_ms < terms->starts_at_ms)
        p->sql.problem = PROBLEM_SALE_NOT_STARTED;
    else if (terms->ends_at_ms != 0 && now_ms >= terms->ends_at_ms)
        p->sql.problem = PROBLEM_SALE_ENDED;
    else if (item_allocated(item) + p->order.quantity > terms->total)
        p->sql.problem = PROBLEM_SOLD_OUT;
    else if (terms->per_buyer_limit != 0)
        return check_limit(p, worker, terms->per_buyer_limit);
    return DB_OK;
}

static void insert_statement(purchase_t *p, sql_t *sql, const item_t *item, uint64_t now_ms)
{
    order_t *row = &p->sql.row;
    uint32_t hold = item->terms.hold_seconds;
    *row = p->order;
    row->state = hold == 0 ? ORDER_CONFIRMED : ORDER_HELD;
    row->created_at_ms = now_ms;
    row->expires_at_ms = hold == 0 ? 0 : now_ms + (uint64_t)hold * 1000;
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO orders (order_id, sku, bucket, buyer_id, quantity, state, "
            "idempotency_key, request_digest, epoch, created_at, expires_at, updated_at) "
            "VALUES (%o, %s, 0, %s, %u, %w, %s, %u, %u, %t, %t, %t)",
            &row->id, order_sku(row), order_buyer(row), (uint64_t)row->quantity,
            order_state_name(row->state), purchase_key(p), row->digest, item->epoch, now_ms,
            row->expires_at_ms, now_ms);
    if (row->state == ORDER_HELD) {
        sql_add(sql, "; ");
        reminder_add(sql, 0, row);
        reminder_end(sql);
    }
}

static void update_statement(const purchase_t *p, const sql_strategy_t *strategy, sql_t *sql,
                             const item_t *item)
{
    sql_reset(sql);
    sql_add(sql,
            "UPDATE inventory SET allocated_total = allocated_total + %u, version = version + 1, "
            "updated_at = NOW(3) WHERE sku = %s AND bucket = 0 AND epoch = %u "
            "AND allocated_total - released_total + %u <= total",
            (uint64_t)p->order.quantity, item_sku(item), item->epoch, (uint64_t)p->order.quantity);
    if (strategy->check_version)
        sql_add(sql, " AND version = %u", item->version);
}

static db_result_t write_order(purchase_t *p, const sql_strategy_t *strategy, worker_t *worker,
                               const item_t *item, uint64_t now_ms)
{
    uint64_t affected[1] = {0};
    insert_statement(p, &worker->sql, item, now_ms);
    db_result_t result = db_exec(worker->db, &worker->sql, NULL, 0);
    if (result != DB_OK)
        return result;
    update_statement(p, strategy, &worker->sql, item);
    result = db_exec(worker->db, &worker->sql, affected, 1);
    if (result == DB_OK && affected[0] != 1)
        return DB_CONFLICT; /* the version moved, or the epoch, or the last unit went */
    FAILPOINT("sql_before_commit");
    return result == DB_OK ? db_commit(worker->db) : result;
}

/* Has an earlier attempt, or somebody who decided for it, written this id or this key? The id is
   looked up only if that may be: ids grow, so that under SERIALIZABLE the look would lock the end
   of the index, and with it the next orders of all items. */
static db_result_t find_written(purchase_t *p, worker_t *worker, const past_t *past,
                                outcome_t *outcome)
{
    bool found = false;
    db_result_t result = DB_OK;
    if (p->must_end_in_row || past->doubt || past->duplicate)
        result = order_read(worker->db, &worker->sql, &p->order.id, false, &p->sql.row, &found);
    if (result == DB_OK && found)
        *outcome = OUTCOME_DECIDED;
    if (result != DB_OK || found || p->key_length == 0)
        return result;
    result = order_read_by_key(worker->db, &worker->sql, order_sku(&p->order),
                               order_buyer(&p->order), purchase_key(p), false, &p->sql.row, &found);
    if (result == DB_OK && found)
        *outcome = OUTCOME_REPLAY;
    return result;
}

static outcome_t in_transaction(purchase_t *p, const sql_strategy_t *strategy, worker_t *worker,
                                past_t *past)
{
    item_t item;
    bool found;
    outcome_t outcome = OUTCOME_CONFLICT;
    db_result_t result = db_run(worker->db, strategy->begin);
    if (result == DB_OK) /* the version first: it is what the whole snapshot is checked against */
        result = item_read(worker->db, &worker->sql, order_sku(&p->order), false, &item, &found);
    if (result != DB_OK)
        return failed(p, worker, result, past);
    if (!found || item_strategy(&item) != strategy->id)
        return OUTCOME_STALE;
    result = find_written(p, worker, past, &outcome);
    if (result != DB_OK)
        return failed(p, worker, result, past);
    if (outcome != OUTCOME_CONFLICT)
        return outcome;
    uint64_t now_ms = remote_clock_now_ms(&worker->shard->clock);
    result = check(p, worker, &item, now_ms);
    if (result != DB_OK)
        return failed(p, worker, result, past);
    if (p->sql.problem != PROBLEM_NONE)
        return OUTCOME_REFUSED;
    result = write_order(p, strategy, worker, &item, now_ms);
    if (result != DB_OK)
        return failed(p, worker, result, past);
    FAILPOINT("sql_after_commit");
    p->sql.inserted = true;
    return OUTCOME_DECIDED;
}

void sql_purchase_run(const sql_strategy_t *strategy, job_t *job, worker_t *worker)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    const config_t *config = worker->shard->config;
    uint64_t deadline = clock_mono_ms() + config->orders.commit_deadline_ms;
    outcome_t outcome = OUTCOME_CONFLICT;
    past_t past = {false, false};
    p->sql.inserted = false;
    p->sql.why = (refusal_t){0};
    for (unsigned tries = 0; outcome == OUTCOME_CONFLICT; ++tries) {
        if (tries > config->orders.retries_max || clock_mono_ms() > deadline)
            break;
        if (tries != 0) {
            METRIC_STRATEGY_ADD(retries_total, strategy->id, 1);
            usleep(random_backoff(strategy->backoff_base_us, strategy->backoff_cap_us, tries));
        }
        outcome = in_transaction(p, strategy, worker, &past);
        if (!(outcome == OUTCOME_DECIDED && p->sql.inserted))
            db_rollback(worker->db);
        if (outcome == OUTCOME_CONFLICT || outcome == OUTCOME_LOCKED)
            METRIC_STRATEGY_ADD(aborts_total, strategy->id, 1);
    }
    p->sql.doubt = past.doubt;
    if (past.doubt && outcome == OUTCOME_LOCKED)
        outcome = OUTCOME_UNKNOWN;
    if (outcome == OUTCOME_CONFLICT)
        outcome = past.doubt ? OUTCOME_UNKNOWN : refuse(p, PROBLEM_UNAVAILABLE);
    p->sql.outcome = (int)outcome;
}

static void done(job_t *job)
{
    purchase_t *p = H2O_STRUCT_FROM_MEMBER(purchase_t, job, job);
    --p->engine->jobs;
    /* A plain read that did not find it has decided nothing: its COMMIT may still be under way. */
    p->must_end_in_row = p->must_end_in_row || p->sql.doubt;
    switch ((outcome_t)p->sql.outcome) {
    case OUTCOME_DECIDED:
        purchase_decided(p, &p->sql.row, p->sql.inserted);
        break;
    case OUTCOME_REPLAY:
        purchase_replays(p, &p->sql.row);
        break;
    case OUTCOME_REFUSED:
        p->why = p->sql.why;
        if (p->sql.problem == PROBLEM_SOLD_OUT && p->sql.none_left)
            engine_item_sold_out(p->item, p->units_back);
        purchase_refused(p, p->sql.problem, false);
        break;
    case OUTCOME_STALE:
        purchase_stale(p);
        break;
    case OUTCOME_LOCKED:
        purchase_delayed(p);
        break;
    default:
        purchase_unknown(p);
        break;
    }
}

static void on_full(loop_timer_t *timer)
{
    purchase_refused(H2O_STRUCT_FROM_MEMBER(purchase_t, retry_timer, timer), PROBLEM_UNAVAILABLE,
                     false);
}

void sql_purchase_start(purchase_t *p, void (*run)(job_t *, worker_t *))
{
    unsigned shard = p->engine->node->map.shard_of_slot[p->item->slot];
    p->sent = true;
    if (!engine_submit(p->engine, shard, &p->job, run, done)) {
        METRIC_INC(queue_full_total);
        loop_timer_start(p->engine->loop, &p->retry_timer, 0, on_full);
    }
}
