#include "reconcile/audit_parts.h"

#include <stdlib.h>

/* The states of an order whose units are allocated. */
#define LIVE "('held', 'confirmed')"

/* --- the items of the shard --- */

static int compare_key(str_t a_sku, unsigned a_bucket, str_t b_sku, unsigned b_bucket)
{
    int order = memcmp(a_sku.p, b_sku.p, a_sku.n < b_sku.n ? a_sku.n : b_sku.n);
    if (order == 0)
        order = (a_sku.n > b_sku.n) - (a_sku.n < b_sku.n);
    return order != 0 ? order : (a_bucket > b_bucket) - (a_bucket < b_bucket);
}

static int compare_items(const void *a, const void *b)
{
    const item_t *x = &((const audit_item_t *)a)->item, *y = &((const audit_item_t *)b)->item;
    return compare_key(item_sku(x), x->bucket, item_sku(y), y->bucket);
}

static void keep_item(void *context, const item_t *item)
{
    audit_t *audit = context;
    if (audit->shard_items_count == audit->shard_items_capacity) {
        size_t capacity = audit->shard_items_capacity * 2 + 64;
        audit->shard_items = realloc(audit->shard_items, capacity * sizeof(*audit->shard_items));
        if (audit->shard_items == NULL)
            abort();
        audit->shard_items_capacity = capacity;
    }
    audit->shard_items[audit->shard_items_count++] = (audit_item_t){.item = *item};
}

static db_result_t read_items(audit_t *audit)
{
    db_result_t result = item_scan(audit->db, &audit->sql, 0, keep_item, audit);
    if (audit->shard_items_count != 0)
        qsort(audit->shard_items, audit->shard_items_count, sizeof(*audit->shard_items),
              compare_items);
    audit->items += (int64_t)audit->shard_items_count;
    return result;
}

static audit_item_t *find_item(audit_t *audit, str_t sku, unsigned bucket)
{
    size_t low = 0, high = audit->shard_items_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        audit_item_t *at = &audit->shard_items[middle];
        int order = compare_key(sku, bucket, item_sku(&at->item), at->item.bucket);
        if (order == 0)
            return at;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* --- A --- */

static void violate_a(audit_t *audit, const audit_item_t *at)
{
    const item_t *item = &at->item;
    cJSON *numbers = audit_numbers_of(item_sku(item), item->bucket);
    cJSON_AddNumberToObject(numbers, "total", (double)item->terms.total);
    cJSON_AddNumberToObject(numbers, "allocated", (double)item_allocated(item));
    cJSON_AddNumberToObject(numbers, "live_units", (double)at->live_units);
    cJSON_AddNumberToObject(numbers, "live_orders", (double)at->live_orders);
    audit_violation(audit, AUDIT_A, numbers);
}

/* One row of the sums, which must belong to an item. */
static void note_sum(audit_t *audit, str_t sku, uint64_t bucket, int64_t orders, int64_t units)
{
    audit_item_t *at = sku.p == NULL ? NULL : find_item(audit, sku, (unsigned)bucket);
    audit->live_orders += orders;
    audit->live_units += units;
    if (at != NULL) {
        at->live_orders = orders;
        at->live_units = units;
        return;
    }
    cJSON *numbers = audit_numbers_of(sku, bucket);
    cJSON_AddNumberToObject(numbers, "live_units", (double)units);
    cJSON_AddNumberToObject(numbers, "live_orders", (double)orders);
    cJSON_AddStringToObject(numbers, "error", "live orders of an item that is not there");
    audit_violation(audit, AUDIT_A, numbers);
}

static db_result_t look_at_a(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT sku, bucket, COUNT(*), SUM(quantity), SUM(state = 'held') "
                         "FROM orders WHERE state IN " LIVE " GROUP BY sku, bucket");
    db_result_t result = db_query(db, &audit->sql);
    while (result == DB_OK && db_next(db)) {
        note_sum(audit, db_bytes(db, 0), db_u64(db, 1), db_i64(db, 2), db_i64(db, 3));
        audit->invariants[AUDIT_E].checked += db_i64(db, 4);
    }
    for (size_t i = 0; result == DB_OK && i < audit->shard_items_count; ++i) {
        const audit_item_t *at = &audit->shard_items[i];
        int64_t allocated = item_allocated(&at->item);
        if (at->live_units != allocated || allocated < 0 || allocated > at->item.terms.total)
            violate_a(audit, at);
    }
    audit->invariants[AUDIT_A].checked += (int64_t)audit->shard_items_count;
    return result;
}

/* --- C --- */

/*
 * The innermost sums run along the index and keep only groups above the smallest limit of the
 * shard: with a temporary table of all buyers it would take three times as long.
 *
 * An epoch is the shard's clock in ms when it began (or a little above), and so comparable with
 * the 48 bits of time that head an order id.
 */
static void query_past_limit(sql_t *sql, uint64_t smallest_limit)
{
    sql_reset(sql);
    sql_add(
        sql,
        "SELECT b.sku, b.buyer_id, b.units, b.per_buyer_limit, SUM(o.epoch >= b.limit_epoch AND "
        "CAST(CONV(HEX(LEFT(o.order_id, 6)), 16, 10) AS UNSIGNED) >= b.limit_epoch) AS present "
        "FROM (SELECT g.sku, g.buyer_id, g.units, i.per_buyer_limit, i.limit_epoch "
        "FROM (SELECT sku, buyer_id, SUM(quantity) AS units "
        "FROM orders FORCE INDEX FOR GROUP BY (orders_idempotency) WHERE state IN " LIVE
        " GROUP BY sku, buyer_id HAVING units > %u) g "
        "JOIN inventory i ON i.sku = g.sku AND i.bucket = 0 "
        "WHERE i.per_buyer_limit > 0 AND g.units > i.per_buyer_limit) b "
        "JOIN orders o ON o.sku = b.sku AND o.buyer_id = b.buyer_id AND o.state IN " LIVE
        " GROUP BY b.sku, b.buyer_id, b.units, b.per_buyer_limit",
        smallest_limit);
}

static void note_past_limit(audit_t *audit)
{
    db_t *db = audit->db;
    if (db_u64(db, 4) == 0) {
        audit->grandfathered++;
        return;
    }
    cJSON *numbers = audit_numbers_of(db_bytes(db, 0), 0);
    audit_add_text(numbers, "buyer_id", db_bytes(db, 1));
    cJSON_AddNumberToObject(numbers, "live_units", (double)db_i64(db, 2));
    cJSON_AddNumberToObject(numbers, "per_buyer_limit", (double)db_i64(db, 3));
    audit_violation(audit, AUDIT_C, numbers);
}

static db_result_t look_at_c(audit_t *audit)
{
    uint64_t smallest = UINT64_MAX;
    for (size_t i = 0; i < audit->shard_items_count; ++i) {
        uint32_t limit = audit->shard_items[i].item.terms.per_buyer_limit;
        audit->invariants[AUDIT_C].checked += limit != 0;
        if (limit != 0 && limit < smallest)
            smallest = limit;
    }
    if (smallest == UINT64_MAX)
        return DB_OK;
    query_past_limit(&audit->sql, smallest);
    db_result_t result = db_query(audit->db, &audit->sql);
    while (result == DB_OK && db_next(audit->db))
        note_past_limit(audit);
    return result;
}

/* --- D --- */

static db_result_t look_for_duplicates(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT sku, buyer_id, idempotency_key, COUNT(*) FROM orders "
                         "WHERE idempotency_key IS NOT NULL "
                         "GROUP BY sku, buyer_id, idempotency_key HAVING COUNT(*) > 1");
    db_result_t result = db_query(db, &audit->sql);
    while (result == DB_OK && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), 0);
        audit_add_text(numbers, "buyer_id", db_bytes(db, 1));
        audit_add_text(numbers, "idempotency_key", db_bytes(db, 2));
        cJSON_AddNumberToObject(numbers, "orders", (double)db_i64(db, 3));
        audit_violation(audit, AUDIT_D, numbers);
    }
    return result;
}

static void add_order_id(cJSON *object, const char *name, order_id_t id)
{
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, &id);
    cJSON_AddStringToObject(object, name, text);
}

/* The winner is of the same sku, so on the same shard. */
static db_result_t look_for_lost_winners(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT l.sku, l.bucket, l.order_id, l.original_order_id FROM orders l "
                         "LEFT JOIN orders w ON w.order_id = l.original_order_id "
                         "WHERE l.state = 'rejected' AND l.original_order_id IS NOT NULL "
                         "AND w.order_id IS NULL");
    db_result_t result = db_query(db, &audit->sql);
    while (result == DB_OK && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
        add_order_id(numbers, "order_id", db_order_id(db, 2));
        add_order_id(numbers, "original_order_id", db_order_id(db, 3));
        cJSON_AddStringToObject(numbers, "error", "the original order is not there");
        audit_violation(audit, AUDIT_D, numbers);
    }
    return result;
}

static db_result_t look_at_d(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT COUNT(*), COUNT(idempotency_key) FROM orders");
    db_result_t result = db_query(db, &audit->sql);
    if (result == DB_OK && db_next(db)) {
        audit->orders += db_i64(db, 0);
        audit->invariants[AUDIT_D].checked += db_i64(db, 1);
    }
    if (result == DB_OK)
        result = look_for_duplicates(audit);
    return result == DB_OK ? look_for_lost_winners(audit) : result;
}

/* --- E --- */

/* Reminders are not found by order, and a join of the two would compare each order with all of
   them: so both are put in one list and grouped, which grows with their number only. */
static void query_without_reminder(sql_t *sql)
{
    sql_reset(sql);
    sql_add(sql, "SELECT MAX(sku), MAX(bucket), order_id FROM ("
                 "SELECT order_id, sku, bucket, 1 AS held, expires_at AS deadline, "
                 "NULL AS reminder FROM orders WHERE state = 'held' UNION ALL "
                 "SELECT order_id, NULL, 0, 0, NULL, expires_at FROM holds) looks "
                 "GROUP BY order_id HAVING MAX(held) = 1 AND "
                 "NOT COALESCE(MIN(reminder) <= MAX(deadline), FALSE)");
}

static db_result_t look_at_e(audit_t *audit)
{
    db_t *db = audit->db;
    query_without_reminder(&audit->sql);
    db_result_t result = db_query(db, &audit->sql);
    while (result == DB_OK && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
        add_order_id(numbers, "order_id", db_order_id(db, 2));
        audit_violation(audit, AUDIT_E, numbers);
    }
    return result;
}

bool audit_store(audit_t *audit)
{
    db_result_t result = audit_snapshot(audit);
    if (result == DB_OK)
        result = read_items(audit);
    if (result == DB_OK)
        result = look_at_a(audit);
    if (result == DB_OK)
        result = look_at_c(audit);
    if (result == DB_OK)
        result = look_at_d(audit);
    if (result == DB_OK)
        result = look_at_e(audit);
    db_rollback(audit->db);
    return result == DB_OK;
}
