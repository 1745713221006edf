/*
 * The MySQL server: sessions, statements, row locks with waits and deadlocks, COMMIT. See
 * mysql_table.h for what is modelled; the client's side, with its faults, is mysql_db.c.
 *
 * A statement that has to wait for a lock sleeps in its coroutine. A lock wait that takes too long
 * undoes the statement only; a deadlock undoes the transaction. A session that is idle inside a
 * transaction for too long is killed by the server.
 */
#ifndef HOLDFAST_SIMULATION_MYSQL_SERVER_H
#define HOLDFAST_SIMULATION_MYSQL_SERVER_H

#include "mysql_table.h"
#include "store/db.h"

typedef struct {
    const value_t **rows;
    unsigned rows_count, rows_capacity, columns_count;
} result_set_t;

void mysql_begin(void); /* of a history */
bool mysql_is_up(void);
/* All sessions are gone, what was not committed is undone. */
void mysql_kill(void);
void mysql_start(void);
uint64_t mysql_now_ms(void);

/* The rows of a table are in the second database, too, as they are now. */
void mysql_copy_elsewhere(const char *table);
/* New sessions of this node are with the second database. */
void mysql_lead_elsewhere(unsigned node, bool wrong);
/* Of the servers' list; of others only what db_classify() says of them matters. */
enum { ERROR_DUPLICATE = 1062, ERROR_LOCK_WAIT = 1205 };

/* SET GLOBAL sql_select_limit: for new sessions. */
void mysql_set_select_limit(uint64_t rows);

session_t *mysql_connect(uint64_t idle_limit_us, uint64_t lock_limit_us);
/* Runs the statement that begins at token *at and leaves *at behind it. */
result_t mysql_run(session_t *session, const sql_text_t *text, unsigned *at, uint64_t *affected,
                   result_set_t *out);
void mysql_commit(session_t *session);
void mysql_rollback(session_t *session);
/* The client is gone: whatever is open is undone, now or when the server notices. */
void mysql_abandon(session_t *session);
/* The client is gone in COMMIT, which happens later. */
void mysql_commit_later(session_t *session);
/* Has its time run out, or was it killed? */
bool mysql_session_is_dead(session_t *session);
void mysql_forget_node(owner_t owner);
bool mysql_is_quiet(void); /* no transaction is open */

/* Called for each row that a COMMIT changes, after all of them have their new version: set by
   checks.c. `before` is NULL for a row that was not there, `after` for one that is no more. */
extern void (*mysql_on_commit)(const row_t *row, const value_t *before, const value_t *after);
extern void (*mysql_after_commit)(void);
/* MariaDB's innodb_snapshot_isolation, of this history. */
extern bool mysql_snapshot_isolation;

#endif
