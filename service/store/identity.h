/*
 * Which database this is: the row of `shard_identity`, and how far its tables are.
 *
 * Each new connection of the service reads it in the text that sets up its session (store/db.h)
 * and compares it with the configuration. A database of another deployment, shard or range of
 * slots, or with tables that this binary does not fit, is away: nothing is read from it and
 * nothing sold. `holdfast migrate` stamps a database that has no stamp. Pure, but for
 * config->deployment, which learns the deployment's name from the first shard that fits.
 */
#ifndef HOLDFAST_STORE_IDENTITY_H
#define HOLDFAST_STORE_IDENTITY_H

#include "config/config.h"
#include "store/sql.h"

#define IDENTITY_WHY_SIZE 256

/* As the database has it. */
typedef struct {
    char deployment[DEPLOYMENT_BYTES_MAX + 1]; /* "": not stamped */
    char shard[DEPLOYMENT_BYTES_MAX + 1];
    unsigned slot_first, slot_last;
    unsigned min_binary;            /* the migration that a binary must know */
    uint64_t migrations, checksums; /* applied, of those this binary knows: how many, all XORed */
} identity_t;

typedef enum {
    IDENTITY_FITS = 0,
    IDENTITY_UNSTAMPED, /* its tables fit */
    IDENTITY_OTHER,     /* its tables fit, and it is another shard's */
    IDENTITY_BEHIND,    /* a migration of this binary is missing */
    IDENTITY_AHEAD,     /* this binary is too old for its tables */
    IDENTITY_CHANGED    /* a migration was applied with another text */
} identity_verdict_t;

/* Appends the SELECT, of one row. A server that has no such table is IDENTITY_BEHIND. */
void identity_add_select(sql_t *sql);
/* The columns of that row, in its order; NULL is "". */
#define IDENTITY_COLUMNS 7
void identity_read(identity_t *identity, const str_t columns[IDENTITY_COLUMNS]);

/* Of a server of `shard`. `why` (IDENTITY_WHY_SIZE) says what is wrong, where, and what to do; ""
   if it fits. */
identity_verdict_t identity_compare(const identity_t *identity, const config_t *config,
                                    const config_shard_t *shard, char *why);
/* The same of tables that are not there. */
identity_verdict_t identity_absent(char *why);
/* Only what the stamp says: is it that of this deployment and shard? */
bool identity_is_ours(const identity_t *identity, const config_t *config,
                      const config_shard_t *shard, char *why);

#endif
