/*
 * `holdfast audit`, each as a process of its own: every invariant is broken by hand, found under
 * its letter and by no other, and found whole again when it is mended.
 */
#include "integration/own_database.h"

#include <cjson/cJSON.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "gate/gate_sync.h"
#include "store/migrate.h"

static int set_up_migrated(void **state)
{
    (void)state;
    if (set_up_group(state) != 0)
        return -1;
    FILE *log = tmpfile();
    int failed = migrate_all(here.config, log);
    fclose(log);
    return failed;
}

/* --- a small sale, made by hand --- */

#define TOTAL 10
#define LIMIT 3

/* Orders of 2, 1 and 1 live units, one cancelled; ann has the first two. */
static struct {
    char sku[32];
    uint16_t slot;
    unsigned shard;
    uint64_t epoch;
    order_id_t ids[4];
    gate_sync_t *gate;
} sale;

static void run_sql(sql_t *sql)
{
    db_t *db = open_shard(here.config, sale.shard);
    db_result_t result = db_exec(db, sql, NULL, 0);
    EXPECT(result == DB_OK, "%.*s: %s", (int)sql->n, sql->p, db_error(db));
    db_free(db);
    sql_free(sql);
}

/* On the shard of the sale, with its sku as %s once. */
static void change(const char *format)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql, format, str_of(sale.sku));
    run_sql(&sql);
}

static order_id_t insert_order(order_id_t id, const char *buyer, uint64_t quantity,
                               const char *order_state, const char *key)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql,
            "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, idempotency_key, epoch, "
            "created_at, updated_at, expires_at) VALUES (%o, %s, %s, %u, %w, %s, %u, NOW(3), "
            "NOW(3), NOW(3) + INTERVAL 1 HOUR); INSERT INTO holds SELECT expires_at, order_id FROM "
            "orders WHERE order_id = %o AND state = 'held'",
            &id, str_of(sale.sku), str_of(buyer), quantity, order_state, str_of(key), sale.epoch,
            &id);
    run_sql(&sql);
    return id;
}

static order_id_t new_id(void)
{
    return order_id_issue(sale.slot, clock_wall_ms());
}

static void insert_item(const char *sku, const char *strategy, int64_t allocated, int64_t released)
{
    sql_t sql = {NULL, 0, 0};
    sql_add(&sql,
            "INSERT INTO inventory (sku, bucket, slot, total, allocated_total, released_total, "
            "epoch, per_buyer_limit, hold_seconds, strategy, acknowledge, created_at, updated_at) "
            "VALUES (%s, 0, %u, %u, %d, %d, %u, %u, 0, %w, 'committed', NOW(3), NOW(3))",
            str_of(sku), (uint64_t)sale.slot, (uint64_t)TOTAL, allocated, released, sale.epoch,
            (uint64_t)LIMIT, strategy);
    run_sql(&sql);
}

static void build_gate(int64_t allocated)
{
    const item_terms_t terms = {.total = TOTAL, .per_buyer_limit = LIMIT, .strategy = STRATEGY_LUA};
    const gate_rebuild_t rebuild = {
        .epoch = sale.epoch, .capacity = TOTAL - allocated, .terms = &terms};
    gate_rebuilt_t built = GATE_REBUILD_OLD;
    EXPECT_NUMBER(gate_sync_rebuild(sale.gate, sale.slot, str_of(sale.sku), &rebuild, &built),
                  GATE_CALL_OK);
    EXPECT_NUMBER(built, GATE_REBUILT);
}

/* Under the next epoch, as a rebuild does. */
static void build_gate_again(int64_t allocated)
{
    ++sale.epoch;
    change("UPDATE inventory SET epoch = epoch + 1 WHERE sku = %s");
    build_gate(allocated);
}

static int set_up_sale(void **state)
{
    static unsigned number;
    (void)state;
    snprintf(sale.sku, sizeof(sale.sku), "audit-%d-%u", getpid(), ++number);
    sale.slot = slot_of_sku(str_of(sale.sku));
    shard_map_t map;
    shard_map_init(&map, here.config);
    sale.shard = map.shard_of_slot[sale.slot];
    sale.epoch = clock_wall_ms() - 10000;
    sale.gate = gate_sync_new(here.config);
    run_on_all(here.config, "DELETE FROM orders; DELETE FROM holds; DELETE FROM inventory");
    insert_item(sale.sku, "lua", 5, 1);
    insert_item("by-sql", "optimistic", 0, 0);
    sale.ids[0] = insert_order(new_id(), "ann", 2, "held", "key-1");
    sale.ids[1] = insert_order(new_id(), "ann", 1, "confirmed", "key-2");
    sale.ids[2] = insert_order(new_id(), "bob", 1, "confirmed", NULL);
    sale.ids[3] = insert_order(new_id(), "bob", 1, "cancelled", "key-1");
    build_gate(4);
    return 0;
}

/* --- Redis by hand --- */

static redisReply *redis(redis_args_t *args)
{
    void *answer = NULL;
    str_t command = redis_args_command(args);
    redisContext *context = redisConnectUnix(test_environment("HOLDFAST_REDIS_SOCKET"));
    EXPECT(context != NULL && context->err == 0, "no Redis");
    redisAppendFormattedCommand(context, command.p, command.n);
    redisGetReply(context, &answer);
    redisReply *reply = answer;
    EXPECT(reply != NULL && reply->type != REDIS_REPLY_ERROR, "%s",
           reply != NULL ? reply->str : "no answer");
    redisFree(context);
    return reply;
}

/* A command on a key of the sale, with up to two more words. */
static void spoil(const char *command, gate_key_t key, str_t a, str_t b)
{
    redis_args_t args = {0};
    redis_args_add(&args, str_of(command));
    gate_add_key(&args, key, sale.slot, str_of(sale.sku), 0);
    if (a.p != NULL)
        redis_args_add(&args, a);
    if (b.p != NULL)
        redis_args_add(&args, b);
    freeReplyObject(redis(&args));
    redis_args_free(&args);
}

static str_t id_bytes(const order_id_t *id)
{
    return (str_t){(const char *)id->bytes, sizeof(id->bytes)};
}

/* Admits an order as a service would. */
static order_id_t reserve(const char *buyer, uint64_t quantity)
{
    redis_args_t args = {0};
    order_id_t id = new_id();
    char text[GATE_RECORD_SIZE], *at = text;
    const gate_record_t record = {.epoch = sale.epoch,
                                  .sku = str_of(sale.sku),
                                  .buyer = str_of(buyer),
                                  .quantity = (uint32_t)quantity,
                                  .deadline_ms = clock_wall_ms() + 60000,
                                  .owner = STR("test")};
    gate_call(&args, "holdfast_reserve", 4);
    for (int key = GATE_KEY_GATE; key <= GATE_KEY_KEYS; ++key)
        gate_add_key(&args, (gate_key_t)key, sale.slot, str_of(sale.sku), 0);
    redis_args_add_u64(&args, sale.epoch);
    redis_args_add(&args, STR("1"));
    redis_args_add_u64(&args, record.deadline_ms);
    redis_args_add_u64(&args, quantity);
    redis_args_add(&args, STR(""));
    redis_args_add(&args, id_bytes(&id));
    redis_args_add(&args, str_of(buyer));
    redis_args_add(&args, gate_record_put(&at, &record));
    redisReply *reply = redis(&args);
    EXPECT(gate_reply_is_array(reply, 4) && gate_reply_i64(reply, 0) == GATE_ITEM_OK &&
               gate_reply_answer(reply, 0, 0) % GATE_SEEN == GATE_ADMITTED,
           "not admitted");
    freeReplyObject(reply);
    redis_args_free(&args);
    return id;
}

static int tear_down_sale(void **state)
{
    (void)state;
    spoil("DEL", GATE_KEY_GATE, STR_NONE, STR_NONE);
    spoil("DEL", GATE_KEY_BUYERS, STR_NONE, STR_NONE);
    gate_sync_free(sale.gate);
    test_forget();
    return 0;
}

/* --- what the audit says --- */

static void delete_json(void *json)
{
    cJSON_Delete(json);
}

static const cJSON *parse_audit(FILE *process, int expected_status)
{
    char *said;
    int status = finish(process, &said);
    cJSON *json = cJSON_Parse(said);
    EXPECT(json != NULL, "no JSON: %s", said);
    test_keep(json, delete_json);
    EXPECT(status == expected_status, "status %d: %s", status, said);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(json, "ok")) == (status == 0), "%s", said);
    return json;
}

static const cJSON *invariant(const cJSON *audit, const char *id)
{
    const cJSON *each;
    cJSON_ArrayForEach(
        each,
        cJSON_GetObjectItem(
            audit, "invariants")) if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(each, "id")),
                                             id) == 0) return each;
    FAIL("no invariant %s", id);
}

static long long number(const cJSON *object, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
    EXPECT(cJSON_IsNumber(member), "no number %s", name);
    return (long long)member->valuedouble;
}

static long long total(const cJSON *audit, const char *name)
{
    return number(cJSON_GetObjectItem(audit, "totals"), name);
}

/* Expects just the invariants with these letters to be broken. */
static const cJSON *audit_finds(const char *letters)
{
    const cJSON *audit = parse_audit(start("audit", here.path), *letters == '\0' ? 0 : 1);
    for (const char *id = "ABCDE"; *id != '\0'; ++id) {
        const cJSON *one = invariant(audit, test_text("%c", *id));
        bool ok = cJSON_IsTrue(cJSON_GetObjectItem(one, "ok"));
        EXPECT(ok == (strchr(letters, *id) == NULL), "%s", cJSON_Print(one));
        EXPECT(ok == (number(one, "violations_total") == 0), "%s", cJSON_Print(one));
    }
    return audit;
}

/* Its only violation. */
static const cJSON *violation(const cJSON *audit, const char *id)
{
    const cJSON *list = cJSON_GetObjectItem(invariant(audit, id), "violations");
    EXPECT_NUMBER(cJSON_GetArraySize(list), 1);
    return cJSON_GetArrayItem(list, 0);
}

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
static void tell_gate(const char *function, const order_id_t *id, uint64_t quantity)
{
    bool rejected = strcmp(function, "holdfast_unreserve") == 0;
    str_t sku = str_of(sale.sku);
    redis_args_t args = {0};
    gate_call(&args, function, rejected ? 4 : 3);
    gate_add_key(&args, GATE_KEY_GATE, sale.slot, sku, 0);
    if (rejected)
        gate_add_key(&args, GATE_KEY_BUYERS, sale.slot, sku, 0);
    gate_add_key(&args, GATE_KEY_UNSETTLED, sale.slot, sku, 0);
    gate_add_key(&args, GATE_KEY_KEYS, sale.slot, sku, 0);
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
    tell_gate("holdfast_settle", &id, 2);
    EXPECT_NUMBER(total(audit_finds(""), "unsettled"), 0);
    /* Rejected, and its units not given back yet. */
    id = reserve("dan", 1);
    insert_order(id, "dan", 1, "rejected", NULL);
    audit_finds("");
    tell_gate("holdfast_unreserve", &id, 1);
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
    tell_gate("holdfast_settle", &id, 3);
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
    release_t release = {.quantity = 1, .epoch = sale.epoch, .buyer_length = 2};
    memcpy(release.sku_bytes, sku.p, sku.n);
    release.sku_length = (uint8_t)sku.n;
    memcpy(release.buyer_bytes, "cy", 2);
    unsigned lives = 0;
    for (gate_release_t told; atomic_load(&selling); ++lives) {
        order_id_t id = reserve("cy", 1);
        sql_reset(&sql);
        sql_add(&sql,
                "START TRANSACTION; INSERT INTO orders (order_id, sku, buyer_id, quantity, "
                "state, epoch, created_at, updated_at) VALUES (%o, %s, 'cy', 1, 'confirmed', %u, "
                "NOW(3), NOW(3)); UPDATE inventory SET allocated_total = allocated_total + 1 "
                "WHERE sku = %s; COMMIT",
                &id, sku, sale.epoch, sku);
        db_exec(db, &sql, NULL, 0);
        tell_gate("holdfast_settle", &id, 1);
        sql_reset(&sql);
        sql_add(&sql,
                "START TRANSACTION; UPDATE orders SET state = 'cancelled' WHERE "
                "order_id = %o; UPDATE inventory SET released_total = released_total + 1 "
                "WHERE sku = %s; COMMIT",
                &id, sku);
        db_exec(db, &sql, NULL, 0);
        gate_sync_release(gate, &release, 1, &told);
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
        gate_add_key(&args, GATE_KEY_GATE, sale.slot, str_of(sale.sku), 0);
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

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_sale, tear_down_sale)

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
        CASE(test_c_past_the_limit),
        CASE(test_c_an_item_without_a_limit_beside_one),
        CASE(test_c_earlier_orders_stay),
        CASE(test_d_two_orders_of_a_key),
        CASE(test_d_winner_is_gone),
        CASE(test_e_reminder_is_gone_or_too_late),
        CASE(test_e_only_held_orders_need_one),
        CASE(test_e_reminders_may_come_early_or_stay),
        CASE(test_redis_away),
        CASE(test_mysql_away),
    };
    return test_run("audit", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
