/*
 * Migrations: brings the tables of each shard to what this binary needs.
 *
 * The files sql/NNNN_name.sql are built into the binary. Each is applied once per shard, in the
 * order of their numbers, and then recorded in `schema_migrations` with its XXH3-64 checksum. A
 * lock named in the server (GET_LOCK) lets any number of nodes migrate at once: one does it, the
 * others wait and find it done. MySQL commits before and after every DDL statement, so a
 * transaction could not do that.
 *
 * A crash half way. A migration is recorded only after its last statement, so that the next run
 * starts the same file again from its first. Whoever writes one makes that safe: either every
 * statement may be repeated (CREATE TABLE IF NOT EXISTS, an UPDATE that changes nothing the
 * second time), or the file is a single ALTER TABLE, which InnoDB does wholly or not at all.
 * Between that one statement and its record a crash is still possible; the next run then hears that
 * the column or index is already there (or gone), and takes that for done: db_error_is_done(). A
 * file ends with a statement, not with a comment (MySQL would take that for an empty statement).
 *
 * A file is never changed once it was released: a recorded one with another checksum is an error.
 *
 * Then the database is stamped, once, with which deployment and shard it is (store/identity.h):
 * only if each item and order in it lies in a slot that the configuration gives this shard. One
 * that is stamped as another is refused before anything is changed. The deployment's name is given
 * by the configuration, or is that of a shard that has one, or is made up for the first.
 */
#ifndef HOLDFAST_STORE_MIGRATE_H
#define HOLDFAST_STORE_MIGRATE_H

#include <stdio.h>

#include "store/db.h"

typedef enum {
    MIGRATE_CURRENT = 0, /* exactly what this binary needs */
    MIGRATE_BEHIND,      /* some are not applied: run holdfast migrate */
    MIGRATE_AHEAD,       /* it has a migration that this binary does not know, and fits all the
                            same: see min_binary in sql/0008 */
    MIGRATE_TOO_NEW,     /* it does not fit any more */
    MIGRATE_CHANGED      /* one was applied with another text than this binary has */
} migrate_status_t;

/* What is wrong and what to do, for people; "" for MIGRATE_CURRENT and MIGRATE_AHEAD. */
const char *migrate_status_text(migrate_status_t status);

/*
 * Migrates the primary of each shard on connections of its own; stops at the first error. Writes
 * a line to `out` for each shard and migration, and for an error. Returns 0, or 1 after an error.
 */
int migrate_all(const config_t *config, FILE *out);

/* Looks at one shard and changes nothing. `db` is unchecked (db_new_unchecked()), so that the
   caller logs what db_error() says unless it is done. */
result_t migrate_check(db_t *db, sql_t *sql, migrate_status_t *status);

#endif
