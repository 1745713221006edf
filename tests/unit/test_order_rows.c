/* Lines of a report: CSV as RFC 4180 has it and without formulas, NDJSON, and the choice between
   them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admin/order_rows.h"

static void expect_field(const char *value, const char *field)
{
    char *text = calloc(1, 2 * strlen(value) + 4), *at = text;
    assert_non_null(text);
    csv_field_put(&at, str_of(value));
    assert_string_equal(text, field);
    free(text);
}

static void fields_are_quoted_as_rfc_4180_says(void **state)
{
    (void)state;
    expect_field("", "");
    expect_field("plain text", "plain text");
    expect_field("a,b", "\"a,b\"");
    expect_field("say \"x\"", "\"say \"\"x\"\"\"");
    expect_field("two\nlines", "\"two\nlines\"");
    expect_field("two\rlines", "\"two\rlines\"");
    expect_field("\"", "\"\"\"\"");
    expect_field("\xc3\xa9", "\xc3\xa9");
}

/* One ' is put in front of what a spreadsheet would take for a formula, and of what begins with
   one: whoever takes one off has the value. */
static void no_field_is_a_formula(void **state)
{
    (void)state;
    expect_field("=1+1", "'=1+1");
    expect_field("+1", "'+1");
    expect_field("-1", "'-1");
    expect_field("@SUM(A1)", "'@SUM(A1)");
    expect_field("\t=1", "'\t=1");
    expect_field("\r=1", "\"'\r=1\"");
    expect_field("=A1,\"x\"", "\"'=A1,\"\"x\"\"\"");
    expect_field("'=1", "''=1");
    expect_field("a=1", "a=1");
    expect_field("1-2", "1-2");
}

static order_t some_order(const char *buyer)
{
    order_t order = {.quantity = 2, .state = ORDER_HELD, .created_at_ms = 1796000000123};
    assert_true(order_id_parse(STR("01a1fc3d-5927-7395-afbd-bfb68af547ca"), &order.id));
    order_set_sku(&order, STR("poster"));
    order_set_buyer(&order, str_of(buyer));
    return order;
}

static void expect_row(orders_format_t format, const order_t *order, const char *row)
{
    char text[ORDER_ROW_MAX + 1] = "", *at = text;
    order_row_put(&at, format, order);
    *at = '\0';
    assert_string_equal(text, row);
}

static void a_row_has_what_an_order_has(void **state)
{
    (void)state;
    order_t order = some_order("=a,b");
    order.expires_at_ms = 1796000001000;
    expect_row(ORDERS_CSV, &order,
               "01a1fc3d-5927-7395-afbd-bfb68af547ca,poster,\"'=a,b\",2,held,"
               "2026-11-30T00:53:20.123Z,2026-11-30T00:53:21.000Z,,\r\n");
    order.state = ORDER_REJECTED;
    order.expires_at_ms = 0;
    order.reject_code = PROBLEM_SOLD_OUT;
    order.original_id = order.id;
    expect_row(ORDERS_CSV, &order,
               "01a1fc3d-5927-7395-afbd-bfb68af547ca,poster,\"'=a,b\",2,rejected,"
               "2026-11-30T00:53:20.123Z,,sold_out,01a1fc3d-5927-7395-afbd-bfb68af547ca\r\n");
    order = some_order("a\"b");
    expect_row(ORDERS_NDJSON, &order,
               "{\"order_id\":\"01a1fc3d-5927-7395-afbd-bfb68af547ca\",\"sku\":\"poster\","
               "\"buyer_id\":\"a\\\"b\",\"quantity\":2,\"state\":\"held\","
               "\"created_at\":\"2026-11-30T00:53:20.123Z\",\"expires_at\":null,"
               "\"reject_code\":null,\"original_order_id\":null}\n");
}

static void the_longest_row_has_room(void **state)
{
    (void)state;
    char worst[BUYER_BYTES_MAX + 1];
    memset(worst, '"', BUYER_BYTES_MAX);
    worst[BUYER_BYTES_MAX] = '\0';
    order_t order = some_order(worst);
    order.quantity = UINT32_MAX;
    order.reject_code = PROBLEM_BUYER_LIMIT_EXCEEDED;
    order.expires_at_ms = order.created_at_ms;
    order.original_id = order.id;
    for (int format = ORDERS_NDJSON; format <= ORDERS_CSV; ++format) {
        char *text = malloc(ORDER_ROW_MAX), *at = text; /* a sanitizer watches its end */
        order_row_put(&at, (orders_format_t)format, &order);
        assert_in_range(at - text, 300, ORDER_ROW_MAX);
        free(text);
    }
}

static void the_format_is_the_one_that_is_liked_best(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        orders_format_t format;
    } cases[] = {
        {"", ORDERS_JSON},
        {"*/*", ORDERS_JSON},
        {"text/html", ORDERS_JSON},
        {"text/csv", ORDERS_CSV},
        {"Text/CSV", ORDERS_CSV},
        {"text/*", ORDERS_CSV},
        {" application/x-ndjson ; charset=utf-8", ORDERS_NDJSON},
        {"text/html, application/x-ndjson;q=0.9, */*;q=0.8", ORDERS_NDJSON},
        {"text/csv;q=0.5, application/x-ndjson;q=0.7", ORDERS_NDJSON},
        {"text/csv;q=0.7, application/x-ndjson;q=0.70", ORDERS_CSV},
        {"text/csv;q=0, application/json", ORDERS_JSON},
        {"text/csv;q=0", ORDERS_JSON},
        {"application/json, text/csv", ORDERS_JSON},
        {"text/csvx", ORDERS_JSON},
        {",,;q=1,text/csv", ORDERS_CSV},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i)
        assert_int_equal(orders_format_accepted(str_of(cases[i].accept)), cases[i].format);
    orders_format_t format;
    assert_true(orders_format_parse(STR("csv"), &format) && format == ORDERS_CSV);
    assert_true(orders_format_parse(STR("ndjson"), &format) && format == ORDERS_NDJSON);
    assert_true(orders_format_parse(STR("json"), &format) && format == ORDERS_JSON);
    assert_false(orders_format_parse(STR("CSV"), &format));
    assert_false(orders_format_parse(STR(""), &format));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_quoted_as_rfc_4180_says),
        cmocka_unit_test(no_field_is_a_formula),
        cmocka_unit_test(a_row_has_what_an_order_has),
        cmocka_unit_test(the_longest_row_has_room),
        cmocka_unit_test(the_format_is_the_one_that_is_liked_best),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
