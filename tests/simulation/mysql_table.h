/*
 * Tables and their rows, locks and transactions: InnoDB as far as the service depends on it.
 *
 * The tables are those of sql/: columns, defaults, keys and CHECK constraints are read from the
 * migrations themselves. A row is a chain of committed versions and at most one that a transaction
 * has not committed yet; whoever has that, or has read the row FOR UPDATE, owns the row's lock
 * until its end. Plain reads see committed versions: the newest, or under REPEATABLE READ those of
 * the snapshot.
 *
 * A row that was deleted has a last version that says so.
 *
 * There is a second database, with the same tables and rows of its own: another shard's, or an old
 * copy, where a node with a wrong map finds itself.
 *
 * Not modelled: shared locks and gap locks (so no SERIALIZABLE), foreign keys, DDL at run time.
 */
#ifndef HOLDFAST_SIMULATION_MYSQL_TABLE_H
#define HOLDFAST_SIMULATION_MYSQL_TABLE_H

#include "mysql_sql.h"

#define COLUMNS_MAX 32
#define KEYS_MAX 4
#define TABLES_MAX 8
#define UNDO_MAX 512

typedef struct {
    unsigned word;
    bool is_time, required;
    value_t fallback;
} column_t;

typedef struct {
    unsigned columns[4];
    unsigned count;
} unique_t;

typedef struct version {
    uint64_t commit; /* number of the COMMIT that made it */
    struct version *older;
    bool deleted;
    value_t values[];
} version_t;

/* NULL: there is no row. */
static inline const value_t *version_values(const version_t *version)
{
    return version == NULL || version->deleted ? NULL : version->values;
}

struct session;

typedef struct row {
    struct table *table;
    version_t *committed, *pending;
    struct session *owner; /* of the lock */
} row_t;

typedef struct table {
    unsigned name;
    column_t columns[COLUMNS_MAX];
    unsigned columns_count;
    int8_t column_of_word[WORDS_MAX];
    unique_t keys[KEYS_MAX]; /* the first is the primary key */
    unsigned keys_count;
    unsigned checks[KEYS_MAX]; /* tokens in `schema` */
    unsigned checks_count;
    const sql_text_t *schema;
    row_t **rows; /* of the history; one that was rolled back has no version */
    unsigned rows_count, rows_capacity;
} table_t;

typedef struct {
    row_t *row;
    version_t *before; /* what was pending */
    bool locks_only;
} undo_t;

/* One connection's side at the server. */
typedef struct session {
    owner_t owner;
    bool open;       /* a transaction is */
    bool repeatable; /* REPEATABLE READ, for the next or the open one */
    bool killed;     /* by the server: the client hears it with its next call */
    bool executing;  /* a statement or COMMIT is under way: not idle */
    bool client_gone;
    bool elsewhere;        /* it is the second database that it speaks to */
    uint64_t select_limit; /* sql_select_limit */
    unsigned error;        /* number of the present statement's error, where one is known */
    uint64_t snapshot;     /* 0: none yet */
    uint64_t said_us;      /* when it last said something */
    uint64_t idle_limit_us, lock_limit_us;
    struct session *waits_for;
    unsigned coroutine;
    undo_t undo[UNDO_MAX];
    unsigned undo_count;
    struct session *next;
} session_t;

extern table_t mysql_tables[TABLES_MAX];
extern unsigned mysql_tables_count;

/* Reads the migrations; once. */
void mysql_schema_init(void);
table_t *mysql_table(const char *name);
table_t *mysql_table_of_word(unsigned word);
int mysql_column(const table_t *table, const char *name);
/* Of the second database; the argument is one of mysql_tables. */
table_t *mysql_table_elsewhere(const table_t *table);
row_t *mysql_row_add(table_t *table);
/* A history begins: no table has a row. */
void mysql_rows_forget(void);

#endif
