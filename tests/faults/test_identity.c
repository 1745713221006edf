/*
 * Services whose configuration names the wrong servers: shards exchanged, a slot that moved, a
 * shard too many, another deployment, another Redis, tables that the binary does not fit. Nothing
 * is sold from what is not theirs, and what is theirs is sold.
 */
#include <signal.h>
#include <sys/wait.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/redis_server.h"
#include "harness/sale.h"
#include "harness/suite.h"

#define SECOND 2

static const char *item_on(unsigned shard, const char *name, const char *strategy)
{
    const char *sku;
    do
        sku = sale_item(stack, name, "\"total\":1000000,\"strategy\":\"%s\"", strategy);
    while (rows_shard_of(stack, sku) != shard);
    return sku;
}

/* Refused at once: the shard or Redis is away, and nothing was begun. */
static void expect_refused(const test_stack_t *service, const char *sku, const char *buyer)
{
    web_answer_t bought = sale_buy(service, sku, buyer, 1, NULL);
    EXPECT_PROBLEM(bought, 503, "unavailable");
    EXPECT(bought.location[0] == '\0', "an order was begun: %s", web_show(&bought));
}

static bool buys(const test_stack_t *service, const char *sku, const char *buyer)
{
    return sale_buy(service, sku, buyer, 1, NULL).status == 201;
}

/* --- wrong maps --- */

/* Everything that a buyer or an operator could do to this item by this service. */
static void expect_nothing_happens(const test_stack_t *service, const char *sku, const char *order)
{
    for (int i = 0; i < 20; ++i)
        expect_refused(service, sku, test_text("wrong-%d", i));
    web_answer_t answer = ADMIN(service, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                                .body = "{\"total\":10}");
    EXPECT_PROBLEM(answer, 503, "unavailable");
    answer = sale_move(service, order, "cancel");
    EXPECT_PROBLEM(answer, 503, "unavailable");
    answer = sale_get(service, order);
    EXPECT_PROBLEM(answer, 503, "unavailable");
}

static void expect_commands_refuse(const test_stack_t *service)
{
    EXPECT_NUMBER(stack_command(service, "migrate"), 1);
    EXPECT_NUMBER(stack_command(service, "audit"), 2);
}

#define SHARD_2                                                                                    \
    "  - name: shard-2\n    slots: 682-1023\n    servers:\n      - name: shard-2-a\n"              \
    "        host: 127.0.0.1\n        port: 1\n"

typedef struct {
    const char *name;
    const char *changes[3][2];
    unsigned count;
} wrong_map_t;

static const wrong_map_t wrong_maps[] = {
    {"servers exchanged",
     {{"shard-0-a.sock", "shard-1-a.sock"}, {"shard-1-a.sock", "shard-0-a.sock"}},
     2},
    {"slots exchanged",
     {{"slots: 0-511", "slots: 512-1023"}, {"slots: 512-1023", "slots: 0-511"}},
     2},
    {"a slot that moved",
     {{"slots: 0-511", "slots: 0-510"}, {"slots: 512-1023", "slots: 511-1023"}},
     2},
    {"a third shard",
     {{"slots: 0-511", "slots: 0-340"},
      {"slots: 512-1023", "slots: 341-681"},
      {"shards:\n", "shards:\n" SHARD_2}},
     3},
    {"another deployment", {{"node:\n", "node:\n  deployment: other\n"}}, 1},
};

static void a_wrong_map_sells_nothing(void **state)
{
    const wrong_map_t *map = *state;
    static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};
    const char *skus[TEST_COUNT(strategies)], *orders[TEST_COUNT(strategies)];
    for (unsigned i = 0; i < TEST_COUNT(strategies); ++i) {
        skus[i] = item_on(i % 2, "map", strategies[i]);
        for (int k = 0; k < 8; ++k) {
            web_answer_t bought = sale_buy(stack, skus[i], test_text("right-%d", k), 1, NULL);
            EXPECT_STATUS(bought, 201);
            orders[i] = test_text("%s", sale_id(&bought));
        }
    }
    long long rows = rows_sum(stack, "SELECT COUNT(*) FROM orders");
    long long items = rows_sum(stack, "SELECT COUNT(*) FROM inventory");
    test_stack_t *service = stack_node_start_changed(stack, SECOND, map->changes, map->count);
    WAIT_UNTIL(stack_log_has(service, "correct the configuration"));
    for (unsigned i = 0; i < TEST_COUNT(strategies); ++i)
        expect_nothing_happens(service, skus[i], orders[i]);
    expect_commands_refuse(service);
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders"), rows);
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM inventory"), items);
    stack_node_stop(service);
    for (unsigned i = 0; i < TEST_COUNT(strategies); ++i) {
        EXPECT(buys(stack, skus[i], "right-8"), "no sale");
        EXPECT_SOUND(stack, skus[i], 0);
    }
}

/* One shard's socket leads to a stranger; the other is right, and sells. */
static void one_wrong_shard_stops_no_other(void **state)
{
    (void)state;
    const char *wrong = item_on(1, "one", "lua"), *right = item_on(0, "one", "lua");
    const char *const changes[][2] = {{"name: shard-1\n", "name: shard-7\n"}};
    test_stack_t *service = stack_node_start_changed(stack, SECOND, changes, 1);
    EXPECT(buys(service, right, "a"), "no sale");
    expect_refused(service, wrong, "a");
    WAIT_UNTIL(stack_log_has(service, "this is shard 'shard-1' (slots 512-1023), not 'shard-7'"));
    stack_node_stop(service);
}

/* --- Redis --- */

static const char *stamp_of(const redis_server_t *server)
{
    return redis_server_ask(server, "GET holdfast:deployment");
}

static void a_redis_of_another_deployment_is_away(void **state)
{
    (void)state;
    redis_server_t *redis = redis_server_start(stack->dir);
    redis_server_ask(redis, "SET holdfast:deployment other");
    const char *sql = item_on(0, "redis", "optimistic");
    const char *const changes[][2] = {{stack->redis_socket, redis->socket}};
    test_stack_t *service = stack_node_start_changed(stack, SECOND, changes, 1);
    const char *lua[] = {item_on(0, "redis", "lua"), item_on(1, "redis", "watch")};
    WAIT_UNTIL(stack_log_has(service, "this Redis is of deployment 'other'"));
    for (unsigned i = 0; i < TEST_COUNT(lua); ++i)
        expect_refused(service, lua[i], "a");
    EXPECT(buys(service, sql, "a"), "optimistic needs no Redis");
    EXPECT(strcmp(redis_server_ask(redis, "DBSIZE"), "1") == 0, "something was written there");
    EXPECT_NUMBER(fault_metric(service, "redis_connections"), 0);
    /* Emptied, it is anybody's. */
    redis_server_ask(redis, "DEL holdfast:deployment");
    for (unsigned i = 0; i < TEST_COUNT(lua); ++i)
        WAIT_UNTIL(buys(service, lua[i], "b"));
    const char *name = test_text("%s", stamp_of(redis));
    EXPECT_NUMBER(rows_sum(stack, "SELECT deployment = '%s' FROM shard_identity", name), 2);
    EXPECT(strlen(name) == 32, "%s", name);
    stack_node_stop(service);
    redis_server_free(redis);
    for (unsigned i = 0; i < TEST_COUNT(lua); ++i)
        EXPECT_SOUND(stack, lua[i], 0);
}

/* As of before there were stamps: gates, but no stamp. It is stamped at the next connection. */
static void a_redis_without_a_stamp_is_stamped(void **state)
{
    (void)state;
    const char *sku = item_on(0, "unstamped", "lua");
    EXPECT(buys(stack, sku, "a"), "no sale at all");
    redis_run(stack, "DEL holdfast:deployment");
    test_stack_t *service = stack_second_start(stack);
    EXPECT_NUMBER(redis_run(stack, "EXISTS holdfast:deployment"), 1);
    EXPECT(buys(service, sku, "b"), "no sale");
    stack_second_stop(service);
}

/* --- tables --- */

/* Its tables are not for this binary, and it comes up when the service serves already. */
static void an_unfit_shard_that_comes_late_is_away(void **state)
{
    static const struct {
        const char *spoil, *mend, *why;
    } cases[] = {
        {"UPDATE shard_identity SET min_binary = 9999", "UPDATE shard_identity SET min_binary = 8",
         "too new for this binary"},
        {"UPDATE schema_migrations SET version = 1007 WHERE version = 7",
         "UPDATE schema_migrations SET version = 7 WHERE version = 1007", "run holdfast migrate"},
        {"UPDATE schema_migrations SET checksum = checksum ^ 1 WHERE version = 7",
         "UPDATE schema_migrations SET checksum = checksum ^ 1 WHERE version = 7",
         "with another text"},
        {"RENAME TABLE shard_identity TO away", "RENAME TABLE away TO shard_identity",
         "run holdfast migrate"},
    };
    (void)state;
    const char *late = item_on(1, "late", "optimistic"), *other = item_on(0, "late", "lua");
    for (unsigned i = 0; i < TEST_COUNT(cases); ++i) {
        mysqld_run(stack, 1, "%s", cases[i].spoil);
        mysqld_stop(stack, 1);
        test_stack_t *service = stack_node_start_changed(stack, SECOND, NULL, 0);
        EXPECT(buys(service, other, test_text("b%u", i)), "the other shard does not sell");
        mysqld_start(stack, 1, "", "");
        WAIT_UNTIL(stack_log_has(service, cases[i].why));
        for (int k = 0; k < 20; ++k)
            expect_refused(service, late, "x");
        mysqld_run(stack, 1, "%s", cases[i].mend);
        WAIT_UNTIL(buys(service, late, test_text("late-%u", i)));
        stack_node_stop(service);
        unlink(test_text("%s/log/holdfast-%u.log", stack->dir, SECOND));
    }
    EXPECT_SOUND(stack, late, 0);
}

/* Newer tables under a service that runs: it goes on beside those that it fits, and ends with those
   that it does not, also on connections that are open. */
static void an_older_service_goes_on_while_it_may(void **state)
{
    (void)state;
    const char *skus[] = {item_on(1, "older", "lua"), item_on(1, "older", "optimistic")};
    const char *other = item_on(0, "older", "lua");
    test_stack_t *service = stack_second_start(stack);
    mysqld_run(stack, 1, "INSERT INTO schema_migrations VALUES (9998, '9998_newer', 1, NOW(3))");
    mysqld_run(stack, 1, "ALTER TABLE orders ADD COLUMN of_a_newer_release INT NULL");
    mysqld_run(stack, 1, "KILL CONNECTION USER holdfast");
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(buys(service, skus[i], "a"));
    stack_node_stop(service);
    service = stack_second_start(stack); /* and starts beside them */
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        EXPECT(buys(service, skus[i], "b"), "no sale beside newer tables");
    mysqld_run(stack, 1, "UPDATE shard_identity SET min_binary = 9998");
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(sale_buy(service, skus[i], "c", 1, NULL).status == 503);
    EXPECT(buys(service, other, "c"), "the other shard does not sell");
    mysqld_run(stack, 1, "DELETE FROM schema_migrations WHERE version = 9998");
    mysqld_run(stack, 1, "ALTER TABLE orders DROP COLUMN of_a_newer_release");
    mysqld_run(stack, 1, "UPDATE shard_identity SET min_binary = 8");
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(buys(service, skus[i], "d"));
    stack_node_stop(service);
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        EXPECT_SOUND(stack, skus[i], 0);
}

/* --- the suite --- */

#define MAP(at_)                                                                                   \
    {                                                                                              \
        .name = "a_wrong_map_sells_nothing: " #at_, .test_func = a_wrong_map_sells_nothing,        \
        .initial_state = (void *)&wrong_maps[at_]                                                  \
    }

static const suite_t suite = {
    .name = "identity",
    .settings = {"orders.answer_deadline_ms=2000", "orders.commit_deadline_ms=3000"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        MAP(0),
        MAP(1),
        MAP(2),
        MAP(3),
        MAP(4),
        TEST(one_wrong_shard_stops_no_other),
        TEST(a_redis_of_another_deployment_is_away),
        TEST(a_redis_without_a_stamp_is_stamped),
        TEST(an_unfit_shard_that_comes_late_is_away),
        TEST(an_older_service_goes_on_while_it_may),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
