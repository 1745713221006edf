#include "base/alloc.h"
#include "base/failpoint.h"
#include "reconcile/audit_parts.h"

#include <stdlib.h>

/* The states of an order whose units are allocated. */
#define LIVE "('held', 'confirmed')"

/* --- the items of the shard --- */

static int compare_key(str_t a_sku, unsigned a_bucket, str_t b_sku, unsigned b_bucket)
{
    int order = str_compare(a_sku, b_sku);
    return order != 0 ? order : (a_bucket > b_bucket) - (a_bucket < b_bucket);
}

static int compare_items(const void *a, const void *b)
{
    const item_t *x = &((const audit_item_t *)a)->item, *y = &((const audit_item_t *)b)->item;
    return compare_key(item_sku(x), x->ref.bucket, item_sku(y), y->ref.bucket);
}

static void keep_item(void *context, const item_t *item)
{
    audit_t *audit = context;
    if (audit->shard_items_count == audit->shard_items_capacity) {
        size_t capacity = audit->shard_items_capacity * 2 + 64;
        audit->shard_items =
            alloc_resize(audit->shard_items, capacity, sizeof(*audit->shard_items));
        audit->shard_items_capacity = capacity;
    }
    audit->shard_items[audit->shard_items_count++] = (audit_item_t){.item = *item};
}

static result_t read_items(audit_t *audit)
{
    result_t result = item_scan(audit->db, &audit->sql, 0, keep_item, audit);
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
        int order = compare_key(sku, bucket, item_sku(&at->item), at->item.ref.bucket);
        if (order == 0)
            return at;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The server's own estimate; for the progress only. */
static result_t count_roughly(audit_t *audit, int64_t *orders)
{
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT TABLE_ROWS FROM information_schema.TABLES "
                         "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders'");
    result_t result = db_query(audit->db, &audit->sql);
    if (result == RESULT_DONE && db_next(audit->db))
        *orders = db_i64(audit->db, 0);
    return result;
}

/* --- A --- */

static void violate_a(audit_t *audit, const audit_item_t *at)
{
    const item_t *item = &at->item;
    cJSON *numbers = audit_numbers_of(item_sku(item), item->ref.bucket);
    cJSON_AddNumberToObject(numbers, "total", (double)item->terms.total);
    cJSON_AddNumberToObject(numbers, "allocated", (double)item_allocated(item));
    cJSON_AddNumberToObject(numbers, "live_units", (double)at->live_units);
    cJSON_AddNumberToObject(numbers, "live_orders", (double)at->live_orders);
    audit_violation(audit, AUDIT_A, numbers);
}

/* Adds one row of a chunk's sums. */
static void note_sums(audit_t *audit)
{
    db_t *db = audit->db;
    str_t sku = db_bytes(db, 0);
    int64_t orders = db_i64(db, 2), units = db_i64(db, 3), quantity_max = db_i64(db, 8);
    audit_item_t *at = sku.p == NULL ? NULL : find_item(audit, sku, (unsigned)db_u64(db, 1));
    audit->live_orders += orders;
    audit->live_units += units;
    audit->held_orders += db_i64(db, 4);
    audit->orders += db_i64(db, 5);
    audit->invariants[AUDIT_D].checked += db_i64(db, 6);
    audit->losers += db_i64(db, 7);
    if (at == NULL) {
        audit->strays = audit->strays || orders != 0;
        return;
    }
    at->live_orders += orders;
    at->live_units += units;
    if (quantity_max > at->quantity_max)
        at->quantity_max = quantity_max;
}

/* All sums over orders are taken in one scan over the table. A chunk bounds the duration of a
   statement, so that progress and a stop are handled in between. */
#define CHUNK_ORDERS 50000

/* Finds the first id of the next chunk; ORDER_ID_NONE: this chunk is the last one. */
static result_t find_chunk_end(audit_t *audit, const order_id_t *from, order_id_t *end)
{
    *end = ORDER_ID_NONE;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT order_id FROM orders FORCE INDEX (PRIMARY) ");
    if (!order_id_is_none(from))
        sql_add(&audit->sql, "WHERE order_id >= %o ", from);
    sql_add(&audit->sql, "ORDER BY order_id LIMIT 1 OFFSET %u", (uint64_t)CHUNK_ORDERS);
    result_t result = db_query(audit->db, &audit->sql);
    if (result == RESULT_DONE && db_next(audit->db))
        *end = db_order_id(audit->db, 0);
    return result;
}

static result_t sum_chunk(audit_t *audit, const order_id_t *from, const order_id_t *end)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql, "SELECT sku, bucket, SUM(state IN " LIVE "), SUM(IF(state IN " LIVE
                 ", quantity, 0)), SUM(state = 'held'), COUNT(*), COUNT(idempotency_key), "
                 "SUM(state = 'rejected' AND original_order_id IS NOT NULL), "
                 "MAX(IF(state IN " LIVE ", quantity, 0)) "
                 "FROM orders FORCE INDEX (PRIMARY) WHERE TRUE");
    if (!order_id_is_none(from))
        sql_add(sql, " AND order_id >= %o", from);
    if (!order_id_is_none(end))
        sql_add(sql, " AND order_id < %o", end);
    sql_add(sql, " GROUP BY sku, bucket");
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db))
        note_sums(audit);
    return result;
}

static result_t sum_orders(audit_t *audit)
{
    order_id_t from = ORDER_ID_NONE, end = ORDER_ID_NONE;
    result_t result;
    do {
        if ((result = find_chunk_end(audit, &from, &end)) == RESULT_DONE)
            result = sum_chunk(audit, &from, &end);
        from = end;
        atomic_store(&audit->progress->done, audit->orders);
    } while (result == RESULT_DONE && !order_id_is_none(&end) &&
             !atomic_load(&audit->progress->stop));
    audit->invariants[AUDIT_E].checked += audit->held_orders;
    return result;
}

/* Runs only if the sums have shown that there are strays; that is rare. */
static result_t find_strays(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT o.sku, o.bucket, COUNT(*), SUM(o.quantity) FROM orders o "
                         "LEFT JOIN inventory i ON i.sku = o.sku AND i.bucket = o.bucket "
                         "WHERE o.state IN " LIVE " AND i.sku IS NULL GROUP BY o.sku, o.bucket");
    result_t result = db_query(db, &audit->sql);
    while (result == RESULT_DONE && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
        cJSON_AddNumberToObject(numbers, "live_units", (double)db_i64(db, 3));
        cJSON_AddNumberToObject(numbers, "live_orders", (double)db_i64(db, 2));
        cJSON_AddStringToObject(numbers, "error",
                                "live orders of an item that is not there: PUT the item again, "
                                "with a total of at least live_units; it then counts them");
        audit_violation(audit, AUDIT_A, numbers);
    }
    return result;
}

static result_t check_a(audit_t *audit)
{
    result_t result = sum_orders(audit);
    if (result == RESULT_DONE && audit->strays)
        result = find_strays(audit);
    for (size_t i = 0; result == RESULT_DONE && i < audit->shard_items_count; ++i) {
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
 * The first step names the buyers who may be past a limit: those with more than `orders` orders of
 * an item. It runs along the index and reads no row. The second step reads the rows of these
 * buyers. As one statement, MariaDB would start with the rows of all orders.
 *
 * If one order alone may be past the limit (`orders` is 0), the first step reads all rows.
 */
#define CANDIDATES 1000

typedef struct {
    sku_t sku;
    buyer_t buyer;
} candidate_t;

static void candidate_of_row(const db_t *db, candidate_t *out)
{
    sku_set(&out->sku, db_bytes(db, 0));
    buyer_set(&out->buyer, db_bytes(db, 1));
}

/* Finds the next candidates behind `last`, which is NULL at first. */
static result_t find_candidates(audit_t *audit, uint64_t orders, uint64_t smallest_limit,
                                const candidate_t *last, candidate_t *out, size_t *count)
{
    sql_t *sql = &audit->sql;
    *count = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT sku, buyer_id FROM orders FORCE INDEX (orders_idempotency) WHERE ");
    if (last == NULL)
        sql_add(sql, "sku IS NOT NULL");
    else
        sql_add(sql, "(sku > %s OR (sku = %s AND buyer_id > %s))", sku_str(&last->sku),
                sku_str(&last->sku), buyer_str(&last->buyer));
    if (orders != 0)
        sql_add(sql, " GROUP BY sku, buyer_id HAVING COUNT(*) > %u", orders);
    else
        sql_add(sql, " AND state IN " LIVE " GROUP BY sku, buyer_id HAVING SUM(quantity) > %u",
                smallest_limit);
    sql_add(sql, " ORDER BY sku, buyer_id LIMIT %u", (uint64_t)CANDIDATES);
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db) && *count < CANDIDATES)
        candidate_of_row(audit->db, &out[(*count)++]);
    return result;
}

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

/* Orders that were admitted before the limit was lowered stay, and so do those that the rebuild
   carried over. Their epoch says so. That of an order whose service died does not if its record was
   carried; but an epoch is the shard's clock in ms when it began (or a little above), so it can be
   compared with the time in the first 48 bits of the order's id. */
static result_t check_candidates(audit_t *audit, const candidate_t *candidates, size_t count)
{
    sql_t *sql = &audit->sql;
    sql_reset(sql);
    sql_add(sql,
            "SELECT o.sku, o.buyer_id, SUM(o.quantity) AS units, i.per_buyer_limit, "
            "SUM(o.epoch >= i.limit_epoch AND "
            "CAST(CONV(HEX(LEFT(o.order_id, 6)), 16, 10) AS UNSIGNED) >= i.limit_epoch) "
            "FROM orders o FORCE INDEX (orders_idempotency) "
            "JOIN inventory i ON i.sku = o.sku AND i.bucket = %u "
            "WHERE i.per_buyer_limit > 0 AND o.state IN " LIVE " AND (",
            BUCKET_ONLY);
    for (size_t i = 0; i < count; ++i)
        sql_add(sql,
                i == 0 ? "(o.sku = %s AND o.buyer_id = %s)"
                       : " OR (o.sku = %s AND o.buyer_id = %s)",
                sku_str(&candidates[i].sku), buyer_str(&candidates[i].buyer));
    sql_add(sql, ") GROUP BY o.sku, o.buyer_id, i.per_buyer_limit, i.limit_epoch "
                 "HAVING units > i.per_buyer_limit");
    result_t result = db_query(audit->db, sql);
    while (result == RESULT_DONE && db_next(audit->db))
        note_past_limit(audit);
    return result;
}

static result_t check_all_candidates(audit_t *audit, uint64_t orders, uint64_t smallest_limit)
{
    candidate_t *found = alloc_zero(CANDIDATES, sizeof(*found)), last;
    size_t count = 0;
    result_t result;
    result = find_candidates(audit, orders, smallest_limit, NULL, found, &count);
    while (result == RESULT_DONE && count != 0 && !atomic_load(&audit->progress->stop)) {
        last = found[count - 1];
        result = check_candidates(audit, found, count);
        if (result == RESULT_DONE && count == CANDIDATES)
            result = find_candidates(audit, orders, smallest_limit, &last, found, &count);
        else
            count = 0;
    }
    free(found);
    return result;
}

/*
 * A buyer can be past a limit only with more orders than limit / (units of the largest live order).
 * Returns the smallest such number of all items. 0: the number excludes no buyer, because an order
 * is as large as a limit, or has no row of an item. UINT64_MAX: no buyer can be past a limit.
 */
static uint64_t orders_within_limits(const audit_t *audit)
{
    uint64_t orders = UINT64_MAX;
    if (audit->strays)
        return 0;
    for (size_t i = 0; i < audit->shard_items_count; ++i) {
        const audit_item_t *at = &audit->shard_items[i];
        uint32_t limit = at->item.terms.per_buyer_limit;
        if (at->item.ref.bucket != BUCKET_ONLY)
            return 0;
        if (limit != 0 && at->quantity_max > 0 && limit / (uint64_t)at->quantity_max < orders)
            orders = limit / (uint64_t)at->quantity_max;
    }
    return orders;
}

static result_t check_c(audit_t *audit)
{
    uint64_t smallest = UINT64_MAX, orders = orders_within_limits(audit);
    for (size_t i = 0; i < audit->shard_items_count; ++i) {
        uint32_t limit = audit->shard_items[i].item.terms.per_buyer_limit;
        audit->invariants[AUDIT_C].checked += limit != 0;
        if (limit != 0 && limit < smallest)
            smallest = limit;
    }
    if (smallest == UINT64_MAX || orders == UINT64_MAX)
        return RESULT_DONE;
    return check_all_candidates(audit, orders, smallest);
}

/* --- D --- */

static result_t find_duplicates(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT sku, buyer_id, idempotency_key, COUNT(*) FROM orders "
                         "WHERE idempotency_key IS NOT NULL "
                         "GROUP BY sku, buyer_id, idempotency_key HAVING COUNT(*) > 1");
    result_t result = db_query(db, &audit->sql);
    while (result == RESULT_DONE && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), BUCKET_ONLY);
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

/* The winner has the same sku, so it is on the same shard. */
static result_t find_lost_winners(audit_t *audit)
{
    db_t *db = audit->db;
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT l.sku, l.bucket, l.order_id, l.original_order_id FROM orders l "
                         "LEFT JOIN orders w ON w.order_id = l.original_order_id "
                         "WHERE l.state = 'rejected' AND l.original_order_id IS NOT NULL "
                         "AND w.order_id IS NULL");
    result_t result = db_query(db, &audit->sql);
    while (result == RESULT_DONE && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
        add_order_id(numbers, "order_id", db_order_id(db, 2));
        add_order_id(numbers, "original_order_id", db_order_id(db, 3));
        cJSON_AddStringToObject(numbers, "error", "the original order is not there");
        audit_violation(audit, AUDIT_D, numbers);
    }
    return result;
}

/* The scan for A has counted the orders with a key and those that lost their key to another order;
   without any, the statements are left out. */
static result_t check_d(audit_t *audit)
{
    result_t result = RESULT_DONE;
    if (audit->invariants[AUDIT_D].checked != 0)
        result = find_duplicates(audit);
    return result == RESULT_DONE && audit->losers != 0 ? find_lost_winners(audit) : result;
}

/* --- E --- */

/* `holds` has no index by order, so a join would compare each order with all reminders. Instead
   both are put into one list and grouped; the cost grows with their number only. */
static void query_without_reminder(sql_t *sql)
{
    sql_reset(sql);
    sql_add(sql, "SELECT MAX(sku), MAX(bucket), order_id FROM ("
                 "SELECT order_id, sku, bucket, 1 AS held, expires_at AS deadline, "
                 "NULL AS reminder FROM orders WHERE state = 'held' UNION ALL "
                 "SELECT order_id, NULL, NULL, 0, NULL, expires_at FROM holds) pairs "
                 "GROUP BY order_id HAVING MAX(held) = 1 AND "
                 "NOT COALESCE(MIN(reminder) <= MAX(deadline), FALSE)");
}

static result_t check_e(audit_t *audit)
{
    db_t *db = audit->db;
    if (audit->held_orders == 0)
        return RESULT_DONE;
    query_without_reminder(&audit->sql);
    result_t result = db_query(db, &audit->sql);
    while (result == RESULT_DONE && db_next(db)) {
        cJSON *numbers = audit_numbers_of(db_bytes(db, 0), db_u64(db, 1));
        add_order_id(numbers, "order_id", db_order_id(db, 2));
        audit_violation(audit, AUDIT_E, numbers);
    }
    return result;
}

/* The order matters: each part leaves data that the next ones use. All run in one snapshot. */
static const struct {
    const char *name;
    result_t (*check)(audit_t *audit);
} parts[] = {
    {"items", read_items}, {"orders", check_a},    {"limits", check_c},
    {"keys", check_d},     {"reminders", check_e},
};

bool audit_store(audit_t *audit)
{
    int64_t orders = 0;
    /* Another user of the server may keep a table locked: the audit then fails after 5 s. */
    result_t result = db_run(audit->db, "SET SESSION lock_wait_timeout = 5");
    if (result == RESULT_DONE)
        result = count_roughly(audit, &orders);
    if (result == RESULT_DONE)
        result = audit_snapshot(audit);
    FAILPOINT("audit_reads");
    for (size_t i = 0; result == RESULT_DONE && i < sizeof(parts) / sizeof(parts[0]); ++i) {
        audit_begin_part(audit, parts[i].name, parts[i].check == check_a ? orders : 0);
        result = parts[i].check(audit);
    }
    bool stopped = atomic_load(&audit->progress->stop);
    db_rollback(audit->db);
    return result == RESULT_DONE && !stopped;
}
