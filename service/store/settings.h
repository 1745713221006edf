/*
 * Settings that operators change at run time and every node follows. Each shard stores them, so
 * that they survive restarts and the loss of a shard.
 *
 * Blocks; for any thread that owns the db_t.
 */
#ifndef HOLDFAST_STORE_SETTINGS_H
#define HOLDFAST_STORE_SETTINGS_H

#include "store/changes.h"

/* Reads the strategy of items that are created without one. RESULT_DONE with `*found` false: it was
   never set here, or a newer service has set one that this one does not know. */
result_t settings_read_default_strategy(db_t *db, strategy_id_t *strategy, bool *found);
/* Saves it and, with `origin`, records the change, if it is one: on the shard that is read. An
   `origin` has the id of the change. */
result_t settings_save_default_strategy(db_t *db, sql_t *sql, strategy_id_t strategy,
                                        const change_origin_t *origin);

#endif
