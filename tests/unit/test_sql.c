/* The SQL builder: no value becomes syntax. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/order_id.h"
#include "store/sql.h"

/* Builds one text and compares it. Exactly: no byte more, none less. */
#define EXPECT_SQL(expected_, ...)                                                                 \
    do {                                                                                           \
        sql_t sql_ = {NULL, 0, 0};                                                                 \
        sql_add(&sql_, __VA_ARGS__);                                                               \
        assert_int_equal(sql_.n, strlen(expected_));                                               \
        assert_memory_equal(sql_.p, expected_, sql_.n);                                            \
        sql_free(&sql_);                                                                           \
    } while (0)

static void test_plain(void **state)
{
    (void)state;
    EXPECT_SQL("SELECT 1", "SELECT 1");
    EXPECT_SQL("LIKE 'a%'", "LIKE 'a%%'");
    EXPECT_SQL("%%", "%%%%");
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "");
    assert_int_equal(sql.n, 0);
    sql_free(&sql);
}

static void test_bytes(void **state)
{
    (void)state;
    EXPECT_SQL("x'6f72616e6765'", "%s", STR("orange"));
    EXPECT_SQL("(x'61', x'62')", "(%s, %s)", STR("a"), STR("b"));
    /* Empty is a value; only a missing pointer is NULL. */
    EXPECT_SQL("x''", "%s", STR(""));
    EXPECT_SQL("NULL", "%s", STR_NONE);
}

static void test_hostile_bytes(void **state)
{
    (void)state;
    EXPECT_SQL("a = x'273b2044524f50205441424c45206f72646572733b202d2d20'", "a = %s",
               STR("'; DROP TABLE orders; -- "));
    EXPECT_SQL("x'5c272200080a1a25733f'", "%s", STR("\\'\"\0\b\n\x1a%s?"));
    EXPECT_SQL("x'bf27c0af80ffe280ae'", "%s", STR("\xbf\x27\xc0\xaf\x80\xff\xe2\x80\xae"));
}

static void test_every_byte(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; ++i)
        all[i] = (char)i;
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "%s", (str_t){all, sizeof(all)});
    assert_int_equal(sql.n, 2 * 256 + 3);
    for (size_t i = 2; i < sql.n - 1; ++i)
        assert_non_null(memchr("0123456789abcdef", sql.p[i], 16));
    for (unsigned i = 0; i < 256; ++i) {
        char digits[3] = {sql.p[2 + 2 * i], sql.p[3 + 2 * i], '\0'};
        assert_int_equal(strtoul(digits, NULL, 16), i);
    }
    sql_free(&sql);
}

static void test_numbers(void **state)
{
    (void)state;
    EXPECT_SQL("0 18446744073709551615", "%u %u", (uint64_t)0, UINT64_MAX);
    EXPECT_SQL("-9223372036854775808 0 9223372036854775807", "%d %d %d", INT64_MIN, (int64_t)0,
               INT64_MAX);
    /* Two minus signs would begin a comment. */
    EXPECT_SQL("1 - -1", "1 - %d", (int64_t)-1);
}

static void test_times(void **state)
{
    (void)state;
    EXPECT_SQL("'2026-01-31 12:00:00.123'", "%t", (uint64_t)1769860800123);
    EXPECT_SQL("'1970-01-01 00:00:00.001'", "%t", (uint64_t)1);
    EXPECT_SQL("NULL", "%t", (uint64_t)0);
}

static void test_words(void **state)
{
    (void)state;
    EXPECT_SQL("'sold_out'", "%w", "sold_out");
    EXPECT_SQL("''", "%w", "");
    EXPECT_SQL("NULL", "%w", (const char *)NULL);
}

static void test_order_ids(void **state)
{
    (void)state;
    const order_id_t id = {{0x01, 0x9c, 0x01, 0x23, 0xab, 0xcd, 0x7f, 0xff, 0xbf, 0xff, 0x00, 0x27,
                            0x5c, 0x67, 0x89, 0xab}};
    EXPECT_SQL("x'019c0123abcd7fffbfff00275c6789ab'", "%o", &id);
    EXPECT_SQL("NULL", "%o", &ORDER_ID_NONE);
    EXPECT_SQL("NULL", "%o", (const order_id_t *)NULL);
}

static void test_items(void **state)
{
    (void)state;
    const item_ref_t item = {.slot = 9, .bucket = 65535, .sku = {2, "a'"}};
    EXPECT_SQL("WHERE sku = x'6127' AND bucket = 65535 AND epoch = 7", "WHERE %i AND epoch = %u",
               &item, (uint64_t)7);
}

static void test_all_together(void **state)
{
    (void)state;
    EXPECT_SQL("x'61' 1 -2 NULL '1970-01-01 00:00:01.000' 'lua' %", "%s %u %d %o %t %w %%",
               STR("a"), (uint64_t)1, (int64_t)-2, &ORDER_ID_NONE, (uint64_t)1000, "lua");
}

/* In steps that end on either side of each doubling. */
static void test_growth(void **state)
{
    (void)state;
    sql_t sql = {NULL, 0, 0};
    for (unsigned i = 0; i < 20000; ++i)
        sql_add(&sql, i == 0 ? "%s" : ", %s", STR("xyz"));
    assert_int_equal(sql.n, 20000 * 9 + 19999 * 2);
    for (size_t at = 0; at < sql.n; at += 11)
        assert_memory_equal(sql.p + at, "x'78797a'", 9);
    assert_true(sql.capacity >= sql.n);
    sql_free(&sql);
}

static void test_one_huge_value(void **state)
{
    (void)state;
    const size_t n = 100000;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, '\'', n);
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "%s;", (str_t){bytes, n});
    free(bytes);
    assert_int_equal(sql.n, 2 * n + 4);
    assert_memory_equal(sql.p + sql.n - 4, "27';", 4);
    assert_int_equal(strspn(sql.p + 2, "27"), 2 * n);
    sql_free(&sql);
}

static void test_reset_keeps_memory(void **state)
{
    (void)state;
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "a long statement");
    const char *before = sql.p;
    size_t capacity = sql.capacity;
    sql_reset(&sql);
    assert_int_equal(sql.n, 0);
    sql_add(&sql, "short");
    assert_ptr_equal(sql.p, before);
    assert_int_equal(sql.capacity, capacity);
    assert_int_equal(sql.n, 5);
    sql_free(&sql);
    assert_null(sql.p);
    assert_int_equal(sql.n + sql.capacity, 0);
    sql_free(&sql); /* harmless */
}

/* --- mistakes of the program itself end it --- */

static void add_unknown_directive(void)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "%x", 1);
}

static void add_lonely_percent(void)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "LIKE 'a%");
}

static void add_word_with_quote(void)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "%w", "x', total = '9");
}

static void add_word_in_capitals(void)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "%w", "NOW");
}

static void expect_abort(void (*what)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        what();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_mistakes_abort(void **state)
{
    (void)state;
    expect_abort(add_unknown_directive);
    expect_abort(add_lonely_percent);
    expect_abort(add_word_with_quote);
    expect_abort(add_word_in_capitals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),          cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_hostile_bytes),  cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_times),
        cmocka_unit_test(test_words),          cmocka_unit_test(test_order_ids),
        cmocka_unit_test(test_items),          cmocka_unit_test(test_growth),
        cmocka_unit_test(test_all_together),   cmocka_unit_test(test_growth),
        cmocka_unit_test(test_one_huge_value), cmocka_unit_test(test_reset_keeps_memory),
        cmocka_unit_test(test_mistakes_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
