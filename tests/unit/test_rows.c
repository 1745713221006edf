/* The rows of an INSERT: their cells, and the text that they print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/rows.h"

#define TIME_MS UINT64_C(1795734000123)

static rows_t rows;
static sql_t sql;

static int stop(void **state)
{
    (void)state;
    rows_free(&rows);
    sql_free(&sql);
    return 0;
}

static void expect(const char *text)
{
    assert_int_equal(sql.n, strlen(text));
    assert_memory_equal(sql.p, text, sql.n);
    sql_reset(&sql);
}

static const order_id_t *some_id(void)
{
    static order_id_t id;
    memset(id.bytes, 0x0a, sizeof(id.bytes));
    return &id;
}

#define ID "x'0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a'"
#define HEAD "INSERT INTO t (id, name, state, n, at) VALUES "

static void begin(unsigned count)
{
    rows_begin(&rows, "t", " ON DUPLICATE KEY UPDATE id = t.id", count);
    rows_column(&rows, "id", ROWS_BYTES);
    rows_column(&rows, "name", ROWS_BYTES);
    rows_column(&rows, "state", ROWS_WORD);
    rows_column(&rows, "n", ROWS_U64);
    rows_column(&rows, "at", ROWS_TIME);
}

static void add_full(void)
{
    rows_add_order_id(&rows, some_id());
    rows_add_bytes(&rows, STR("a'\\"));
    rows_add_word(&rows, "held");
    rows_add_u64(&rows, UINT64_MAX);
    rows_add_time(&rows, TIME_MS);
}

static void add_empty(const order_id_t *id)
{
    rows_add_order_id(&rows, id);
    rows_add_bytes(&rows, STR_NONE);
    rows_add_word(&rows, NULL);
    rows_add_u64(&rows, 0);
    rows_add_time(&rows, 0);
}

static void values_are_printed_as_sql_prints_them(void **state)
{
    (void)state;
    static const order_id_t none;
    begin(3);
    add_full();
    add_empty(NULL);
    add_empty(&none);
    assert_int_equal(rows.count, 3);
    rows_add_insert(&sql, &rows);
    expect(HEAD "(" ID ",x'61275c','held',18446744073709551615,'2026-11-26 23:00:00.123'),"
                "(NULL,NULL,NULL,0,NULL),(NULL,NULL,NULL,0,NULL)"
                " ON DUPLICATE KEY UPDATE id = t.id");
}

/* Empty bytes are a value, and NULL is none. */
static void empty_bytes_are_not_null(void **state)
{
    (void)state;
    rows_begin(&rows, "t", "", 1);
    rows_column(&rows, "name", ROWS_BYTES);
    rows_add_bytes(&rows, STR(""));
    assert_int_equal(rows.columns[0].is_null[0], 0);
    rows_add_insert(&sql, &rows);
    expect("INSERT INTO t (name) VALUES (x'')");
}

static void parameters_stand_for_one_row(void **state)
{
    (void)state;
    begin(2);
    add_full();
    rows_add_prepared(&sql, &rows);
    expect(HEAD "(?,?,?,?,?) ON DUPLICATE KEY UPDATE id = t.id");
}

static void cells_are_kept_by_column(void **state)
{
    (void)state;
    begin(2);
    add_empty(NULL);
    add_full();
    assert_int_equal(rows.count, 2);
    for (unsigned i = 0; i < rows.columns_count; ++i) {
        assert_int_equal(rows.columns[i].is_null[0], i != 3); /* a number is never NULL */
        assert_int_equal(rows.columns[i].is_null[1], 0);
    }
    assert_int_equal(rows.columns[0].numbers[1], 16);
    assert_memory_equal(rows.columns[1].bytes[1], "a'\\", 3);
    assert_int_equal(rows.columns[1].numbers[1], 3);
    assert_int_equal(rows.columns[2].numbers[1], 4);
    assert_int_equal(rows.columns[3].numbers[1], UINT64_MAX);
    assert_int_equal(rows.columns[4].numbers[1], TIME_MS);
}

/* The memory is used again, for more rows and for other columns. */
static void rows_begin_again(void **state)
{
    (void)state;
    begin(1);
    add_full();
    rows_begin(&rows, "u", "", 500);
    rows_column(&rows, "n", ROWS_U64);
    for (unsigned i = 0; i < 500; ++i)
        rows_add_u64(&rows, i);
    assert_int_equal(rows.count, 500);
    assert_int_equal(rows.columns[0].numbers[499], 499);
    rows_begin(&rows, "u", "", 2);
    rows_column(&rows, "at", ROWS_TIME);
    rows_column(&rows, "n", ROWS_U64);
    rows_add_time(&rows, 0);
    rows_add_u64(&rows, 7);
    rows_add_insert(&sql, &rows);
    expect("INSERT INTO u (at, n) VALUES (NULL,7)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(values_are_printed_as_sql_prints_them, stop),
        cmocka_unit_test_teardown(empty_bytes_are_not_null, stop),
        cmocka_unit_test_teardown(parameters_stand_for_one_row, stop),
        cmocka_unit_test_teardown(cells_are_kept_by_column, stop),
        cmocka_unit_test_teardown(rows_begin_again, stop),
    };
    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
