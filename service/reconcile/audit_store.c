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

audit_item_t *audit_find_item(audit_t *audit, str_t sku, unsigned bucket)
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

/* The table has few of these. */
static result_t read_lowered_limits(audit_t *audit)
{
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT sku, bucket, limit_epoch FROM inventory WHERE limit_epoch <> 0");
    result_t result = db_query(audit->db, &audit->sql);
    while (result == RESULT_DONE && db_next(audit->db)) {
        audit_item_t *at =
            audit_find_item(audit, db_bytes(audit->db, 0), (unsigned)db_u64(audit->db, 1));
        if (at != NULL)
            at->limit_epoch = db_u64(audit->db, 2);
        audit->limits_lowered = true;
    }
    return result;
}

static result_t read_items(audit_t *audit)
{
    result_t result = item_scan(audit->db, &audit->sql, 0, keep_item, audit);
    if (audit->shard_items_count != 0)
        qsort(audit->shard_items, audit->shard_items_count, sizeof(*audit->shard_items),
              compare_items);
    audit->items += (int64_t)audit->shard_items_count;
    return result == RESULT_DONE ? read_lowered_limits(audit) : result;
}

static result_t find_reminders(audit_t *audit)
{
    sql_reset(&audit->sql);
    sql_add(&audit->sql, "SELECT 1 FROM holds LIMIT 1");
    result_t result = db_query(audit->db, &audit->sql);
    audit->reminders = result == RESULT_DONE && db_next(audit->db);
    return result;
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

/* Runs only if the scan has found one; that is rare. */
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

static void check_rows(audit_t *audit)
{
    for (size_t i = 0; i < audit->shard_items_count; ++i) {
        const audit_item_t *at = &audit->shard_items[i];
        int64_t allocated = item_allocated(&at->item);
        if (at->live_units != allocated || allocated < 0 || allocated > at->item.terms.total)
            violate_a(audit, at);
        audit->invariants[AUDIT_C].checked += at->item.terms.per_buyer_limit != 0;
    }
    audit->invariants[AUDIT_A].checked += (int64_t)audit->shard_items_count;
}

/* All statements run in one snapshot. */
static result_t check(audit_t *audit, int64_t orders)
{
    audit_begin_part(audit, "items", 0);
    result_t result = read_items(audit);
    if (result == RESULT_DONE)
        result = find_reminders(audit);
    if (result == RESULT_DONE)
        result = audit_scan(audit, orders);
    if (result == RESULT_DONE && audit->strays)
        result = find_strays(audit);
    if (result == RESULT_DONE)
        check_rows(audit);
    return result;
}

bool audit_store(audit_t *audit)
{
    int64_t orders = 0;
    /* Another user of the server may keep a table locked: the audit then fails after 5 s. */
    result_t result = db_run(audit->db, "SET SESSION lock_wait_timeout = 5");
    if (result == RESULT_DONE)
        result = count_roughly(audit, &orders);
    if (result == RESULT_DONE)
        result = db_begin_snapshot(audit->db);
    FAILPOINT("audit_reads");
    if (result == RESULT_DONE)
        result = check(audit, orders);
    bool stopped = atomic_load(&audit->progress->stop);
    db_rollback(audit->db);
    return result == RESULT_DONE && !stopped;
}
