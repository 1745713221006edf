#include "store/settings.h"

result_t settings_read_default_strategy(db_t *db, strategy_id_t *strategy, bool *found)
{
    static const char text[] = "SELECT value FROM settings WHERE name = 'default_strategy'";
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    *found = false;
    result_t result = db_query(db, &sql);
    if (result != RESULT_DONE || !db_next(db))
        return result;
    str_t word = db_bytes(db, 0);
    int known = strategy_parse(word.p, word.n);
    *found = known >= 0;
    if (*found)
        *strategy = (strategy_id_t)known;
    return RESULT_DONE;
}

static result_t save(db_t *db, sql_t *sql, strategy_id_t strategy)
{
    sql_reset(sql);
    sql_add(
        sql,
        "INSERT INTO settings (name, value, updated_at) VALUES ('default_strategy', %w, NOW(3)) "
        "ON DUPLICATE KEY UPDATE value = %w, updated_at = NOW(3)",
        strategy_name(strategy), strategy_name(strategy));
    return db_exec(db, sql, NULL, 0);
}

/* In the open transaction. */
static result_t save_recorded(db_t *db, sql_t *sql, strategy_id_t strategy,
                              const change_origin_t *origin)
{
    const char *after = strategy_name(strategy), *before = NULL;
    sql_reset(sql);
    sql_add(sql, "SELECT value FROM settings WHERE name = 'default_strategy' FOR UPDATE");
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db)) {
        str_t word = db_bytes(db, 0);
        int known = strategy_parse(word.p, word.n);
        before = known < 0 ? NULL : strategy_name((strategy_id_t)known);
    }
    if (result == RESULT_DONE)
        result = save(db, sql, strategy);
    if (result != RESULT_DONE || before == after) /* each strategy has one name */
        return result;
    return change_insert_default(db, sql, origin, before, after);
}

result_t settings_save_default_strategy(db_t *db, sql_t *sql, strategy_id_t strategy,
                                        const change_origin_t *origin)
{
    if (origin == NULL)
        return save(db, sql, strategy);
    result_t result = db_run(db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = save_recorded(db, sql, strategy, origin);
    if (result == RESULT_DONE)
        return db_commit(db);
    db_rollback(db);
    return result;
}
