/* Redis is away for longer: what redis.on_gate_down makes of it, and the way back. */
#include <signal.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

static void kill_redis(void)
{
    process_signal(stack->redis_pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(stack->redis_pid));
}

/* Starts what is not running; the service stays as it is, with the settings that it had. */
static void bring_redis_back(const char *policy)
{
    pid_t service = stack->pid;
    STACK_AGAIN(stack, test_text("redis.on_gate_down=%s", policy), "redis.timeout_ms=500");
    EXPECT_NUMBER(stack->pid, service);
}

static bool buys(const char *sku, const char *buyer)
{
    return sale_buy(stack, sku, buyer, 1, NULL).status == 201;
}

static bool lacks_redis(void)
{
    web_answer_t ready = WEB(.base = stack->url, .path = "/readyz");
    return strstr(ready.body, "\"missing\":[\"redis\"]") != NULL;
}

static void refused_until_it_is_back_and_other_strategies_do_not_notice(void **state)
{
    (void)state;
    const char *lua = sale_item(stack, "refuse-lua", "\"total\":50,\"strategy\":\"lua\"");
    const char *watch = sale_item(stack, "refuse-watch", "\"total\":50,\"strategy\":\"watch\"");
    const char *sql = sale_item(stack, "refuse-sql", "\"total\":50,\"strategy\":\"optimistic\"");
    EXPECT(buys(lua, "first") && buys(watch, "first") && buys(sql, "first"), "no sale at all");
    kill_redis();
    /* What was sent before the loss is noticed is in doubt: a 202. Not what comes after. */
    WAIT_UNTIL(lacks_redis());
    /* Optimistic sells. */
    WAIT_UNTIL(WEB(.base = stack->url, .path = "/readyz").status == 200);
    web_answer_t gone = sale_buy(stack, lua, "a", 1, NULL);
    EXPECT_PROBLEM(gone, 503, "unavailable");
    EXPECT(gone.retry_after[0] != '\0', "no Retry-After: %s", web_show(&gone));
    gone = sale_buy(stack, watch, "a", 1, NULL);
    EXPECT_PROBLEM(gone, 503, "unavailable");
    for (int i = 0; i < 10; ++i)
        EXPECT(buys(sql, test_text("b%d", i)), "optimistic needs no Redis");
    usleep(1500 * 1000); /* past gate_down_after_ms: `refuse` goes on to refuse */
    gone = sale_buy(stack, lua, "a", 1, NULL);
    EXPECT_PROBLEM(gone, 503, "unavailable");
    EXPECT_NUMBER(fault_metric(stack, "stand_ins_total"), 0);
    bring_redis_back("refuse");
    WAIT_UNTIL(buys(lua, "late") && buys(watch, "late"));
    EXPECT_SOUND(stack, lua, 0);
    EXPECT_SOUND(stack, watch, 0);
    EXPECT_GATE_AGREES(stack, lua);
    EXPECT_GATE_AGREES(stack, watch);
}

static bool has_fallback(const char *sku)
{
    return rows_sum(stack, "SELECT gate_down FROM inventory WHERE sku = '%s'", sku) != 0;
}

/* The crowd goes on through the outage: it must be sold to while Redis is away, and by the gate
   afterwards. */
static void the_fallback_sells_and_the_gate_comes_back(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "redis.on_gate_down=optimistic", "redis.timeout_ms=500");
    const char *skus[] = {
        sale_item(stack, "stand-lua", "\"total\":4000,\"per_buyer_limit\":40,\"strategy\":\"lua\""),
        sale_item(
            stack, "stand-watch",
            "\"total\":4000,\"per_buyer_limit\":40,\"hold_seconds\":60,\"strategy\":\"watch\""),
        sale_item(stack, "stand-3", "\"total\":4000,\"strategy\":\"lua\"")};
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const[]){stack},
                                                 .nodes_count = 1,
                                                 .skus = skus,
                                                 .skus_count = 3});
    crowd_await(crowd, CROWD_CREATED, 100);
    kill_redis();
    for (int i = 0; i < 3; ++i)
        WAIT_UNTIL(has_fallback(skus[i]));
    EXPECT(process_is_gone(stack->redis_pid), "Redis came back by itself");
    crowd_await(crowd, CROWD_CREATED, 100);
    EXPECT(fault_metric(stack, "stand_ins_total") >= 3, "no stand-in was counted");
    web_answer_t ready = WEB(.base = stack->url, .path = "/readyz");
    EXPECT_STATUS(ready, 200); /* it serves: a balancer must not take it out */
    web_answer_t lowered = sale_patch(stack, skus[0], "\"total\":3999");
    EXPECT_PROBLEM(lowered, 503, "unavailable"); /* nobody knows what Redis had admitted */
    bring_redis_back("optimistic");
    for (int i = 0; i < 3; ++i)
        WAIT_UNTIL(!has_fallback(skus[i]));
    WAIT_UNTIL(fault_metric(stack, "restores_total") >= 3);
    crowd_await(crowd, CROWD_CREATED, 100);
    EXPECT_PROMISES(stack, crowd, "Redis killed, stood in for, restored");
}

/* Nobody but Redis knows them all: whoever sold their units meanwhile would sell them twice. */
static void accepted_orders_have_no_fallback(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "redis.on_gate_down=optimistic", "redis.timeout_ms=500",
                "mysql.lock_wait_timeout_s=1");
    const char *sku = sale_item(stack, "accepted",
                                "\"total\":5,\"strategy\":\"lua\",\"acknowledge\":\"accepted\"");
    const char *other = sale_item(stack, "other", "\"total\":500,\"strategy\":\"lua\"");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 202);
    EXPECT(buys(other, "a"), "no sale at all");
    WAIT_UNTIL(sale_live_orders(stack, sku) == 1);
    MYSQL *other_user = mysqld_open(stack, rows_shard_of(stack, sku));
    EXPECT(other_user != NULL && mysqld_send(other_user, "START TRANSACTION") == 0,
           "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, test_text("UPDATE inventory SET updated_at = updated_at "
                                                    "WHERE sku = '%s'",
                                                    sku)),
                  0);
    for (int i = 0; i < 4; ++i) {
        web_answer_t order = sale_buy(stack, sku, test_text("b-%d", i), 1, NULL);
        EXPECT_STATUS(order, 202);
    }
    kill_redis();
    WAIT_UNTIL(buys(other, "b") && has_fallback(other));
    mysql_close(other_user);
    for (int i = 0; i < 10; ++i) {
        web_answer_t late = sale_buy(stack, sku, test_text("late-%d", i), 1, NULL);
        EXPECT(late.status == 503 || web_has_code(&late, "sold_out"), "%s", web_show(&late));
    }
    EXPECT(!has_fallback(sku), "the optimistic strategy sells what Redis has admitted");
    bring_redis_back("optimistic");
    WAIT_UNTIL(sale_live_orders(stack, sku) == 5);
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = "
                           "'rejected'",
                           sku),
                  0);
    WAIT_UNTIL(!has_fallback(other));
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* Its own passes are an hour apart: whoever asks need not wait for one. */
static void a_purchase_brings_the_gate_back_at_once(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "redis.on_gate_down=optimistic", "redis.timeout_ms=500",
                "reconcile.pass_interval_ms=3600000");
    const char *sku = sale_item(stack, "asked", "\"total\":50,\"strategy\":\"lua\"");
    EXPECT(buys(sku, "a"), "no sale at all");
    kill_redis();
    WAIT_UNTIL(buys(sku, "b") && has_fallback(sku));
    bring_redis_back("optimistic");
    WAIT_UNTIL(fault_metric(stack, "redis_connections") > 0);
    web_answer_t asked = ADMIN(stack, .method = "POST",
                               .path = test_text("/v1/items/%s/reconcile", sku), .body = "{}");
    EXPECT_STATUS(asked, 200);
    EXPECT(strstr(asked.body, "\"gate_back\"") != NULL &&
               strstr(asked.body, "\"restored\"") != NULL,
           "%s", asked.body);
    EXPECT(!has_fallback(sku), "it is still sold by the stand-in");
    WAIT_UNTIL(buys(sku, "c")); /* once all loops have heard of it */
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

#define COLD_ITEMS 200 /* over two shards */

/* Each was bought once. It is looked at twice, some time apart: many together, not one by one. */
static void items_that_nobody_buys_any_more_get_their_gates_too(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "redis.on_gate_down=refuse", "reconcile.pass_interval_ms=");
    for (int i = 0; i < COLD_ITEMS; ++i)
        sale_order(stack, sale_item(stack, test_text("cold-%d", i), "\"total\":5"), "once", 1,
                   NULL);
    double before = fault_metric(stack, "gate_rebuilds_total");
    kill_redis();
    fault_arm(stack, "reconcile_waits pause=1\n"); /* to be counted */
    bring_redis_back("refuse");
    WAIT_UNTIL(fault_metric(stack, "gate_rebuilds_total") >= before + COLD_ITEMS);
    unsigned waits = fault_hits(stack, "reconcile_waits");
    fault_disarm(stack);
    EXPECT(waits != 0 && waits < COLD_ITEMS / 4, "%u waits for %d items", waits, COLD_ITEMS);
}

static const suite_t suite = {.name = "gate_down",
                              .settings = {"redis.on_gate_down=refuse", "redis.timeout_ms=500"},
                              .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refused_until_it_is_back_and_other_strategies_do_not_notice),
        TEST(the_fallback_sells_and_the_gate_comes_back),
        TEST(accepted_orders_have_no_fallback),
        TEST(a_purchase_brings_the_gate_back_at_once),
        TEST(items_that_nobody_buys_any_more_get_their_gates_too),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
