/* Between mysql_server.c (sessions, locks) and mysql_statement.c (SELECT, INSERT, UPDATE). */
#ifndef HOLDFAST_SIMULATION_MYSQL_STATEMENT_H
#define HOLDFAST_SIMULATION_MYSQL_STATEMENT_H

#include "mysql_server.h"

uint64_t mysql_commits(void);
/* Until nobody else owns the row's lock. */
result_t mysql_wait_for(session_t *session, row_t *row);
/* Before a row is changed, or only locked: the session owns it from now on. */
void mysql_remember(session_t *session, row_t *row, bool locks_only);
void mysql_undo_to(session_t *session, unsigned mark);
/* What a plain read sees, or NULL. */
const value_t *mysql_visible(session_t *session, const row_t *row);
bool mysql_is_too_new(const session_t *session, const row_t *row);

#endif
