/*
 * What an error number of MySQL or MariaDB says about the statement that it ended. Pure.
 *
 * Only a short list of errors is about the values of a row. An error that is in no list says
 * nothing about an order: it is RESULT_AWAY. The numbers are those of the servers' own lists (MySQL
 * and MariaDB share them below 1900; above, each family has its own).
 */
#ifndef HOLDFAST_STORE_DB_ERRORS_H
#define HOLDFAST_STORE_DB_ERRORS_H

#include <stdbool.h>

#include "base/result.h"

/*
 * Of a statement; 0 is RESULT_DONE.
 *
 *   retry    a deadlock, a snapshot that is too old, a lock wait that timed out: db_rollback(),
 * then the whole transaction again away     no connection, or any error that is in no list: the
 * statement changed nothing, and nothing is known of what it would have done refused  the values of
 * this row, or a UNIQUE key: other rows may pass unknown  the connection broke: nobody knows what
 * became of an open COMMIT
 *
 * A COMMIT that failed is never clearer than unknown: see db_commit().
 */
result_t db_classify(unsigned number);
/* Of a retry: it waited for a lock until the time-out, and another transaction still has it. */
bool db_number_is_lock(unsigned number);
/* Of a refusal: a UNIQUE key. A row that has it is there already. */
bool db_number_is_duplicate(unsigned number);

#endif
