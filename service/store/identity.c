#include "store/identity.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/embedded.h"

/* --- the migrations of this binary --- */

static struct {
    unsigned newest;
    uint64_t checksums;
} known;

static void compute_known(void)
{
    for (unsigned i = 0; i < embedded_migrations_count; ++i) {
        const embedded_migration_t *migration = &embedded_migrations[i];
        known.checksums ^= XXH3_64bits(migration->text.p, migration->text.n);
        known.newest = migration->number;
    }
}

static void compute_known_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compute_known);
}

/* --- reading the database's identity --- */

void identity_add_select(sql_t *sql)
{
    compute_known_once();
    sql_add(sql,
            "SELECT deployment, shard, slot_first, slot_last, min_binary, "
            "(SELECT COUNT(*) FROM schema_migrations WHERE version <= %u), "
            "(SELECT BIT_XOR(checksum) FROM schema_migrations WHERE version <= %u) "
            "FROM shard_identity",
            (uint64_t)known.newest, (uint64_t)known.newest);
}

static void copy(char *to, str_t from)
{
    size_t n = from.n <= DEPLOYMENT_BYTES_MAX ? from.n : DEPLOYMENT_BYTES_MAX;
    if (n != 0)
        memcpy(to, from.p, n);
    to[n] = '\0';
}

/* Columns are NUL-terminated by the client library. */
static uint64_t number(str_t text)
{
    return text.p == NULL ? 0 : strtoull(text.p, NULL, 10);
}

void identity_read(identity_t *identity, const str_t columns[IDENTITY_COLUMNS])
{
    copy(identity->deployment, columns[0]);
    copy(identity->shard, columns[1]);
    identity->slot_first = (unsigned)number(columns[2]);
    identity->slot_last = (unsigned)number(columns[3]);
    identity->min_binary = (unsigned)number(columns[4]);
    identity->migrations = number(columns[5]);
    identity->checksums = number(columns[6]);
}

/* --- the verdict --- */

static identity_verdict_t behind(char *why)
{
    snprintf(why, IDENTITY_WHY_SIZE,
             "the database is older than this binary: run holdfast migrate");
    return IDENTITY_BEHIND;
}

identity_verdict_t identity_absent(char *why)
{
    return behind(why);
}

static identity_verdict_t compare_tables(const identity_t *identity, char *why)
{
    compute_known_once();
    if (identity->min_binary > known.newest) {
        snprintf(why, IDENTITY_WHY_SIZE,
                 "the database is too new for this binary, which knows the migrations up to %04u "
                 "and must know %04u: install the release that migrated it",
                 known.newest, identity->min_binary);
        return IDENTITY_AHEAD;
    }
    if (identity->migrations < embedded_migrations_count)
        return behind(why);
    if (identity->checksums != known.checksums) {
        snprintf(why, IDENTITY_WHY_SIZE,
                 "the database was migrated with another text of a migration than this binary has");
        return IDENTITY_CHANGED;
    }
    return IDENTITY_FITS;
}

bool identity_is_ours(const identity_t *identity, const config_t *config,
                      const config_shard_t *shard, char *why)
{
    why[0] = '\0';
    if (strcmp(identity->shard, shard->name) != 0 || identity->slot_first != shard->slot_first ||
        identity->slot_last != shard->slot_last) {
        snprintf(why, IDENTITY_WHY_SIZE,
                 "this is shard '%s' (slots %u-%u), not '%s' (%u-%u): correct the configuration",
                 identity->shard, identity->slot_first, identity->slot_last, shard->name,
                 shard->slot_first, shard->slot_last);
        return false;
    }
    if (config->deployment != NULL &&
        !deployment_matches(config->deployment, str_of(identity->deployment))) {
        const char *ours = deployment_name(config->deployment);
        snprintf(why, IDENTITY_WHY_SIZE,
                 "this is of deployment '%s', not '%s': correct the configuration",
                 identity->deployment, ours != NULL ? ours : "");
        return false;
    }
    return true;
}

identity_verdict_t identity_compare(const identity_t *identity, const config_t *config,
                                    const config_shard_t *shard, char *why)
{
    why[0] = '\0';
    identity_verdict_t verdict = compare_tables(identity, why);
    if (verdict != IDENTITY_FITS)
        return verdict;
    if (identity->deployment[0] == '\0') {
        snprintf(why, IDENTITY_WHY_SIZE,
                 "the database does not say which shard it is: run holdfast migrate");
        return IDENTITY_UNSTAMPED;
    }
    return identity_is_ours(identity, config, shard, why) ? IDENTITY_FITS : IDENTITY_OTHER;
}
