/*
 * The kind of an error number of MySQL or MariaDB. Pure; any thread may call.
 *
 * Only the errors of a short list are about the values of a row. An error that is in no list is
 * RESULT_AWAY, and proves nothing about an order. The numbers come from the servers' own lists
 * (MySQL and MariaDB share them below 1900; above, each family has its own).
 */
#ifndef HOLDFAST_STORE_DB_ERRORS_H
#define HOLDFAST_STORE_DB_ERRORS_H

#include <stdbool.h>

#include "base/result.h"

/*
 * Returns the kind of a failed statement; 0 is RESULT_DONE.
 *
 *   retry    a deadlock, a snapshot that is too old, a lock wait that timed out:
 *            db_rollback(), then the whole transaction again
 *   away     no connection, or any error that is in no list: the statement changed nothing,
 *            and its own outcome without the fault is not known
 *   refused  the values of this row, or a UNIQUE key: other rows may pass
 *   unknown  the connection broke: the outcome of an open COMMIT is not known
 *
 * A COMMIT that failed is never clearer than unknown: see db_commit().
 */
result_t db_classify(unsigned number);
/* For RESULT_RETRY: did the statement wait for a lock until the time-out? Another transaction then
   still holds it. */
bool db_number_is_lock(unsigned number);
/* For RESULT_REFUSED: was it a UNIQUE key? A row with that key already exists. */
bool db_number_is_duplicate(unsigned number);

#endif
