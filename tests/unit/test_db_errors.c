/*
 * What each number of the servers' and the clients' lists says of a statement: only what is in a
 * list here is anything but DB_AWAY.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errmsg.h>
#include <mysqld_error.h>

#include "store/db_errors.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))
/* Beyond the last number of either family's list. */
#define NUMBER_MAX 20000

typedef struct {
    unsigned number;
    db_result_t result;
} known_t;

/* By number, not by name: a header that gives a name another number does not change the answer. */
static const known_t known[] = {
    {0, DB_OK},
    /* another transaction stood in the way */
    {1020, DB_CONFLICT},
    {1213, DB_CONFLICT},
    {1205, DB_LOCKED},
    {3572, DB_LOCKED},
    {1062, DB_DUPLICATE},
    {1586, DB_DUPLICATE},
    /* the values of the row */
    {1048, DB_INVALID},
    {1264, DB_INVALID},
    {1265, DB_INVALID},
    {1292, DB_INVALID},
    {1366, DB_INVALID},
    {1406, DB_INVALID},
    {1690, DB_INVALID},
    {3819, DB_INVALID},
    {4025, DB_INVALID},
    /* the connection is gone, or about to go */
    {1053, DB_LOST},
    {1077, DB_LOST},
    {1927, DB_LOST},
    {2006, DB_LOST},
    {2013, DB_LOST},
    {2014, DB_LOST},
    {2027, DB_LOST},
    {2055, DB_LOST},
    {3168, DB_LOST},
    {3169, DB_LOST},
    {4031, DB_LOST},
};

static db_result_t expected(unsigned number)
{
    for (size_t i = 0; i < COUNT(known); ++i)
        if (known[i].number == number)
            return known[i].result;
    return DB_AWAY;
}

static void every_number_is_away_unless_it_is_listed(void **state)
{
    (void)state;
    for (unsigned number = 0; number <= NUMBER_MAX; ++number)
        if (db_classify(number) != expected(number))
            fail_msg("%u is %s, expected %s", number, db_result_name(db_classify(number)),
                     db_result_name(expected(number)));
    assert_int_equal(db_classify(~0U), DB_AWAY);
}

/* Those that were seen to reject orders that were live or acknowledged. */
static void what_an_outage_says_is_no_verdict(void **state)
{
    static const unsigned outages[] = {
        ER_OPEN_AS_READONLY,                      /* 1036: --innodb-read-only */
        ER_UNKNOWN_COM_ERROR,                     /* 1047: a Galera node without quorum */
        ER_TABLEACCESS_DENIED_ERROR,              /* 1142: rights that were taken away */
        ER_NO_SUCH_TABLE,                         /* 1146: a table renamed away */
        ER_OPTION_PREVENTS_STATEMENT,             /* 1290: read_only */
        ER_NO_DEFAULT_FOR_FIELD,                  /* 1364: a column that another schema has */
        ER_RECORD_FILE_FULL,                      /* 1114 */
        ER_DISK_FULL,                             /* 1021 */
        ER_SIGNAL_EXCEPTION,                      /* 1644: somebody's trigger */
        ER_BINLOG_STMT_MODE_AND_ROW_ENGINE,       /* 1665 */
        ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, /* 1792: tx_read_only */
        ER_QUERY_INTERRUPTED,                     /* 1317: KILL QUERY */
        CR_CONNECTION_ERROR,
        CR_UNKNOWN_ERROR,
    };
    (void)state;
    for (size_t i = 0; i < COUNT(outages); ++i)
        assert_int_equal(db_classify(outages[i]), DB_AWAY);
}

static void every_result_has_a_name(void **state)
{
    (void)state;
    for (int result = DB_OK; result <= DB_AWAY; ++result)
        assert_non_null(db_result_name((db_result_t)result));
    assert_string_equal(db_result_name(DB_AWAY), "away");
    assert_string_equal(db_result_name(DB_INVALID), "invalid");
    assert_true(DB_IS_CONTENDED(DB_LOCKED) && DB_IS_CONTENDED(DB_CONFLICT));
    assert_false(DB_IS_CONTENDED(DB_AWAY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_away_unless_it_is_listed),
        cmocka_unit_test(what_an_outage_says_is_no_verdict),
        cmocka_unit_test(every_result_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
