/*
 * Very many items: what is due for some of them is not looked for among all. An item that nobody
 * has asked for has no gate, a pass compares few items however many there are, and an item that is
 * in use does not wait for its turn among the others.
 */
#include <stdio.h>
#include <stdlib.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"
#include "sale/shard_map.h"

#define ITEMS 5000
#define ROWS_A_STATEMENT 250
/* Of the round in one pass, as in reconciler.c. */
#define ROUND_ITEMS 32
/* Of both shards; a round of all items is some 156. */
#define PASSES 25

static char prefix[40];

static const char *name_of(unsigned i)
{
    return test_text("%s-%06u", prefix, i);
}

/* Each shard takes the rows of its slots. */
static void insert_rows(unsigned from)
{
    char *text = test_text("SELECT 'none' AS sku, 9999 AS slot");
    for (unsigned i = from; i < from + ROWS_A_STATEMENT; ++i)
        text = test_text("%s UNION ALL SELECT '%s', %u", text, name_of(i),
                         slot_of_sku(str_of(name_of(i))));
    unsigned error = rows_change(
        stack,
        "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, hold_seconds, "
        "strategy, acknowledge, created_at, updated_at) SELECT v.sku, 0, v.slot, 10, "
        "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), 0, 0, 'lua', 'committed', NOW(3), NOW(3) "
        "FROM (%s) v JOIN shard_identity i ON v.slot BETWEEN i.slot_first AND i.slot_last",
        text);
    EXPECT_NUMBER(error, 0);
}

static void prepare(void)
{
    snprintf(prefix, sizeof(prefix), "%s", sale_sku("many"));
    for (unsigned from = 0; from < ITEMS; from += ROWS_A_STATEMENT)
        insert_rows(from);
}

static double on_both(const char *metric)
{
    return fault_metric(stack, metric) + fault_metric(node, metric);
}

static const cJSON *reconciler_of(const test_stack_t *on, unsigned shard)
{
    web_answer_t status = ADMIN(on, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    const cJSON *one = cJSON_GetArrayItem(cJSON_GetObjectItem(status.json, "shards"), (int)shard);
    return cJSON_GetObjectItem(one, "reconciler");
}

static double compared(void)
{
    double sum = 0;
    for (unsigned i = 0; i < 2; ++i)
        for (unsigned shard = 0; shard < stack->shards; ++shard)
            sum +=
                cJSON_GetObjectItem(reconciler_of(i == 0 ? stack : node, shard), "items_compared")
                    ->valuedouble;
    return sum;
}

static bool holds_lease(const test_stack_t *on, const char *sku)
{
    return cJSON_IsTrue(
        cJSON_GetObjectItem(reconciler_of(on, rows_shard_of(stack, sku)), "holds_lease"));
}

/* --- at rest --- */

static void expect_passes(double since, unsigned passes)
{
    WAIT_UNTIL(on_both("reconciler_passes_total") >= since + passes);
}

static long long gates_of(const char *pattern)
{
    return redis_run(stack, "EVAL return\n#redis.call('KEYS',ARGV[1]) 0 hf:*:gate:%s*", pattern);
}

static long long gates(void)
{
    return gates_of(test_text("%s-", prefix));
}

/* A round begins behind its last item: after two rounds each item was compared. */
static void an_item_that_nobody_asks_for_has_no_gate(void **state)
{
    (void)state;
    double before = compared();
    WAIT_UNTIL(compared() > before + 2 * ITEMS);
    EXPECT_NUMBER(gates(), 0);
    EXPECT(on_both("reconciler_findings_total") == 0, "something was found");
    web_answer_t first = sale_buy(stack, name_of(7), "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    EXPECT_NUMBER(gates(), 1);
    EXPECT_GATE_AGREES(stack, name_of(7));
}

/* One value of more than 64 bytes would make a table of single strings of it. */
static void a_gate_is_one_piece(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "piece",
                                "\"total\":1000000000,\"per_buyer_limit\":1000000,\"strategy\":"
                                "\"lua\",\"starts_at\":\"%s\",\"ends_at\":\"%s\"",
                                sale_time(-3600), sale_time(3600));
    sale_order(stack, sku, "first", 1, NULL);
    EXPECT_NUMBER(
        redis_run(stack,
                  "EVAL return\n(redis.call('OBJECT','ENCODING',KEYS[1])=='listpack')and\n(1)"
                  "or\n(0) 1 %s",
                  redis_key(stack, "gate", sku)),
        1);
}

static void put(const char *sku, const char *terms, int status)
{
    web_answer_t put = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                             .body = test_text("{%s}", terms));
    EXPECT_STATUS(put, status);
}

/* Each change is in the row, and the first buyer meets all of them. */
static void a_change_of_an_item_that_nobody_has_bought_builds_no_gate(void **state)
{
    (void)state;
    const char *sku = sale_sku("row");
    put(sku, "\"total\":9,\"strategy\":\"lua\",\"acknowledge\":\"accepted\"", 201);
    put(sku, "\"total\":9,\"strategy\":\"lua\",\"acknowledge\":\"accepted\"", 200);
    static const char *const terms[] = {
        "\"strategy\":\"watch\"",      "\"total\":5",          "\"acknowledge\":\"committed\"",
        "\"strategy\":\"optimistic\"", "\"strategy\":\"lua\"", "\"per_buyer_limit\":3"};
    for (unsigned i = 0; i < TEST_COUNT(terms); ++i) {
        web_answer_t patched = sale_patch(stack, sku, "%s", terms[i]);
        EXPECT_STATUS(patched, 200);
    }
    EXPECT_NUMBER(gates_of(sku), 0);
    WAIT_UNTIL(sale_available(node, sku) == 5);
    web_answer_t limited = sale_buy(node, sku, "first", 4, NULL);
    EXPECT_PROBLEM(limited, 409, "buyer_limit_exceeded");
    EXPECT(sale_order(node, sku, "first", 3, NULL) != NULL, "no order");
    web_answer_t sold_out = sale_buy(stack, sku, "other", 3, NULL);
    EXPECT_PROBLEM(sold_out, 409, "sold_out");
    EXPECT_NUMBER(gates_of(sku), 1);
    EXPECT_SOUND(stack, sku, 3);
    EXPECT_GATE_AGREES(stack, sku);
}

/* Nothing was committed, but three units are admitted: they count. */
static void a_gate_that_was_deleted_by_hand_counts_in_a_change(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "gone", "\"total\":9,\"acknowledge\":\"accepted\"");
    fault_arm(stack, "writer_versions_found pause=3000 times=1\n");
    web_answer_t order = sale_buy(stack, sku, "first", 3, NULL);
    EXPECT_STATUS(order, 202);
    EXPECT_FAULT(stack, "writer_versions_found");
    redis_run(stack, "DEL %s", redis_key(stack, "gate", sku));
    web_answer_t patched = sale_patch(node, sku, "\"total\":2");
    EXPECT_PROBLEM(patched, 409, "wrong_state");
    WAIT_UNTIL(sale_live_units(stack, sku) == 3);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static long long redis_calls(void)
{
    return redis_run(stack, "EVAL return\ntonumber(string.match(redis.call('INFO','commandstats'),"
                            "'cmdstat_fcall:calls=(%%d+)')) 0");
}

/* Counted, not timed: calls of Redis and comparisons. Both services probe Redis meanwhile, and a
   pass may be under way at either end. */
static void a_pass_at_rest_looks_at_few_of_many(void **state)
{
    (void)state;
    double passes = on_both("reconciler_passes_total"), items = compared();
    long long calls = redis_calls();
    expect_passes(passes, PASSES);
    calls = redis_calls() - calls;
    items = compared() - items;
    passes = on_both("reconciler_passes_total") - passes + 2 * stack->shards;
    EXPECT(items <= ROUND_ITEMS * passes, "%.0f comparisons in %.0f passes", items, passes);
    EXPECT((double)calls <= 3 * ROUND_ITEMS * passes, "%lld calls in %.0f passes", calls, passes);
}

/* --- in use --- */

/* A buyer asks again and again, at a service that does not hold the shard's lease. The item is not
   the next of the round each time. */
static void an_item_in_use_does_not_wait_for_its_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; ++i) {
        const char *sku = name_of(ITEMS / 4 * (i + 1));
        const test_stack_t *other = holds_lease(stack, sku) ? node : stack;
        web_answer_t order = sale_buy(other, sku, "first", 1, NULL);
        EXPECT_STATUS(order, 201);
        EXPECT_GATE_AGREES(stack, sku);
        redis_run(stack, "HINCRBY %s capacity -1000", redis_key(stack, "gate", sku));
        double passes = on_both("reconciler_passes_total");
        unsigned asked = 0;
        while ((order = sale_buy(other, sku, test_text("b-%u", ++asked), 1, NULL)).status != 201) {
            EXPECT(on_both("reconciler_passes_total") - passes < PASSES,
                   "not repaired in %u passes: %s", PASSES, web_show(&order));
            usleep(10000);
        }
        EXPECT_SOUND(stack, sku, 0);
        EXPECT_GATE_AGREES(stack, sku);
    }
}

/* An item in use whose gate cannot be repaired, because another user keeps its row locked, stays
   among those that the next passes compare first; at rest there are none. */
static void items_that_are_not_compared_yet_are_counted(void **state)
{
    (void)state;
    WAIT_UNTIL(on_both("reconciler_tracked") == 0);
    const char *sku = name_of(11);
    web_answer_t order = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(order, 201);
    EXPECT_GATE_AGREES(stack, sku);
    unsigned shard = rows_shard_of(stack, sku);
    MYSQL *user =
        mysqld_hold(stack, shard, "SELECT total FROM inventory WHERE sku = '%s' FOR UPDATE", sku);
    redis_run(stack, "HINCRBY %s capacity -1000", redis_key(stack, "gate", sku));
    order = sale_buy(stack, sku, "second", 1, NULL);
    EXPECT(order.status != 201, "the gate has no unit: %s", web_show(&order));
    WAIT_UNTIL(fault_metric(stack, "reconciler_tracked") == 1 &&
               cJSON_GetObjectItem(reconciler_of(stack, shard), "items_tracked")->valuedouble == 1);
    mysql_close(user);
    WAIT_UNTIL(on_both("reconciler_tracked") == 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static const suite_t suite = {.name = "items",
                              .settings = {"reconcile.pass_interval_ms=100"},
                              .pair = true,
                              .prepare = prepare};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_item_that_nobody_asks_for_has_no_gate),
        TEST(a_gate_is_one_piece),
        TEST(a_change_of_an_item_that_nobody_has_bought_builds_no_gate),
        TEST(a_gate_that_was_deleted_by_hand_counts_in_a_change),
        TEST(a_pass_at_rest_looks_at_few_of_many),
        TEST(an_item_in_use_does_not_wait_for_its_turn),
        TEST(items_that_are_not_compared_yet_are_counted),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
