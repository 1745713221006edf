/*
 * `holdfast audit` of a sale that it does not read at once: orders in several chunks, sums and held
 * orders for which there is too little memory, reminders in several pages. Whatever lies on both
 * sides of a boundary is found, once.
 */
#include "integration/audit_sale.h"

#define CROWD 40
#define ORDERS (4 + CROWD) /* with those of the sale */

/* One order of a unit each, between the first orders of the sale and what comes later. */
static void insert_crowd(void)
{
    change("UPDATE inventory SET total = 1000 WHERE sku = %s");
    for (unsigned i = 0; i < CROWD; ++i)
        insert_order(new_id(), test_text("crowd-%u", i), 1, "confirmed", test_text("key-%u", i));
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, "UPDATE inventory SET allocated_total = allocated_total + %u WHERE sku = %s",
            (uint64_t)CROWD, str_of(sale.sku));
    run_sql(&sql);
    /* The gate is not what is tried here. */
    change("UPDATE inventory SET strategy = 'optimistic' WHERE sku = %s");
}

static void settle_row(void)
{
    change("UPDATE inventory SET allocated_total = released_total + (SELECT SUM(quantity) FROM "
           "orders o WHERE o.sku = inventory.sku AND state IN ('held', 'confirmed')) "
           "WHERE sku = %s");
}

/* Bounds of chunks below, at and above the number of orders, and bounds of memory. */
static const char *const bounds[] = {
    NULL,
    "audit_chunk error=1\n",
    "audit_chunk error=7\naudit_held error=1\naudit_reminders error=1\n",
    "audit_chunk error=44\naudit_reminders error=2\n", /* ORDERS */
    "audit_chunk error=45\n",
    "audit_sums error=128\n", /* bytes, of 16 a buyer or key */
    "audit_chunk error=3\naudit_sums error=256\naudit_held error=2\n",
};
#define BOUNDS (sizeof(bounds) / sizeof(bounds[0]))

/* Audits under each of the bounds; `look` looks at what is found. */
static void audit_each_way(const char *letters, void (*look)(const cJSON *audit))
{
    for (unsigned i = 0; i < BOUNDS; ++i) {
        set_bounds(bounds[i]);
        const cJSON *audit = audit_finds(letters);
        if (look != NULL)
            look(audit);
    }
    set_bounds(NULL);
}

static void looks_sound(const cJSON *audit)
{
    EXPECT_NUMBER(total(audit, "orders"), ORDERS);
    EXPECT_NUMBER(total(audit, "live_orders"), ORDERS - 1);
    EXPECT_NUMBER(total(audit, "live_units"), ORDERS);
    EXPECT_NUMBER(number(invariant(audit, "C"), "grandfathered"), 0);
    EXPECT_NUMBER(number(invariant(audit, "D"), "checked"), CROWD + 3);
    EXPECT_NUMBER(number(invariant(audit, "E"), "checked"), 1);
}

static void test_each_order_counts_once(void **state)
{
    (void)state;
    insert_crowd();
    audit_each_way("", looks_sound);
    /* Too little memory for all at once: so it was tried. */
    set_bounds("audit_sums error=128\naudit_scans_again error=1\n");
    audit_finds("");
    EXPECT(bounds_hits("audit_scans_again") > 1, "one scan was enough");
}

static void looks_one_unit_off(const cJSON *audit)
{
    const cJSON *numbers = violation(audit, "A");
    EXPECT_NUMBER(number(numbers, "live_units"), ORDERS);
    EXPECT_NUMBER(number(numbers, "allocated"), ORDERS + 1);
}

static void test_a_is_of_all_chunks(void **state)
{
    (void)state;
    insert_crowd();
    change("UPDATE inventory SET allocated_total = allocated_total + 1 WHERE sku = %s");
    audit_each_way("A", looks_one_unit_off);
}

/* --- C --- */

static void looks_past_the_limit(const cJSON *audit)
{
    const cJSON *numbers = violation(audit, "C");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "buyer_id")), "ann");
    EXPECT_NUMBER(number(numbers, "live_units"), LIMIT + 1);
}

/* Each of the orders is within the limit; the first and the last make it too many. */
static void test_c_units_on_both_sides_of_a_crowd(void **state)
{
    (void)state;
    insert_crowd();
    insert_order(new_id(), "ann", 1, "confirmed", NULL);
    settle_row();
    audit_each_way("C", looks_past_the_limit);
}

static void looks_grandfathered(const cJSON *audit)
{
    EXPECT_NUMBER(number(invariant(audit, "C"), "grandfathered"), 2);
}

static void looks_disproved(const cJSON *audit)
{
    looks_past_the_limit(audit);
    EXPECT_NUMBER(number(invariant(audit, "C"), "grandfathered"), 1);
}

/* All orders are from before the limit was lowered, until one comes after all others. */
static void test_c_a_late_order_disproves_that_all_are_early(void **state)
{
    (void)state;
    insert_crowd();
    insert_order(new_id(), "ann", 1, "confirmed", NULL);
    insert_order(new_id(), "bob", 2, "confirmed", NULL);
    settle_row();
    change("UPDATE orders SET epoch = epoch - 1 WHERE sku = %s");
    change("UPDATE inventory SET per_buyer_limit = 2, limit_epoch = epoch WHERE sku = %s");
    audit_each_way("", looks_grandfathered);
    change("UPDATE orders SET epoch = epoch + 1 WHERE sku = %s AND buyer_id = 'ann' "
           "ORDER BY order_id DESC LIMIT 1");
    audit_each_way("C", looks_disproved);
}

static void looks_all_past(const cJSON *audit)
{
    EXPECT_NUMBER(number(invariant(audit, "C"), "violations_total"), CROWD + 2);
}

static void test_c_all_buyers_are_past_the_limit(void **state)
{
    (void)state;
    insert_crowd();
    for (unsigned i = 0; i < CROWD; ++i)
        insert_order(new_id(), test_text("crowd-%u", i), 1, "confirmed", NULL);
    insert_order(new_id(), "bob", 1, "confirmed", NULL);
    settle_row();
    change("UPDATE inventory SET per_buyer_limit = 1 WHERE sku = %s");
    audit_each_way("C", looks_all_past);
}

/* --- D --- */

static void looks_doubled(const cJSON *audit)
{
    const cJSON *numbers = violation(audit, "D");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "idempotency_key")),
                        "key-1");
    EXPECT_NUMBER(number(numbers, "orders"), 3);
}

/* It is found with another index of that name, and without any. */
static void test_d_a_key_on_both_sides_of_a_crowd(void **state)
{
    (void)state;
    insert_crowd();
    run_text(here.config, sale.shard, "ALTER TABLE orders DROP INDEX orders_idempotency");
    insert_order(new_id(), "ann", 1, "cancelled", "key-1");
    insert_order(new_id(), "ann", 1, "cancelled", "key-1");
    audit_each_way("D", looks_doubled);
    run_text(here.config, sale.shard,
             "ALTER TABLE orders ADD INDEX orders_idempotency (sku, buyer_id, idempotency_key)");
    audit_each_way("D", looks_doubled);
    change("UPDATE orders SET idempotency_key = HEX(order_id) WHERE sku = %s");
    run_text(here.config, sale.shard,
             "ALTER TABLE orders DROP INDEX orders_idempotency, "
             "ADD UNIQUE INDEX orders_idempotency (sku, buyer_id, idempotency_key)");
    audit_each_way("", NULL);
}

static void add_loser(order_id_t id, order_id_t winner)
{
    sql_t sql = {NULL, 0, 0};
    insert_order(id, "ann", 1, "rejected", NULL);
    sql_add(&sql, "UPDATE orders SET original_order_id = %o WHERE order_id = %o", &winner, &id);
    run_sql(&sql);
}

static void looks_lost(const cJSON *audit)
{
    EXPECT(cJSON_GetObjectItem(violation(audit, "D"), "original_order_id") != NULL, "another one");
}

/* The winner may be the older or the younger of the two, on the other side of the crowd. */
static void test_d_a_winner_on_the_other_side(void **state)
{
    (void)state;
    order_id_t early = new_id(), none = new_id();
    insert_crowd();
    order_id_t late = insert_order(new_id(), "zoe", 1, "cancelled", "key");
    add_loser(early, late);
    add_loser(new_id(), sale.ids[0]);
    insert_order(new_id(), "ann", 1, "rejected", NULL); /* for another reason */
    audit_each_way("", NULL);
    add_loser(new_id(), none);
    audit_each_way("D", looks_lost);
}

/* --- E --- */

static void looks_unreminded(const cJSON *audit)
{
    char text[ORDER_ID_TEXT + 1];
    const cJSON *numbers = violation(audit, "E");
    order_id_format(text, &sale.ids[0]);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "order_id")), text);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "sku")), sale.sku);
}

static void test_e_one_of_many_held_has_no_reminder(void **state)
{
    (void)state;
    insert_crowd();
    change("UPDATE orders SET state = 'held', expires_at = NOW(3) + INTERVAL 2 HOUR WHERE sku = %s "
           "AND buyer_id LIKE 'crowd-%%'");
    change("INSERT INTO holds SELECT expires_at, order_id FROM orders WHERE sku = %s "
           "AND buyer_id LIKE 'crowd-%%'"); /* all of one moment */
    audit_each_way("", NULL);
    change("DELETE FROM holds WHERE order_id IN (SELECT order_id FROM orders WHERE sku = %s AND "
           "buyer_id = 'ann')");
    audit_each_way("E", looks_unreminded);
    change("INSERT INTO holds SELECT '1969-07-20 00:00:00', order_id FROM orders WHERE sku = %s "
           "AND buyer_id = 'ann' AND state = 'held'");
    audit_each_way("", NULL);
}

/* Zeros are an id like others in the table, and stand for none in the code. */
static void test_an_order_whose_id_is_zeros(void **state)
{
    (void)state;
    insert_crowd();
    change("UPDATE orders SET order_id = x'00' WHERE sku = %s AND buyer_id = 'ann' AND "
           "state = 'held'");
    audit_each_way("E", NULL);
    run_on_all(here.config, "UPDATE holds SET order_id = x'00'");
    audit_each_way("", looks_sound);
}

/* --- beside a sale --- */

static _Atomic bool writing;

static void *commit(void *shard)
{
    db_t *db = open_shard(here.config, *(const unsigned *)shard);
    while (atomic_load(&writing))
        db_run(db, "START TRANSACTION; COMMIT; START TRANSACTION; COMMIT");
    db_free(db);
    db_thread_end();
    return NULL;
}

/* Four chunks, each in a fraction of the half second that the pace gives it. */
static unsigned rests_of_audit(void)
{
    set_bounds("audit_chunk error=11\naudit_pace error=22\naudit_rests error=1\n");
    audit_finds("");
    return bounds_hits("audit_rests");
}

static unsigned rests_beside_sale_at(unsigned shard)
{
    pthread_t thread;
    atomic_store(&writing, true);
    assert_int_equal(pthread_create(&thread, NULL, commit, &shard), 0);
    unsigned rests = rests_of_audit();
    atomic_store(&writing, false);
    pthread_join(thread, NULL);
    return rests;
}

static void test_the_scan_rests_beside_a_sale(void **state)
{
    (void)state;
    insert_crowd();
    unsigned beside = rests_beside_sale_at(sale.shard), alone = rests_of_audit();
    EXPECT(beside > alone, "%u rests beside a sale, %u alone", beside, alone);
}

/* The servers may share the cores. The other shard has no orders, so its part of the audit has
   ended long before; it may see the sale too late for the few chunks here, so that is repeated. */
static void test_the_scan_rests_beside_a_sale_at_another_shard(void **state)
{
    (void)state;
    insert_crowd();
    EXPECT(here.config->shards_count == 2, "two shards are needed");
    unsigned alone = rests_of_audit();
    WAIT_UNTIL(rests_beside_sale_at(1 - sale.shard) > alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_each_order_counts_once),
        CASE(test_a_is_of_all_chunks),
        CASE(test_c_units_on_both_sides_of_a_crowd),
        CASE(test_c_a_late_order_disproves_that_all_are_early),
        CASE(test_c_all_buyers_are_past_the_limit),
        CASE(test_d_a_key_on_both_sides_of_a_crowd),
        CASE(test_d_a_winner_on_the_other_side),
        CASE(test_e_one_of_many_held_has_no_reminder),
        CASE(test_an_order_whose_id_is_zeros),
        CASE(test_the_scan_rests_beside_a_sale),
        CASE(test_the_scan_rests_beside_a_sale_at_another_shard),
    };
    return test_run("audit in chunks", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
