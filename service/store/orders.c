#include "store/orders.h"

#include <stdlib.h>

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

/* --- the orders of an item --- */

static result_t read_rows(db_t *db, sql_t *sql, order_t *out, unsigned *count)
{
    result_t result = db_query(db, sql);
    *count = 0;
    while (result == RESULT_DONE && db_next(db))
        order_of_row(db, &out[(*count)++]);
    return result;
}

static result_t read_buyer(db_t *db, sql_t *sql, const item_ref_t *item, const order_id_t *id,
                           buyer_t *buyer, bool *found)
{
    sql_reset(sql);
    sql_add(sql, "SELECT buyer_id FROM orders WHERE order_id = %o AND %i", id, item);
    result_t result = db_query(db, sql);
    *found = result == RESULT_DONE && db_next(db);
    if (*found)
        buyer_set(buyer, db_bytes(db, 0));
    return result;
}

/* Those of one buyer, behind an id, or all. The index has the orders of the buyer for all items. */
static result_t read_of_buyer(db_t *db, sql_t *sql, const item_ref_t *item, const buyer_t *buyer,
                              const order_id_t *behind, unsigned max, order_t *out, unsigned *count)
{
    sql_reset(sql);
    sql_add(sql,
            "SELECT " ORDER_COLUMNS " FROM orders FORCE INDEX (orders_buyer) WHERE buyer_id = %s "
            "AND %i",
            buyer_str(buyer), item);
    if (behind != NULL)
        sql_add(sql, " AND order_id > %o", behind);
    sql_add(sql, " ORDER BY order_id LIMIT %u", (uint64_t)max);
    return read_rows(db, sql, out, count);
}

static int by_buyer_and_id(const void *a, const void *b)
{
    const order_t *x = a, *y = b;
    int order = str_compare(order_buyer(x), order_buyer(y));
    return order != 0 ? order : memcmp(x->id.bytes, y->id.bytes, sizeof(x->id.bytes));
}

/* Those of the buyers behind one, added to the page. The index has a buyer's orders by their keys;
   so they are sorted here, and a buyer of whom there may be more is left out: the next page begins
   with that one. Of a buyer of whom there is more than has room, the first are read. */
static result_t add_buyers(db_t *db, sql_t *sql, const item_ref_t *item, const buyer_t *behind,
                           unsigned max, order_t *out, order_page_t *page)
{
    unsigned count;
    sql_reset(sql);
    sql_add(sql,
            "SELECT " ORDER_COLUMNS " FROM orders FORCE INDEX (orders_idempotency) WHERE %i AND "
            "buyer_id > %s ORDER BY buyer_id LIMIT %u",
            item, buyer_str(behind), (uint64_t)max);
    result_t result = read_rows(db, sql, out, &count);
    if (result != RESULT_DONE)
        return result;
    page->is_last = count < max;
    page->next.whole_buyer = true;
    qsort(out, count, sizeof(*out), by_buyer_and_id);
    const buyer_t last = count == 0 ? *behind : out[count - 1].buyer;
    while (!page->is_last && count != 0 && str_eq(order_buyer(&out[count - 1]), buyer_str(&last)))
        --count;
    if (!page->is_last && count == 0) {
        page->next.whole_buyer = false;
        result = read_of_buyer(db, sql, item, &last, NULL, max, out, &count);
    }
    page->count += count;
    return result;
}

result_t order_page_of_item(db_t *db, sql_t *sql, const item_ref_t *item, const order_place_t *from,
                            unsigned max, order_t *out, order_page_t *page)
{
    buyer_t buyer = {0};
    bool from_first = order_id_is_none(&from->id);
    *page = (order_page_t){.known = true};
    result_t result =
        from_first ? RESULT_DONE : read_buyer(db, sql, item, &from->id, &buyer, &page->known);
    if (result != RESULT_DONE || !page->known)
        return result;
    if (!from_first && !from->whole_buyer)
        result = read_of_buyer(db, sql, item, &buyer, &from->id, max, out, &page->count);
    if (result == RESULT_DONE && page->count < max)
        result = add_buyers(db, sql, item, &buyer, max - page->count, out + page->count, page);
    if (page->count == 0)
        page->is_last = true; /* whatever the server says: the next page would be this one again */
    else
        page->next.id = out[page->count - 1].id;
    return result;
}
