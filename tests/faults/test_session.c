/*
 * Servers whose global settings are not what a service would like: no session of ours takes them
 * over. And settings that make a 201 worth less than it promises, changed while the service runs.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"

#define BUYERS 20

static void on_all(const char *sql)
{
    for (unsigned i = 0; i < stack->shards; ++i)
        mysqld_run(stack, i, "%s", sql);
}

/* Without the init_connect of tests/run: each case sets what it tries. */
static void be_kind(void)
{
    on_all("SET GLOBAL init_connect = ''");
}

/* --- foreign globals --- */

/* Each connection of the service is made anew, under the globals as they are by then. */
static void renew_connections(void)
{
    on_all("KILL CONNECTION USER holdfast");
}

static bool buys(const char *sku, const char *buyer)
{
    return sale_buy(stack, sku, buyer, 1, NULL).status == 201;
}

/* Redis has nothing any more: the next buyer's item is rebuilt from what MySQL says. */
static void lose_the_gates(void)
{
    redis_run(stack, "FLUSHALL");
}

typedef struct {
    const char *set, *reset;
} setting_t;

static const setting_t settings[] = {
    {"sql_select_limit=5", "sql_select_limit=DEFAULT"},
    {"max_sort_length=64", "max_sort_length=DEFAULT"},
    {"sql_select_limit=0", "sql_select_limit=DEFAULT"},
    {"max_join_size=1, GLOBAL sql_select_limit=1",
     "max_join_size=DEFAULT, GLOBAL sql_select_limit=DEFAULT"},
    {"tx_read_only=1", "tx_read_only=0"},
    {"tx_isolation='SERIALIZABLE'", "tx_isolation=DEFAULT"},
    {"tx_isolation='READ-UNCOMMITTED'", "tx_isolation=DEFAULT"},
    {"max_statement_time=0.001", "max_statement_time=0"},
    {"check_constraint_checks=0, GLOBAL unique_checks=0, GLOBAL foreign_key_checks=0",
     "check_constraint_checks=1, GLOBAL unique_checks=1, GLOBAL foreign_key_checks=1"},
    {"sql_safe_updates=1", "sql_safe_updates=0"},
    {"autocommit=0", "autocommit=1"},
    {"completion_type='CHAIN'", "completion_type='NO_CHAIN'"},
    {"completion_type='RELEASE'", "completion_type='NO_CHAIN'"},
    {"init_connect='START TRANSACTION'", "init_connect=''"},
    {"init_connect='SET autocommit=0, sql_select_limit=5, time_zone=\"-09:00\"'",
     "init_connect=''"},
    {"init_connect='SET timestamp=1'", "init_connect=''"},
    {"init_connect='USE information_schema'", "init_connect=''"},
    {"sql_mode='ANSI,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'", "sql_mode=DEFAULT"},
    {"time_zone='-11:00'", "time_zone=DEFAULT"},
    {"sql_auto_is_null=1", "sql_auto_is_null=0"},
    {"idle_readonly_transaction_timeout=1, GLOBAL idle_write_transaction_timeout=1, "
     "GLOBAL idle_transaction_timeout=1",
     "idle_readonly_transaction_timeout=0, GLOBAL idle_write_transaction_timeout=0, "
     "GLOBAL idle_transaction_timeout=0"},
};

/* What the service holds now, seen from outside: every one of its sessions that has said anything.
   The thread table of the performance schema is off, so the promises are what is looked at. */
static void a_foreign_global_changes_nothing(void **state)
{
    const setting_t *setting = *state;
    const char *sku = sale_item(
        stack, "global", "\"total\":%d,\"per_buyer_limit\":1,\"hold_seconds\":60", 2 * BUYERS);
    const char *ids[BUYERS];
    for (int i = 0; i < BUYERS; ++i) {
        web_answer_t bought = sale_buy(stack, sku, test_text("buyer-%02d", i), 1, NULL);
        EXPECT_STATUS(bought, 201);
        ids[i] = test_text("%s", sale_id(&bought));
    }
    on_all(test_text("SET GLOBAL %s", setting->set));
    renew_connections();
    lose_the_gates();
    WAIT_UNTIL(buys(sku, "late"));
    for (int i = 0; i < BUYERS; ++i) {
        web_answer_t again = sale_buy(stack, sku, test_text("buyer-%02d", i), 1, NULL);
        EXPECT_PROBLEM(again, 409, "buyer_limit_exceeded");
    }
    static const char *const moves[] = {"confirm", "cancel", "extend"};
    for (unsigned i = 0; i < TEST_COUNT(moves); ++i) {
        web_answer_t moved = sale_move(stack, ids[i], moves[i]);
        EXPECT_STATUS(moved, 200);
    }
    const char *sql[] = {sale_item(stack, "global", "\"total\":3,\"strategy\":\"optimistic\""),
                         sale_item(stack, "global", "\"total\":3,\"strategy\":\"serializable\"")};
    for (unsigned i = 0; i < TEST_COUNT(sql); ++i)
        EXPECT(buys(sql[i], "a") && buys(sql[i], "b"), "no sale under %s", setting->set);
    EXPECT_NUMBER(stack_command(stack, "audit"), 0);
    on_all(test_text("SET GLOBAL %s", setting->reset));
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE "
                           "ABS(TIMESTAMPDIFF(SECOND, created_at, UTC_TIMESTAMP())) > 600 "
                           "OR ABS(TIMESTAMPDIFF(SECOND, updated_at, UTC_TIMESTAMP())) > 600"),
                  0);
    EXPECT_SOUND(stack, sku, 1);
    EXPECT_NUMBER(sale_live_orders(stack, sku), BUYERS); /* one more, one cancelled */
    for (unsigned i = 0; i < TEST_COUNT(sql); ++i)
        EXPECT_NUMBER(sale_live_orders(stack, sql[i]), 2);
}

static int reset_globals(void **state)
{
    on_all(test_text("SET GLOBAL %s", ((const setting_t *)*state)->reset));
    renew_connections();
    return test_teardown(state);
}

/* Somebody has the table for himself: a metadata lock, for which a session waits for a day unless
   it says otherwise. The others go on, and this shard does when it is over. */
static void a_table_that_is_locked_is_waited_for_shortly(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "metadata", "\"total\":20,\"strategy\":\"optimistic\"");
    unsigned shard = rows_shard_of(stack, sku);
    EXPECT(buys(sku, "a"), "no sale");
    MYSQL *other_user = mysqld_open(stack, shard);
    EXPECT(other_user != NULL && mysqld_send(other_user, "LOCK TABLES inventory WRITE") == 0,
           "no lock");
    long long begun = test_clock_ms();
    WAIT_UNTIL(mysqld_number(stack, shard,
                             "SELECT COUNT(*) FROM information_schema.processlist WHERE "
                             "user = 'holdfast' AND state LIKE 'Waiting for table metadata lock'"));
    /* None of them has waited for longer than it may, and the client's own time-out is 5 s. */
    while (test_clock_ms() - begun < 8000) {
        EXPECT_NUMBER(mysqld_number(stack, shard,
                                    "SELECT COUNT(*) FROM information_schema.processlist WHERE "
                                    "user = 'holdfast' AND time > 4 AND "
                                    "state LIKE 'Waiting for table metadata lock'"),
                      0);
        usleep(100 * 1000);
    }
    mysql_close(other_user);
    WAIT_UNTIL(buys(sku, "b"));
    EXPECT_SOUND(stack, sku, 0);
}

/* Whatever the reason may be: a rebuild that is not told of every order admits nobody. */
static void a_rebuild_counts_what_it_reads(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "count", "\"total\":%d,\"per_buyer_limit\":1", 2 * BUYERS);
    for (int i = 0; i < BUYERS; ++i)
        EXPECT(buys(sku, test_text("buyer-%02d", i)), "no sale");
    fault_arm(stack, "buyer_left_out fail\n");
    lose_the_gates();
    EXPECT(!buys(sku, "buyer-00"), "the limit was passed");
    EXPECT_FAULT(stack, "buyer_left_out");
    for (int i = 0; i < BUYERS; ++i)
        EXPECT(!buys(sku, test_text("buyer-%02d", i)), "the limit was passed");
    EXPECT(!buys(sku, "new"), "there is a gate");
    fault_disarm(stack);
    WAIT_UNTIL(buys(sku, "new"));
    for (int i = 0; i < BUYERS; ++i)
        EXPECT(!buys(sku, test_text("buyer-%02d", i)), "the limit was passed");
    EXPECT_SOUND(stack, sku, 1);
}

/* --- durability --- */

/* "true", "false", "null" or "": there is no such member. */
static const char *durable_of(const cJSON *server, const char **why)
{
    const cJSON *durable = cJSON_GetObjectItem(server, "durable");
    const cJSON *reason = cJSON_GetObjectItem(server, "durable_reason");
    *why = test_text("%s", cJSON_IsString(reason) ? reason->valuestring : "");
    return cJSON_IsTrue(durable)    ? "true"
           : cJSON_IsFalse(durable) ? "false"
           : cJSON_IsNull(durable)  ? "null"
                                    : "";
}

/* `shard` < 0: Redis. */
static bool durable_is(int shard, const char *expected, const char *word)
{
    const char *why;
    web_answer_t status = ADMIN(stack, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    const cJSON *server =
        shard < 0 ? cJSON_GetObjectItem(status.json, "redis")
                  : cJSON_GetArrayItem(cJSON_GetObjectItem(status.json, "shards"), shard);
    return strcmp(durable_of(server, &why), expected) == 0 && strstr(why, word) != NULL;
}

#define ALL_DURABLE() (fault_metric(stack, "durable") == 3)

static void what_weakens_a_shard_is_seen(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"innodb_flush_log_at_trx_commit=2", "innodb_flush_log_at_trx_commit=1",
         "innodb_flush_log_at_trx_commit is 2"},
        {"innodb_flush_log_at_trx_commit=0, GLOBAL sync_binlog=100",
         "innodb_flush_log_at_trx_commit=1, GLOBAL sync_binlog=1",
         "innodb_flush_log_at_trx_commit is 0, sync_binlog is 100"},
        {"sync_binlog=0", "sync_binlog=1", "sync_binlog is 0"},
    };
    WAIT_UNTIL(ALL_DURABLE());
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        mysqld_run(stack, 1, "SET GLOBAL %s", changes[i][0]);
        WAIT_UNTIL(durable_is(1, "false", changes[i][2]));
        EXPECT_NUMBER(fault_metric(stack, "durable"), 2);
        EXPECT(durable_is(0, "true", ""), "the other shard is not durable");
        mysqld_run(stack, 1, "SET GLOBAL %s", changes[i][1]);
        WAIT_UNTIL(durable_is(1, "true", ""));
    }
    WAIT_UNTIL(ALL_DURABLE());
}

static void what_weakens_redis_is_seen(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"appendfsync", "everysec", "always"},
        {"appendonly", "no", "yes"},
        {"maxmemory-policy", "allkeys-lru", "noeviction"},
        {"no-appendfsync-on-rewrite", "yes", "no"},
    };
    WAIT_UNTIL(ALL_DURABLE());
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        const char *why = test_text("%s is %s", changes[i][0], changes[i][1]);
        redis_run(stack, "CONFIG SET %s %s", changes[i][0], changes[i][1]);
        WAIT_UNTIL(durable_is(-1, "false", why));
        redis_run(stack, "CONFIG SET %s %s", changes[i][0], changes[i][2]);
        WAIT_UNTIL(durable_is(-1, "true", ""));
    }
}

/* What cannot be known is said to be unknown. */
static void what_may_not_be_read_is_unknown(void **state)
{
    (void)state;
    redis_run(stack, "ACL SETUSER default -config");
    WAIT_UNTIL(durable_is(-1, "null", "NOPERM"));
    EXPECT_NUMBER(fault_metric(stack, "durable"), 2);
    const char *sku = sale_item(stack, "unknown", "\"total\":3");
    EXPECT(buys(sku, "a"), "no sale, for a question that the sale does not need");
    mysqld_stop(stack, 1);
    WAIT_UNTIL(durable_is(1, "null", "shard-1-a"));
    mysqld_start(stack, 1, "", "");
    WAIT_UNTIL(durable_is(1, "true", ""));
    redis_run(stack, "ACL SETUSER default +config");
}

/* --- the suite --- */

static const suite_t suite = {
    .name = "session", .settings = {"orders.answer_deadline_ms=3000"}, .prepare = be_kind};

int main(void)
{
    struct CMUnitTest tests[TEST_COUNT(settings) + 5];
    size_t count = 0;
    for (; count < TEST_COUNT(settings); ++count) {
        char *name = NULL;
        if (asprintf(&name, "a_foreign_global_changes_nothing: %.40s", settings[count].set) < 0)
            abort();
        tests[count] = (struct CMUnitTest){.name = name,
                                           .test_func = a_foreign_global_changes_nothing,
                                           .teardown_func = reset_globals,
                                           .initial_state = (void *)&settings[count]};
    }
    tests[count++] = (struct CMUnitTest)TEST(a_table_that_is_locked_is_waited_for_shortly);
    tests[count++] = (struct CMUnitTest)TEST(a_rebuild_counts_what_it_reads);
    tests[count++] = (struct CMUnitTest)TEST(what_weakens_a_shard_is_seen);
    tests[count++] = (struct CMUnitTest)TEST(what_weakens_redis_is_seen);
    tests[count++] = (struct CMUnitTest)TEST(what_may_not_be_read_is_unknown);
    int failed = suite_run(&suite, tests, count);
    for (size_t i = 0; i < TEST_COUNT(settings); ++i)
        free((void *)tests[i].name);
    return failed;
}
