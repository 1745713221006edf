/*
 * One connection to one MySQL server. Blocks.
 *
 * The only module that includes <mysql.h>, and the only one that handles the differences between
 * the clients and servers of Oracle and MariaDB. The caller owns a `db_t`; one thread at a time may
 * use it. It connects on first use and again after a loss. Every new session gets the same
 * settings, whatever the server's global settings are (UTC, strict mode, READ COMMITTED, no limit
 * on the rows of a SELECT, short lock waits, and a short time-out on idle transactions where the
 * server has one: a stopped process must not keep a lock on a hot row). The same text reads which
 * shard the database is. A database of another shard, or with tables that do not fit this binary,
 * is RESULT_AWAY, and db_error() has the reason.
 *
 * db_exec() and db_query() run one text; store/sql.h builds it. db_insert_rows() sends rows
 * (store/rows.h) without making text of them, where the client and the server of MariaDB can.
 *
 * This module counts every failure once, and logs it with the statement and the server's own words
 * at a limited rate. A deadlock, a row that moved and a duplicate key are normal, and only counted.
 * Callers log the consequence. A connection for migrations logs and counts nothing, because
 * migrations meet expected errors.
 */
#ifndef HOLDFAST_STORE_DB_H
#define HOLDFAST_STORE_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/order_id.h"
#include "base/str.h"
#include "config/config.h"
#include "store/db_errors.h"
#include "store/rows.h"
#include "store/sql.h"

typedef struct db db_t;

/* Does not connect yet. `config` and `server` outlive the result; `server` is in config->shards. */
db_t *db_new(const config_t *config, const config_server_t *server);
/* The same for migrations: accepts any database without an identity check. */
db_t *db_new_unchecked(const config_t *config, const config_server_t *server);
void db_free(db_t *db);
/* db_library_begin() comes before the first thread that uses a db_t; db_library_end() after the
   last. */
void db_library_begin(void);
void db_library_end(void);
/* Each thread that uses a db_t calls this once, at its end. */
void db_thread_end(void);

/* Connects if there is no connection. RESULT_DONE or RESULT_AWAY. */
result_t db_connect(db_t *db);
/* How many statements have waited for a lock until the time-out since db_new(). */
unsigned db_lock_waits(const db_t *db);
/* For the start of each piece of work, outside a transaction. Checks a connection that has been
   idle for some time, and drops a dead one, so that the next statement connects instead of failing.
   Also drops a connection whose last failure is in no list, because its session may still have a
   setting that the server has meanwhile changed, and one that is no longer trusted
   (db_drop_distrusted()). */
void db_refresh(db_t *db);
/* Outside a transaction: drops a connection that was made before deployment_distrust(), so that the
   next statement makes one that is checked. Sends nothing to the server. */
void db_drop_distrusted(db_t *db);
/* Outside a transaction: reads again which database this is; connects if there is no connection. If
   the database does not fit any more, calls deployment_distrust() and returns RESULT_AWAY. */
result_t db_check_identity(db_t *db);
/* Drops the connection. The server rolls back a transaction that was open on it. */
void db_disconnect(db_t *db);
/* The text of the last failure; never NULL. Borrowed until the next call. */
const char *db_error(const db_t *db);
/* The kind of error of the last statement: see db_number_is_lock(), db_number_is_duplicate(). False
   after a statement that succeeded. db_rollback() changes neither. */
bool db_error_is_lock(const db_t *db);
bool db_error_is_duplicate(const db_t *db);
/* Was the last failure that the database is not the expected one, or its tables do not fit? */
bool db_error_is_unfit(const db_t *db);
/* Was the last failure that a column or index to be added exists, or one to be dropped does not? */
bool db_error_is_done(const db_t *db);
/* Was the last failure that a table does not exist? */
bool db_error_is_no_table(const db_t *db);

/*
 * Runs the statements of `sql` (separated by ';') and sets affected[i] to the rows of the i-th, for
 * up to `count` of them. Stops at the first that fails. Discards result sets.
 */
result_t db_exec(db_t *db, const sql_t *sql, uint64_t *affected, unsigned count);
/* The same for a literal. */
result_t db_run(db_t *db, const char *literal);

/* True if db_insert_rows() sends rows in bulk on the present connection: client and server are
   MariaDB's. False without a connection, and for DB_NO_BULK_MS after an error of bulk execution
   that is in no list: whatever is wrong with it, the same rows may pass as text. */
#define DB_NO_BULK_MS 60000
bool db_takes_rows(const db_t *db);
/* Runs the INSERT of the rows, which are one or more: in bulk if db_takes_rows(), else as text. All
   of it succeeds or fails. Sets *affected as db_exec() does for that text. */
result_t db_insert_rows(db_t *db, const rows_t *rows, uint64_t *affected);

/* Opens a transaction with a snapshot: all later reads are of one moment, until db_rollback(). */
static inline result_t db_begin_snapshot(db_t *db)
{
    result_t result = db_run(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return result != RESULT_DONE ? result
                                 : db_run(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
}

/* RESULT_UNKNOWN: the transaction may have committed. */
result_t db_commit(db_t *db);
/* Never fails. It drops a connection that cannot roll back, and the server then rolls back. It also
   drops a connection whose last failure is in no list, as db_refresh() does. */
void db_rollback(db_t *db);

/* Runs one SELECT. The caller then reads its rows with db_next() until that returns false. */
result_t db_query(db_t *db, const sql_t *sql);
bool db_next(db_t *db);
/* Column values of the current row, borrowed until the next db_* call. */
bool db_is_null(const db_t *db, unsigned column);
str_t db_bytes(const db_t *db, unsigned column); /* STR_NONE for NULL */
uint64_t db_u64(const db_t *db, unsigned column);
int64_t db_i64(const db_t *db, unsigned column);
uint64_t db_time_ms(const db_t *db, unsigned column); /* ms since 1970 UTC; 0 for NULL */
order_id_t db_order_id(const db_t *db, unsigned column);

#endif
