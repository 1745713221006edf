/*
 * What operators set at run time and every node follows: kept on each shard, so that it outlives
 * restarts and the loss of a shard. Blocking.
 */
#ifndef HOLDFAST_STORE_SETTINGS_H
#define HOLDFAST_STORE_SETTINGS_H

#include "store/db.h"

/* The strategy of items created without one, or -1: never set here, or nobody answers. */
int settings_read_default_strategy(db_t *db);
result_t settings_save_default_strategy(db_t *db, sql_t *sql, strategy_id_t strategy);

#endif
