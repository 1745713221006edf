#include "store/items.h"

#include <assert.h>

#include "base/failpoint.h"

#define ITEM_COLUMNS                                                                               \
    "sku, bucket, slot, total, allocated_total, released_total, version, epoch, per_buyer_limit, " \
    "hold_seconds, starts_at, ends_at, strategy, acknowledge, " SQL_REBUILDING                     \
    ", epoch_allocated_total, epoch_released_total, gate_down, terms_version, created_at, "        \
    "updated_at"

static void item_of_row(const db_t *db, item_t *item)
{
    str_t strategy = db_bytes(db, 12);
    sku_set(&item->ref.sku, db_bytes(db, 0));
    item->ref.bucket = (uint16_t)db_u64(db, 1);
    item->ref.slot = (uint16_t)db_u64(db, 2);
    item->terms.total = db_i64(db, 3);
    item->allocated_total = db_i64(db, 4);
    item->released_total = db_i64(db, 5);
    item->version = db_u64(db, 6);
    item->epoch = db_u64(db, 7);
    item->terms.per_buyer_limit = (uint32_t)db_u64(db, 8);
    item->terms.hold_seconds = (uint32_t)db_u64(db, 9);
    item->terms.starts_at_ms = db_time_ms(db, 10);
    item->terms.ends_at_ms = db_time_ms(db, 11);
    item->terms.strategy = (strategy_id_t)strategy_parse(strategy.p, strategy.n);
    item->terms.acknowledge = (acknowledge_t)acknowledge_parse(db_bytes(db, 13));
    item->rebuilding = db_u64(db, 14) == 1;
    item->rebuilding_too_long = db_u64(db, 14) == 2;
    item->epoch_allocated_total = db_i64(db, 15);
    item->epoch_released_total = db_i64(db, 16);
    item->gate_down = db_u64(db, 17) != 0;
    item->terms_version = db_u64(db, 18);
    item->created_at_ms = db_time_ms(db, 19);
    item->updated_at_ms = db_time_ms(db, 20);
}

void item_add_terms(sql_t *sql, const item_terms_t *terms)
{
    sql_add(sql,
            ", total = %d, per_buyer_limit = %u, hold_seconds = %u, starts_at = %t, ends_at = %t, "
            "strategy = %w, acknowledge = %w",
            terms->total, (uint64_t)terms->per_buyer_limit, (uint64_t)terms->hold_seconds,
            terms->starts_at_ms, terms->ends_at_ms, strategy_name(terms->strategy),
            acknowledge_name(terms->acknowledge));
}

result_t item_read(db_t *db, sql_t *sql, const item_ref_t *ref, bool lock, item_t *out, bool *found)
{
    *found = false;
    sql_reset(sql);
    sql_add(sql, "SELECT " ITEM_COLUMNS " FROM " SQL_INVENTORY_BY_KEY " WHERE %i", ref);
    if (lock)
        sql_add(sql, " FOR UPDATE");
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && (*found = db_next(db)))
        item_of_row(db, out);
    return result;
}

result_t item_read_epoch(db_t *db, sql_t *sql, const item_ref_t *ref, uint64_t *epoch)
{
    *epoch = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT epoch FROM inventory WHERE %i", ref);
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db))
        *epoch = db_u64(db, 0);
    return result;
}

static result_t read_each(db_t *db, const sql_t *sql,
                          void (*each)(void *context, const item_t *item), void *context)
{
    item_t item;
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db)) {
        item_of_row(db, &item);
        each(context, &item);
    }
    return result;
}

/* The columns are those that the header names. */
static result_t read_each_units(db_t *db, const sql_t *sql,
                                void (*each)(void *context, const item_t *item), void *context)
{
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db)) {
        item_t item = {.terms.total = db_i64(db, 1),
                       .allocated_total = db_i64(db, 2),
                       .released_total = db_i64(db, 3),
                       .version = db_u64(db, 4),
                       .epoch = db_u64(db, 5)};
        sku_set(&item.ref.sku, db_bytes(db, 0));
        each(context, &item);
    }
    return result;
}

result_t item_read_many(db_t *db, sql_t *sql, const str_t *skus, unsigned count, item_lock_t lock,
                        void (*each)(void *context, const item_t *item), void *context)
{
    static const char *const ends[] = {")", ") ORDER BY sku FOR UPDATE",
                                       ") ORDER BY sku FOR UPDATE SKIP LOCKED"};
    sql_reset(sql);
    sql_add(sql,
            "SELECT sku, total, allocated_total, released_total, version, epoch "
            "FROM " SQL_INVENTORY_BY_KEY " WHERE bucket = %u AND sku IN (",
            BUCKET_ONLY);
    for (unsigned i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "%s" : ",%s", skus[i]);
    sql_add(sql, ends[lock]);
    return read_each_units(db, sql, each, context);
}

result_t item_read_rows(db_t *db, sql_t *sql, const sku_t *skus, unsigned count,
                        void (*each)(void *context, const item_t *item), void *context)
{
    sql_reset(sql);
    sql_add(sql,
            "SELECT " ITEM_COLUMNS " FROM " SQL_INVENTORY_BY_KEY " WHERE bucket = %u AND sku IN (",
            BUCKET_ONLY);
    for (unsigned i = 0; i < count; ++i)
        sql_add(sql, i == 0 ? "%s" : ",%s", sku_str(&skus[i]));
    sql_add(sql, ")");
    return read_each(db, sql, each, context);
}

result_t item_scan(db_t *db, sql_t *sql, uint64_t epoch_from,
                   void (*each)(void *context, const item_t *item), void *context)
{
    sql_reset(sql);
    sql_add(sql, "SELECT " ITEM_COLUMNS " FROM inventory WHERE epoch >= %u", epoch_from);
    return read_each(db, sql, each, context);
}

/* --- pages of items --- */

/* The range of the primary key that a page lies in. */
static void add_range(sql_t *sql, const item_filter_t *filter)
{
    sql_add(sql, " FROM " SQL_INVENTORY_BY_KEY " WHERE bucket = %u", BUCKET_ONLY);
    if (filter->after.n != 0)
        sql_add(sql, " AND sku > %s", filter->after);
    if (filter->prefix.n != 0) {
        sku_t end = sku_of(filter->prefix);
        assert((unsigned char)end.bytes[end.length - 1] < 0x7f);
        ++end.bytes[end.length - 1];
        sql_add(sql, " AND sku >= %s AND sku < %s", filter->prefix, sku_str(&end));
    }
}

static unsigned looks_max(void)
{
    size_t looks = FAILPOINT_NUMBER("item_looks"); /* tests have few items */
    return looks != 0 && looks < ITEM_LOOKS_MAX ? (unsigned)looks : ITEM_LOOKS_MAX;
}

/* The name of the last item that may be looked at; length 0: all behind the cursor may be. */
static result_t find_last_look(db_t *db, sql_t *sql, const item_filter_t *filter, sku_t *last)
{
    last->length = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT sku");
    add_range(sql, filter);
    sql_add(sql, " ORDER BY sku LIMIT 1 OFFSET %u", (uint64_t)(looks_max() - 1));
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db))
        sku_set(last, db_bytes(db, 0));
    return result;
}

#define SQL_OPEN                                                                                   \
    "(starts_at IS NULL OR starts_at <= NOW(3)) AND (ends_at IS NULL OR ends_at > NOW(3))"

static void add_filter(sql_t *sql, const item_filter_t *filter)
{
    if (filter->strategy >= 0)
        sql_add(sql, " AND strategy = %w", strategy_name((strategy_id_t)filter->strategy));
    if (filter->open >= 0)
        sql_add(sql, filter->open != 0 ? " AND " SQL_OPEN : " AND NOT (" SQL_OPEN ")");
}

result_t item_page(db_t *db, sql_t *sql, const item_filter_t *filter,
                   void (*each)(void *context, const item_t *item), void *context, sku_t *up_to)
{
    item_t item;
    unsigned count = 0;
    bool looks = filter->strategy >= 0 || filter->open >= 0;
    up_to->length = 0;
    result_t result = looks ? find_last_look(db, sql, filter, up_to) : RESULT_DONE;
    if (result != RESULT_DONE)
        return result;
    sql_reset(sql);
    sql_add(sql, "SELECT " ITEM_COLUMNS);
    add_range(sql, filter);
    if (up_to->length != 0)
        sql_add(sql, " AND sku <= %s", sku_str(up_to));
    add_filter(sql, filter);
    sql_add(sql, " ORDER BY sku LIMIT %u", (uint64_t)filter->most);
    result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db)) {
        item_of_row(db, &item);
        each(context, &item);
        if (++count == filter->most)
            *up_to = item.ref.sku;
    }
    return result;
}

result_t items_count(db_t *db, sql_t *sql, uint64_t *count)
{
    sql_reset(sql);
    sql_add(sql, "SELECT COUNT(*) FROM inventory WHERE bucket = %u", BUCKET_ONLY);
    result_t result = db_query(db, sql);
    if (result != RESULT_DONE)
        return result;
    if (!db_next(db))
        return RESULT_AWAY;
    *count = db_u64(db, 0);
    return RESULT_DONE;
}

result_t shard_clock_read(db_t *db, uint64_t *now_ms)
{
    const sql_t sql = {(char *)"SELECT NOW(3)", 13, 0};
    result_t result = db_query(db, &sql);
    if (result == RESULT_DONE && db_next(db))
        *now_ms = db_time_ms(db, 0);
    return result;
}
