/*
 * Migrations: bring the tables of each shard to the state that this binary needs.
 *
 * The files sql/NNNN_name.sql are built into the binary. Each is applied once per shard, in the
 * order of their numbers, and then recorded in `schema_migrations` with its XXH3-64 checksum. Any
 * number of nodes may migrate at once: a lock named in the server (GET_LOCK) lets one of them work,
 * and the others wait and then find nothing to do. A transaction could not do that, because MySQL
 * commits before and after every DDL statement.
 *
 * A crash half way: a migration is recorded only after its last statement, so the next run starts
 * the same file again from its first. The author of a migration makes that safe: either every
 * statement may be repeated (CREATE TABLE IF NOT EXISTS, an UPDATE that changes nothing the second
 * time), or the file is a single ALTER TABLE, which InnoDB applies wholly or not at all. A crash
 * between that statement and its record is still possible. The next run then gets the error that
 * the column or index already exists (or does not), and treats it as success: db_error_is_done(). A
 * file ends with a statement, not with a comment (MySQL would take that for an empty statement).
 *
 * A file never changes after its release: a recorded one with another checksum is an error.
 *
 * After the migrations the database is stamped, once, with its deployment and shard
 * (store/identity.h), but only if each item and order in it lies in a slot that the configuration
 * gives this shard. A database with another stamp is refused before any change. The name of the
 * deployment comes from the configuration, else from a shard that has one, else it is generated for
 * the first shard.
 *
 * Blocks; for any thread that owns its db_t.
 */
#ifndef HOLDFAST_STORE_MIGRATE_H
#define HOLDFAST_STORE_MIGRATE_H

#include <stdio.h>

#include "store/db.h"

typedef enum {
    MIGRATE_CURRENT = 0, /* exactly the migrations of this binary */
    MIGRATE_BEHIND,      /* some are not applied: run holdfast migrate */
    MIGRATE_AHEAD,   /* it has a migration that this binary does not contain, and still fits: see
                        min_binary in sql/0008 */
    MIGRATE_TOO_NEW, /* as MIGRATE_AHEAD, but it does not fit any more */
    MIGRATE_CHANGED  /* one was applied with a text that differs from this binary's */
} migrate_status_t;

/* The error and what to do, for the operator; "" for MIGRATE_CURRENT and MIGRATE_AHEAD. A
   literal. */
const char *migrate_status_text(migrate_status_t status);

/*
 * Migrates the primary of each shard on its own connections; stops at the first error. Writes a
 * line to `out` for each shard and migration, and for an error. Returns 0, or 1 after an error.
 */
int migrate_all(const config_t *config, FILE *out);

/* Reads the state of one shard and changes nothing. `db` is unchecked (db_new_unchecked()), so the
   caller logs db_error() unless the result is RESULT_DONE. */
result_t migrate_check(db_t *db, sql_t *sql, migrate_status_t *status);

#endif
