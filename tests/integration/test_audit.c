/*
 * `holdfast audit`, each as a process of its own: every invariant is broken by hand, found under
 * its letter and by no other, and found whole again when it is mended.
 */
#include "integration/audit_sale.h"

static void test_audit_of_a_sound_sale(void **state)
{
    (void)state;
    const cJSON *audit = audit_finds("");
    EXPECT_NUMBER(total(audit, "items"), 2);
    EXPECT_NUMBER(total(audit, "orders"), 4);
    EXPECT_NUMBER(total(audit, "live_orders"), 3);
    EXPECT_NUMBER(total(audit, "live_units"), 4);
    EXPECT_NUMBER(total(audit, "unsettled"), 0);
    EXPECT_NUMBER(number(invariant(audit, "A"), "checked"), 2);
    EXPECT_NUMBER(number(invariant(audit, "B"), "checked"), 1);
    EXPECT_NUMBER(number(invariant(audit, "C"), "grandfathered"), 0);
    EXPECT_NUMBER(number(invariant(audit, "D"), "checked"), 3);
    EXPECT_NUMBER(number(invariant(audit, "E"), "checked"), 1);
}

/* --- A --- */

static void test_a_order_with_other_units(void **state)
{
    (void)state;
    change("UPDATE orders SET quantity = 2 WHERE sku = %s AND buyer_id = 'bob' "
           "AND state = 'confirmed'");
    const cJSON *numbers = violation(audit_finds("A"), "A");
    EXPECT_NUMBER(number(numbers, "allocated"), 4);
    EXPECT_NUMBER(number(numbers, "live_units"), 5);
    change("UPDATE orders SET quantity = 1 WHERE sku = %s AND buyer_id = 'bob'");
    audit_finds("");
}

static void test_a_order_lost(void **state)
{
    (void)state;
    change("DELETE FROM orders WHERE sku = %s AND buyer_id = 'bob' AND state = 'confirmed'");
    EXPECT_NUMBER(number(violation(audit_finds("A"), "A"), "live_units"), 3);
    insert_order(sale.ids[2], "bob", 1, "confirmed", NULL);
    audit_finds("");
}

/* Freed, but not said so in released_total. */
static void test_a_state_alone(void **state)
{
    (void)state;
    change("UPDATE orders SET state = 'expired' WHERE sku = %s AND state = 'held'");
    EXPECT_NUMBER(number(violation(audit_finds("A"), "A"), "live_units"), 2);
    change("UPDATE orders SET state = 'held' WHERE sku = %s AND state = 'expired'");
    audit_finds("");
}

/* Even where the CHECK constraint is gone. */
static void test_a_oversold(void **state)
{
    (void)state;
    change("SET check_constraint_checks = 0; UPDATE inventory SET total = 3 WHERE sku = %s");
    const cJSON *audit = audit_finds("AB"); /* the gate, too, was built for 10 */
    EXPECT_NUMBER(number(violation(audit, "A"), "total"), 3);
    EXPECT_NUMBER(number(violation(audit, "B"), "drift"), 7);
    change("UPDATE inventory SET total = 10 WHERE sku = %s");
    audit_finds("");
}

static void test_a_orders_of_no_item(void **state)
{
    (void)state;
    run_text(here.config, sale.shard,
             "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, "
             "updated_at) VALUES (x'00', x'ff225c', 'eve', 7, 'confirmed', 1, NOW(3), NOW(3))");
    const cJSON *numbers = violation(audit_finds("A"), "A");
    EXPECT_NUMBER(number(numbers, "live_units"), 7);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(numbers, "sku")), "\\xff\"\\");
    run_text(here.config, sale.shard, "DELETE FROM orders WHERE buyer_id = 'eve'");
    audit_finds("");
}

/* A sells and takes back in transactions all the while: each snapshot is sound. */
static _Atomic bool selling;

static void *sell(void *unused)
{
    (void)unused;
    db_t *db = open_shard(here.config, sale.shard);
    unsigned sold = 0;
    while (atomic_load(&selling)) {
        db_run(db,
               "START TRANSACTION;"
               "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, "
               "created_at, updated_at) VALUES (x'01', 'by-sql', 'cy', 2, 'confirmed', 1, NOW(3), "
               "NOW(3));"
               "UPDATE inventory SET allocated_total = allocated_total + 2 "
               "WHERE sku = 'by-sql'; COMMIT;"
               "START TRANSACTION; DELETE FROM orders WHERE buyer_id = 'cy';"
               "UPDATE inventory SET released_total = released_total + 2 "
               "WHERE sku = 'by-sql'; COMMIT");
        ++sold;
    }
    db_free(db);
    db_thread_end();
    return (void *)(uintptr_t)sold;
}

/* Audits so many times while `traffic` runs; all must be sound. */
static void audit_in_traffic(void *(*traffic)(void *), unsigned times)
{
    pthread_t thread;
    void *rounds = NULL;
    char *broken = NULL, *said;
    atomic_store(&selling, true);
    assert_int_equal(pthread_create(&thread, NULL, traffic, NULL), 0);
    for (unsigned i = 0; i < times; ++i)
        if (finish(start("audit", here.path), &said) != 0)
            broken = said;
    atomic_store(&selling, false);
    pthread_join(thread, &rounds);
    EXPECT(broken == NULL, "%s", broken);
    EXPECT((uintptr_t)rounds > 20, "only %u rounds", (unsigned)(uintptr_t)rounds);
}

static void test_a_under_traffic(void **state)
{
    (void)state;
    audit_in_traffic(sell, 8);
}

/* --- B --- */

/* As a cancel of some units moves it. */
static void give_back(const order_id_t *id, uint64_t units)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql,
            "START TRANSACTION; UPDATE orders SET quantity = quantity - %u, given_back = "
            "given_back + %u WHERE order_id = %o; UPDATE inventory SET released_total = "
            "released_total + %u WHERE sku = %s; COMMIT",
            units, units, id, units, str_of(sale.sku));
    run_sql(&sql);
}

/* As a loop tells it: the order is in MySQL, committed or rejected. */
static void notify_gate(const char *function, const order_id_t *id, uint64_t quantity)
{
    bool rejected = strcmp(function, "holdfast_unreserve") == 0;
    str_t sku = str_of(sale.sku);
    redis_args_t args = {0};
    gate_call(&args, function, rejected ? 4 : 3);
    gate_add_key(&args, GATE_KEY_GATE, sale_ref());
    if (rejected)
        gate_add_key(&args, GATE_KEY_BUYERS, sale_ref());
    gate_add_key(&args, GATE_KEY_UNSETTLED, sale_ref());
    gate_add_key(&args, GATE_KEY_KEYS, sale_ref());
    if (rejected) {
        redis_args_add(&args, sku);
        redis_args_add_u64(&args, 0);
    } else {
        redis_args_add_u64(&args, sale.epoch);
        redis_args_add(&args, STR("1"));
        redis_args_add(&args, STR("0"));
        redis_args_add_u64(&args, quantity);
        redis_args_add(&args, STR("1"));
    }
    redis_args_add(&args, (str_t){(const char *)id->bytes, sizeof(id->bytes)});
    redisReply *reply = redis(&args);
    assert_true(reply->type == (rejected ? REDIS_REPLY_INTEGER : REDIS_REPLY_ARRAY));
    freeReplyObject(reply);
    redis_args_free(&args);
}

static void test_b_unsettled(void **state)
{
    (void)state;
    order_id_t id = reserve("cy", 2);
    EXPECT_NUMBER(total(audit_finds(""), "unsettled"), 2);
    /* Committed and not settled: it is allocated, and not unsettled any more. */
    insert_order(id, "cy", 2, "confirmed", NULL);
    change("UPDATE inventory SET allocated_total = allocated_total + 2 WHERE sku = %s");
    audit_finds("");
    notify_gate("holdfast_settle", &id, 2);
    EXPECT_NUMBER(total(audit_finds(""), "unsettled"), 0);
    /* Rejected, and its units not given back yet. */
    id = reserve("dan", 1);
    insert_order(id, "dan", 1, "rejected", NULL);
    audit_finds("");
    notify_gate("holdfast_unreserve", &id, 1);
    audit_finds("");
}

/* What is unsettled are the units that were admitted, whatever is left of the order by now. */
static void test_b_given_back_before_it_is_settled(void **state)
{
    (void)state;
    order_id_t id = reserve("cy", 3);
    insert_order(id, "cy", 3, "confirmed", NULL);
    change("UPDATE inventory SET allocated_total = allocated_total + 3 WHERE sku = %s");
    give_back(&id, 2);
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("2"));
    audit_finds("");
    notify_gate("holdfast_settle", &id, 3);
    EXPECT_NUMBER(total(audit_finds(""), "unsettled"), 0);
}

static void test_b_gate_has_too_few(void **state)
{
    (void)state;
    spoil("HINCRBY", GATE_KEY_GATE, STR("reserved"), STR("1"));
    spoil("HINCRBY", GATE_KEY_GATE, STR("settled"), STR("1"));
    const cJSON *numbers = violation(audit_finds("B"), "B");
    EXPECT_NUMBER(number(numbers, "drift"), -1);
    EXPECT_NUMBER(number(numbers, "available"), 5);
    EXPECT_NUMBER(number(numbers, "expected"), 6);
    spoil("HINCRBY", GATE_KEY_GATE, STR("reserved"), STR("-1"));
    spoil("HINCRBY", GATE_KEY_GATE, STR("settled"), STR("-1"));
    audit_finds("");
}

static void test_b_gate_has_too_many(void **state)
{
    (void)state;
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("3"));
    EXPECT_NUMBER(number(violation(audit_finds("B"), "B"), "drift"), 3);
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("-3"));
    audit_finds("");
}

/* An admitted order that nobody knows of any more. */
static void test_b_record_lost(void **state)
{
    (void)state;
    order_id_t id = reserve("cy", 2);
    spoil("HDEL", GATE_KEY_UNSETTLED, id_bytes(&id), STR_NONE);
    const cJSON *numbers = violation(audit_finds("B"), "B");
    EXPECT_NUMBER(number(numbers, "unsettled_counted"), 2);
    EXPECT_NUMBER(number(numbers, "unsettled_held"), 0);
    spoil("HINCRBY", GATE_KEY_GATE, STR("unreserved"), STR("2"));
    audit_finds("");
}

/* Even where that does not show in what is available. */
static void test_b_counters_and_records(void **state)
{
    (void)state;
    spoil("HINCRBY", GATE_KEY_GATE, STR("settled"), STR("1"));
    const cJSON *numbers = violation(audit_finds("B"), "B");
    EXPECT_NUMBER(number(numbers, "drift"), 0);
    EXPECT_NUMBER(number(numbers, "unsettled_counted"), -1);
    spoil("HINCRBY", GATE_KEY_GATE, STR("settled"), STR("-1"));
    audit_finds("");
}

/* The whole life of an order, step by step as a service does it, over and over. */
static void *live_through(void *unused)
{
    (void)unused;
    db_t *db = open_shard(here.config, sale.shard);
    gate_sync_t *gate = gate_sync_new(here.config);
    sql_t sql = {NULL, 0, 0};
    str_t sku = str_of(sale.sku);
    release_t release = {.item = item_ref_of(sku), .quantity = 1, .epoch = sale.epoch};
    buyer_set(&release.buyer, STR("cy"));
    unsigned lives = 0;
    for (gate_release_t received; atomic_load(&selling); ++lives) {
        order_id_t id = reserve("cy", 1);
        sql_reset(&sql);
        sql_add(&sql,
                "START TRANSACTION; INSERT INTO orders (order_id, sku, buyer_id, quantity, "
                "state, epoch, created_at, updated_at) VALUES (%o, %s, 'cy', 1, 'confirmed', %u, "
                "NOW(3), NOW(3)); UPDATE inventory SET allocated_total = allocated_total + 1 "
                "WHERE sku = %s; COMMIT",
                &id, sku, sale.epoch, sku);
        db_exec(db, &sql, NULL, 0);
        notify_gate("holdfast_settle", &id, 1);
        sql_reset(&sql);
        sql_add(&sql,
                "START TRANSACTION; UPDATE orders SET state = 'cancelled' WHERE "
                "order_id = %o; UPDATE inventory SET released_total = released_total + 1 "
                "WHERE sku = %s; COMMIT",
                &id, sku);
        db_exec(db, &sql, NULL, 0);
        ++release.sequence;
        gate_sync_release(gate, &release, 1, &received);
    }
    sql_free(&sql);
    gate_sync_free(gate);
    db_free(db);
    db_thread_end();
    return (void *)(uintptr_t)lives;
}

static void test_b_under_traffic(void **state)
{
    (void)state;
    audit_in_traffic(live_through, 8);
    EXPECT_NUMBER(number(invariant(audit_finds(""), "B"), "busy"), 0);
}

/* What passes by itself is no violation. */
static void test_b_passing_difference(void **state)
{
    (void)state;
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("-1"));
    FILE *process = start("audit", here.path);
    usleep(1000 * 1000);
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("1"));
    parse_audit(process, 0);
}

/* Counters that move all the while, and cancel out. */
static void *move(void *unused)
{
    (void)unused;
    unsigned moves = 0;
    for (; atomic_load(&selling); ++moves) {
        redis_args_t args = {0};
        redis_args_begin(&args, "EVAL");
        redis_args_add(&args, STR("redis.call('HINCRBY', KEYS[1], 'reserved', 1) "
                                  "return redis.call('HINCRBY', KEYS[1], 'unreserved', 1)"));
        redis_args_add(&args, STR("1"));
        gate_add_key(&args, GATE_KEY_GATE, sale_ref());
        freeReplyObject(redis(&args));
        redis_args_free(&args);
    }
    return (void *)(uintptr_t)moves;
}

/* A gate that moves while its row is read is not compared with it: what differs then proves
 * nothing. */
static void test_b_gate_that_never_rests(void **state)
{
    (void)state;
    spoil("HINCRBY", GATE_KEY_GATE, STR("released"), STR("1"));
    audit_in_traffic(move, 1);
    violation(audit_finds("B"), "B");
}

static void test_b_pending_rebuild(void **state)
{
    (void)state;
    spoil("HSET", GATE_KEY_GATE, STR("built_under"), STR("another"));
    EXPECT_NUMBER(number(invariant(audit_finds(""), "B"), "pending_rebuild"), 1);
    spoil("DEL", GATE_KEY_GATE, STR_NONE, STR_NONE);
    EXPECT_NUMBER(number(invariant(audit_finds(""), "B"), "pending_rebuild"), 1);
    build_gate(4);
    change("UPDATE inventory SET epoch = epoch + 1 WHERE sku = %s");
    EXPECT_NUMBER(number(invariant(audit_finds(""), "B"), "pending_rebuild"), 1);
    change("UPDATE inventory SET epoch = epoch - 1 WHERE sku = %s");
    EXPECT_NUMBER(number(invariant(audit_finds(""), "B"), "pending_rebuild"), 0);
}

/* --- when it cannot look --- */

static const char *error_of(const cJSON *audit, const char *id)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(invariant(audit, id), "error"));
    return text == NULL ? "" : text;
}

static void test_redis_away(void **state)
{
    (void)state;
    const char *path = derive(here.path, "no-redis", "redis.sock", "nobody.sock");
    const cJSON *audit = parse_audit(start("audit", path), 2);
    EXPECT(error_of(audit, "B")[0] != '\0', "no error");
    EXPECT(cJSON_IsFalse(cJSON_GetObjectItem(invariant(audit, "B"), "ok")), "B is ok");
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(invariant(audit, "A"), "ok")), "A is not ok");
    EXPECT_NUMBER(total(audit, "live_units"), 4);
    /* What is seen broken outranks it. */
    change("UPDATE orders SET quantity = quantity + 1 WHERE sku = %s");
    parse_audit(start("audit", path), 1);
    unlink(path);
}

static void test_mysql_away(void **state)
{
    (void)state;
    const char *socket = test_text("shard-%u-a.sock", sale.shard);
    const char *path = derive(here.path, "no-mysql", socket, "nobody.sock");
    const cJSON *audit = parse_audit(start("audit", path), 2);
    for (const char *id = "ABCDE"; *id != '\0'; ++id)
        EXPECT(error_of(audit, test_text("%c", *id))[0] != '\0', "no error in %c", *id);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_audit_of_a_sound_sale),
        CASE(test_a_order_with_other_units),
        CASE(test_a_order_lost),
        CASE(test_a_state_alone),
        CASE(test_a_oversold),
        CASE(test_a_orders_of_no_item),
        CASE(test_a_under_traffic),
        CASE(test_b_unsettled),
        CASE(test_b_given_back_before_it_is_settled),
        CASE(test_b_gate_has_too_few),
        CASE(test_b_gate_has_too_many),
        CASE(test_b_record_lost),
        CASE(test_b_counters_and_records),
        CASE(test_b_under_traffic),
        CASE(test_b_passing_difference),
        CASE(test_b_gate_that_never_rests),
        CASE(test_b_pending_rebuild),
        CASE(test_redis_away),
        CASE(test_mysql_away),
    };
    return test_run("audit", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
