#include "store/buyers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"

/* The range of buyers of a statement: behind a name, or a list. */
typedef struct {
    const item_ref_t *item;
    str_t after;
    const str_t *names; /* NULL: no list */
    size_t count;
} range_t;

/* An optimizer that reads a small table as a whole would lose the order of the names. */
static void add_from(sql_t *sql, const range_t *range)
{
    sql_add(sql,
            " FROM orders FORCE INDEX (orders_idempotency) WHERE %i AND state <> 'rejected' AND ",
            range->item);
    if (range->names == NULL) {
        sql_add(sql, "buyer_id > %s", range->after);
        return;
    }
    for (size_t i = 0; i < range->count; ++i)
        sql_add(sql, i == 0 ? "buyer_id IN (%s" : ", %s", range->names[i]);
    sql_add(sql, ")");
}

/* A server that returns no row counts as 0 orders: all_were_read() then fails. */
static result_t count_orders(db_t *db, sql_t *sql, const range_t *range, uint64_t *count)
{
    sql_reset(sql);
    sql_add(sql, "SELECT COUNT(*)");
    add_from(sql, range);
    result_t result = db_query(db, sql);
    *count = 0;
    while (result == RESULT_DONE && db_next(db))
        *count = db_u64(db, 0);
    return result;
}

/* As many buyers as were asked for are all of them up to the last one; fewer are checked. */
static result_t all_were_read(db_t *db, sql_t *sql, const range_t *range, uint64_t orders_read)
{
    uint64_t orders;
    result_t result = count_orders(db, sql, range, &orders);
    if (result != RESULT_DONE || orders == orders_read)
        return result;
    LOG_ERROR("MySQL returned fewer orders than it counted; no gate gets these buyers",
              LOG_BYTES("sku", sku_str(&range->item->sku)), LOG_INT("orders", orders),
              LOG_INT("orders_read", orders_read));
    return RESULT_AWAY;
}

/* A buyer of a list who has no order precedes the row: names and rows have one order. */
static void add_absent(const range_t *range, size_t *next, str_t before, buyers_page_t *out,
                       char **at)
{
    while (*next < range->count &&
           (before.p == NULL || str_compare(range->names[*next], before) < 0)) {
        out->buyers[out->count] = str_put(at, range->names[(*next)++]);
        out->units[out->count++] = 0;
    }
    if (*next < range->count && before.p != NULL && str_eq(range->names[*next], before))
        ++*next;
}

static size_t page_size(void)
{
    size_t size = FAILPOINT_NUMBER("buyers_page"); /* tests have few buyers */
    return size != 0 && size < BUYERS_PAGE ? size : BUYERS_PAGE;
}

static result_t read_units(db_t *db, sql_t *sql, const range_t *range, buyers_page_t *out,
                           uint64_t *orders_read)
{
    char *at = out->bytes;
    size_t next = 0, max = range->names != NULL ? range->count : page_size();
    sql_reset(sql);
    sql_add(
        sql,
        "SELECT buyer_id, SUM(CASE WHEN state IN ('held', 'confirmed') THEN quantity ELSE 0 END), "
        "COUNT(*)");
    add_from(sql, range);
    sql_add(sql, " GROUP BY buyer_id ORDER BY buyer_id LIMIT %u", (uint64_t)max);
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && out->count < max && db_next(db)) {
        if (FAILPOINT_FAILS("buyer_left_out"))
            continue;
        add_absent(range, &next, db_bytes(db, 0), out, &at);
        out->buyers[out->count] = str_put(&at, db_bytes(db, 0));
        out->units[out->count++] = db_i64(db, 1);
        *orders_read += db_u64(db, 2);
    }
    add_absent(range, &next, STR_NONE, out, &at);
    out->last = range->names != NULL || out->count < max;
    return result;
}

static result_t read_row(db_t *db, sql_t *sql, const item_ref_t *item, buyers_page_t *out)
{
    item_t row;
    bool found;
    result_t result = item_read(db, sql, item, false, &row, &found);
    out->epoch = found ? row.epoch : 0;
    out->sequence =
        found && row.released_total > row.epoch_released_total ? (uint64_t)row.released_total : 0;
    return result;
}

static result_t read_in_snapshot(db_t *db, sql_t *sql, range_t *range, buyers_page_t *out)
{
    uint64_t orders_read = 0;
    out->count = 0;
    result_t result = db_begin_snapshot(db);
    if (result == RESULT_DONE)
        result = read_row(db, sql, range->item, out);
    if (result == RESULT_DONE)
        result = read_units(db, sql, range, out, &orders_read);
    if (result == RESULT_DONE && out->last)
        result = all_were_read(db, sql, range, orders_read);
    db_rollback(db); /* the snapshot is not needed any more */
    return result;
}

result_t buyers_read_page(db_t *db, sql_t *sql, const item_ref_t *item, const buyer_t *after,
                          buyers_page_t *out)
{
    range_t range = {.item = item, .after = after->length == 0 ? STR("") : buyer_str(after)};
    return read_in_snapshot(db, sql, &range, out);
}

int buyers_by_name(const void *a, const void *b)
{
    return str_compare(*(const str_t *)a, *(const str_t *)b);
}

result_t buyers_read_some(db_t *db, sql_t *sql, const item_ref_t *item, str_t *names, size_t count,
                          buyers_page_t *out)
{
    range_t range = {.item = item, .names = names, .count = count};
    assert(count != 0 && count <= BUYERS_PAGE);
    qsort(names, count, sizeof(*names), buyers_by_name);
    return read_in_snapshot(db, sql, &range, out);
}
