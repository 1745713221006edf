#include "store/move.h"

#include <assert.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"

/* A move competes for the item's row with all who buy it, under SERIALIZABLE for longest. */
#define MOVE_PATIENCE_MS 4000
/* And waits so often for a lock until its time-out: somebody keeps that, and others want the
   thread. */
#define MOVE_LOCK_WAITS_MAX 2

/* What the steps of the transaction share. One that fails says so in out->failure. */
typedef struct {
    db_t *db;
    sql_t *sql;
    const move_wish_t *wish;
    moved_t *out;
} move_t;

static order_move_result_t check(move_t *m, result_t result, order_move_result_t outcome)
{
    m->out->failure = result;
    return result == RESULT_DONE ? outcome : ORDER_MOVE_FAILED;
}

static order_move_result_t read_order(move_t *m, bool lock)
{
    bool found;
    result_t result = order_read(m->db, m->sql, &m->wish->id, lock, &m->out->order, &found);
    return check(m, result, found ? ORDER_MOVED : ORDER_MOVE_NOT_FOUND);
}

/* The statement that is built changes one row, or none if its guard refuses: then the order has the
   state already, or one that forbids it. */
static order_move_result_t change_state(move_t *m, order_state_t state, bool *changed)
{
    uint64_t affected[1] = {0};
    order_move_result_t outcome = check(m, db_exec(m->db, m->sql, affected, 1), ORDER_MOVED);
    if (outcome == ORDER_MOVED)
        outcome = read_order(m, false);
    *changed = outcome == ORDER_MOVED && affected[0] != 0;
    if (outcome == ORDER_MOVED && !*changed && m->out->order.state != state)
        outcome = ORDER_MOVE_WRONG_STATE;
    return outcome;
}

/* A hold that ran out can be cancelled (its units return once, this way or by expiry), but neither
   confirmed nor extended. */
static order_move_result_t confirm(move_t *m)
{
    bool changed;
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET state = 'confirmed', updated_at = NOW(3) WHERE order_id = %o "
            "AND state = 'held' AND expires_at > NOW(3)",
            &m->wish->id);
    return change_state(m, ORDER_CONFIRMED, &changed);
}

/* The last step: the hot row is changed last, as by all who change it. */
static order_move_result_t release(move_t *m, uint32_t units)
{
    release_of_order(&m->out->order, &m->out->release);
    m->out->release.quantity = units;
    order_move_result_t outcome =
        check(m, release_units(m->db, m->sql, &m->out->release), ORDER_MOVED);
    m->out->released = outcome == ORDER_MOVED;
    return outcome;
}

static order_move_result_t cancel_all(move_t *m)
{
    bool changed;
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET state = 'cancelled', updated_at = NOW(3) WHERE order_id = %o "
            "AND state IN ('held', 'confirmed')",
            &m->wish->id);
    order_move_result_t outcome = change_state(m, ORDER_CANCELLED, &changed);
    return changed ? release(m, m->out->order.quantity) : outcome;
}

/* The order's row is locked: whoever inserts a cancel of it has that lock too. */
static order_move_result_t find_by_key(move_t *m, bool *found)
{
    sql_reset(m->sql);
    sql_add(m->sql,
            "SELECT quantity FROM cancellations WHERE order_id = %o AND idempotency_key = %s",
            &m->wish->id, m->wish->key);
    result_t result = db_query(m->db, m->sql);
    *found = result == RESULT_DONE && db_next(m->db);
    bool same = *found && db_u64(m->db, 0) == m->wish->units;
    m->out->replayed = same;
    return check(m, result, *found && !same ? ORDER_MOVE_KEY_REUSED : ORDER_MOVED);
}

static order_move_result_t remember_key(move_t *m)
{
    sql_reset(m->sql);
    sql_add(m->sql,
            "INSERT INTO cancellations (order_id, idempotency_key, quantity, created_at) "
            "VALUES (%o, %s, %u, NOW(3))",
            &m->wish->id, m->wish->key, (uint64_t)m->wish->units);
    return check(m, db_exec(m->db, m->sql, NULL, 0), ORDER_MOVED);
}

/* The row is locked, and live. What a cancelled order had stays in `quantity`, so that it is never
   0. */
static order_move_result_t take_off(move_t *m, uint32_t units)
{
    uint64_t affected[1] = {0};
    order_t *order = &m->out->order;
    bool all = units == order->quantity;
    sql_reset(m->sql);
    if (all)
        sql_add(m->sql, "UPDATE orders SET state = 'cancelled', updated_at = NOW(3)");
    else
        sql_add(m->sql,
                "UPDATE orders SET quantity = quantity - %u, given_back = given_back + %u, "
                "updated_at = NOW(3)",
                (uint64_t)units, (uint64_t)units);
    sql_add(m->sql, " WHERE order_id = %o AND state IN ('held', 'confirmed') AND quantity = %u",
            &order->id, (uint64_t)order->quantity);
    result_t result = db_exec(m->db, m->sql, affected, 1);
    if (all)
        order->state = ORDER_CANCELLED;
    else
        order->quantity -= units;
    return check(m, result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result, ORDER_MOVED);
}

static order_move_result_t cancel_by_key(move_t *m)
{
    bool found;
    const order_t *order = &m->out->order;
    order_move_result_t outcome = read_order(m, true);
    if (outcome == ORDER_MOVED)
        outcome = find_by_key(m, &found);
    if (outcome != ORDER_MOVED || found)
        return outcome;
    if (!order_is_live(order))
        return m->wish->units == 0 && order->state == ORDER_CANCELLED ? ORDER_MOVED
                                                                      : ORDER_MOVE_WRONG_STATE;
    if (m->wish->units > order->quantity)
        return ORDER_MOVE_TOO_MANY;
    uint32_t units = m->wish->units != 0 ? m->wish->units : order->quantity;
    outcome = take_off(m, units);
    if (outcome == ORDER_MOVED)
        outcome = remember_key(m);
    return outcome == ORDER_MOVED ? release(m, units) : outcome;
}

static order_move_result_t cancel(move_t *m)
{
    assert(m->wish->units == 0 || m->wish->key.n != 0);
    return m->wish->key.n != 0 ? cancel_by_key(m) : cancel_all(m);
}

/* The row is locked. A deadline never moves to an earlier time: its reminder would come too late.
   The row is counted, and changes, since its deadline does. */
static order_move_result_t move_deadline(move_t *m, uint64_t deadline_ms)
{
    uint64_t affected[1] = {0};
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET expires_at = %t, updated_at = NOW(3) WHERE order_id = %o AND "
            "state = 'held' AND expires_at < %t",
            deadline_ms, &m->wish->id, deadline_ms);
    result_t result = db_exec(m->db, m->sql, affected, 1);
    m->out->order.expires_at_ms = deadline_ms;
    return check(m, result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result, ORDER_MOVED);
}

static order_move_result_t extend(move_t *m)
{
    uint64_t now_ms = 0;
    item_t item;
    bool found;
    order_move_result_t outcome = read_order(m, true);
    if (outcome != ORDER_MOVED)
        return outcome;
    if (m->out->order.state != ORDER_HELD)
        return ORDER_MOVE_WRONG_STATE;
    result_t result = item_read(m->db, m->sql, order_sku(&m->out->order), false, &item, &found);
    if (result == RESULT_DONE)
        result = shard_clock_read(m->db, &now_ms);
    if (result != RESULT_DONE)
        return check(m, result, ORDER_MOVE_FAILED);
    m->out->extend = extend_decide(&m->out->order, found ? &item.terms : NULL,
                                   m->wish->hold_max_seconds, now_ms);
    switch (m->out->extend.result) {
    case EXTEND_MOVES:
        return move_deadline(m, m->out->extend.deadline_ms);
    case EXTEND_HAPPENED:
        return ORDER_MOVED;
    case EXTEND_AT_BOUND:
        return ORDER_MOVE_AT_BOUND;
    case EXTEND_LATE:
        break;
    }
    return ORDER_MOVE_WRONG_STATE;
}

/* One transaction; the outcome before COMMIT, or ORDER_MOVE_FAILED. */
static order_move_result_t move_in_transaction(move_t *m)
{
    static order_move_result_t (*const moves[])(move_t *) = {
        [ORDER_MOVE_CONFIRM] = confirm, [ORDER_MOVE_CANCEL] = cancel, [ORDER_MOVE_EXTEND] = extend};
    m->out->released = m->out->replayed = m->out->release.item_missing = false;
    m->out->failure = db_run(m->db, "START TRANSACTION");
    return m->out->failure == RESULT_DONE ? moves[m->wish->move](m) : ORDER_MOVE_FAILED;
}

/* What is about no row is told by the connection. */
static void note_failed_move(const move_t *m)
{
    char text[ORDER_ID_TEXT + 1];
    result_t failure = m->out->failure;
    METRIC_INC(order_moves_failed_total);
    if (failure == RESULT_AWAY || failure == RESULT_UNKNOWN)
        return;
    order_id_format(text, &m->wish->id);
    LOG_WARN("an order cannot be moved", LOG_STR("order_id", text),
             LOG_STR("error", m->out->release.item_missing ? "its item has no row in inventory"
                                                           : db_error(m->db)));
}

void order_move(db_t *db, sql_t *sql, const move_wish_t *wish, moved_t *out)
{
    move_t move = {db, sql, wish, out};
    order_move_result_t outcome = ORDER_MOVE_FAILED;
    uint64_t deadline = clock_mono_ms() + MOVE_PATIENCE_MS;
    unsigned waits = db_lock_waits(db);
    out->failure = RESULT_RETRY;
    for (unsigned tries = 0; out->failure == RESULT_RETRY && clock_mono_ms() < deadline &&
                             db_lock_waits(db) - waits < MOVE_LOCK_WAITS_MAX;
         ++tries) {
        if (tries != 0)
            usleep(random_backoff(1000, 20000, tries));
        outcome = move_in_transaction(&move);
        if (outcome == ORDER_MOVE_FAILED) {
            db_rollback(db);
            continue;
        }
        FAILPOINT("move_before_commit");
        out->failure = db_commit(db);
        FAILPOINT("move_after_commit");
    }
    out->result = out->failure == RESULT_DONE ? outcome : ORDER_MOVE_FAILED;
    if (out->failure != RESULT_DONE)
        note_failed_move(&move);
}
