#include "store/orders.h"

void order_of_row(const db_t *db, order_t *out)
{
    out->id = db_order_id(db, 0);
    order_set_sku(out, db_bytes(db, 1));
    order_set_buyer(out, db_bytes(db, 2));
    out->quantity = (uint32_t)db_u64(db, 3);
    out->state = order_state_of_name(db_bytes(db, 4));
    out->reject_code = db_is_null(db, 5) ? PROBLEM_NONE : problem_of_code(db_bytes(db, 5));
    out->original_id = db_order_id(db, 6);
    out->digest = db_u64(db, 7);
    out->created_at_ms = db_time_ms(db, 8);
    out->expires_at_ms = db_time_ms(db, 9);
}

static result_t read_one(db_t *db, sql_t *sql, bool lock, order_t *out, bool *found)
{
    *found = false;
    if (lock)
        sql_add(sql, " FOR UPDATE");
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && (*found = db_next(db)))
        order_of_row(db, out);
    return result;
}

result_t order_read(db_t *db, sql_t *sql, const order_id_t *id, bool lock, order_t *out,
                    bool *found)
{
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE order_id = %o", id);
    return read_one(db, sql, lock, out, found);
}

result_t order_read_by_key(db_t *db, sql_t *sql, str_t sku, str_t buyer, str_t key, bool lock,
                           order_t *out, bool *found)
{
    sql_reset(sql);
    sql_add(sql,
            "SELECT " ORDER_COLUMNS
            " FROM orders WHERE sku = %s AND buyer_id = %s AND idempotency_key = %s",
            sku, buyer, key);
    return read_one(db, sql, lock, out, found);
}

result_t orders_read(db_t *db, sql_t *sql, const order_id_t *ids, unsigned count, order_t *out,
                     unsigned *found)
{
    *found = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE order_id IN (");
    for (unsigned i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "%o" : ",%o", &ids[i]);
    sql_add(sql, ")");
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && *found < count && db_next(db))
        order_of_row(db, &out[(*found)++]);
    return result;
}

result_t order_decide_rejected(db_t *db, sql_t *sql, const order_id_t *id, problem_t why,
                               order_t *out)
{
    bool found;
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO orders (order_id, state, reject_code, epoch, created_at, updated_at) "
            "VALUES (%o, 'rejected', %w, 0, NOW(3), NOW(3)) "
            "ON DUPLICATE KEY UPDATE order_id = order_id",
            id, problem_code(why));
    result_t result = db_exec(db, sql, NULL, 0);
    if (result != RESULT_DONE)
        return result;
    result = order_read(db, sql, id, true, out, &found);
    return result == RESULT_DONE && !found ? RESULT_RETRY : result;
}

result_t release_units(db_t *db, sql_t *sql, release_t *release)
{
    uint64_t affected[1] = {0};
    sql_reset(sql);
    sql_add(sql,
            "UPDATE " SQL_INVENTORY_BY_KEY
            " SET released_total = released_total + %u, version = version + 1, "
            "updated_at = NOW(3) WHERE %i",
            (uint64_t)release->quantity, &release->item);
    result_t result = db_exec(db, sql, affected, 1);
    if (result != RESULT_DONE)
        return result;
    release->item_missing = affected[0] != 1;
    if (release->item_missing)
        return RESULT_REFUSED;
    item_t item;
    bool found;
    result = item_read(db, sql, &release->item, false, &item, &found);
    if (result == RESULT_DONE) {
        release->epoch = item.epoch;
        release->strategy = item_strategy(&item);
        release->sequence = (uint64_t)item.released_total;
    }
    return result;
}

result_t order_page_of_buyer(db_t *db, sql_t *sql, str_t buyer, const order_id_t *before,
                             unsigned max, order_t *out, unsigned *count)
{
    *count = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT " ORDER_COLUMNS " FROM orders WHERE buyer_id = %s", buyer);
    if (!order_id_is_none(before))
        sql_add(sql, " AND order_id < %o", before);
    sql_add(sql, " ORDER BY order_id DESC LIMIT %u", (uint64_t)max);
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db))
        order_of_row(db, &out[(*count)++]);
    return result;
}
