#include "store/migrate.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "embedded.h"
#include "shards/shard_map.h"
#include "store/patient.h"

/* A statement may copy a large table; another node's migration may be doing that now. */
#define STATEMENT_S 3600
#define LOCK_WAIT_S 600

/* Server-wide, so the database is part of the name; hashed, because 64 characters is the most. */
#define LOCK_NAME "CONCAT('holdfast.migrate.', SHA1(DATABASE()))"

#define MIGRATIONS_MAX 256

/* Of one shard: which of embedded_migrations[] are recorded, and the first thing that is wrong. */
typedef struct {
    bool applied[MIGRATIONS_MAX];
    unsigned wrong_version; /* of MIGRATE_AHEAD and MIGRATE_CHANGED */
} record_t;

const char *migrate_status_text(migrate_status_t status)
{
    switch (status) {
    case MIGRATE_BEHIND:
        return "the database is older than this binary: run holdfast migrate";
    case MIGRATE_AHEAD:
        return "the database is newer than this binary: install the release that migrated it";
    case MIGRATE_CHANGED:
        return "the database was migrated with another text of a migration than this binary has";
    case MIGRATE_CURRENT:
    case MIGRATE_FAILED:
        break;
    }
    return "";
}

static uint64_t checksum(const embedded_migration_t *migration)
{
    return XXH3_64bits(migration->text.p, migration->text.n);
}

static int index_of(uint64_t version)
{
    for (unsigned i = 0; i < embedded_migrations_count; ++i)
        if (embedded_migrations[i].number == version)
            return (int)i;
    return -1;
}

/* --- what is recorded --- */

static db_result_t table_exists(db_t *db, sql_t *sql, bool *exists)
{
    sql_reset(sql);
    sql_add(sql, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() "
                 "AND table_name = 'schema_migrations'");
    db_result_t result = db_query(db, sql);
    *exists = result == DB_OK && db_next(db) && db_u64(db, 0) != 0;
    return result;
}

static migrate_status_t note_row(record_t *record, uint64_t version, uint64_t recorded_checksum)
{
    int i = index_of(version);
    migrate_status_t status = i < 0 ? MIGRATE_AHEAD
                              : checksum(&embedded_migrations[i]) != recorded_checksum
                                  ? MIGRATE_CHANGED
                                  : MIGRATE_CURRENT;
    if (status != MIGRATE_CURRENT)
        record->wrong_version = (unsigned)version;
    else
        record->applied[i] = true;
    return status;
}

static migrate_status_t read_record(db_t *db, sql_t *sql, record_t *record)
{
    migrate_status_t status = MIGRATE_CURRENT;
    assert(embedded_migrations_count <= MIGRATIONS_MAX);
    *record = (record_t){.wrong_version = 0};
    sql_reset(sql);
    sql_add(sql, "SELECT version, checksum FROM schema_migrations ORDER BY version");
    if (db_query(db, sql) != DB_OK)
        return MIGRATE_FAILED;
    while (db_next(db))
        if (status == MIGRATE_CURRENT)
            status = note_row(record, db_u64(db, 0), db_u64(db, 1));
    for (unsigned i = 0; status == MIGRATE_CURRENT && i < embedded_migrations_count; ++i)
        if (!record->applied[i])
            status = MIGRATE_BEHIND;
    return status;
}

int migrate_check(db_t *db, sql_t *sql)
{
    record_t record;
    bool exists;
    if (table_exists(db, sql, &exists) != DB_OK)
        return MIGRATE_FAILED;
    return exists ? read_record(db, sql, &record) : MIGRATE_BEHIND;
}

/* --- to apply --- */

/* One shard that is being migrated. */
typedef struct {
    const char *shard;
    db_t *db;
    sql_t sql;
    FILE *out;
} migration_run_t;

static int say_db_error(migration_run_t *run, const char *what)
{
    fprintf(run->out, "%s: error: %s: %s\n", run->shard, what, db_error(run->db));
    return 1;
}

static int lock(migration_run_t *run)
{
    sql_reset(&run->sql);
    sql_add(&run->sql, "SELECT GET_LOCK(" LOCK_NAME ", %u)", (uint64_t)LOCK_WAIT_S);
    if (db_query(run->db, &run->sql) != DB_OK)
        return say_db_error(run, "cannot take the lock");
    bool taken = db_next(run->db) && db_u64(run->db, 0) == 1;
    if (!taken)
        fprintf(run->out, "%s: error: another node has been migrating it for %d s\n", run->shard,
                LOCK_WAIT_S);
    return taken ? 0 : 1;
}

static int create_table(migration_run_t *run)
{
    db_result_t result =
        db_run(run->db, "CREATE TABLE IF NOT EXISTS schema_migrations ("
                        "version INT UNSIGNED NOT NULL PRIMARY KEY, "
                        "name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
                        "checksum BIGINT UNSIGNED NOT NULL COMMENT 'XXH3-64 of the text', "
                        "applied_at DATETIME(3) NOT NULL) ENGINE=InnoDB");
    return result == DB_OK ? 0 : say_db_error(run, "cannot create schema_migrations");
}

/* A run that died before it could record a migration has applied it: what cannot be said twice is
   the one statement of its file. */
static int apply(migration_run_t *run, const embedded_migration_t *migration)
{
    const sql_t text = {(char *)migration->text.p, migration->text.n, 0};
    if (db_exec(run->db, &text, NULL, 0) != DB_OK && !db_error_is_done(run->db)) {
        fprintf(run->out, "%s: error: %s: %s\n", run->shard, migration->name, db_error(run->db));
        return 1;
    }
    sql_reset(&run->sql);
    sql_add(&run->sql, "INSERT INTO schema_migrations VALUES (%u, %s, %u, NOW(3))",
            (uint64_t)migration->number, str_of(migration->name), checksum(migration));
    if (db_exec(run->db, &run->sql, NULL, 0) != DB_OK)
        return say_db_error(run, "cannot record a migration");
    fprintf(run->out, "%s: %s: applied\n", run->shard, migration->name);
    return 0;
}

static int say_wrong_version(migration_run_t *run, migrate_status_t status, unsigned version)
{
    int i = index_of(version);
    if (i >= 0)
        fprintf(run->out, "%s: error: %s: ", run->shard, embedded_migrations[i].name);
    else
        fprintf(run->out, "%s: error: %04u: ", run->shard, version);
    fprintf(run->out, "%s\n", migrate_status_text(status));
    return 1;
}

static int apply_missing(migration_run_t *run)
{
    record_t record;
    migrate_status_t status = read_record(run->db, &run->sql, &record);
    if (status == MIGRATE_FAILED)
        return say_db_error(run, "cannot read schema_migrations");
    if (status == MIGRATE_AHEAD || status == MIGRATE_CHANGED)
        return say_wrong_version(run, status, record.wrong_version);
    for (unsigned i = 0; i < embedded_migrations_count; ++i) {
        const embedded_migration_t *migration = &embedded_migrations[i];
        if (record.applied[i])
            fprintf(run->out, "%s: %s: applied before\n", run->shard, migration->name);
        else if (apply(run, migration) != 0)
            return 1;
    }
    return 0;
}

static int migrate_shard(migration_run_t *run)
{
    if (db_connect(run->db) != DB_OK)
        return say_db_error(run, "no connection");
    if (lock(run) != 0)
        return 1;
    int failed = create_table(run);
    if (failed == 0)
        failed = apply_missing(run);
    /* With the connection goes the lock; a broken one is not worth a last word. */
    if (failed != 0 || db_run(run->db, "DO RELEASE_LOCK(" LOCK_NAME ")") != DB_OK)
        db_disconnect(run->db);
    return failed;
}

int migrate_all(const config_t *config, FILE *out)
{
    const config_t patient = config_patient(config, STATEMENT_S);
    int failed = 0;
    for (unsigned i = 0; failed == 0 && i < config->shards_count; ++i) {
        const config_shard_t *shard = &config->shards[i];
        migration_run_t run = {
            .shard = shard->name, .db = db_new(&patient, shard_primary(shard)), .out = out};
        failed = migrate_shard(&run);
        sql_free(&run.sql);
        db_free(run.db);
        fflush(out);
    }
    return failed;
}
