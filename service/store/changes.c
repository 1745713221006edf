#include "store/changes.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/clock.h"

/* --- terms as JSON --- */

static void add_time(cJSON *json, const char *name, uint64_t ms)
{
    char text[TIME_TEXT_SIZE];
    if (ms == 0) {
        cJSON_AddNullToObject(json, name);
        return;
    }
    time_format_rfc3339(text, ms);
    cJSON_AddStringToObject(json, name, text);
}

#define TERMS_TEXT_MAX 1024 /* changes.old_terms; all terms together take a quarter of it */

/* Writes the terms in which `terms` differs from `other` (NULL: all), with the names of the API. */
static str_t terms_text(char text[TERMS_TEXT_MAX], const item_terms_t *terms,
                        const item_terms_t *other)
{
    cJSON *json = alloc_check(cJSON_CreateObject());
    bool all = other == NULL;
    if (all || terms->total != other->total)
        cJSON_AddNumberToObject(json, "total", (double)terms->total);
    if (all || terms->per_buyer_limit != other->per_buyer_limit)
        cJSON_AddNumberToObject(json, "per_buyer_limit", terms->per_buyer_limit);
    if (all || terms->hold_seconds != other->hold_seconds)
        cJSON_AddNumberToObject(json, "hold_seconds", terms->hold_seconds);
    if (all || terms->starts_at_ms != other->starts_at_ms)
        add_time(json, "starts_at", terms->starts_at_ms);
    if (all || terms->ends_at_ms != other->ends_at_ms)
        add_time(json, "ends_at", terms->ends_at_ms);
    if (all || terms->strategy != other->strategy)
        cJSON_AddStringToObject(json, "strategy", strategy_name(terms->strategy));
    if (all || terms->acknowledge != other->acknowledge)
        cJSON_AddStringToObject(json, "acknowledge", acknowledge_name(terms->acknowledge));
    bool fits = cJSON_PrintPreallocated(json, text, TERMS_TEXT_MAX, false);
    assert(fits);
    cJSON_Delete(json);
    return str_of(text);
}

/* --- writing --- */

static str_t or_none(const char *text)
{
    return text[0] == '\0' ? STR_NONE : str_of(text);
}

static result_t insert_row(db_t *db, sql_t *sql, const change_origin_t *origin, str_t sku,
                           uint64_t epoch, str_t old_terms, str_t new_terms)
{
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO changes (change_id, sku, who, request_id, reason, epoch, old_terms, "
            "new_terms, idempotency_key, request_digest) VALUES (%o, %s, %s, %s, %s, %u, %s, %s, ",
            &origin->id, sku, str_of(origin->who), str_of(origin->request_id),
            or_none(origin->reason), epoch, old_terms, new_terms);
    if (origin->key[0] == '\0')
        sql_add(sql, "NULL, NULL)");
    else
        sql_add(sql, "%s, %u)", str_of(origin->key), origin->digest);
    result_t result = db_exec(db, sql, NULL, 0);
    /* The row is there: what was read before this transaction is older than that. */
    return result == RESULT_REFUSED && db_error_is_duplicate(db) ? RESULT_RETRY : result;
}

result_t change_insert(db_t *db, sql_t *sql, const change_origin_t *origin, const item_ref_t *item,
                       uint64_t epoch, const item_terms_t *before, const item_terms_t *after)
{
    char old_text[TERMS_TEXT_MAX], new_text[TERMS_TEXT_MAX];
    return insert_row(db, sql, origin, sku_str(&item->sku), epoch,
                      before == NULL ? STR_NONE : terms_text(old_text, before, after),
                      after == NULL ? STR_NONE : terms_text(new_text, after, before));
}

/* The words of strategies need no escapes in JSON. */
static str_t default_text(char *text, size_t size, const char *word)
{
    const char *quote = word == NULL ? "" : "\"";
    snprintf(text, size, "{\"default_strategy\":%s%s%s}", quote, word == NULL ? "null" : word,
             quote);
    return str_of(text);
}

result_t change_insert_default(db_t *db, sql_t *sql, const change_origin_t *origin,
                               const char *before, const char *after)
{
    char old_text[64], new_text[64];
    return insert_row(db, sql, origin, STR_NONE, 0,
                      default_text(old_text, sizeof(old_text), before),
                      default_text(new_text, sizeof(new_text), after));
}

result_t change_delete_old(db_t *db, sql_t *sql, uint64_t before_ms, unsigned max)
{
    order_id_t first = order_id_first_of(before_ms);
    sql_reset(sql);
    sql_add(sql, "DELETE FROM changes WHERE change_id < %o ORDER BY change_id LIMIT %u", &first,
            (uint64_t)max);
    return db_exec(db, sql, NULL, 0);
}

/* --- reading --- */

result_t change_find(db_t *db, sql_t *sql, const order_id_t *id, bool *found, bool *created)
{
    *found = *created = false;
    sql_reset(sql);
    sql_add(sql, "SELECT old_terms FROM changes WHERE change_id = %o", id);
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && (*found = db_next(db)))
        *created = db_is_null(db, 0);
    return result;
}

result_t change_find_key(db_t *db, sql_t *sql, const item_ref_t *item, const char *key, bool *found,
                         uint64_t *digest)
{
    *found = false;
    sql_reset(sql);
    sql_add(sql, "SELECT request_digest FROM changes WHERE sku = %s AND idempotency_key = %s",
            sku_str(&item->sku), str_of(key));
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && (*found = db_next(db)))
        *digest = db_u64(db, 0);
    return result;
}

/* The index is named, since each has the order of the list: no optimizer then reads all changes to
   sort them. */
static void list_statement(sql_t *sql, const change_query_t *query, unsigned max)
{
    order_id_t first = order_id_first_of(query->since_ms);
    sql_reset(sql);
    sql_add(sql, "SELECT change_id, sku, who, request_id, reason, epoch, old_terms, new_terms "
                 "FROM changes FORCE INDEX (");
    sql_add(sql, query->sku.p != NULL   ? "changes_sku"
                 : query->who.p != NULL ? "changes_who"
                                        : "PRIMARY");
    sql_add(sql, ") WHERE change_id >= %s",
            (str_t){(const char *)first.bytes, sizeof(first.bytes)});
    if (!order_id_is_none(&query->before))
        sql_add(sql, " AND change_id < %o", &query->before);
    if (query->sku.p != NULL)
        sql_add(sql, " AND sku = %s", query->sku);
    if (query->who.p != NULL)
        sql_add(sql, " AND who = %s", query->who);
    sql_add(sql, " ORDER BY change_id DESC LIMIT %u", (uint64_t)max);
}

result_t change_list(db_t *db, sql_t *sql, const change_query_t *query, unsigned max,
                     void (*each)(void *context, const change_row_t *row), void *context)
{
    list_statement(sql, query, max);
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db)) {
        change_row_t row = {.id = db_order_id(db, 0),
                            .epoch = db_u64(db, 5),
                            .sku = db_bytes(db, 1),
                            .who = db_bytes(db, 2),
                            .request_id = db_bytes(db, 3),
                            .reason = db_bytes(db, 4),
                            .before = db_bytes(db, 6),
                            .after = db_bytes(db, 7)};
        each(context, &row);
    }
    return result;
}
