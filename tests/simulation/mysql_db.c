/*
 * The real store/db.h over the simulated server: a connection of a node, with what can happen to
 * it. A call takes its time there and back, may find the connection broken before or after its
 * statement ran, and meets conflicts that nobody of the history caused. COMMIT may be lost before
 * it was done, after it, or be done later than anybody waits. As in store/db.c, a connection that
 * broke is made anew by the next call.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "faults.h"
#include "mysql_fault.h"
#include "mysql_server.h"
#include "store/db.h"

struct db {
    const config_t *config;
    session_t *session; /* NULL: not connected */
    result_set_t result;
    unsigned lock_waits;
    unsigned error; /* number of the last statement's error, where one is known; 0: none */
    bool suspect;   /* as in the real one */
    unsigned row;   /* number of the present one, from 1 */
};

db_t *db_new(const config_t *config, const config_server_t *server)
{
    db_t *db = world_alloc_zero(sizeof(*db));
    (void)server;
    db->config = config;
    return db;
}

static void forget_session(db_t *db)
{
    if (db->session != NULL)
        mysql_abandon(db->session);
    db->session = NULL;
    db->suspect = false;
}

void db_disconnect(db_t *db)
{
    forget_session(db);
}

void db_free(db_t *db)
{
    if (db != NULL)
        forget_session(db);
}

void db_library_begin(void)
{
}

void db_library_end(void)
{
}

void db_thread_end(void)
{
}

const char *db_error(const db_t *db)
{
    (void)db;
    return "as the history has it";
}

bool db_error_is_lock(const db_t *db)
{
    return db_number_is_lock(db->error);
}

bool db_error_is_duplicate(const db_t *db)
{
    return db_number_is_duplicate(db->error);
}

/* What the real db_connect() asks and sets: which database this is, and what a session may not have
   from the server's global settings. */
static result_t set_up_session(db_t *db)
{
    if (db->session->elsewhere) {
        TRACE("mysql: this database is another shard's");
        forget_session(db);
        return RESULT_AWAY;
    }
    db->session->select_limit = UINT64_MAX;
    return RESULT_DONE;
}

result_t db_connect(db_t *db)
{
    if (db->session != NULL)
        return RESULT_DONE;
    world_sleep_us(fault_latency_us());
    if (!mysql_is_up())
        return RESULT_AWAY;
    db->session = mysql_connect((uint64_t)db->config->mysql.idle_transaction_timeout_s * 1000000,
                                (uint64_t)db->config->mysql.lock_wait_timeout_s * 1000000);
    return set_up_session(db);
}

unsigned db_lock_waits(const db_t *db)
{
    return db->lock_waits;
}

bool fd_is_spent(int fd)
{
    (void)fd;
    return false;
}

/* An idle connection that the server has closed is met in the statement, as if it had just gone. */
void db_refresh(db_t *db)
{
    if (db->suspect)
        forget_session(db);
}

void db_drop_distrusted(db_t *db)
{
    (void)db;
}

static result_t lost(db_t *db, const char *when)
{
    TRACE("mysql: the connection is lost %s", when);
    forget_session(db);
    return RESULT_UNKNOWN;
}

static void stand_still(void)
{
    if (!chance(faults.stall))
        return;
    uint64_t us = chance_time_us(1000, faults.stall_us);
    TRACE("a thread stands still for %llu us", (unsigned long long)us);
    world_sleep_us(us);
}

static void show(const sql_text_t *text, result_t result, uint64_t affected,
                 const result_set_t *rows)
{
    world_trace("mysql %s, %llu changed, %u rows: %.*s", result_name(result),
                (unsigned long long)affected, rows == NULL ? 0 : rows->rows_count,
                (int)(text->n < 700 ? text->n : 700), text->text);
}

static result_t run_all(db_t *db, const sql_text_t *text, uint64_t *affected, unsigned count,
                        result_set_t *rows)
{
    unsigned at = 0;
    for (unsigned i = 0;; ++i) {
        uint64_t changed = 0;
        result_t result = chance(faults.db_error)
                              ? mysql_fault_meet(db->session, mysql_fault_draw_error(false))
                              : mysql_run(db->session, text, &at, &changed, rows);
        if (world_tracing)
            show(text, result, changed, rows);
        if (result != RESULT_DONE)
            return result;
        if (i < count)
            affected[i] = changed;
        if (text->tokens[at].kind == TOKEN_END)
            return RESULT_DONE;
        ++at; /* the semicolon */
        if (chance(16)) {
            db->session->executing = true;
            world_sleep_us(chance_time_us(1, 300));
            db->session->executing = false;
        }
        if (db->session->killed)
            return RESULT_UNKNOWN;
    }
}

static result_t call(db_t *db, const sql_t *sql, uint64_t *affected, unsigned count,
                     result_set_t *rows)
{
    stand_still();
    db->error = 0;
    if (db_connect(db) != RESULT_DONE)
        return RESULT_AWAY;
    db->session->error = 0;
    db->row = 0;
    db->result = (result_set_t){0};
    world_sleep_us(fault_latency_us());
    if (mysql_session_is_dead(db->session))
        return lost(db, "by now");
    if (chance(faults.db_lost))
        return lost(db, "before a statement");
    if (chance(faults.db_conflict)) {
        TRACE("mysql: deadlock with a stranger");
        mysql_rollback(db->session);
        return RESULT_RETRY;
    }
    sql_text_t text = sql_read_again(sql->p, sql->n);
    db->session->said_us = world_now_us();
    result_t result = run_all(db, &text, affected, count, rows);
    db->error = result == RESULT_DONE ? 0 : db->session->error;
    db->lock_waits += db_number_is_lock(db->error);
    db->suspect = result == RESULT_AWAY;
    db->session->said_us = world_now_us();
    if (result == RESULT_UNKNOWN)
        return lost(db, "in a statement");
    world_sleep_us(fault_latency_us());
    if (db->session->killed || chance(faults.db_lost))
        return lost(db, "after a statement");
    stand_still();
    return result;
}

result_t db_exec(db_t *db, const sql_t *sql, uint64_t *affected, unsigned count)
{
    return call(db, sql, affected, count, NULL);
}

result_t db_run(db_t *db, const char *literal)
{
    const sql_t sql = {(char *)literal, strlen(literal), 0};
    return db_exec(db, &sql, NULL, 0);
}

/* In bulk or not, the rows of an INSERT do the same. */
bool db_takes_rows(const db_t *db)
{
    return db->session != NULL;
}

result_t db_insert_rows(db_t *db, const rows_t *rows, uint64_t *affected)
{
    sql_t sql = {NULL, 0, 0};
    rows_add_insert(&sql, rows);
    result_t result = db_exec(db, &sql, affected, 1);
    sql_free(&sql);
    return result;
}

static result_t lose_commit(db_t *db)
{
    session_t *session = db->session;
    db->session = NULL;
    switch (chance_below(3)) {
    case 0:
        TRACE("mysql: a COMMIT never arrives");
        mysql_abandon(session);
        break;
    case 1:
        TRACE("mysql: a COMMIT is done and its answer lost");
        mysql_commit(session);
        mysql_abandon(session);
        break;
    default:
        TRACE("mysql: a COMMIT is lost and will be done later");
        mysql_commit_later(session);
    }
    return RESULT_UNKNOWN;
}

/* As the real db_commit() has it: whatever the server says of a COMMIT but that it was rolled back,
   the outcome is looked up. */
static result_t refuse_commit(db_t *db)
{
    unsigned number = mysql_fault_draw_error(true);
    bool is_done = db_classify(number) != RESULT_RETRY && chance(2);
    TRACE("mysql: a COMMIT is answered with error %u, and %s", number,
          is_done ? "done" : "not done");
    if (is_done)
        mysql_commit(db->session);
    else
        mysql_rollback(db->session);
    if (db_classify(number) == RESULT_RETRY)
        return RESULT_RETRY;
    forget_session(db);
    return RESULT_UNKNOWN;
}

result_t db_commit(db_t *db)
{
    stand_still();
    if (db->session == NULL)
        return RESULT_UNKNOWN;
    world_sleep_us(fault_latency_us());
    if (mysql_session_is_dead(db->session))
        return lost(db, "before COMMIT");
    if (chance(faults.db_commit_lost) && db->session->open)
        return lose_commit(db);
    if (chance(faults.db_commit_refused) && db->session->open)
        return refuse_commit(db);
    if (db->session->open)
        mysql_commit(db->session);
    world_sleep_us(fault_latency_us());
    if (db->session->killed)
        return lost(db, "after COMMIT");
    stand_still();
    return RESULT_DONE;
}

void db_rollback(db_t *db)
{
    db->result = (result_set_t){0};
    if (db->session == NULL)
        return;
    world_sleep_us(fault_latency_us());
    if (mysql_session_is_dead(db->session)) {
        lost(db, "before ROLLBACK");
        return;
    }
    if (db->suspect)
        forget_session(db);
    else
        mysql_rollback(db->session);
}

result_t db_query(db_t *db, const sql_t *sql)
{
    return call(db, sql, NULL, 0, &db->result);
}

bool db_next(db_t *db)
{
    if (db->row >= db->result.rows_count)
        return false;
    ++db->row;
    return true;
}

static const value_t *value_at(const db_t *db, unsigned column)
{
    return &db->result.rows[db->row - 1][column];
}

bool db_is_null(const db_t *db, unsigned column)
{
    return value_at(db, column)->kind == VALUE_NULL;
}

str_t db_bytes(const db_t *db, unsigned column)
{
    const value_t *value = value_at(db, column);
    if (value->kind == VALUE_INT)
        world_unknown("number as text", "", 0);
    return value->kind == VALUE_NULL ? STR_NONE : (str_t){value->p, value->n};
}

int64_t db_i64(const db_t *db, unsigned column)
{
    const value_t *value = value_at(db, column);
    if (value->kind == VALUE_BYTES)
        world_unknown("text as a number", value->p, value->n);
    return value->kind == VALUE_NULL ? 0 : value->i;
}

uint64_t db_u64(const db_t *db, unsigned column)
{
    return (uint64_t)db_i64(db, column);
}

uint64_t db_time_ms(const db_t *db, unsigned column)
{
    return db_u64(db, column);
}

order_id_t db_order_id(const db_t *db, unsigned column)
{
    order_id_t id = ORDER_ID_NONE;
    str_t bytes = db_bytes(db, column);
    if (bytes.n == sizeof(id.bytes))
        memcpy(id.bytes, bytes.p, sizeof(id.bytes));
    return id;
}
