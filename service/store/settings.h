/*
 * Settings that operators change at run time and every node follows. Each shard stores them, so
 * that they survive restarts and the loss of a shard.
 *
 * Blocks; for any thread that owns the db_t.
 */
#ifndef HOLDFAST_STORE_SETTINGS_H
#define HOLDFAST_STORE_SETTINGS_H

#include "store/db.h"

/* The strategy of items created without one, or -1: it was never set here, or MySQL is away. */
int settings_read_default_strategy(db_t *db);
result_t settings_save_default_strategy(db_t *db, sql_t *sql, strategy_id_t strategy);

#endif
