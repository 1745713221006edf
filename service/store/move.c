#include "store/move.h"

#include <assert.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"

/* Limit in ms of all tries: a move competes with all purchases of the item for its row, under
   SERIALIZABLE for longest. */
#define MOVE_TIMEOUT_MS 4000
/* Limit of lock waits until the time-out: then another user keeps the lock, and other jobs need the
   thread. */
#define MOVE_LOCK_WAITS_MAX 2

/* The state that the steps of the transaction share. Each step returns the result of its statement,
   and sets out->outcome. An outcome other than ORDER_MOVED ends the transaction. */
typedef struct {
    db_t *db;
    sql_t *sql;
    const move_request_t *intended;
    moved_t *out;
} move_t;

static bool may_continue(const move_t *m, result_t result)
{
    return result == RESULT_DONE && m->out->outcome == ORDER_MOVED;
}

static result_t read_order(move_t *m, bool lock)
{
    bool found = false;
    result_t result = order_read(m->db, m->sql, &m->intended->id, lock, &m->out->order, &found);
    if (!found)
        m->out->outcome = ORDER_MOVE_NOT_FOUND;
    return result;
}

/* Runs the statement in m->sql. It changes one row, or none if its guard refuses: then the order
   has the state already, or a state that forbids the move. */
static result_t change_state(move_t *m, order_state_t state, bool *changed)
{
    uint64_t affected[1] = {0};
    result_t result = db_exec(m->db, m->sql, affected, 1);
    if (result == RESULT_DONE)
        result = read_order(m, false);
    *changed = may_continue(m, result) && affected[0] != 0;
    if (may_continue(m, result) && !*changed && m->out->order.state != state)
        m->out->outcome = ORDER_MOVE_WRONG_STATE;
    return result;
}

/* A hold whose time is over can be cancelled (its units return once, by the cancel or by expiry),
   but neither confirmed nor extended. */
static result_t confirm(move_t *m)
{
    bool changed;
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET state = 'confirmed', updated_at = NOW(3) WHERE order_id = %o "
            "AND state = 'held' AND expires_at > NOW(3)",
            &m->intended->id);
    return change_state(m, ORDER_CONFIRMED, &changed);
}

/* The last step: the hot row is changed last, as in every transaction, so that its lock is
   short. */
static result_t release(move_t *m, uint32_t units)
{
    release_of_order(&m->out->order, &m->out->release);
    m->out->release.quantity = units;
    result_t result = release_units(m->db, m->sql, &m->out->release);
    m->out->released = result == RESULT_DONE;
    return result;
}

static result_t cancel_all(move_t *m)
{
    bool changed;
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET state = 'cancelled', updated_at = NOW(3) WHERE order_id = %o "
            "AND state IN ('held', 'confirmed')",
            &m->intended->id);
    result_t result = change_state(m, ORDER_CANCELLED, &changed);
    return changed ? release(m, m->out->order.quantity) : result;
}

/* The order's row is locked. A transaction that inserts a cancel of this order holds that lock too,
   so this read is exact. */
static result_t find_by_key(move_t *m, bool *found)
{
    sql_reset(m->sql);
    sql_add(m->sql,
            "SELECT quantity FROM cancellations WHERE order_id = %o AND idempotency_key = %s",
            &m->intended->id, m->intended->key);
    result_t result = db_query(m->db, m->sql);
    *found = result == RESULT_DONE && db_next(m->db);
    m->out->replayed = *found && db_u64(m->db, 0) == m->intended->units;
    if (*found && !m->out->replayed)
        m->out->outcome = ORDER_MOVE_KEY_REUSED;
    return result;
}

static result_t remember_key(move_t *m)
{
    sql_reset(m->sql);
    sql_add(m->sql,
            "INSERT INTO cancellations (order_id, idempotency_key, quantity, created_at) "
            "VALUES (%o, %s, %u, NOW(3))",
            &m->intended->id, m->intended->key, (uint64_t)m->intended->units);
    return db_exec(m->db, m->sql, NULL, 0);
}

/* The row is locked, and live. A cancelled order keeps its units in `quantity`, so that `quantity`
   is never 0. */
static result_t take_off(move_t *m, uint32_t units)
{
    uint64_t affected[1] = {0};
    order_t *order = &m->out->order;
    bool all = units == order->quantity;
    assert(units <= order->quantity); /* a release never exceeds the allocation */
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
    return result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result;
}

/* May the order give back these units? If not, sets the outcome. */
static bool may_give_back(move_t *m, uint32_t *units)
{
    const order_t *order = &m->out->order;
    *units = m->intended->units != 0 ? m->intended->units : order->quantity;
    if (!order_is_live(order)) {
        if (m->intended->units != 0 || order->state != ORDER_CANCELLED)
            m->out->outcome = ORDER_MOVE_WRONG_STATE;
        return false;
    }
    if (*units > order->quantity)
        m->out->outcome = ORDER_MOVE_TOO_MANY;
    return *units <= order->quantity;
}

static result_t cancel_by_key(move_t *m)
{
    bool found = false;
    uint32_t units;
    result_t result = read_order(m, true);
    if (may_continue(m, result))
        result = find_by_key(m, &found);
    if (!may_continue(m, result) || found || !may_give_back(m, &units))
        return result;
    result = take_off(m, units);
    if (result == RESULT_DONE)
        result = remember_key(m);
    return result == RESULT_DONE ? release(m, units) : result;
}

static result_t cancel(move_t *m)
{
    assert(m->intended->units == 0 || m->intended->key.n != 0);
    return m->intended->key.n != 0 ? cancel_by_key(m) : cancel_all(m);
}

/* The row is locked. A deadline never moves to an earlier time: its reminder would come too late.
   The row is counted, and changes, since its deadline does. */
static result_t move_deadline(move_t *m, uint64_t deadline_ms)
{
    uint64_t affected[1] = {0};
    assert(deadline_ms > m->out->order.expires_at_ms);
    sql_reset(m->sql);
    sql_add(m->sql,
            "UPDATE orders SET expires_at = %t, updated_at = NOW(3) WHERE order_id = %o AND "
            "state = 'held' AND expires_at < %t",
            deadline_ms, &m->intended->id, deadline_ms);
    result_t result = db_exec(m->db, m->sql, affected, 1);
    m->out->order.expires_at_ms = deadline_ms;
    return result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result;
}

static result_t extend_held(move_t *m, const item_terms_t *terms, uint64_t now_ms)
{
    m->out->extend = extend_decide(&m->out->order, terms, m->intended->hold_max_seconds, now_ms);
    switch (m->out->extend.result) {
    case EXTEND_MOVES:
        return move_deadline(m, m->out->extend.deadline_ms);
    case EXTEND_HAPPENED:
        break;
    case EXTEND_AT_BOUND:
        m->out->outcome = ORDER_MOVE_AT_BOUND;
        break;
    case EXTEND_LATE:
        m->out->outcome = ORDER_MOVE_WRONG_STATE;
        break;
    }
    return RESULT_DONE;
}

static result_t extend(move_t *m)
{
    uint64_t now_ms = 0;
    item_t item;
    bool found;
    result_t result = read_order(m, true);
    if (!may_continue(m, result))
        return result;
    if (m->out->order.state != ORDER_HELD) {
        m->out->outcome = ORDER_MOVE_WRONG_STATE;
        return RESULT_DONE;
    }
    const item_ref_t ref = item_ref_of(order_sku(&m->out->order));
    result = item_read(m->db, m->sql, &ref, false, &item, &found);
    if (result == RESULT_DONE)
        result = shard_clock_read(m->db, &now_ms);
    return result == RESULT_DONE ? extend_held(m, found ? &item.terms : NULL, now_ms) : result;
}

/* Whether the order is that of the buyer who moves it. The row is locked by this read, so that
   those that follow are not older than it. */
static result_t check_buyer(move_t *m)
{
    if (m->intended->buyer.n == 0)
        return RESULT_DONE;
    result_t result = read_order(m, true);
    if (may_continue(m, result) && !str_eq(order_buyer(&m->out->order), m->intended->buyer))
        m->out->outcome = ORDER_MOVE_NOT_FOUND;
    return result;
}

/* One transaction, up to its COMMIT. */
static result_t move_in_transaction(move_t *m)
{
    static result_t (*const moves[])(move_t *) = {
        [ORDER_MOVE_CONFIRM] = confirm, [ORDER_MOVE_CANCEL] = cancel, [ORDER_MOVE_EXTEND] = extend};
    m->out->outcome = ORDER_MOVED;
    m->out->released = m->out->replayed = m->out->release.item_missing = false;
    result_t result = db_run(m->db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = check_buyer(m);
    if (may_continue(m, result))
        result = moves[m->intended->move](m);
    if (result != RESULT_DONE) {
        db_rollback(m->db);
        return result;
    }
    FAILPOINT("move_before_commit");
    result = db_commit(m->db);
    FAILPOINT("move_after_commit");
    return result;
}

/* store/db.h has logged the error of MySQL. Only this function has the order's id, and the failures
   that are not errors of MySQL. */
static void note_failed_move(const move_t *m, result_t result)
{
    char text[ORDER_ID_TEXT + 1];
    METRIC_INC(order_moves_failed_total);
    if (result == RESULT_AWAY || result == RESULT_UNKNOWN)
        return;
    order_id_format(text, &m->intended->id);
    LOG_WARN("an order cannot be moved", LOG_STR("order_id", text),
             LOG_STR("error", m->out->release.item_missing ? "its item has no row in inventory"
                                                           : db_error(m->db)));
}

result_t order_move(db_t *db, sql_t *sql, const move_request_t *intended, moved_t *out)
{
    move_t move = {db, sql, intended, out};
    result_t result = RESULT_RETRY;
    uint64_t deadline = clock_mono_ms() + MOVE_TIMEOUT_MS;
    unsigned waits = db_lock_waits(db);
    for (unsigned tries = 0; result == RESULT_RETRY && clock_mono_ms() < deadline &&
                             db_lock_waits(db) - waits < MOVE_LOCK_WAITS_MAX;
         ++tries) {
        if (tries != 0)
            usleep(random_backoff(1000, 20000, tries));
        result = move_in_transaction(&move);
    }
    assert(result != RESULT_DONE || !out->released || out->outcome == ORDER_MOVED);
    if (result != RESULT_DONE)
        note_failed_move(&move, result);
    return result;
}
