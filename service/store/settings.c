#include "store/settings.h"

int settings_read_default_strategy(db_t *db)
{
    static const char text[] = "SELECT value FROM settings WHERE name = 'default_strategy'";
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    if (db_query(db, &sql) != RESULT_DONE || !db_next(db))
        return -1;
    str_t word = db_bytes(db, 0);
    return strategy_parse(word.p, word.n);
}

result_t settings_save_default_strategy(db_t *db, sql_t *sql, strategy_id_t strategy)
{
    sql_reset(sql);
    sql_add(
        sql,
        "INSERT INTO settings (name, value, updated_at) VALUES ('default_strategy', %w, NOW(3)) "
        "ON DUPLICATE KEY UPDATE value = %w, updated_at = NOW(3)",
        strategy_name(strategy), strategy_name(strategy));
    return db_exec(db, sql, NULL, 0);
}
