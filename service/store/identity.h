/*
 * Which database this is (the row of `shard_identity`), and the state of its tables.
 *
 * Each new connection of the service reads it in the text that sets up its session (store/db.h) and
 * compares it with the configuration. A database of another deployment, shard or range of slots, or
 * with tables that do not fit this binary, is away: the service reads nothing from it and sells
 * nothing. `holdfast migrate` stamps a database that has no stamp.
 *
 * Pure, except for config->deployment, which takes the deployment's name from the first shard that
 * fits. The caller owns every value. Any thread may call; nothing waits for a server.
 */
#ifndef HOLDFAST_STORE_IDENTITY_H
#define HOLDFAST_STORE_IDENTITY_H

#include "config/config.h"
#include "store/sql.h"

#define IDENTITY_WHY_SIZE 256

/* The identity as read from the database. */
typedef struct {
    char deployment[DEPLOYMENT_BYTES_MAX + 1]; /* "": not stamped */
    char shard[DEPLOYMENT_BYTES_MAX + 1];
    unsigned slot_first, slot_last;
    unsigned min_binary; /* the number of the newest migration that a binary must contain */
    uint64_t migrations, checksums; /* of the applied migrations that this binary contains: their
                                       number, and the XOR of their checksums */
} identity_t;

typedef enum {
    IDENTITY_FITS = 0,
    IDENTITY_UNSTAMPED, /* its tables fit */
    IDENTITY_OTHER,     /* its tables fit, but it is another shard's */
    IDENTITY_BEHIND,    /* a migration of this binary is missing */
    IDENTITY_AHEAD,     /* this binary is too old for its tables */
    IDENTITY_CHANGED    /* a migration was applied with another text */
} identity_verdict_t;

/* Appends the SELECT, which returns one row. A server without these tables is IDENTITY_BEHIND. */
void identity_add_select(sql_t *sql);
/* Reads the columns of that row, in its order; NULL is "". */
#define IDENTITY_COLUMNS 7
void identity_read(identity_t *identity, const str_t columns[IDENTITY_COLUMNS]);

/* Compares with the configuration of `shard`. `why` (IDENTITY_WHY_SIZE bytes) receives what is
   wrong, where, and what to do; "" if it fits. */
identity_verdict_t identity_compare(const identity_t *identity, const config_t *config,
                                    const config_shard_t *shard, char *why);
/* The verdict if the tables do not exist. */
identity_verdict_t identity_absent(char *why);
/* Compares the stamp only: is it the stamp of this deployment and shard? */
bool identity_is_ours(const identity_t *identity, const config_t *config,
                      const config_shard_t *shard, char *why);

#endif
