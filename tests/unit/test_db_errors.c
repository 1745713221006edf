/*
 * What each number of the servers' and the clients' lists says of a statement: only what is in a
 * list here is anything but RESULT_AWAY.
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
    result_t result;
} known_t;

/* By number, not by name: a header that gives a name another number does not change the answer. */
static const known_t known[] = {
    {0, RESULT_DONE},
    /* another transaction stood in the way */
    {1020, RESULT_RETRY},
    {1213, RESULT_RETRY},
    {1205, RESULT_RETRY},
    {3572, RESULT_RETRY},
    /* the values of the row, or a UNIQUE key */
    {1062, RESULT_REFUSED},
    {1586, RESULT_REFUSED},
    {1048, RESULT_REFUSED},
    {1264, RESULT_REFUSED},
    {1265, RESULT_REFUSED},
    {1292, RESULT_REFUSED},
    {1366, RESULT_REFUSED},
    {1406, RESULT_REFUSED},
    {1690, RESULT_REFUSED},
    {3819, RESULT_REFUSED},
    {4025, RESULT_REFUSED},
    /* the connection is gone, or about to go */
    {1053, RESULT_UNKNOWN},
    {1077, RESULT_UNKNOWN},
    {1927, RESULT_UNKNOWN},
    {2006, RESULT_UNKNOWN},
    {2013, RESULT_UNKNOWN},
    {2014, RESULT_UNKNOWN},
    {2027, RESULT_UNKNOWN},
    {2055, RESULT_UNKNOWN},
    {3168, RESULT_UNKNOWN},
    {3169, RESULT_UNKNOWN},
    {4031, RESULT_UNKNOWN},
};

static result_t expected(unsigned number)
{
    for (size_t i = 0; i < COUNT(known); ++i)
        if (known[i].number == number)
            return known[i].result;
    return RESULT_AWAY;
}

static void every_number_is_away_unless_it_is_listed(void **state)
{
    (void)state;
    for (unsigned number = 0; number <= NUMBER_MAX; ++number)
        if (db_classify(number) != expected(number))
            fail_msg("%u is %s, expected %s", number, result_name(db_classify(number)),
                     result_name(expected(number)));
    assert_int_equal(db_classify(~0U), RESULT_AWAY);
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
        assert_int_equal(db_classify(outages[i]), RESULT_AWAY);
}

static void every_result_has_a_name(void **state)
{
    (void)state;
    static const char *const names[] = {"done", "retry", "away", "refused", "unknown"};
    for (int result = RESULT_DONE; result <= RESULT_UNKNOWN; ++result)
        assert_string_equal(result_name((result_t)result), names[result]);
}

/* The named outcomes are parts of their kinds. */
static void locks_and_duplicates_are_distinguished(void **state)
{
    (void)state;
    for (unsigned number = 0; number <= NUMBER_MAX; ++number) {
        assert_int_equal(db_number_is_lock(number), number == 1205 || number == 3572);
        assert_int_equal(db_number_is_duplicate(number), number == 1062 || number == 1586);
        if (db_number_is_lock(number))
            assert_int_equal(db_classify(number), RESULT_RETRY);
        if (db_number_is_duplicate(number))
            assert_int_equal(db_classify(number), RESULT_REFUSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_away_unless_it_is_listed),
        cmocka_unit_test(what_an_outage_says_is_no_verdict),
        cmocka_unit_test(every_result_has_a_name),
        cmocka_unit_test(locks_and_duplicates_are_distinguished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
