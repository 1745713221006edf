#include "store/db.h"

#include <assert.h>
#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "sale/shard_map.h"
#include "store/db_tls.h"
#include "store/identity.h"

/* Rows in bulk: of MariaDB's client alone, whose headers define this. */
#ifdef MARIADB_PACKAGE_VERSION_ID
#define HAS_BULK 1
#else
#define HAS_BULK 0
#endif

/* More than there are shapes of a writer's batch. */
#define STATEMENTS_MAX 8

/* A prepared INSERT of rows. It belongs to its connection. */
typedef struct {
    MYSQL_STMT *handle;
    char *text; /* owned, and not terminated */
    size_t n;
} statement_t;

struct db {
    const config_t *config;
    const config_server_t *server;
    const config_shard_t *shard; /* the shard of this server; NULL: any database is accepted */
    MYSQL *mysql;                /* NULL: not connected */
    unsigned distrusted;         /* value of deployment_distrusted() at the connect */
    MYSQL_RES *rows;
    MYSQL_ROW row;
    unsigned long *lengths;
    uint64_t used_ms;    /* monotonic: when the last statement was sent */
    unsigned last_errno; /* of the last statement or connect; 0: it succeeded */
    unsigned lock_waits;
    statement_t statements[STATEMENTS_MAX];
    unsigned statements_count;
    sql_t prepared;       /* the text that is looked for among them */
    MYSQL_TIME *times;    /* [cell]; of the rows that are being sent */
    MYSQL_TIME **time_at; /* [cell]; which of them the cell has */
    size_t times_room;
    uint64_t no_bulk_until_ms; /* monotonic; see DB_NO_BULK_MS */
    bool suspect;              /* the last error is in no list: only a new session is trusted */
    bool unfit; /* the last failure: the identity did not fit; no error of the server */
    char last_error[IDENTITY_WHY_SIZE + 64];
};

db_t *db_new_unchecked(const config_t *config, const config_server_t *server)
{
    db_t *db = alloc_zero(1, sizeof(*db));
    db->config = config;
    db->server = server;
    return db;
}

db_t *db_new(const config_t *config, const config_server_t *server)
{
    db_t *db = db_new_unchecked(config, server);
    db->shard = shard_of_server(config, server);
    return db;
}

static void drop_rows(db_t *db)
{
    if (db->rows != NULL) {
        mysql_free_result(db->rows);
        db->rows = NULL;
        db->row = NULL;
    }
}

static void drop_statements(db_t *db)
{
    for (unsigned i = 0; i < db->statements_count; ++i) {
        mysql_stmt_close(db->statements[i].handle);
        free(db->statements[i].text);
    }
    db->statements_count = 0;
}

/* The statements go after the connection, which has detached them: the server is told nothing of
   them, and has dropped them with the session. */
void db_disconnect(db_t *db)
{
    drop_rows(db);
    db->suspect = false;
    if (db->mysql != NULL) {
        mysql_close(db->mysql);
        db->mysql = NULL;
    }
    drop_statements(db);
}

void db_free(db_t *db)
{
    if (db == NULL)
        return;
    db_disconnect(db);
    sql_free(&db->prepared);
    free(db->times);
    free(db->time_at);
    free(db);
}

void db_library_begin(void)
{
    mysql_library_init(0, NULL, NULL);
}

void db_library_end(void)
{
    mysql_library_end();
}

void db_thread_end(void)
{
    mysql_thread_end();
}

const char *db_error(const db_t *db)
{
    return db->last_error;
}

bool db_error_is_lock(const db_t *db)
{
    return db_number_is_lock(db->last_errno);
}

bool db_error_is_duplicate(const db_t *db)
{
    return db_number_is_duplicate(db->last_errno);
}

bool db_error_is_unfit(const db_t *db)
{
    return db->unfit;
}

bool db_error_is_no_table(const db_t *db)
{
    return db->last_errno == ER_NO_SUCH_TABLE;
}

bool db_error_is_done(const db_t *db)
{
    return db->last_errno == ER_DUP_FIELDNAME || db->last_errno == ER_DUP_KEYNAME ||
           db->last_errno == ER_CANT_DROP_FIELD_OR_KEY;
}

/* --- errors: logged and counted here, whatever the caller does with them --- */

#define STATEMENT_SHOWN_MAX 96

/* The start of the n-th statement of a text, up to its first value. Values are in quotes, and
   contain no ';'. */
static str_t statement_of(const sql_t *sql, unsigned nth)
{
    const char *from = sql->p, *end = sql->p + sql->n, *at;
    for (; nth != 0 && (at = memchr(from, ';', (size_t)(end - from))) != NULL; --nth)
        from = at + 1;
    while (from < end && *from == ' ')
        ++from;
    for (at = from; at < end && at - from < STATEMENT_SHOWN_MAX && *at != ';' && *at != '\''; ++at)
        ;
    return (str_t){from, (size_t)(at - from)};
}

/* Counts and logs a failure. A deadlock, a row that moved and a duplicate key are normal: they are
   only counted. */
static void report_failure(const db_t *db, result_t result, str_t statement)
{
    if (result == RESULT_UNKNOWN)
        METRIC_INC(mysql_lost_total);
    else if (result == RESULT_RETRY || db_error_is_duplicate(db))
        METRIC_INC(mysql_conflicts_total);
    else
        METRIC_INC(mysql_refusals_total);
    if ((result == RESULT_RETRY && !db_error_is_lock(db)) || db_error_is_duplicate(db))
        return;
    const char *what = result == RESULT_UNKNOWN   ? "a connection to MySQL is lost"
                       : result == RESULT_RETRY   ? "a statement's wait for a lock timed out"
                       : result == RESULT_REFUSED ? "MySQL refuses the values of a row"
                                                  : "MySQL refuses a statement";
    LOG_WARN(what, LOG_BYTES("statement", statement), LOG_STR("error", db->last_error));
}

static void report_no_connection(const db_t *db)
{
    bool refused = db->last_errno < CR_MIN_ERROR || db->last_errno > CR_MAX_ERROR;
    if (refused)
        METRIC_INC(mysql_refusals_total);
    else
        METRIC_INC(mysql_lost_total);
    LOG_WARN("no connection to MySQL", LOG_STR("error", db->last_error));
}

/* Keeps the error text, and returns the kind of the failure. */
static result_t note_error(db_t *db, unsigned number, const char *text)
{
    db->last_errno = number;
    db->unfit = false;
    snprintf(db->last_error, sizeof(db->last_error), "%s: %u %s", db->server->name, number, text);
    result_t result = db_classify(db->last_errno);
    if (result ==
        RESULT_DONE) /* a call failed and left no code: trust nothing on this connection */
        result = RESULT_UNKNOWN;
    if (result == RESULT_UNKNOWN)
        db_disconnect(db);
    db->lock_waits += db_number_is_lock(db->last_errno);
    db->suspect = result == RESULT_AWAY;
    return result;
}

static result_t note_failure(db_t *db)
{
    return note_error(db, mysql_errno(db->mysql), mysql_error(db->mysql));
}

/* Handles a failure of the n-th statement of `sql`. */
static result_t fail(db_t *db, const sql_t *sql, unsigned nth)
{
    result_t result = note_failure(db);
    if (db->shard !=
        NULL) /* migrations meet errors that they expect, and log the others by themselves */
        report_failure(db, result, statement_of(sql, nth));
    return result;
}

unsigned db_lock_waits(const db_t *db)
{
    return db->lock_waits;
}

/* --- a new session --- */

/*
 * Sets each session variable by which a server's global settings or its init_connect could change
 * the meaning of our statements, the number of rows that they return, or the time that they wait:
 *
 *   time_zone, sql_mode, names, isolation, READ WRITE, autocommit
 *   timestamp                  a value other than DEFAULT stops the session's clock
 *   completion_type            CHAIN begins a transaction after each COMMIT and ROLLBACK, RELEASE
 *                              ends the session
 *   sql_select_limit           cuts what a SELECT returns, without an error
 *   max_join_size, sql_big_selects, sql_safe_updates
 *                              refuse statements that may touch too many rows
 *   sql_buffer_result          in MariaDB a SELECT with a LIMIT reads its whole range under it
 *   sql_auto_is_null           changes what IS NULL finds after an INSERT
 *   max_sort_length            a GROUP BY or ORDER BY that sorts compares no more bytes than that
 *   unique_checks, foreign_key_checks, check_constraint_checks
 *                              switch off constraints of the tables
 *   innodb_lock_wait_timeout, lock_wait_timeout
 *                              the second is for metadata locks, and a day by default
 *   sql_if_exists              of MariaDB 10.5 and later: CREATE TABLE IF NOT EXISTS fails under it
 *   max_statement_time, max_execution_time, idle_*_timeout
 *                              end statements and transactions early
 *   ROLLBACK                   init_connect may have begun a transaction
 *   the database               init_connect may have gone to another one
 *
 * Other session variables change the speed of a statement or its warnings, or parts of SQL that we
 * do not use; binlog_format, sql_log_bin and innodb_strict_mode cannot be set without a privilege.
 */
static void add_session(sql_t *sql, const config_t *config)
{
    uint64_t lock_wait_s = config->mysql.lock_wait_timeout_s;
    sql_add(sql,
            "SET NAMES utf8mb4; "
            "SET SESSION timestamp=DEFAULT, time_zone='+00:00', "
            "sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
            "autocommit=1, completion_type=0, innodb_lock_wait_timeout=%u, lock_wait_timeout=%u, "
            "sql_select_limit=18446744073709551615, max_join_size=18446744073709551615, "
            "sql_big_selects=1, sql_safe_updates=0, sql_buffer_result=0, sql_auto_is_null=0, "
            "max_sort_length=1024, unique_checks=1, foreign_key_checks=1; "
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; ROLLBACK",
            lock_wait_s, lock_wait_s);
}

/* Oracle's server has no time-out on transactions; there wait_timeout bounds them. */
static void add_session_of_family(sql_t *sql, const config_t *config, const char *server_info)
{
    uint64_t idle_s = config->mysql.idle_transaction_timeout_s;
    if (strstr(server_info, "MariaDB") != NULL)
        sql_add(sql,
                "; SET SESSION max_statement_time=0, check_constraint_checks=1, "
                "/*M!100502 sql_if_exists=0, */"
                "idle_transaction_timeout=%u, idle_readonly_transaction_timeout=%u, "
                "idle_write_transaction_timeout=%u",
                idle_s, idle_s, idle_s);
    else
        sql_add(sql, "; SET SESSION max_execution_time=0");
}

/* Runs `sql`. The row of the last statement that returned one is in `identity`. */
static result_t run_for_identity(db_t *db, const sql_t *sql, identity_t *identity, bool *found)
{
    *found = false;
    if (mysql_real_query(db->mysql, sql->p, sql->n) != 0)
        return fail(db, sql, 0);
    for (unsigned i = 0;; ++i) {
        MYSQL_RES *rows = mysql_store_result(db->mysql);
        MYSQL_ROW row = rows == NULL ? NULL : mysql_fetch_row(rows);
        if (row != NULL && mysql_num_fields(rows) == IDENTITY_COLUMNS) {
            str_t columns[IDENTITY_COLUMNS];
            for (unsigned c = 0; c < IDENTITY_COLUMNS; ++c)
                columns[c] = str_of(row[c]);
            identity_read(identity, columns);
            *found = true;
        }
        if (rows != NULL)
            mysql_free_result(rows);
        else if (mysql_errno(db->mysql) != 0)
            return fail(db, sql, i);
        int more = mysql_next_result(db->mysql);
        if (more > 0)
            return fail(db, sql, i + 1);
        if (more < 0)
            return RESULT_DONE;
    }
}

static result_t refuse(db_t *db, const char *why)
{
    db->last_errno = 0;
    db->unfit = true;
    snprintf(db->last_error, sizeof(db->last_error), "%.60s: %s", db->server->name, why);
    METRIC_INC(mysql_refusals_total);
    LOG_WARN("a database is not used", LOG_STR("error", db->last_error));
    return RESULT_AWAY;
}

/* Runs `sql`, which ends with identity_add_select() if this connection is to be checked. */
static result_t run_and_compare(db_t *db, const sql_t *sql)
{
    identity_t identity;
    bool found;
    char why[IDENTITY_WHY_SIZE];
    result_t result = run_for_identity(db, sql, &identity, &found);
    if (db->shard == NULL)
        return result;
    if (result == RESULT_DONE && found)
        return identity_compare(&identity, db->config, db->shard, why) == IDENTITY_FITS
                   ? RESULT_DONE
                   : refuse(db, why);
    if (result == RESULT_DONE || (result == RESULT_AWAY && db_error_is_no_table(db))) {
        identity_absent(why);
        return refuse(db, why);
    }
    return result;
}

static result_t set_up_session(db_t *db)
{
    static const sql_t use = {(char *)"USE", 3, 0};
    sql_t sql = {NULL, 0, 0};
    if (mysql_select_db(db->mysql, db->config->mysql.database) != 0)
        return fail(db, &use, 0);
    add_session(&sql, db->config);
    add_session_of_family(&sql, db->config, mysql_get_server_info(db->mysql));
    if (db->shard != NULL) {
        sql_add(&sql, "; ");
        identity_add_select(&sql);
    }
    result_t result = run_and_compare(db, &sql);
    sql_free(&sql);
    return result;
}

static unsigned distrusted(const db_t *db)
{
    return db->config->deployment == NULL ? 0 : deployment_distrusted(db->config->deployment);
}

static result_t give_up(db_t *db)
{
    if (db->shard != NULL)
        report_no_connection(db);
    db_disconnect(db);
    return RESULT_AWAY;
}

result_t db_connect(db_t *db)
{
    if (db->mysql != NULL)
        return RESULT_DONE;
    db->mysql = alloc_check(mysql_init(NULL));
    unsigned seconds = (db->config->mysql.timeout_ms + 999) / 1000;
    mysql_options(db->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_options(db->mysql, MYSQL_OPT_READ_TIMEOUT, &seconds);
    mysql_options(db->mysql, MYSQL_OPT_WRITE_TIMEOUT, &seconds);
    mysql_options(db->mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    db_tls_set(db->mysql, db->config);
    const config_server_t *server = db->server;
    const config_shard_t *shard = shard_of_server(db->config, server);
    bool has_user = shard->user != NULL;
    db->distrusted = distrusted(db);
    if (mysql_real_connect(db->mysql, server->host, has_user ? shard->user : db->config->mysql.user,
                           has_user ? shard->password : db->config->mysql.password,
                           db->config->mysql.database, server->port, server->socket,
                           CLIENT_MULTI_STATEMENTS) == NULL) {
        note_failure(db);
        return give_up(db);
    }
    if (db_tls_is_missing(db->mysql, db->config)) {
        db->last_errno = CR_SSL_CONNECTION_ERROR;
        snprintf(db->last_error, sizeof(db->last_error),
                 "%s: TLS is required, and the server has none", server->name);
        return give_up(db);
    }
    if (set_up_session(db) != RESULT_DONE) {
        db_disconnect(db);
        return RESULT_AWAY;
    }
    return RESULT_DONE;
}

void db_drop_distrusted(db_t *db)
{
    if (db->mysql != NULL && db->distrusted != distrusted(db))
        db_disconnect(db);
}

result_t db_check_identity(db_t *db)
{
    sql_t sql = {NULL, 0, 0};
    if (db->mysql == NULL || db->shard == NULL)
        return db_connect(db);
    drop_rows(db);
    db->used_ms = clock_mono_ms();
    identity_add_select(&sql);
    result_t result = run_and_compare(db, &sql);
    sql_free(&sql);
    if (result == RESULT_AWAY) {
        if (db->config->deployment != NULL)
            deployment_distrust(db->config->deployment);
        db_disconnect(db);
    }
    return result;
}

/* After a shorter idle time the next statement finds a dead connection itself. */
#define REFRESH_AFTER_MS 500

static void drop_dead(db_t *db)
{
    METRIC_INC(mysql_lost_total);
    db_disconnect(db);
}

void db_refresh(db_t *db)
{
    /* The server has ended the idle connection: the next statement on it would be lost. */
    if (db->mysql != NULL && fd_is_spent((int)db->mysql->net.fd))
        drop_dead(db);
    else if (db->suspect)
        db_disconnect(db);
    db_drop_distrusted(db);
    if (db->mysql == NULL || clock_mono_ms() - db->used_ms < REFRESH_AFTER_MS)
        return;
    drop_rows(db);
    if (mysql_ping(db->mysql) != 0)
        drop_dead(db);
    db->used_ms = clock_mono_ms();
}

result_t db_exec(db_t *db, const sql_t *sql, uint64_t *affected, unsigned count)
{
    if (db_connect(db) != RESULT_DONE)
        return RESULT_AWAY;
    db->used_ms = clock_mono_ms();
    db->last_errno = 0;
    drop_rows(db);
    if (mysql_real_query(db->mysql, sql->p, sql->n) != 0)
        return fail(db, sql, 0);
    for (unsigned i = 0;; ++i) {
        MYSQL_RES *rows = mysql_store_result(db->mysql);
        if (rows != NULL)
            mysql_free_result(rows);
        else if (mysql_errno(db->mysql) != 0)
            return fail(db, sql, i);
        if (i < count)
            affected[i] = mysql_affected_rows(db->mysql);
        int more = mysql_next_result(db->mysql);
        if (more > 0)
            return fail(db, sql, i + 1);
        if (more < 0)
            return RESULT_DONE;
    }
}

result_t db_run(db_t *db, const char *literal)
{
    const sql_t sql = {(char *)literal, strlen(literal), 0};
    return db_exec(db, &sql, NULL, 0);
}

/* --- rows in bulk --- */

static result_t insert_as_text(db_t *db, const rows_t *rows, uint64_t *affected)
{
    sql_t sql = {NULL, 0, 0};
    rows_add_insert(&sql, rows);
    result_t result = db_exec(db, &sql, affected, 1);
    sql_free(&sql);
    return result;
}

#if HAS_BULK

bool db_takes_rows(const db_t *db)
{
    unsigned long capabilities = 0; /* those of MariaDB alone, which are above the first 32 bits */
    return db->mysql != NULL && clock_mono_ms() >= db->no_bulk_until_ms &&
           mariadb_get_infov(db->mysql, MARIADB_CONNECTION_EXTENDED_SERVER_CAPABILITIES,
                             &capabilities) == 0 &&
           (capabilities & (MARIADB_CLIENT_STMT_BULK_OPERATIONS >> 32)) != 0;
}

/* Handles a failure of `handle`. A statement that met an error of no list is not used again. */
static result_t fail_of_statement(db_t *db, MYSQL_STMT *handle)
{
    unsigned number = mysql_stmt_errno(handle);
    const char *text = mysql_stmt_error(handle);
    /* The connection broke, and the statement knows only that it has none any more. */
    if ((number == 0 || number == CR_STMT_CLOSED) && mysql_errno(db->mysql) != 0) {
        number = mysql_errno(db->mysql);
        text = mysql_error(db->mysql);
    }
    result_t result = note_error(db, number, text);
    if (result == RESULT_AWAY) {
        drop_statements(db);
        db->no_bulk_until_ms = clock_mono_ms() + DB_NO_BULK_MS;
    }
    if (db->shard != NULL)
        report_failure(db, result, statement_of(&db->prepared, 0));
    return result;
}

static result_t prepare(db_t *db, MYSQL_STMT **handle)
{
    const sql_t *text = &db->prepared;
    for (unsigned i = 0; i < db->statements_count; ++i) {
        const statement_t *have = &db->statements[i];
        if (have->n == text->n && memcmp(have->text, text->p, text->n) == 0) {
            *handle = have->handle;
            return RESULT_DONE;
        }
    }
    if (db->statements_count == STATEMENTS_MAX)
        drop_statements(db);
    *handle = alloc_check(mysql_stmt_init(db->mysql));
    db->statements[db->statements_count++] =
        (statement_t){*handle, alloc_copy(text->p, text->n), text->n};
    if (mysql_stmt_prepare(*handle, text->p, text->n) == 0)
        return RESULT_DONE;
    result_t result = fail_of_statement(db, *handle);
    drop_statements(db); /* this one is none, and a failure is rare */
    return result;
}

static void time_of_ms(MYSQL_TIME *out, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    *out = (MYSQL_TIME){.year = (unsigned)tm.tm_year + 1900,
                        .month = (unsigned)tm.tm_mon + 1,
                        .day = (unsigned)tm.tm_mday,
                        .hour = (unsigned)tm.tm_hour,
                        .minute = (unsigned)tm.tm_min,
                        .second = (unsigned)tm.tm_sec,
                        .second_part = ms % 1000 * 1000,
                        .time_type = MYSQL_TIMESTAMP_DATETIME};
}

/* Sets the pointers of a column of times, from the cell `first` on. Rows that follow each other
   mostly have the same time, which is then made once. */
static void bind_times(db_t *db, const rows_column_t *column, unsigned count, size_t first)
{
    for (unsigned row = 0; row < count; ++row) {
        size_t cell = first + row;
        if (row != 0 && column->numbers[row] == column->numbers[row - 1]) {
            db->time_at[cell] = db->time_at[cell - 1];
        } else {
            time_of_ms(&db->times[cell], column->numbers[row]);
            db->time_at[cell] = &db->times[cell];
        }
    }
}

static void reserve_times(db_t *db, size_t cells)
{
    if (db->times_room >= cells)
        return;
    db->times = alloc_resize(db->times, cells, sizeof(*db->times));
    db->time_at = alloc_resize(db->time_at, cells, sizeof(*db->time_at));
    db->times_room = cells;
}

/* Of bytes and times the client takes an array of pointers, of numbers the array itself. */
static void bind_columns(db_t *db, const rows_t *rows, MYSQL_BIND *binds)
{
    _Static_assert(sizeof(unsigned long) == sizeof(uint64_t), "lengths are bound as they are");
    reserve_times(db, (size_t)rows->columns_count * rows->count);
    for (unsigned i = 0; i < rows->columns_count; ++i) {
        const rows_column_t *column = &rows->columns[i];
        MYSQL_BIND *bind = &binds[i];
        size_t first_cell = (size_t)i * rows->count;
        bind->u.indicator = column->is_null; /* 1 is STMT_INDICATOR_NULL */
        switch (column->kind) {
        case ROWS_BYTES:
        case ROWS_WORD:
            bind->buffer_type = column->kind == ROWS_WORD ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
            bind->buffer = column->bytes;
            bind->length = (unsigned long *)column->numbers;
            break;
        case ROWS_U64:
            bind->buffer_type = MYSQL_TYPE_LONGLONG;
            bind->buffer = column->numbers;
            bind->is_unsigned = 1;
            break;
        case ROWS_TIME:
            bind_times(db, column, rows->count, first_cell);
            bind->buffer_type = MYSQL_TYPE_DATETIME;
            bind->buffer = &db->time_at[first_cell];
            break;
        }
    }
}

static result_t insert_in_bulk(db_t *db, const rows_t *rows, uint64_t *affected)
{
    MYSQL_BIND binds[ROWS_COLUMNS_MAX] = {0};
    MYSQL_STMT *handle;
    unsigned count = rows->count;
    db->used_ms = clock_mono_ms();
    db->last_errno = 0;
    drop_rows(db);
    sql_reset(&db->prepared);
    rows_add_prepared(&db->prepared, rows);
    result_t result = prepare(db, &handle);
    if (result != RESULT_DONE)
        return result;
    bind_columns(db, rows, binds);
    if (mysql_stmt_attr_set(handle, STMT_ATTR_ARRAY_SIZE, &count) ||
        mysql_stmt_bind_param(handle, binds) || mysql_stmt_execute(handle) != 0)
        return fail_of_statement(db, handle);
    *affected = mysql_stmt_affected_rows(handle);
    return RESULT_DONE;
}

#else

bool db_takes_rows(const db_t *db)
{
    (void)db;
    return false;
}

static result_t insert_in_bulk(db_t *db, const rows_t *rows, uint64_t *affected)
{
    return insert_as_text(db, rows, affected);
}

#endif

result_t db_insert_rows(db_t *db, const rows_t *rows, uint64_t *affected)
{
    if (db_connect(db) != RESULT_DONE)
        return RESULT_AWAY;
    return db_takes_rows(db) ? insert_in_bulk(db, rows, affected)
                             : insert_as_text(db, rows, affected);
}

/* Tests: the answer to COMMIT is this error. The connection is left in the state of a server that
   rolls back when it ends. */
static result_t commit_pretends(db_t *db, unsigned error)
{
    db->last_errno = error;
    snprintf(db->last_error, sizeof(db->last_error), "%s: %u pretended", db->server->name, error);
    db_disconnect(db);
    return db_classify(error) == RESULT_RETRY ? RESULT_RETRY : RESULT_UNKNOWN;
}

result_t db_commit(db_t *db)
{
    unsigned pretended;
    if (db->mysql == NULL)
        return RESULT_UNKNOWN;
    if (FAILPOINT_FAILS("commit_not_sent")) {
        db_disconnect(db);
        return RESULT_UNKNOWN;
    }
    if ((pretended = FAILPOINT_NUMBER("commit_refused")) != 0)
        return commit_pretends(db, pretended);
    if (mysql_commit(db->mysql) == 0 && !FAILPOINT_FAILS("commit_answer_lost")) {
        pretended = FAILPOINT_NUMBER("commit_done_and_refused");
        return pretended == 0 ? RESULT_DONE : commit_pretends(db, pretended);
    }
    /* A refused COMMIT is rolled back only if the server's error proves it (RESULT_RETRY); else it
       is unknown. */
    if (fail(db, &(const sql_t){(char *)"COMMIT", 6, 0}, 0) == RESULT_RETRY)
        return RESULT_RETRY;
    db_disconnect(db);
    return RESULT_UNKNOWN;
}

/* A session whose error is in no list is not trusted with a ROLLBACK: the end of the connection
   rolls back for certain. */
void db_rollback(db_t *db)
{
    drop_rows(db);
    if (db->mysql != NULL && (db->suspect || mysql_rollback(db->mysql) != 0))
        db_disconnect(db);
}

result_t db_query(db_t *db, const sql_t *sql)
{
    if (db_connect(db) != RESULT_DONE)
        return RESULT_AWAY;
    db->used_ms = clock_mono_ms();
    db->last_errno = 0;
    drop_rows(db);
    if (mysql_real_query(db->mysql, sql->p, sql->n) != 0)
        return fail(db, sql, 0);
    if ((db->rows = mysql_store_result(db->mysql)) == NULL)
        return fail(db, sql, 0);
    return RESULT_DONE;
}

bool db_next(db_t *db)
{
    if (db->rows == NULL || (db->row = mysql_fetch_row(db->rows)) == NULL) {
        drop_rows(db);
        return false;
    }
    db->lengths = mysql_fetch_lengths(db->rows);
    return true;
}

bool db_is_null(const db_t *db, unsigned column)
{
    assert(db->row != NULL);
    return db->row[column] == NULL;
}

str_t db_bytes(const db_t *db, unsigned column)
{
    return db_is_null(db, column) ? STR_NONE : (str_t){db->row[column], db->lengths[column]};
}

uint64_t db_u64(const db_t *db, unsigned column)
{
    return db_is_null(db, column) ? 0 : strtoull(db->row[column], NULL, 10);
}

int64_t db_i64(const db_t *db, unsigned column)
{
    return db_is_null(db, column) ? 0 : strtoll(db->row[column], NULL, 10);
}

uint64_t db_time_ms(const db_t *db, unsigned column)
{
    uint64_t ms = 0;
    str_t text = db_bytes(db, column);
    if (text.p == NULL || time_parse_sql(text.p, text.n, &ms) != 0)
        return 0;
    return ms;
}

order_id_t db_order_id(const db_t *db, unsigned column)
{
    order_id_t id = ORDER_ID_NONE;
    str_t bytes = db_bytes(db, column);
    if (bytes.n == sizeof(id.bytes))
        memcpy(id.bytes, bytes.p, sizeof(id.bytes));
    return id;
}
