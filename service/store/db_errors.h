/*
 * What an error number of MySQL or MariaDB says about the statement that it ended. Pure.
 *
 * Only a short list of errors is about the values of a row. An error that is in no list says
 * nothing about an order: it is DB_AWAY. The numbers are those of the servers' own lists (MySQL
 * and MariaDB share them below 1900; above, each family has its own).
 */
#ifndef HOLDFAST_STORE_DB_ERRORS_H
#define HOLDFAST_STORE_DB_ERRORS_H

typedef enum {
    DB_OK = 0,
    DB_CONFLICT,  /* deadlock, snapshot too old: db_rollback(), then the whole again */
    DB_LOCKED,    /* waited for a lock until the time-out: db_rollback(); another transaction still
                     has it */
    DB_DUPLICATE, /* a UNIQUE key refused it */
    DB_INVALID,   /* the values of this row: they will be refused again. Other rows may pass */
    DB_LOST,      /* the connection broke: it is unknown what happened to an open COMMIT */
    DB_AWAY       /* no connection, or any other error: the statement changed nothing, and nothing
                     is known of what it would have done */
} db_result_t;

/* Of a statement. 0 is DB_OK. A COMMIT that failed is never clearer than DB_LOST: see db_commit().
 */
db_result_t db_classify(unsigned error);
/* Retry the whole transaction: another one stood in its way. */
#define DB_IS_CONTENDED(result_) ((result_) == DB_CONFLICT || (result_) == DB_LOCKED)
/* For log lines: "conflict", "away"... */
const char *db_result_name(db_result_t result);

#endif
