#include "store/order.h"

#include <assert.h>

static const char *const state_names[] = {"reserved",  "held",    "confirmed",
                                          "cancelled", "expired", "rejected"};

const char *order_state_name(order_state_t state)
{
    return state_names[state];
}

static order_state_t state_of_name(str_t name)
{
    for (unsigned i = 0; i < sizeof(state_names) / sizeof(state_names[0]); ++i)
        if (str_eq(name, str_of(state_names[i])))
            return (order_state_t)i;
    return ORDER_REJECTED; /* somebody's own: it is not one of those that are live */
}

void order_set_sku(order_t *order, str_t sku)
{
    assert(sku.n <= sizeof(order->sku_bytes));
    if (sku.n != 0)
        memcpy(order->sku_bytes, sku.p, sku.n);
    order->sku_length = (uint8_t)sku.n;
}

void order_set_buyer(order_t *order, str_t buyer)
{
    assert(buyer.n <= sizeof(order->buyer_bytes));
    if (buyer.n != 0)
        memcpy(order->buyer_bytes, buyer.p, buyer.n);
    order->buyer_length = (uint8_t)buyer.n;
}

void order_of_row(const db_t *db, order_t *out)
{
    out->id = db_order_id(db, 0);
    order_set_sku(out, db_bytes(db, 1));
    order_set_buyer(out, db_bytes(db, 2));
    out->quantity = (uint32_t)db_u64(db, 3);
    out->state = state_of_name(db_bytes(db, 4));
    out->reject_code = db_is_null(db, 5) ? PROBLEM_NONE : problem_of_code(db_bytes(db, 5));
    out->original_id = db_order_id(db, 6);
    out->digest = db_u64(db, 7);
    out->created_at_ms = db_time_ms(db, 8);
    out->expires_at_ms = db_time_ms(db, 9);
}

static db_result_t read_one(db_t *db, sql_t *sql, bool lock, order_t *out, bool *found)
{
    *found = false;
    if (lock)
        sql_add(sql, " FOR UPDATE");
    db_result_t result = db_query(db, sql);
    if (result == DB_OK && (*found = db_next(db)))
        order_of_row(db, out);
    return result;
}

db_result_t order_read(db_t *db, sql_t *sql, const order_id_t *id, bool lock, order_t *out,
                       bool *found)
{
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE order_id = %o", id);
    return read_one(db, sql, lock, out, found);
}

db_result_t order_read_by_key(db_t *db, sql_t *sql, str_t sku, str_t buyer, str_t key, bool lock,
                              order_t *out, bool *found)
{
    sql_reset(sql);
    sql_add(sql,
            "SELECT " ORDER_COLUMNS
            " FROM orders WHERE sku = %s AND buyer_id = %s AND idempotency_key = %s",
            sku, buyer, key);
    return read_one(db, sql, lock, out, found);
}

db_result_t order_decide_rejected(db_t *db, sql_t *sql, const order_id_t *id, problem_t why,
                                  order_t *out)
{
    bool found;
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO orders (order_id, state, reject_code, epoch, created_at, updated_at) "
            "VALUES (%o, 'rejected', %w, 0, NOW(3), NOW(3)) "
            "ON DUPLICATE KEY UPDATE order_id = order_id",
            id, problem_code(why));
    db_result_t result = db_exec(db, sql, NULL, 0);
    if (result != DB_OK)
        return result;
    result = order_read(db, sql, id, true, out, &found);
    return result == DB_OK && !found ? DB_CONFLICT : result;
}

db_result_t release_units(db_t *db, sql_t *sql, release_t *release)
{
    uint64_t affected[1] = {0};
    str_t sku = {release->sku_bytes, release->sku_length};
    sql_reset(sql);
    sql_add(sql,
            "UPDATE inventory SET released_total = released_total + %u, version = version + 1, "
            "updated_at = NOW(3) WHERE sku = %s AND bucket = 0",
            (uint64_t)release->quantity, sku);
    db_result_t result = db_exec(db, sql, affected, 1);
    if (result != DB_OK)
        return result;
    release->item_missing = affected[0] != 1;
    if (release->item_missing)
        return DB_INVALID;
    item_t item;
    bool found;
    result = item_read(db, sql, sku, false, &item, &found);
    if (result == DB_OK) {
        release->epoch = item.epoch;
        release->strategy = item_strategy(&item);
    }
    return result;
}

void release_of_order(const order_t *order, release_t *release)
{
    *release = (release_t){.id = order->id,
                           .sku_length = order->sku_length,
                           .buyer_length = order->buyer_length,
                           .quantity = order->quantity};
    memcpy(release->sku_bytes, order->sku_bytes, order->sku_length);
    memcpy(release->buyer_bytes, order->buyer_bytes, order->buyer_length);
}

db_result_t order_page_of_buyer(db_t *db, sql_t *sql, str_t buyer, const order_id_t *before,
                                unsigned max, order_t *out, unsigned *count)
{
    *count = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE buyer_id = %s", buyer);
    if (!order_id_is_none(before))
        sql_add(sql, " AND order_id < %o", before);
    sql_add(sql, " ORDER BY order_id DESC LIMIT %u", (uint64_t)max);
    db_result_t result = db_query(db, sql);
    while (result == DB_OK && db_next(db))
        order_of_row(db, &out[(*count)++]);
    return result;
}
