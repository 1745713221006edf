#include "store/canary.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/random.h"
#include "metrics/metrics.h"

typedef struct {
    char name[24]; /* its sku and its buyer; random, since services may run one at once */
    order_id_t id;
    uint64_t now_ms;
} canary_t;

/* `first`: the first character. '!' sorts before all skus, '~' after them: if another user has
   locked a gap at one end of an index, the other end is free. */
static canary_t canary_make(char first)
{
    canary_t canary = {.now_ms = clock_wall_ms()};
    snprintf(canary.name, sizeof(canary.name), "%c%016llx", first,
             (unsigned long long)random_u64());
    random_bytes(canary.id.bytes, sizeof(canary.id.bytes));
    return canary;
}

static result_t insert_item(const canary_t *canary, db_t *db, sql_t *sql)
{
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO inventory SET sku = %s, bucket = %u, slot = 0, created_at = NOW(3), "
            "updated_at = NOW(3), epoch = 1, total = 1, per_buyer_limit = 1, hold_seconds = 1, "
            "starts_at = NULL, ends_at = NULL, strategy = 'lua', acknowledge = 'committed'",
            str_of(canary->name), BUCKET_ONLY);
    return db_exec(db, sql, NULL, 0);
}

/* The writer's statement. A duplicate would show as a count of rows, not as an error. */
static result_t insert_order(const canary_t *canary, db_t *db, sql_t *sql)
{
    uint64_t affected[1] = {0};
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, "
            "updated_at, expires_at, idempotency_key, request_digest) "
            "VALUES (%o,%s,%s,1,'held',1,%t,%t,%t,%s,1) "
            "ON DUPLICATE KEY UPDATE order_id = orders.order_id; "
            "INSERT INTO holds (expires_at, order_id) VALUES (%t, %o) "
            "ON DUPLICATE KEY UPDATE order_id = holds.order_id",
            &canary->id, str_of(canary->name), str_of(canary->name), canary->now_ms, canary->now_ms,
            canary->now_ms, str_of(canary->name), canary->now_ms, &canary->id);
    result_t result = db_exec(db, sql, affected, 1);
    return result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result;
}

static result_t update_item(const canary_t *canary, db_t *db, sql_t *sql)
{
    uint64_t affected[1] = {0};
    sql_reset(sql);
    sql_add(sql,
            "UPDATE inventory SET allocated_total = allocated_total + 1, version = version + 1, "
            "updated_at = NOW(3) WHERE sku = %s AND bucket = %u AND version = 1 AND epoch = 1 "
            "AND allocated_total - released_total + 1 <= total",
            str_of(canary->name), BUCKET_ONLY);
    result_t result = db_exec(db, sql, affected, 1);
    return result == RESULT_DONE && affected[0] != 1 ? RESULT_RETRY : result;
}

static result_t try_rows(char first, db_t *db, sql_t *sql)
{
    const canary_t canary = canary_make(first);
    result_t result = db_run(db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = insert_item(&canary, db, sql);
    if (result == RESULT_DONE)
        result = insert_order(&canary, db, sql);
    if (result == RESULT_DONE)
        result = update_item(&canary, db, sql);
    db_rollback(db);
    return result;
}

/* Commits a row of its own, in a table that every service writes anyway. */
static result_t try_commit(db_t *db, sql_t *sql)
{
    sql_reset(sql);
    sql_add(sql, "INSERT INTO leases (name, holder, fence, until) VALUES ('canary', '', 1, NOW(3)) "
                 "ON DUPLICATE KEY UPDATE until = NOW(3), fence = leases.fence + 1");
    result_t result = db_run(db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = db_exec(db, sql, NULL, 0);
    if (result == RESULT_DONE)
        return db_commit(db);
    db_rollback(db);
    return result;
}

result_t canary_run(db_t *db, sql_t *sql)
{
    METRIC_INC(canaries_total);
    result_t result = try_rows('~', db, sql);
    if (result == RESULT_RETRY && db_error_is_lock(db))
        result = try_rows('!', db, sql);
    return result == RESULT_DONE ? try_commit(db, sql) : result;
}

bool canary_passes_or_waits(db_t *db, sql_t *sql)
{
    result_t result = canary_run(db, sql);
    return result == RESULT_DONE || (result == RESULT_RETRY && db_error_is_lock(db));
}
