/* `holdfast audit`, on: limits, keys and reminders, each broken by hand and mended (C, D, E). */
#include "integration/audit_sale.h"

/* --- C --- */

static void test_c_past_the_limit(void **state)
{
    (void)state;
    change("UPDATE inventory SET per_buyer_limit = 2 WHERE sku = %s");
    const cJSON *numbers = violation(audit_finds("C"), "C");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "buyer_id")), "ann");
    EXPECT_NUMBER(number(numbers, "live_units"), 3);
    EXPECT_NUMBER(number(numbers, "per_buyer_limit"), 2);
    /* One order is past it by itself: nothing follows from how many a buyer has. */
    change("UPDATE inventory SET per_buyer_limit = 1 WHERE sku = %s");
    numbers = violation(audit_finds("C"), "C");
    EXPECT_NUMBER(number(numbers, "live_units"), 3);
    change("UPDATE inventory SET per_buyer_limit = 0 WHERE sku = %s");
    audit_finds("");
}

static void test_c_an_item_without_a_limit_beside_one(void **state)
{
    (void)state;
    run_text(here.config, sale.shard,
             "UPDATE inventory SET allocated_total = 2 WHERE sku = 'by-sql'; INSERT INTO orders "
             "(order_id, sku, buyer_id, quantity, state, epoch, created_at, "
             "updated_at) VALUES (x'01', 'by-sql', 'cy', 2, 'confirmed', 1, NOW(3), NOW(3))");
    change("UPDATE inventory SET per_buyer_limit = 0 WHERE sku = %s");
    EXPECT_NUMBER(number(invariant(audit_finds(""), "C"), "checked"), 1);
    change("UPDATE inventory SET per_buyer_limit = 2 WHERE sku = %s");
    audit_finds("C");
}

/* Orders from before the limit was lowered stay; so do those that a rebuild carried over, whose
   ids are older than the epoch that lowered it. */
static void test_c_earlier_orders_stay(void **state)
{
    (void)state;
    change("UPDATE inventory SET per_buyer_limit = 2, limit_epoch = epoch WHERE sku = %s");
    change("UPDATE orders SET epoch = epoch - 1 WHERE sku = %s");
    EXPECT_NUMBER(number(invariant(audit_finds(""), "C"), "grandfathered"), 1);
    change("UPDATE orders SET epoch = epoch + 1 WHERE sku = %s AND state = 'held'");
    audit_finds("C");
    change("UPDATE orders SET order_id = CONCAT(x'000000000001', SUBSTR(order_id, 7)) "
           "WHERE sku = %s AND state = 'held'");
    change("INSERT INTO holds SELECT expires_at, order_id FROM orders WHERE sku = %s "
           "AND state = 'held'"); /* it is another order now */
    EXPECT_NUMBER(number(invariant(audit_finds(""), "C"), "grandfathered"), 1);
}

/* --- D --- */

static void test_d_two_orders_of_a_key(void **state)
{
    (void)state;
    run_text(here.config, sale.shard,
             "ALTER TABLE orders DROP INDEX orders_idempotency, "
             "ADD INDEX orders_idempotency (sku, buyer_id, idempotency_key)");
    change("UPDATE orders SET idempotency_key = 'key-1' WHERE sku = %s");
    const cJSON *list = cJSON_GetObjectItem(invariant(audit_finds("D"), "D"), "violations");
    EXPECT_NUMBER(cJSON_GetArraySize(list), 2);
    EXPECT_NUMBER(number(cJSON_GetArrayItem(list, 0), "orders"), 2);
    change("UPDATE orders SET idempotency_key = HEX(order_id) WHERE sku = %s");
    run_text(here.config, sale.shard,
             "ALTER TABLE orders DROP INDEX orders_idempotency, "
             "ADD UNIQUE INDEX orders_idempotency (sku, buyer_id, idempotency_key)");
    audit_finds("");
}

static void test_d_winner_is_gone(void **state)
{
    (void)state;
    sql_t sql = {NULL, 0, 0};
    order_id_t loser = insert_order(new_id(), "ann", 1, "rejected", NULL);
    sql_add(&sql, "UPDATE orders SET original_order_id = %o WHERE order_id = %o", &sale.ids[0],
            &loser);
    run_sql(&sql);
    audit_finds("");
    sql_add(&sql, "UPDATE orders SET original_order_id = x'07' WHERE order_id = %o", &loser);
    run_sql(&sql);
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, &loser);
    const cJSON *numbers = violation(audit_finds("D"), "D");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "order_id")), text);
    change("DELETE FROM orders WHERE sku = %s AND state = 'rejected'");
    audit_finds("");
}

/* --- E --- */

static void test_e_reminder_is_gone_or_too_late(void **state)
{
    (void)state;
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, &sale.ids[0]);
    run_on_all(here.config, "UPDATE holds SET expires_at = expires_at + INTERVAL 1 SECOND");
    const cJSON *numbers = violation(audit_finds("E"), "E");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "order_id")), text);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "sku")), sale.sku);
    run_on_all(here.config, "DELETE FROM holds");
    audit_finds("E");
    /* As deploy/README.md has it for what an older release has held. */
    run_on_all(here.config, "INSERT IGNORE INTO holds SELECT expires_at, order_id FROM orders "
                            "WHERE state = 'held'");
    audit_finds("");
    run_on_all(here.config, "DELETE FROM holds");
    change("UPDATE orders SET state = 'confirmed' WHERE sku = %s AND state = 'held'");
    audit_finds("");
}

/* Only of a held order: what has expired needs none any more, whatever else is held. */
static void test_e_only_held_orders_need_one(void **state)
{
    (void)state;
    insert_order(new_id(), "dan", 1, "held", NULL);
    change("UPDATE inventory SET allocated_total = allocated_total + 1 WHERE sku = %s");
    build_gate_again(5);
    change("DELETE FROM holds WHERE order_id IN (SELECT order_id FROM orders WHERE sku = %s "
           "AND buyer_id = 'dan')");
    violation(audit_finds("E"), "E");
    /* Its time is over, and nobody looks at it. */
    change("UPDATE orders SET expires_at = NOW(3) - INTERVAL 1 HOUR WHERE sku = %s "
           "AND buyer_id = 'dan'");
    violation(audit_finds("E"), "E");
    change("UPDATE orders SET state = 'expired' WHERE sku = %s AND buyer_id = 'dan'");
    change("UPDATE inventory SET released_total = released_total + 1 WHERE sku = %s");
    build_gate_again(4);
    audit_finds("");
}

/* As after an extend, after a confirm, and of an order that is nowhere. */
static void test_e_reminders_may_come_early_or_stay(void **state)
{
    (void)state;
    run_on_all(here.config, "UPDATE holds SET expires_at = expires_at - INTERVAL 1 SECOND; "
                            "INSERT INTO holds VALUES (NOW(3), x'01')");
    audit_finds("");
    change("INSERT INTO holds SELECT NOW(3), order_id FROM orders WHERE sku = %s");
    audit_finds("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_c_past_the_limit),
        CASE(test_c_an_item_without_a_limit_beside_one),
        CASE(test_c_earlier_orders_stay),
        CASE(test_d_two_orders_of_a_key),
        CASE(test_d_winner_is_gone),
        CASE(test_e_reminder_is_gone_or_too_late),
        CASE(test_e_only_held_orders_need_one),
        CASE(test_e_reminders_may_come_early_or_stay),
    };
    return test_run("audit of orders", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
