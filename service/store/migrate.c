#include "store/migrate.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/alloc.h"
#include "base/embedded.h"
#include "base/random.h"
#include "sale/shard_map.h"
#include "store/identity.h"
#include "store/long_timeouts.h"

/* Time-out in s: a statement may copy a large table, or wait for another node's migration that
   does. */
#define STATEMENT_S 3600
#define LOCK_WAIT_S 600
/* Wait in s for the metadata lock of a table in use. All later statements on the table wait behind
   this one. */
#define METADATA_WAIT_S 60

/* The lock is server-wide, so its name contains the database; hashed, because 64 characters is the
   limit. */
#define LOCK_NAME "CONCAT('holdfast.migrate.', SHA1(DATABASE()))"

#define MIGRATIONS_MAX 256

/* The record of one shard: the applied ones of embedded_migrations[], and the first mistake. */
typedef struct {
    bool applied[MIGRATIONS_MAX];
    unsigned wrong_version; /* of MIGRATE_CHANGED, MIGRATE_TOO_NEW and MIGRATE_AHEAD */
    unsigned min_binary;
} record_t;

const char *migrate_status_text(migrate_status_t status)
{
    switch (status) {
    case MIGRATE_BEHIND:
        return "the database is older than this binary: run holdfast migrate";
    case MIGRATE_TOO_NEW:
        return "the database is newer than this binary: install the release that migrated it";
    case MIGRATE_CHANGED:
        return "the database was migrated with another text of a migration than this binary has";
    case MIGRATE_CURRENT:
    case MIGRATE_AHEAD:
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

/* --- reading the record --- */

#define READ_MIGRATIONS "SELECT 1 FROM schema_migrations LIMIT 0"
#define READ_IDENTITY "SELECT 1 FROM shard_identity LIMIT 0"

/* Reads the table itself, because information_schema hides a table for which the account has no
   privilege. */
static result_t table_exists(db_t *db, const char *read, bool *exists)
{
    result_t result = db_run(db, read);
    *exists = result == RESULT_DONE;
    return !*exists && db_error_is_no_table(db) ? RESULT_DONE : result;
}

/* The status after one row. The first wrong row decides; MIGRATE_AHEAD gives way to a worse
   status. */
static migrate_status_t note_row(record_t *record, migrate_status_t so_far, uint64_t version,
                                 uint64_t recorded_checksum)
{
    int i = index_of(version);
    if (so_far == MIGRATE_CHANGED || (i < 0 && so_far == MIGRATE_AHEAD))
        return so_far;
    if (i >= 0 && checksum(&embedded_migrations[i]) == recorded_checksum) {
        record->applied[i] = true;
        return so_far;
    }
    record->wrong_version = (unsigned)version;
    return i < 0 ? MIGRATE_AHEAD : MIGRATE_CHANGED;
}

static result_t read_migrations(db_t *db, sql_t *sql, record_t *record, migrate_status_t *status)
{
    *status = MIGRATE_CURRENT;
    assert(embedded_migrations_count <= MIGRATIONS_MAX);
    *record = (record_t){.wrong_version = 0};
    sql_reset(sql);
    sql_add(sql, "SELECT version, checksum FROM schema_migrations ORDER BY version");
    result_t result = db_query(db, sql);
    while (result == RESULT_DONE && db_next(db))
        *status = note_row(record, *status, db_u64(db, 0), db_u64(db, 1));
    return result;
}

/* A database without this table fits every binary. */
static result_t read_min_binary(db_t *db, sql_t *sql, record_t *record)
{
    bool exists;
    result_t result = table_exists(db, READ_IDENTITY, &exists);
    if (result != RESULT_DONE || !exists)
        return result;
    sql_reset(sql);
    sql_add(sql, "SELECT min_binary FROM shard_identity");
    result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db))
        record->min_binary = (unsigned)db_u64(db, 0);
    return result;
}

static unsigned newest_known(void)
{
    return embedded_migrations[embedded_migrations_count - 1].number;
}

/* The status of the tables whose record was read. */
static migrate_status_t judge(record_t *record, migrate_status_t so_far)
{
    if (so_far == MIGRATE_CHANGED)
        return so_far;
    if (record->min_binary > newest_known()) {
        record->wrong_version = record->min_binary;
        return MIGRATE_TOO_NEW;
    }
    for (unsigned i = 0; i < embedded_migrations_count; ++i)
        if (!record->applied[i])
            return MIGRATE_BEHIND;
    return so_far;
}

static result_t read_record(db_t *db, sql_t *sql, record_t *record, migrate_status_t *status)
{
    result_t result = read_migrations(db, sql, record, status);
    if (result == RESULT_DONE && *status != MIGRATE_CHANGED)
        result = read_min_binary(db, sql, record);
    *status = judge(record, *status);
    return result;
}

result_t migrate_check(db_t *db, sql_t *sql, migrate_status_t *status)
{
    record_t record;
    bool exists;
    *status = MIGRATE_BEHIND;
    result_t result = table_exists(db, READ_MIGRATIONS, &exists);
    return result == RESULT_DONE && exists ? read_record(db, sql, &record, status) : result;
}

/* --- applying --- */

/* One shard that is being migrated. */
typedef struct {
    const config_t *config;
    const config_shard_t *shard;
    db_t *db;
    sql_t sql;
    FILE *out;
    bool stamped; /* before this run */
} migration_run_t;

static int report_db_error(migration_run_t *run, const char *what)
{
    fprintf(run->out, "%s: error: %s: %s\n", run->shard->name, what, db_error(run->db));
    return 1;
}

static int lock(migration_run_t *run)
{
    sql_reset(&run->sql);
    sql_add(&run->sql, "SELECT GET_LOCK(" LOCK_NAME ", %u)", (uint64_t)LOCK_WAIT_S);
    if (db_query(run->db, &run->sql) != RESULT_DONE)
        return report_db_error(run, "cannot take the lock");
    bool taken = db_next(run->db) && db_u64(run->db, 0) == 1;
    if (!taken)
        fprintf(run->out, "%s: error: another node has been migrating it for %d s\n",
                run->shard->name, LOCK_WAIT_S);
    return taken ? 0 : 1;
}

static int create_table(migration_run_t *run)
{
    result_t result =
        db_run(run->db, "CREATE TABLE IF NOT EXISTS schema_migrations ("
                        "version INT UNSIGNED NOT NULL PRIMARY KEY, "
                        "name VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, "
                        "checksum BIGINT UNSIGNED NOT NULL COMMENT 'XXH3-64 of the text', "
                        "applied_at DATETIME(3) NOT NULL) ENGINE=InnoDB");
    return result == RESULT_DONE ? 0 : report_db_error(run, "cannot create schema_migrations");
}

/* An earlier run may have applied the migration and died before it could record it. Then the
   statement fails with db_error_is_done(), because a statement that cannot be repeated is the only
   one of its file. */
static int apply(migration_run_t *run, const embedded_migration_t *migration)
{
    const sql_t text = {(char *)migration->text.p, migration->text.n, 0};
    if (db_exec(run->db, &text, NULL, 0) != RESULT_DONE && !db_error_is_done(run->db)) {
        fprintf(run->out, "%s: error: %s: %s\n", run->shard->name, migration->name,
                db_error(run->db));
        return 1;
    }
    sql_reset(&run->sql);
    sql_add(&run->sql, "INSERT INTO schema_migrations VALUES (%u, %s, %u, NOW(3))",
            (uint64_t)migration->number, str_of(migration->name), checksum(migration));
    if (db_exec(run->db, &run->sql, NULL, 0) != RESULT_DONE)
        return report_db_error(run, "cannot record a migration");
    fprintf(run->out, "%s: %s: applied\n", run->shard->name, migration->name);
    return 0;
}

static int report_wrong_version(migration_run_t *run, migrate_status_t status, unsigned version)
{
    int i = index_of(version);
    if (i >= 0)
        fprintf(run->out, "%s: error: %s: ", run->shard->name, embedded_migrations[i].name);
    else
        fprintf(run->out, "%s: error: %04u: ", run->shard->name, version);
    fprintf(run->out, "%s\n", migrate_status_text(status));
    return 1;
}

static int apply_missing(migration_run_t *run)
{
    record_t record;
    migrate_status_t status;
    if (read_record(run->db, &run->sql, &record, &status) != RESULT_DONE)
        return report_db_error(run, "cannot read schema_migrations");
    if (status == MIGRATE_TOO_NEW || status == MIGRATE_CHANGED)
        return report_wrong_version(run, status, record.wrong_version);
    for (unsigned i = 0; i < embedded_migrations_count; ++i) {
        const embedded_migration_t *migration = &embedded_migrations[i];
        if (record.applied[i])
            fprintf(run->out, "%s: %s: applied before\n", run->shard->name, migration->name);
        else if (apply(run, migration) != 0)
            return 1;
    }
    if (status == MIGRATE_AHEAD)
        fprintf(run->out, "%s: %04u: newer than this binary, which may run beside it\n",
                run->shard->name, record.wrong_version);
    return 0;
}

/* --- the stamp --- */

/* Reads the stamp. `*identity` is empty if there is no stamp, or no table for it. */
static result_t read_identity(migration_run_t *run, identity_t *identity)
{
    bool exists;
    *identity = (identity_t){.deployment = ""};
    result_t result = table_exists(run->db, READ_IDENTITY, &exists);
    if (result != RESULT_DONE || !exists)
        return result;
    sql_reset(&run->sql);
    sql_add(&run->sql, "SELECT deployment, shard, slot_first, slot_last FROM shard_identity");
    result = db_query(run->db, &run->sql);
    if (result == RESULT_DONE && db_next(run->db)) {
        const str_t columns[IDENTITY_COLUMNS] = {db_bytes(run->db, 0), db_bytes(run->db, 1),
                                                 db_bytes(run->db, 2), db_bytes(run->db, 3)};
        identity_read(identity, columns);
    }
    return result;
}

/* Runs before any change. A database without a stamp passes. */
static int check_stamp(migration_run_t *run)
{
    identity_t identity;
    char why[IDENTITY_WHY_SIZE];
    if (read_identity(run, &identity) != RESULT_DONE)
        return report_db_error(run, "cannot read shard_identity");
    run->stamped = identity.deployment[0] != '\0';
    if (!run->stamped || identity_is_ours(&identity, run->config, run->shard, why))
        return 0;
    fprintf(run->out, "%s: error: %s: %s\n", run->shard->name, shard_primary(run->shard)->name,
            why);
    return 1;
}

/* Counts the rows in slots of other shards, and returns one such slot. */
static result_t count_foreign(migration_run_t *run, const char *format, uint64_t *count,
                              uint64_t *slot)
{
    sql_reset(&run->sql);
    sql_add(&run->sql, format, (uint64_t)run->shard->slot_first, (uint64_t)run->shard->slot_last);
    result_t result = db_query(run->db, &run->sql);
    *count = 0;
    if (result == RESULT_DONE && db_next(run->db)) {
        *count = db_u64(run->db, 0);
        *slot = db_u64(run->db, 1);
    }
    return result;
}

/* Bytes 6 and 7 of an id are its version and its slot: base/order_id.h. */
#define ORDER_SLOT "(CONV(HEX(SUBSTRING(order_id, 7, 2)), 16, 10) & 4095)"

static int refuse_foreign_rows(migration_run_t *run)
{
    uint64_t items, orders, slot = 0;
    const config_shard_t *shard = run->shard;
    if (count_foreign(run,
                      "SELECT COUNT(*), MIN(slot) FROM inventory WHERE slot NOT BETWEEN %u AND %u",
                      &items, &slot) != RESULT_DONE ||
        count_foreign(run,
                      "SELECT COUNT(*), MIN(" ORDER_SLOT ") FROM orders WHERE " ORDER_SLOT
                      " NOT BETWEEN %u AND %u",
                      &orders, &slot) != RESULT_DONE)
        return report_db_error(run, "cannot read the slots of its rows");
    if (items == 0 && orders == 0)
        return 0;
    fprintf(run->out,
            "%s: error: %s: not stamped: %llu items and %llu orders lie in slots (%llu, say) that "
            "the configuration does not give this shard, which has %u-%u: correct the "
            "configuration\n",
            shard->name, shard_primary(shard)->name, (unsigned long long)items,
            (unsigned long long)orders, (unsigned long long)slot, shard->slot_first,
            shard->slot_last);
    return 1;
}

/* The name of the deployment; generated here if neither the configuration nor a shard has one. */
static const char *name_deployment(deployment_t *deployment)
{
    char name[33];
    snprintf(name, sizeof(name), "%016llx%016llx", (unsigned long long)random_u64(),
             (unsigned long long)random_u64());
    if (deployment_name(deployment) == NULL)
        deployment_matches(deployment, str_of(name));
    return deployment_name(deployment);
}

static int stamp(migration_run_t *run)
{
    const config_shard_t *shard = run->shard;
    if (run->stamped)
        return 0;
    if (refuse_foreign_rows(run) != 0)
        return 1;
    str_t deployment = str_of(name_deployment(run->config->deployment));
    sql_reset(&run->sql);
    sql_add(&run->sql,
            "INSERT INTO shard_identity (one, min_binary) VALUES (1, %u) "
            "ON DUPLICATE KEY UPDATE one = 1; "
            "UPDATE shard_identity SET deployment = %s, shard = %s, slot_first = %u, "
            "slot_last = %u, stamped_at = NOW(3) WHERE deployment = ''",
            (uint64_t)newest_known(), deployment, str_of(shard->name), (uint64_t)shard->slot_first,
            (uint64_t)shard->slot_last);
    if (db_exec(run->db, &run->sql, NULL, 0) != RESULT_DONE)
        return report_db_error(run, "cannot stamp it");
    fprintf(run->out, "%s: stamped: slots %u-%u of deployment %.*s\n", shard->name,
            shard->slot_first, shard->slot_last, STR_ARG(deployment));
    return 0;
}

/* --- all of them --- */

static int migrate_locked(migration_run_t *run)
{
    sql_reset(&run->sql);
    sql_add(&run->sql, "SET SESSION lock_wait_timeout = %u", (uint64_t)METADATA_WAIT_S);
    if (db_exec(run->db, &run->sql, NULL, 0) != RESULT_DONE)
        return report_db_error(run, "cannot set up the session");
    if (check_stamp(run) != 0 || create_table(run) != 0 || apply_missing(run) != 0)
        return 1;
    return stamp(run);
}

static int migrate_shard(migration_run_t *run)
{
    if (db_connect(run->db) != RESULT_DONE)
        return report_db_error(run, "no connection");
    if (lock(run) != 0)
        return 1;
    int failed = migrate_locked(run);
    /* The lock ends with the connection, so a failure to release it only drops the connection. */
    if (failed != 0 || db_run(run->db, "DO RELEASE_LOCK(" LOCK_NAME ")") != RESULT_DONE)
        db_disconnect(run->db);
    return failed;
}

/* Takes the deployment's name from the first stamped shard that answers. A shard that is away, or
   is another's, is reported when it is migrated. */
static void read_deployment(const config_t *config, migration_run_t *run)
{
    identity_t identity;
    char why[IDENTITY_WHY_SIZE];
    if (deployment_name(config->deployment) == NULL && db_connect(run->db) == RESULT_DONE &&
        read_identity(run, &identity) == RESULT_DONE)
        (void)identity_is_ours(&identity, config, run->shard, why);
}

int migrate_all(const config_t *config, FILE *out)
{
    const config_t long_timeouts = config_with_long_timeouts(config, STATEMENT_S);
    unsigned count = config->shards_count;
    migration_run_t *runs = alloc_zero(count, sizeof(*runs));
    int failed = 0;
    for (unsigned i = 0; i < count; ++i) {
        const config_shard_t *shard = &config->shards[i];
        runs[i] = (migration_run_t){.config = config,
                                    .shard = shard,
                                    .db = db_new_unchecked(&long_timeouts, shard_primary(shard)),
                                    .out = out};
        read_deployment(config, &runs[i]);
    }
    for (unsigned i = 0; failed == 0 && i < count; ++i) {
        failed = migrate_shard(&runs[i]);
        fflush(out);
    }
    for (unsigned i = 0; i < count; ++i) {
        sql_free(&runs[i].sql);
        db_free(runs[i].db);
    }
    free(runs);
    return failed;
}
