/* The text of a batch: which columns it has, and how it changes one row or many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "work/writer_text.h"

#define NOW_MS UINT64_C(1795734000123)
#define ORDERS_MAX 3

static writer_order_t orders[ORDERS_MAX];
static writer_order_t *batch[ORDERS_MAX];
static rows_t rows;
static sql_t sql;

static int start(void **state)
{
    (void)state;
    memset(orders, 0, sizeof(orders));
    for (unsigned i = 0; i < ORDERS_MAX; ++i) {
        writer_order_t *o = batch[i] = &orders[i];
        memset(o->order.id.bytes, (int)i + 1, sizeof(o->order.id.bytes));
        order_set_sku(&o->order, STR("item"));
        order_set_buyer(&o->order, STR("bob"));
        o->order.quantity = 1;
        o->order.state = ORDER_CONFIRMED;
        o->order.digest = 77;
        o->key = STR_NONE;
        o->epoch = 9;
        o->admitted_epoch = 8;
    }
    sql_reset(&sql);
    return 0;
}

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
}

#define COLUMNS                                                                                    \
    "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, updated_at"
#define ID(digit_)                                                                                 \
    "x'0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_      \
    "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "0" digit_ "'"
#define TIME "'2026-11-26 23:00:00.123'"
#define ROW(digit_, state_) "(" ID(digit_) ",x'6974656d',x'626f62',1,'" state_ "',8," TIME "," TIME
#define END " ON DUPLICATE KEY UPDATE order_id = orders.order_id"

static void add_insert(unsigned count)
{
    writer_make_rows(&rows, batch, count, NOW_MS);
    rows_add_insert(&sql, &rows);
}

static void plain_orders_have_no_columns_to_spare(void **state)
{
    (void)state;
    add_insert(2);
    expect(COLUMNS ") VALUES " ROW("1", "confirmed") ")," ROW("2", "confirmed") ")" END);
    assert_int_equal(orders[0].order.created_at_ms, NOW_MS);
    assert_int_equal(orders[0].order.expires_at_ms, 0);
}

static void one_hold_gives_all_a_deadline_or_none(void **state)
{
    (void)state;
    orders[1].hold_seconds = 60;
    add_insert(2);
    expect(COLUMNS ", expires_at) VALUES " ROW("1", "confirmed") ",NULL)," ROW(
        "2", "held") ",'2026-11-26 23:01:00.123')" END);
    assert_int_equal(orders[1].order.state, ORDER_HELD);
    assert_int_equal(orders[1].order.expires_at_ms, NOW_MS + 60000);
}

static void a_key_brings_its_digest(void **state)
{
    (void)state;
    orders[0].key = STR("k");
    add_insert(2);
    expect(COLUMNS ", idempotency_key, request_digest) VALUES " ROW(
        "1", "confirmed") ",x'6b',77)," ROW("2", "confirmed") ",NULL,77)" END);
}

/* A repeat of its key, which it has lost, is still told from another request by the digest. */
static void a_rejected_order_says_why_and_keeps_its_digest(void **state)
{
    (void)state;
    orders[0].order.state = ORDER_REJECTED;
    orders[0].order.reject_code = PROBLEM_DUPLICATE_REQUEST;
    orders[0].order.original_id = orders[1].order.id;
    orders[0].hold_seconds = 60; /* of the item; a rejected order is no hold */
    add_insert(2);
    expect(COLUMNS ", expires_at, idempotency_key, request_digest, reject_code, original_order_id) "
                   "VALUES " ROW("1", "rejected") ",NULL,NULL,77,'duplicate_request'," ID(
                       "2") ")," ROW("2", "confirmed") ",NULL,NULL,77,NULL,NULL)" END);
    assert_int_equal(orders[0].order.expires_at_ms, 0);
}

static void holds_have_reminders_and_others_none(void **state)
{
    (void)state;
    add_insert(2);
    sql_reset(&sql);
    assert_false(writer_add_reminders(&sql, "; ", batch, 2));
    assert_int_equal(sql.n, 0);
    orders[1].hold_seconds = 60;
    add_insert(2);
    sql_reset(&sql);
    assert_true(writer_add_reminders(&sql, "; ", batch, 2));
    expect("; INSERT INTO holds (expires_at, order_id) VALUES ('2026-11-26 23:01:00.123', " ID(
        "2") ") ON DUPLICATE KEY UPDATE order_id = holds.order_id");
}

static void one_row_is_guarded(void **state)
{
    (void)state;
    const writer_group_t groups[] = {{batch, 1, 0, 4, NULL}, {batch + 1, 1, 3, 5, NULL}};
    writer_add_update(&sql, groups, 2);
    expect("UPDATE inventory FORCE INDEX (PRIMARY) SET allocated_total = allocated_total + 3, "
           "version = version + 1, "
           "updated_at = NOW(3) WHERE sku = x'6974656d' AND bucket = 0 AND version = 5 AND "
           "epoch = 9 AND allocated_total - released_total + 3 <= total");
}

static void many_rows_are_guarded_each_by_its_own(void **state)
{
    (void)state;
    order_set_sku(&orders[2].order, STR("k"));
    orders[2].epoch = 10;
    const writer_group_t groups[] = {
        {batch, 1, 2, 4, NULL}, {batch + 1, 1, 0, 5, NULL}, {batch + 2, 1, 1, 6, NULL}};
    assert_int_equal(writer_groups_live(groups, 3), 2);
    writer_add_update(&sql, groups, 3);
    expect(
        "UPDATE (SELECT x'6974656d' AS sku, 2 AS units, 4 AS version, 9 AS epoch "
        "UNION ALL SELECT x'6b',1,6,10) AS intended STRAIGHT_JOIN inventory FORCE INDEX (PRIMARY) "
        "SET inventory.allocated_total = inventory.allocated_total + intended.units, "
        "inventory.version = inventory.version + 1, inventory.updated_at = NOW(3) "
        "WHERE inventory.sku = intended.sku AND inventory.bucket = 0 "
        "AND inventory.version = intended.version AND inventory.epoch = intended.epoch "
        "AND inventory.allocated_total - inventory.released_total + intended.units "
        "<= inventory.total");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plain_orders_have_no_columns_to_spare, start),
        cmocka_unit_test_setup(one_hold_gives_all_a_deadline_or_none, start),
        cmocka_unit_test_setup(a_key_brings_its_digest, start),
        cmocka_unit_test_setup(a_rejected_order_says_why_and_keeps_its_digest, start),
        cmocka_unit_test_setup(holds_have_reminders_and_others_none, start),
        cmocka_unit_test_setup(one_row_is_guarded, start),
        cmocka_unit_test_setup(many_rows_are_guarded_each_by_its_own, start),
    };
    return cmocka_run_group_tests(tests, NULL, stop);
}
