/*
 * One connection to one MySQL server, blocking.
 *
 * The only module that includes <mysql.h>, and where Oracle's and MariaDB's clients and servers
 * differ. A `db_t` belongs to one thread at a time. It connects on first use and again after a
 * loss. Every new session is set up alike, whatever the server's global settings are (UTC, strict
 * mode, READ COMMITTED, no limit on what a SELECT returns, short lock waits, and where the server
 * knows it a short time-out on idle transactions: a stopped process must not own a hot row). In the
 * same text the database says which shard it is; one that is another than the configuration has
 * there, or whose tables this binary does not fit, is RESULT_AWAY, and db_error() says why.
 *
 * db_exec() and db_query() run one text; see store/sql.h for how it is made.
 *
 * Every failure is counted here, once, and logged with the statement and the server's own words, at
 * a limited rate; but a deadlock, a row that moved and a key that is there are daily work, and only
 * counted. Callers say what came of it. A connection for migrations tells of nothing: they meet
 * errors that they expect.
 */
#ifndef HOLDFAST_STORE_DB_H
#define HOLDFAST_STORE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/order_id.h"
#include "base/str.h"
#include "config/config.h"
#include "store/db_errors.h"
#include "store/sql.h"

typedef struct db db_t;

/* `config` and `server` outlive it; `server` is one of config->shards. Does not connect yet. */
db_t *db_new(const config_t *config, const config_server_t *server);
/* The same for migrations: takes any database, without asking which it is. */
db_t *db_new_unchecked(const config_t *config, const config_server_t *server);
void db_free(db_t *db);
/* Before the first thread that uses any db_t, and after the last. */
void db_library_begin(void);
void db_library_end(void);
/* Once per thread that uses any db_t, at its end. */
void db_thread_end(void);

/* Connects if there is no connection. RESULT_DONE or RESULT_AWAY. */
result_t db_connect(db_t *db);
/* How many statements have waited for a lock until the time-out since db_new(). */
unsigned db_lock_waits(const db_t *db);
/* Outside a transaction: a connection that has been idle for some time is asked whether it lives,
   and dropped if not, so that the next statement connects instead of failing. One whose last
   failure is in no list is dropped too, since its session may have kept a setting that the server
   has lost since; and one that is no longer trusted (db_drop_distrusted()). For the start of each
   piece of work. */
void db_refresh(db_t *db);
/* Outside a transaction: drops a connection that was made before deployment_distrust(), so that the
   next statement makes one that is checked. Asks no server. */
void db_drop_distrusted(db_t *db);
/* Outside a transaction: asks an open connection again which database it is. RESULT_AWAY, and
   deployment_distrust(), if it no longer fits. Connects if there is no connection. */
result_t db_check_identity(db_t *db);
/* Drops the connection; a transaction that was open on it is rolled back by the server. */
void db_disconnect(db_t *db);
/* Of the last failure, for people; never NULL. */
const char *db_error(const db_t *db);
/* Of the last statement, if it failed: see db_number_is_lock(), db_number_is_duplicate(). False
   after one that did not fail; db_rollback() changes neither. */
bool db_error_is_lock(const db_t *db);
bool db_error_is_duplicate(const db_t *db);
/* Was it that the database is another one than it should be, or its tables do not fit? */
bool db_error_is_unfit(const db_t *db);
/* Did the last failure say that what is to be added (a column, an index) is there, or that what is
   to be dropped is not? */
bool db_error_is_done(const db_t *db);
/* Did it say that a table is not there? */
bool db_error_is_no_table(const db_t *db);

/*
 * Runs the statements of `sql` (separated by ';'); fills affected[i] of the i-th for up to
 * `count`. Stops at the first that fails. Result sets are discarded.
 */
result_t db_exec(db_t *db, const sql_t *sql, uint64_t *affected, unsigned count);
/* The same for a literal. */
result_t db_run(db_t *db, const char *literal);
/* RESULT_UNKNOWN here means: unknown whether it committed. */
result_t db_commit(db_t *db);
/* Never fails: a connection that cannot roll back is dropped, which rolls back; so is one whose
   last failure is in no list, as by db_refresh(). */
void db_rollback(db_t *db);

/* Runs one SELECT; its rows are then read with db_next() until false. */
result_t db_query(db_t *db, const sql_t *sql);
bool db_next(db_t *db);
/* Column values of the present row; borrowed until the next db_* call. */
bool db_is_null(const db_t *db, unsigned column);
str_t db_bytes(const db_t *db, unsigned column); /* STR_NONE for NULL */
uint64_t db_u64(const db_t *db, unsigned column);
int64_t db_i64(const db_t *db, unsigned column);
uint64_t db_time_ms(const db_t *db, unsigned column); /* of a DATETIME(3); 0 for NULL */
order_id_t db_order_id(const db_t *db, unsigned column);

#endif
