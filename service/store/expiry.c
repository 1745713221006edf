#include "store/expiry.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "store/canary.h"

/* First and longest backoff of an entry that is set aside: nothing announces the end of a lock, so
   it must be tried. Each try may wait for a lock until the time-out. */
#define ASIDE_BASE_MS 1000
#define ASIDE_CAP_MS 5000
/* After a scan that skipped at least one batch of entries that are set aside, the next whole scan
   starts at the earliest after this time, and after ten times the duration of that scan. */
#define WHOLE_SCAN_MS 1000
#define WHOLE_SCAN_FACTOR 10
/* After this number of lost connections in a row with the same batch, the batch is searched for the
   cause. */
#define LOST_MAX 3
/* Fewer conflicts in a row are normal: other transactions move the same orders. */
#define CONFLICTS_MAX 8

typedef enum {
    FATE_STAYS, /* its order is locked, or it is set aside */
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
                         .size = max,
                         .aside = aside_new(ASIDE_BASE_MS, ASIDE_CAP_MS),
                         .releases = alloc_zero(max, sizeof(release_t)),
                         .reminders = alloc_zero(max, sizeof(reminder_t))};
}

void expiry_dispose(expiry_t *expiry)
{
    METRIC_ADD(expiry_set_aside, -(int64_t)aside_count(expiry->aside));
    aside_free(expiry->aside);
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

/* A reminder exists already if a transaction is repeated after its COMMIT was lost, or if the order
   has a twin. */
void reminder_end(sql_t *sql)
{
    sql_add(sql, " ON DUPLICATE KEY UPDATE order_id = holds.order_id");
}

/* --- reading --- */

static int by_id(const void *a, const void *b)
{
    const reminder_t *x = a, *y = b;
    return memcmp(x->id.bytes, y->id.bytes, sizeof(x->id.bytes));
}

/* Runs a SELECT of reminders and sorts them by id for reminder_of(). `*last` is the last in the
   order of the SELECT. */
static result_t pick(expiry_t *expiry, reminder_t *last)
{
    result_t result = db_query(expiry->db, expiry->sql);
    while (result == RESULT_DONE && db_next(expiry->db)) {
        *last = (reminder_t){.id = db_order_id(expiry->db, 1),
                             .at_ms = db_time_ms(expiry->db, 0),
                             .fate = FATE_STAYS};
        expiry->reminders[expiry->picked++] = *last;
    }
    qsort(expiry->reminders, expiry->picked, sizeof(reminder_t), by_id);
    return result;
}

/* The next due reminders of the scan that no other service has locked. */
static result_t pick_due(expiry_t *expiry, reminder_t *last)
{
    const expiry_scan_t *scan = &expiry->scan;
    assert(scan->under_way && expiry->size >= 1 && expiry->size <= expiry->max);
    sql_reset(expiry->sql);
    sql_add(expiry->sql, "SELECT expires_at, order_id FROM holds WHERE expires_at <= NOW(3)");
    if (scan->at_ms != 0)
        sql_add(expiry->sql, " AND expires_at >= %t AND (expires_at > %t OR order_id > %o)",
                scan->at_ms, scan->at_ms, &scan->id);
    sql_add(expiry->sql, " ORDER BY expires_at, order_id LIMIT %u FOR UPDATE SKIP LOCKED",
            (uint64_t)expiry->size);
    return pick(expiry, last);
}

static result_t pick_one(expiry_t *expiry, reminder_t *one)
{
    sql_reset(expiry->sql);
    sql_add(expiry->sql,
            "SELECT expires_at, order_id FROM holds WHERE expires_at = %t AND order_id = %o "
            "FOR UPDATE SKIP LOCKED",
            one->at_ms, &one->id);
    return pick(expiry, one);
}

/* Appends the ids of the reminders that stay so far. False: there is none. */
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

static str_t key_of_id(const order_id_t *id)
{
    return (str_t){(const char *)id->bytes, sizeof(id->bytes)};
}

static str_t key_of_item(const release_t *release)
{
    return sku_str(&release->item.sku);
}

/* A trial skips nothing: its order and that order's item may both be set aside, and each would wait
   for the other. */
static bool is_aside(const expiry_t *expiry, str_t key)
{
    return !expiry->trial && aside_has(expiry->aside, key);
}

/* Derives the reminder's fate from its order's row, which is locked by now. */
static void note_order(expiry_t *expiry, reminder_t *reminder, const order_t *order, bool due)
{
    reminder->fate = FATE_GOES;
    if (order->state != ORDER_HELD)
        return;
    if (due && (is_aside(expiry, order_sku(order)) || is_aside(expiry, key_of_id(&order->id)))) {
        reminder->fate = FATE_STAYS;
        ++expiry->scan.passed_over;
    } else if (due) {
        release_of_order(order, &expiry->releases[expiry->count++]);
    } else if (order->expires_at_ms != 0) {
        reminder->fate = FATE_MOVES;
        reminder->deadline_ms = order->expires_at_ms;
    }
}

/* Rows come in the order of the reminders. If one order has two reminders, the second has no work
   left and is only deleted. */
static result_t read_orders(expiry_t *expiry)
{
    reminder_t *at = expiry->reminders, *end = at + expiry->picked;
    db_t *db = expiry->db;
    sql_t *sql = expiry->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS ", expires_at <= NOW(3) FROM orders WHERE order_id IN (");
    add_ids(sql, at, expiry->picked);
    sql_add(sql, ") ORDER BY order_id FOR UPDATE SKIP LOCKED");
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db)) {
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

/* An order that a read with SKIP LOCKED did not return is locked, or does not exist. A plain read
   distinguishes the two, because a reminder and its order are committed together. */
static result_t find_gone(expiry_t *expiry)
{
    reminder_t *at = expiry->reminders, *end = at + expiry->picked;
    db_t *db = expiry->db;
    sql_t *sql = expiry->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT order_id FROM orders WHERE order_id IN (");
    if (!add_ids(sql, at, expiry->picked))
        return RESULT_DONE;
    sql_add(sql, ") ORDER BY order_id");
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && at < end) {
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

/* --- setting aside --- */

/* The note of an entry that is set aside: the reminder for its retry. */
typedef struct {
    uint64_t at_ms;
    order_id_t id;
    bool is_item;
} aside_note_t;

_Static_assert(sizeof(aside_note_t) <= ASIDE_NOTE_MAX, "fits an entry");

static reminder_t *reminder_of(const expiry_t *expiry, const order_id_t *id)
{
    const reminder_t key = {.id = *id};
    reminder_t *found = bsearch(&key, expiry->reminders, expiry->picked, sizeof(reminder_t), by_id);
    assert(found != NULL);
    return found;
}

static void log_aside(const expiry_t *expiry, str_t sku, const order_id_t *id, str_t key,
                      const char *why)
{
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, id);
    uint64_t wait_ms = aside_wait_ms(expiry->aside, key, clock_mono_ms());
    if (sku.p != NULL)
        LOG_ERROR("holds of an item cannot be expired; the item is set aside",
                  LOG_BYTES("sku", sku), LOG_STR("order_id", text), LOG_STR("error", why),
                  LOG_INT("retry_ms", wait_ms));
    else
        LOG_ERROR("a hold cannot be expired; the hold is set aside", LOG_STR("order_id", text),
                  LOG_STR("error", why), LOG_INT("retry_ms", wait_ms));
}

static void put_aside(expiry_t *expiry, str_t sku, const reminder_t *reminder, const char *why)
{
    const aside_note_t note = {reminder->at_ms, reminder->id, sku.p != NULL};
    str_t key = sku.p != NULL ? sku : key_of_id(&note.id);
    unsigned failures = aside_put(expiry->aside, key, &note, sizeof(note), clock_mono_ms());
    METRIC_INC(expiry_set_aside_total);
    if (failures == 1)
        METRIC_ADD(expiry_set_aside, 1);
    log_aside(expiry, sku, &note.id, key, why);
}

static void drop_aside(expiry_t *expiry, str_t key)
{
    if (aside_drop(expiry->aside, key))
        METRIC_ADD(expiry_set_aside, -1);
}

/* Takes the orders of one item, which are adjacent in `releases`, out of the current
   transaction. */
static void leave_item(expiry_t *expiry, unsigned from, unsigned to)
{
    assert(from < to && to <= expiry->count);
    for (unsigned i = from; i < to; ++i)
        reminder_of(expiry, &expiry->releases[i].id)->fate = FATE_STAYS;
    memmove(&expiry->releases[from], &expiry->releases[to],
            (expiry->count - to) * sizeof(release_t));
    expiry->count -= to - from;
}

/* --- writing --- */

static result_t mark_expired(db_t *db, sql_t *sql, const release_t *releases, unsigned count)
{
    uint64_t affected[1] = {0};
    sql_reset(sql);
    sql_add(sql, "UPDATE orders SET state = 'expired', updated_at = NOW(3) "
                 "WHERE state = 'held' AND order_id IN (");
    for (unsigned i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "%o" : ", %o", &releases[i].id);
    sql_add(sql, ")");
    result_t result = db_exec(db, sql, affected, 1);
    /* This transaction has locked the rows. If fewer changed, the totals would no longer follow the
       rows, so the transaction is repeated. */
    return result == RESULT_DONE && affected[0] != count ? RESULT_RETRY : result;
}

/* One statement for each reminder, by its whole key: a single one for all might scan the table, and
   wait for reminders that other services have locked. */
static result_t settle_reminders(expiry_t *expiry)
{
    unsigned moved = 0, settled = 0;
    sql_t *sql = expiry->sql;
    sql_reset(sql);
    for (unsigned i = 0; i < expiry->picked; ++i) {
        const reminder_t *reminder = &expiry->reminders[i];
        if (reminder->fate == FATE_STAYS)
            continue;
        sql_add(sql, settled++ == 0 ? "" : "; ");
        sql_add(sql, "DELETE FROM holds WHERE expires_at = %t AND order_id = %o", reminder->at_ms,
                &reminder->id);
    }
    for (unsigned i = 0; i < expiry->picked; ++i) {
        const reminder_t *reminder = &expiry->reminders[i];
        if (reminder->fate != FATE_MOVES)
            continue;
        sql_add(sql, moved == 0 ? "; " : "");
        add_row(sql, moved++, reminder->deadline_ms, &reminder->id);
    }
    if (moved != 0)
        reminder_end(sql);
    return settled == 0 ? RESULT_DONE : db_exec(expiry->db, sql, NULL, 0);
}

static int by_sku(const void *a, const void *b)
{
    const release_t *x = a, *y = b;
    return str_compare(key_of_item(x), key_of_item(y));
}

static unsigned end_of_item(const expiry_t *expiry, unsigned from)
{
    unsigned to = from + 1;
    while (to < expiry->count && by_sku(&expiry->releases[from], &expiry->releases[to]) == 0)
        ++to;
    return to;
}

/* In a careful scan: locks the free rows of items, and leaves the orders of locked items for later.
   The orders' own rows are locked already: items come last, as in every transaction. */
static result_t lock_items(expiry_t *expiry)
{
    unsigned at = 0;
    sql_reset(expiry->sql);
    sql_add(expiry->sql, "SELECT sku FROM " SQL_INVENTORY_BY_KEY " WHERE bucket = %u AND sku IN (",
            BUCKET_ONLY);
    for (unsigned from = 0; from < expiry->count; from = end_of_item(expiry, from))
        sql_add(expiry->sql, from == 0 ? "%s" : ", %s", key_of_item(&expiry->releases[from]));
    sql_add(expiry->sql, ") ORDER BY sku FOR UPDATE SKIP LOCKED");
    result_t result = db_query(expiry->db, expiry->sql);
    bool row = result == RESULT_DONE && db_next(expiry->db);
    while (result == RESULT_DONE && at < expiry->count) {
        unsigned to = end_of_item(expiry, at);
        release_t *first = &expiry->releases[at];
        if (row && str_eq(db_bytes(expiry->db, 0), key_of_item(first))) {
            row = db_next(expiry->db);
            at = to;
            continue;
        }
        put_aside(expiry, key_of_item(first), reminder_of(expiry, &first->id),
                  "its row in inventory is locked, or not there");
        leave_item(expiry, at, to);
    }
    return result;
}

/* One UPDATE for each item, in an order all nodes share. */
static result_t release_by_item(expiry_t *expiry)
{
    release_t *releases = expiry->releases;
    for (unsigned from = 0, to; from < expiry->count; from = to) {
        release_t sum = releases[from];
        to = end_of_item(expiry, from);
        for (unsigned i = from + 1; i < to; ++i)
            sum.quantity += releases[i].quantity;
        result_t result = release_units(expiry->db, expiry->sql, &sum);
        if (result != RESULT_DONE) {
            releases[from].item_missing = sum.item_missing;
            expiry->failing = &releases[from];
            return result;
        }
        for (unsigned i = from; i < to; ++i) {
            releases[i].epoch = sum.epoch;
            releases[i].strategy = sum.strategy;
            releases[i].sequence = sum.sequence;
        }
    }
    return RESULT_DONE;
}

/* Does each released order have its reminder in this batch, to be deleted? Otherwise the order
   would be released again. */
static bool releases_are_picked(const expiry_t *expiry)
{
    for (unsigned i = 0; i < expiry->count; ++i)
        if (reminder_of(expiry, &expiry->releases[i].id)->fate != FATE_GOES)
            return false;
    return expiry->count <= expiry->picked;
}

/* The hot rows are changed last, as in every transaction, so that their locks are short. */
static result_t act(expiry_t *expiry)
{
    result_t result = read_orders(expiry);
    if (result == RESULT_DONE)
        result = find_gone(expiry);
    if (result == RESULT_DONE && expiry->count != 0)
        qsort(expiry->releases, expiry->count, sizeof(release_t), by_sku);
    if (result == RESULT_DONE && expiry->count != 0 && expiry->scan.careful && !expiry->trial)
        result = lock_items(expiry);
    assert(result != RESULT_DONE || releases_are_picked(expiry));
    if (result == RESULT_DONE && expiry->count != 0)
        result = mark_expired(expiry->db, expiry->sql, expiry->releases, expiry->count);
    if (result == RESULT_DONE)
        result = settle_reminders(expiry);
    return result == RESULT_DONE ? release_by_item(expiry) : result;
}

/* `pick` chooses the reminders. After a failure `count` and `failing` still contain the orders of
   the transaction and the item that failed. */
static result_t in_transaction(expiry_t *expiry, db_t *db, sql_t *sql,
                               result_t (*pick_some)(expiry_t *, reminder_t *), reminder_t *last)
{
    expiry->db = db;
    expiry->sql = sql;
    expiry->count = expiry->picked = 0;
    expiry->more = false;
    expiry->failing = NULL;
    result_t result = db_run(db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = pick_some(expiry, last);
    if (result == RESULT_DONE && expiry->picked != 0)
        result = act(expiry);
    FAILPOINT("expire_before_commit");
    if (result == RESULT_DONE)
        result = db_commit(db);
    else
        db_rollback(db);
    if (result == RESULT_DONE && expiry->count != 0)
        FAILPOINT("expire_after_commit");
    return result;
}

/* --- the scan --- */

static void begin_scan(expiry_t *expiry)
{
    expiry_scan_t *scan = &expiry->scan;
    uint64_t now = clock_mono_ms();
    if (scan->under_way)
        return;
    scan->under_way = true;
    scan->careful = false;
    scan->whole = now >= scan->whole_at_ms;
    if (!scan->whole)
        return;
    scan->at_ms = 0;
    scan->begun_ms = now;
    scan->passed_over = 0;
}

/* The scans take a tenth of the time, however many entries they skip. */
static void end_scan(expiry_t *expiry)
{
    expiry_scan_t *scan = &expiry->scan;
    uint64_t now = clock_mono_ms();
    scan->under_way = false;
    if (!scan->whole)
        return;
    uint64_t pause = WHOLE_SCAN_FACTOR * (now - scan->begun_ms);
    bool long_way = scan->passed_over >= expiry->max;
    scan->whole_at_ms = !long_way ? 0 : now + (pause > WHOLE_SCAN_MS ? pause : WHOLE_SCAN_MS);
}

static void continue_scan(expiry_t *expiry, const reminder_t *last)
{
    unsigned wanted = expiry->size;
    expiry->lost = expiry->conflicts = 0;
    if (expiry->picked != 0) {
        expiry->scan.at_ms = last->at_ms;
        expiry->scan.id = last->id;
    }
    expiry->size = expiry->size > expiry->max / 2 ? expiry->max : expiry->size * 2;
    expiry->more = expiry->picked == wanted;
    if (!expiry->more)
        end_scan(expiry);
}

static const char *failure_text(const expiry_t *expiry)
{
    return expiry->failing != NULL && expiry->failing->item_missing ? "it has no row in inventory"
                                                                    : db_error(expiry->db);
}

/* Does the server accept the statements that only expiry runs? They are tried for an order that
   does not exist, so a refusal is about the server. */
static bool takes_expiry(expiry_t *expiry)
{
    order_id_t absent;
    random_bytes(absent.bytes, sizeof(absent.bytes));
    sql_reset(expiry->sql);
    sql_add(expiry->sql, "DELETE FROM holds WHERE expires_at = %t AND order_id = %o", UINT64_C(1),
            &absent);
    return db_exec(expiry->db, expiry->sql, NULL, 0) == RESULT_DONE;
}

/* Is the failure about the orders of the transaction? */
static bool is_of_the_orders(expiry_t *expiry, result_t result)
{
    if (expiry->picked == 0)
        return false;
    if (result == RESULT_UNKNOWN && ++expiry->lost < LOST_MAX)
        return false;
    if (result != RESULT_UNKNOWN && result != RESULT_AWAY)
        return true;
    /* A failure is about the orders only if the server takes other orders. */
    return canary_passes_or_waits(expiry->db, expiry->sql) && takes_expiry(expiry);
}

/* Continues the scan without the part that failed, or with a smaller batch to find that part. */
static void isolate_failure(expiry_t *expiry, result_t result, const reminder_t *last)
{
    char why[256];
    bool locked = result == RESULT_RETRY && db_error_is_lock(expiry->db);
    if (result == RESULT_RETRY && !locked && ++expiry->conflicts < CONFLICTS_MAX) {
        expiry->more = true;
        return;
    }
    /* before a trial overwrites the error */
    snprintf(why, sizeof(why), "%s", failure_text(expiry));
    if (!is_of_the_orders(expiry, result)) {
        expiry->scan.under_way = false; /* MySQL is away: a new scan starts later */
        return;
    }
    expiry->more = true;
    expiry->lost = expiry->conflicts = 0;
    if (expiry->failing != NULL) {
        expiry->scan.careful = expiry->scan.careful || locked;
        put_aside(expiry, key_of_item(expiry->failing), reminder_of(expiry, &expiry->failing->id),
                  why);
    } else if (expiry->picked > 1) {
        expiry->size = expiry->picked / 2;
    } else {
        put_aside(expiry, STR_NONE, last, why);
        expiry->scan.at_ms = last->at_ms;
        expiry->scan.id = last->id;
    }
}

result_t expiry_batch(expiry_t *expiry, db_t *db, sql_t *sql)
{
    reminder_t last = {.at_ms = 0};
    begin_scan(expiry);
    result_t result = in_transaction(expiry, db, sql, pick_due, &last);
    if (result == RESULT_DONE) {
        continue_scan(expiry, &last);
    } else {
        isolate_failure(expiry, result, &last);
        expiry->count = 0;
    }
    return result;
}

/* --- retries --- */

/* The reminder was not picked: another service has locked it, or it no longer exists. */
static bool is_there(expiry_t *expiry, const reminder_t *one)
{
    sql_reset(expiry->sql);
    sql_add(expiry->sql, "SELECT order_id FROM holds WHERE expires_at = %t AND order_id = %o",
            one->at_ms, &one->id);
    return db_query(expiry->db, expiry->sql) != RESULT_DONE || db_next(expiry->db);
}

static void recovered(expiry_t *expiry, const aside_note_t *note, str_t key)
{
    if (note->is_item)
        LOG_INFO("holds of an item are expired again", LOG_BYTES("sku", key));
    drop_aside(expiry, key);
    expiry->scan.under_way = false; /* the item's other reminders are behind the scan */
    expiry->scan.whole_at_ms = 0;
}

/* False: MySQL is away, so the retry proves nothing. */
static bool still_fails(expiry_t *expiry, result_t result, const aside_note_t *note, str_t key,
                        const reminder_t *one)
{
    char why[256];
    snprintf(why, sizeof(why), "%s", failure_text(expiry));
    if (!is_of_the_orders(expiry, result))
        return false;
    expiry->lost = 0;
    if (note->is_item && expiry->failing == NULL) { /* only this order fails */
        drop_aside(expiry, key);
        put_aside(expiry, STR_NONE, one, why);
    } else {
        put_aside(expiry, note->is_item ? key : STR_NONE, one, why);
    }
    return true;
}

bool expiry_retry(expiry_t *expiry, db_t *db, sql_t *sql)
{
    char key_bytes[ASIDE_KEY_MAX], note_bytes[ASIDE_NOTE_MAX];
    aside_note_t note;
    size_t length;
    expiry->count = 0;
    if (!aside_next(expiry->aside, clock_mono_ms(), key_bytes, &length, note_bytes))
        return false;
    memcpy(&note, note_bytes, sizeof(note));
    reminder_t one = {.id = note.id, .at_ms = note.at_ms};
    str_t key = {key_bytes, length};
    expiry->trial = true;
    result_t result = in_transaction(expiry, db, sql, pick_one, &one);
    expiry->trial = false;
    if (result != RESULT_DONE) {
        bool known = still_fails(expiry, result, &note, key, &one);
        expiry->count = 0;
        return known;
    }
    if (expiry->picked != 0 ? expiry->reminders[0].fate != FATE_STAYS : !is_there(expiry, &one))
        recovered(expiry, &note, key);
    else
        aside_put(expiry->aside, key, NULL, 0, clock_mono_ms());
    return true;
}
