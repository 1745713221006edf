#include "store/expiry.h"

#include <assert.h>
#include <stdlib.h>

#include "base/failpoint.h"

typedef enum {
    FATE_STAYS, /* somebody has locked its order */
    FATE_MOVES,
    FATE_GOES
} fate_t;

typedef struct reminder {
    order_id_t id;
    uint64_t at_ms;
    fate_t fate;
    uint64_t deadline_ms; /* of the order, where it moves */
} reminder_t;

void expiry_init(expiry_t *expiry, unsigned max)
{
    *expiry = (expiry_t){.max = max,
                         .releases = calloc(max, sizeof(release_t)),
                         .reminders = calloc(max, sizeof(reminder_t))};
    if (expiry->releases == NULL || expiry->reminders == NULL)
        abort();
}

void expiry_dispose(expiry_t *expiry)
{
    free(expiry->releases);
    free(expiry->reminders);
}

/* --- to insert reminders --- */

static void add_row(sql_t *sql, unsigned nth, uint64_t at_ms, const order_id_t *id)
{
    sql_add(sql, nth == 0 ? "INSERT INTO holds (expires_at, order_id) VALUES " : ", ");
    sql_add(sql, "(%t, %o)", at_ms, id);
}

void reminder_add(sql_t *sql, unsigned nth, const order_t *order)
{
    assert(order->state == ORDER_HELD && order->expires_at_ms != 0);
    add_row(sql, nth, order->expires_at_ms, &order->id);
}

/* It is there where a transaction is tried again whose COMMIT was lost, or is an order's twin. */
void reminder_end(sql_t *sql)
{
    sql_add(sql, " ON DUPLICATE KEY UPDATE order_id = holds.order_id");
}

/* --- to look --- */

static int by_id(const void *a, const void *b)
{
    const reminder_t *x = a, *y = b;
    return memcmp(x->id.bytes, y->id.bytes, sizeof(x->id.bytes));
}

/* The due ones that no other service has in hand, sorted by id for those who look them up. */
static db_result_t pick_due(expiry_t *expiry, db_t *db, sql_t *sql, unsigned *picked)
{
    *picked = 0;
    sql_reset(sql);
    sql_add(sql,
            "SELECT expires_at, order_id FROM holds WHERE expires_at <= NOW(3) "
            "ORDER BY expires_at LIMIT %u FOR UPDATE SKIP LOCKED",
            (uint64_t)expiry->max);
    db_result_t result = db_query(db, sql);
    while (result == DB_OK && db_next(db))
        expiry->reminders[(*picked)++] =
            (reminder_t){.id = db_order_id(db, 1), .at_ms = db_time_ms(db, 0), .fate = FATE_STAYS};
    qsort(expiry->reminders, *picked, sizeof(reminder_t), by_id);
    return result;
}

/* Of the reminders that stay so far; false: there is none. */
static bool add_ids(sql_t *sql, const reminder_t *reminders, unsigned count)
{
    bool any = false;
    for (unsigned i = 0; i < count; ++i) {
        if (reminders[i].fate != FATE_STAYS)
            continue;
        sql_add(sql, any ? ", %o" : "%o", &reminders[i].id);
        any = true;
    }
    return any;
}

/* What the order's row, which is locked by now, means for its reminder. */
static void note_order(expiry_t *expiry, reminder_t *reminder, const order_t *order, bool due)
{
    reminder->fate = FATE_GOES;
    if (order->state != ORDER_HELD)
        return;
    if (due) {
        release_of_order(order, &expiry->releases[expiry->count++]);
    } else if (order->expires_at_ms != 0) {
        reminder->fate = FATE_MOVES;
        reminder->deadline_ms = order->expires_at_ms;
    }
}

/* Rows come in the order of the reminders. Of two reminders of one order the second finds nothing
   left to do, and only goes. */
static db_result_t look_at_orders(expiry_t *expiry, db_t *db, sql_t *sql, unsigned count)
{
    reminder_t *at = expiry->reminders, *end = at + count;
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS ", expires_at <= NOW(3) FROM orders WHERE order_id IN (");
    add_ids(sql, at, count);
    sql_add(sql, ") ORDER BY order_id FOR UPDATE SKIP LOCKED");
    db_result_t result = db_query(db, sql);
    while (result == DB_OK && db_next(db)) {
        order_t order;
        order_of_row(db, &order);
        while (at < end && memcmp(at->id.bytes, order.id.bytes, sizeof(order.id.bytes)) < 0)
            ++at;
        assert(at < end && order_id_eq(&at->id, &order.id));
        note_order(expiry, at++, &order, db_u64(db, ORDER_COLUMNS_COUNT) != 0);
        for (; at < end && order_id_eq(&at->id, &order.id); ++at)
            at->fate = FATE_GOES;
    }
    return result;
}

/* What a read that skips locked rows has not shown is locked, or is not there. A plain read tells:
   a reminder and its order are committed together. */
static db_result_t look_for_gone(expiry_t *expiry, db_t *db, sql_t *sql, unsigned count)
{
    reminder_t *at = expiry->reminders, *end = at + count;
    sql_reset(sql);
    sql_add(sql, "SELECT order_id FROM orders WHERE order_id IN (");
    if (!add_ids(sql, at, count))
        return DB_OK;
    sql_add(sql, ") ORDER BY order_id");
    db_result_t result = db_query(db, sql);
    while (result == DB_OK && at < end) {
        bool more = db_next(db);
        order_id_t there = more ? db_order_id(db, 0) : ORDER_ID_NONE;
        for (; at < end && (!more || memcmp(at->id.bytes, there.bytes, sizeof(there.bytes)) < 0);
             ++at)
            if (at->fate == FATE_STAYS)
                at->fate = FATE_GOES;
        while (at < end && order_id_eq(&at->id, &there))
            ++at;
    }
    return result;
}

/* --- to act --- */

static db_result_t mark_expired(db_t *db, sql_t *sql, const release_t *releases, unsigned count)
{
    uint64_t affected[1] = {0};
    sql_reset(sql);
    sql_add(sql, "UPDATE orders SET state = 'expired', updated_at = NOW(3) "
                 "WHERE state = 'held' AND order_id IN (");
    for (unsigned i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "%o" : ", %o", &releases[i].id);
    sql_add(sql, ")");
    db_result_t result = db_exec(db, sql, affected, 1);
    /* The rows are locked by us: fewer changed would mean that totals no longer follow rows. */
    return result == DB_OK && affected[0] != count ? DB_CONFLICT : result;
}

/* A statement for each, by its whole key: one for all might scan the table, and wait for reminders
   that others have in hand. */
static db_result_t settle_reminders(expiry_t *expiry, db_t *db, sql_t *sql, unsigned count,
                                    unsigned *settled)
{
    unsigned moved = 0;
    *settled = 0;
    sql_reset(sql);
    for (unsigned i = 0; i < count; ++i) {
        const reminder_t *reminder = &expiry->reminders[i];
        if (reminder->fate == FATE_STAYS)
            continue;
        sql_add(sql, (*settled)++ == 0 ? "" : "; ");
        sql_add(sql, "DELETE FROM holds WHERE expires_at = %t AND order_id = %o", reminder->at_ms,
                &reminder->id);
    }
    for (unsigned i = 0; i < count; ++i) {
        const reminder_t *reminder = &expiry->reminders[i];
        if (reminder->fate != FATE_MOVES)
            continue;
        sql_add(sql, moved == 0 ? "; " : "");
        add_row(sql, moved++, reminder->deadline_ms, &reminder->id);
    }
    if (moved != 0)
        reminder_end(sql);
    return *settled == 0 ? DB_OK : db_exec(db, sql, NULL, 0);
}

static int by_sku(const void *a, const void *b)
{
    const release_t *x = a, *y = b;
    size_t n = x->sku_length < y->sku_length ? x->sku_length : y->sku_length;
    int order = memcmp(x->sku_bytes, y->sku_bytes, n);
    return order != 0 ? order : (int)x->sku_length - (int)y->sku_length;
}

/* One UPDATE for each item, in an order all nodes share. */
static db_result_t release_by_item(db_t *db, sql_t *sql, release_t *releases, unsigned count)
{
    qsort(releases, count, sizeof(*releases), by_sku);
    for (unsigned from = 0, to; from < count; from = to) {
        release_t sum = releases[from];
        for (to = from + 1; to < count && by_sku(&releases[from], &releases[to]) == 0; ++to)
            sum.quantity += releases[to].quantity;
        db_result_t result = release_units(db, sql, &sum);
        if (result != DB_OK)
            return result;
        for (unsigned i = from; i < to; ++i) {
            releases[i].epoch = sum.epoch;
            releases[i].strategy = sum.strategy;
        }
    }
    return DB_OK;
}

/* The hot rows are changed last, as by all who change them. */
static db_result_t in_transaction(expiry_t *expiry, db_t *db, sql_t *sql)
{
    unsigned picked, settled = 0;
    db_result_t result = pick_due(expiry, db, sql, &picked);
    if (result != DB_OK || picked == 0)
        return result;
    result = look_at_orders(expiry, db, sql, picked);
    if (result == DB_OK)
        result = look_for_gone(expiry, db, sql, picked);
    if (result == DB_OK && expiry->count != 0)
        result = mark_expired(db, sql, expiry->releases, expiry->count);
    if (result == DB_OK)
        result = settle_reminders(expiry, db, sql, picked, &settled);
    if (result == DB_OK)
        result = release_by_item(db, sql, expiry->releases, expiry->count);
    /* Where all of them stay, the next batch would be the same ones again. */
    expiry->more = result == DB_OK && picked == expiry->max && settled != 0;
    return result;
}

db_result_t expiry_batch(expiry_t *expiry, db_t *db, sql_t *sql)
{
    expiry->count = 0;
    expiry->more = false;
    db_result_t result = db_run(db, "START TRANSACTION");
    if (result == DB_OK)
        result = in_transaction(expiry, db, sql);
    FAILPOINT("expire_before_commit");
    if (result == DB_OK)
        result = db_commit(db);
    else
        db_rollback(db);
    if (result == DB_OK && expiry->count != 0)
        FAILPOINT("expire_after_commit");
    if (result != DB_OK) {
        expiry->count = 0;
        expiry->more = false;
    }
    return result;
}
