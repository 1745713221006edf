#include "store/db_errors.h"

#include <errmsg.h>
#include <mysqld_error.h>

/* Names that only one of the two families has in its headers. */
enum {
    ERROR_CHECKREAD = 1020,         /* MariaDB: innodb_snapshot_isolation */
    ERROR_SHUTDOWN = 1053,          /* server shutdown in progress */
    ERROR_NORMAL_SHUTDOWN = 1077,   /* the same, at its end */
    ERROR_CONNECTION_KILLED = 1927, /* MariaDB */
    ERROR_SESSION_KILLED = 3169,    /* MySQL */
    ERROR_SHUTTING_DOWN = 3168,     /* MySQL: the server is not available for this session */
    ERROR_DISCONNECTING = 4031,     /* MySQL: disconnected because of inactivity */
    ERROR_LOCK_NOWAIT = 3572,       /* MySQL: NOWAIT met a lock; MariaDB returns 1205 */
    ERROR_CHECK_VIOLATED = 3819,    /* MySQL */
    ERROR_CONSTRAINT_FAILED = 4025  /* MariaDB */
};

result_t db_classify(unsigned number)
{
    switch (number) {
    case 0:
        return RESULT_DONE;
    case ER_LOCK_DEADLOCK:
    case ERROR_CHECKREAD:
    case ER_LOCK_WAIT_TIMEOUT:
    case ERROR_LOCK_NOWAIT:
        return RESULT_RETRY;
    case ER_DUP_ENTRY:
    case ER_DUP_ENTRY_WITH_KEY_NAME:
    case ER_BAD_NULL_ERROR:
    case ER_WARN_DATA_OUT_OF_RANGE:
    case WARN_DATA_TRUNCATED:
    case ER_TRUNCATED_WRONG_VALUE:
    case ER_TRUNCATED_WRONG_VALUE_FOR_FIELD:
    case ER_DATA_TOO_LONG:
    case ER_DATA_OUT_OF_RANGE:
    case ERROR_CHECK_VIOLATED:
    case ERROR_CONSTRAINT_FAILED:
        return RESULT_REFUSED;
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST:
    case CR_SERVER_LOST_EXTENDED:
    case CR_COMMANDS_OUT_OF_SYNC:
    case CR_MALFORMED_PACKET:
    case ERROR_SHUTDOWN:
    case ERROR_NORMAL_SHUTDOWN:
    case ERROR_CONNECTION_KILLED:
    case ERROR_SESSION_KILLED:
    case ERROR_SHUTTING_DOWN:
    case ERROR_DISCONNECTING:
        return RESULT_UNKNOWN;
    default:
        return RESULT_AWAY;
    }
}

bool db_number_is_lock(unsigned number)
{
    return number == ER_LOCK_WAIT_TIMEOUT || number == ERROR_LOCK_NOWAIT;
}

bool db_number_is_duplicate(unsigned number)
{
    return number == ER_DUP_ENTRY || number == ER_DUP_ENTRY_WITH_KEY_NAME;
}
