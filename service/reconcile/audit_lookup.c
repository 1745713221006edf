#include "base/failpoint.h"
#include "reconcile/audit_parts.h"

#include <stdlib.h>

/*
 * What the scan over the orders has left open is looked up here, in the same snapshot: orders, and
 * other orders of a buyer, by an index and many in a statement; reminders all at once, since
 * `holds` has no index by order.
 */

#define LOOK_UP_MAX 500
#define LIVE "('held', 'confirmed')"

static void add_ids(sql_t *sql, const order_id_t *ids, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "(%s" : ", %s", audit_id_bytes(&ids[i]));
    sql_add(sql, ")");
}

/* --- C: buyers --- */

static void note_past_limit(audit_t *audit)
{
    db_t *db = audit->db;
    if (db_u64(db, 4) == 0) {
        ++audit->grandfathered;
        return;
    }
    cJSON *numbers = audit_numbers_of(db_bytes(db, 0), BUCKET_ONLY);
    audit_add_text(numbers, "buyer_id", db_bytes(db, 1));
    cJSON_AddNumberToObject(numbers, "live_units", (double)db_i64(db, 2));
    cJSON_AddNumberToObject(numbers, "per_buyer_limit", (double)db_i64(db, 3));
    audit_violation(audit, AUDIT_C, numbers);
}

/* The condition on the orders is the rule of limit_holds_for(). A buyer comes once in `ids`. */
static result_t check_some_buyers(audit_t *audit, const order_id_t *ids, size_t count)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql,
            "SELECT o.sku, o.buyer_id, SUM(o.quantity) AS units, i.per_buyer_limit, "
            "SUM(o.epoch >= i.limit_epoch AND "
            "CAST(CONV(HEX(LEFT(o.order_id, 6)), 16, 10) AS UNSIGNED) >= i.limit_epoch) "
            "FROM orders one JOIN inventory i ON i.sku = one.sku AND i.bucket = %u "
            "JOIN orders o ON o.sku = one.sku AND o.buyer_id = one.buyer_id "
            "WHERE i.per_buyer_limit > 0 AND o.state IN " LIVE " AND one.order_id IN ",
            BUCKET_ONLY);
    add_ids(sql, ids, count);
    sql_add(sql, " GROUP BY o.sku, o.buyer_id, i.per_buyer_limit, i.limit_epoch "
                 "HAVING units > i.per_buyer_limit");
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db))
        note_past_limit(audit);
    return result;
}

/* --- D: keys, and orders that lost theirs --- */

static void note_duplicate(audit_t *audit)
{
    db_t *db = audit->db;
    cJSON *numbers = audit_numbers_of(db_bytes(db, 0), BUCKET_ONLY);
    audit_add_text(numbers, "buyer_id", db_bytes(db, 1));
    audit_add_text(numbers, "idempotency_key", db_bytes(db, 2));
    cJSON_AddNumberToObject(numbers, "orders", (double)db_i64(db, 3));
    audit_violation(audit, AUDIT_D, numbers);
}

/* A key comes once in `ids`. */
static result_t check_some_keys(audit_t *audit, const order_id_t *ids, size_t count)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT o.sku, o.buyer_id, o.idempotency_key, COUNT(*) FROM orders one "
                 "JOIN orders o ON o.sku = one.sku AND o.buyer_id = one.buyer_id "
                 "AND o.idempotency_key = one.idempotency_key WHERE one.order_id IN ");
    add_ids(sql, ids, count);
    sql_add(sql, " GROUP BY o.sku, o.buyer_id, o.idempotency_key HAVING COUNT(*) > 1");
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db))
        note_duplicate(audit);
    return result;
}

static void violate_winner(audit_t *audit)
{
    db_t *db = audit->db;
    cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
    audit_add_id(numbers, "order_id", db_order_id(db, 2));
    audit_add_id(numbers, "original_order_id", db_order_id(db, 3));
    cJSON_AddStringToObject(numbers, "error", "the original order is not there");
    audit_violation(audit, AUDIT_D, numbers);
}

/* The winner has the same sku, so it is on the same shard. */
static result_t check_some_rejected(audit_t *audit, const order_id_t *ids, size_t count)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT l.sku, l.bucket, l.order_id, l.original_order_id FROM orders l "
                 "LEFT JOIN orders w ON w.order_id = l.original_order_id "
                 "WHERE l.original_order_id IS NOT NULL AND w.order_id IS NULL AND l.order_id IN ");
    add_ids(sql, ids, count);
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db))
        violate_winner(audit);
    return result;
}

/* --- the lists --- */

/* Calls `check` for all, some at a time, and empties the list. */
static result_t check_list(audit_t *audit, audit_ids_t *list,
                           result_t (*check)(audit_t *, const order_id_t *, size_t))
{
    result_t result = RESULT_DONE;
    for (size_t from = 0; result == RESULT_DONE && from < list->count; from += LOOK_UP_MAX) {
        size_t left = list->count - from;
        result = check(audit, list->ids + from, left < LOOK_UP_MAX ? left : LOOK_UP_MAX);
    }
    list->count = 0;
    return result;
}

result_t audit_check_lists(audit_t *audit)
{
    audit_open_t *open = &audit->open;
    result_t result = check_list(audit, &open->buyers, check_some_buyers);
    if (result == RESULT_DONE)
        result = check_list(audit, &open->keys, check_some_keys);
    if (result == RESULT_DONE)
        result = check_list(audit, &open->rejected, check_some_rejected);
    return result;
}

/* --- E: held orders --- */

#define CHUNK_REMINDERS 20000
/* A page begins behind the last reminder of the one before. A time from before this one is no time
   that the program can write, so such reminders are read first, in one page. */
#define EARLIEST_MS UINT64_C(86400000)

static int compare_ids(const void *id, const void *held)
{
    return memcmp(((const order_id_t *)id)->bytes, ((const audit_held_t *)held)->id.bytes,
                  sizeof(order_id_t));
}

static void note_reminder(const audit_open_t *open, const order_id_t *id, uint64_t at_ms)
{
    audit_held_t *held =
        bsearch(id, open->held, open->held_count, sizeof(*open->held), compare_ids);
    if (held != NULL && at_ms <= held->deadline_ms)
        held->reminded = true;
}

/* Reads the reminders that audit->sql selects. *at_ms and *id are then those of the last one. */
static result_t read_reminders(audit_t *audit, uint64_t *at_ms, order_id_t *id, uint64_t *count)
{
    result_t result = db_query(audit->db, &audit->sql);
    for (*count = 0; result == RESULT_DONE && db_next(audit->db); ++*count) {
        *at_ms = db_time_ms(audit->db, 0);
        *id = db_order_id(audit->db, 1);
        note_reminder(&audit->open, id, *at_ms);
    }
    return result;
}

static result_t compare_with_reminders(audit_t *audit)
{
    sql_t *sql = &audit->sql;
    uint64_t at_ms = 0, count = 0, most = FAILPOINT_NUMBER("audit_reminders");
    order_id_t id;
    most = most != 0 ? most : CHUNK_REMINDERS;
    sql_reset(sql);
    sql_add(sql, "SELECT expires_at, order_id FROM holds WHERE expires_at < %t", EARLIEST_MS);
    result_t result = read_reminders(audit, &at_ms, &id, &count);
    at_ms = EARLIEST_MS;
    for (bool first = true; result == RESULT_DONE && (first || count == most); first = false) {
        sql_reset(sql);
        sql_add(sql, "SELECT expires_at, order_id FROM holds WHERE expires_at >= %t", at_ms);
        if (!first)
            sql_add(sql, " AND (expires_at > %t OR order_id > %s)", at_ms, audit_id_bytes(&id));
        sql_add(sql, " ORDER BY expires_at, order_id LIMIT %u", most);
        result = read_reminders(audit, &at_ms, &id, &count);
    }
    return result;
}

static result_t violate_held(audit_t *audit, const order_id_t *ids, size_t count)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT sku, bucket, order_id FROM orders WHERE order_id IN ");
    add_ids(sql, ids, count);
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(audit->db, 0), db_u64(audit->db, 1));
        audit_add_id(numbers, "order_id", db_order_id(audit->db, 2));
        audit_violation(audit, AUDIT_E, numbers);
    }
    return result;
}

result_t audit_check_held(audit_t *audit)
{
    audit_open_t *open = &audit->open;
    order_id_t ids[LOOK_UP_MAX];
    size_t count = 0;
    if (open->held_count == 0)
        return RESULT_DONE;
    result_t result = compare_with_reminders(audit);
    for (size_t i = 0; result == RESULT_DONE && i < open->held_count; ++i) {
        if (!open->held[i].reminded)
            ids[count++] = open->held[i].id;
        if (count == LOOK_UP_MAX || (i == open->held_count - 1 && count != 0)) {
            result = violate_held(audit, ids, count);
            count = 0;
        }
    }
    open->held_count = 0;
    return result;
}
