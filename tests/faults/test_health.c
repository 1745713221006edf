/*
 * What a node says of itself while a server is silent, or answers and refuses: readiness, status
 * and audits, none of which may wait for that server; and the calls that ask all shards.
 *
 * A call that waits for the silent server waits for longer than its client does here.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define FAILING 0
#define WELL 1
#define NAME "shard-0"

/* As the suite sets it; and how long a client waits for an answer that waits for no server. */
#define MYSQL_TIMEOUT "mysql.timeout_ms=40000"
#define CLIENT_TIMEOUT_MS 30000

static const char *skus[2]; /* on the sick shard, on the other one; both are sold by Redis */

static const char *item_on(unsigned shard, const char *strategy)
{
    const char *sku;
    do
        sku = sale_item(stack, "health", "\"total\":1000,\"strategy\":\"%s\"", strategy);
    while (rows_shard_of(stack, sku) != shard);
    return sku;
}

static void put_on_sale(void)
{
    skus[FAILING] = strdup(item_on(FAILING, "lua"));
    skus[WELL] = strdup(item_on(WELL, "lua"));
}

static void wake(void)
{
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGCONT);
    process_signal(stack->redis_pid, SIGCONT);
}

/* --- what readyz says --- */

static web_answer_t readyz(void)
{
    web_answer_t ready =
        WEB(.base = stack->url, .path = "/readyz", .timeout_ms = CLIENT_TIMEOUT_MS);
    EXPECT(ready.json != NULL, "%s", web_show(&ready));
    return ready;
}

static const char *text_of(const cJSON *json, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    EXPECT(found != NULL, "no %s", name);
    const char *text = cJSON_GetStringValue(found);
    return text == NULL ? "" : text;
}

/* Of "redis", or of a shard; in readyz as in status. */
static const cJSON *server_in(const web_answer_t *answer, const char *name)
{
    const cJSON *each;
    if (strcmp(name, "redis") == 0)
        return cJSON_GetObjectItemCaseSensitive(answer->json, name);
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(answer->json, "shards"))
    {
        if (strcmp(text_of(each, "name"), name) == 0)
            return each;
    }
    FAIL("no %s: %s", name, web_show(answer));
}

static bool is_in_state(const char *name, const char *health)
{
    web_answer_t ready = readyz();
    return strcmp(text_of(server_in(&ready, name), "state"), health) == 0;
}

/* Waits until readyz calls it that, with a reason that has these words, and returns what it says.
 */
static web_answer_t await_state(const char *name, const char *health, const char *words)
{
    WAIT_UNTIL(is_in_state(name, health));
    web_answer_t ready = readyz();
    const char *reason = text_of(server_in(&ready, name), "reason");
    EXPECT(strstr(reason, words) != NULL, "%s, not %s: %s", reason, words, web_show(&ready));
    EXPECT(strcmp(health, "ok") == 0 || strstr(ready.body, name) != NULL, "%s", web_show(&ready));
    return ready;
}

static bool lacks_nothing(void)
{
    web_answer_t ready = readyz();
    return ready.status == 200 && strstr(ready.body, "\"missing\":[]") != NULL;
}

static void expect_well_again(void)
{
    WAIT_UNTIL(lacks_nothing());
    for (unsigned i = 0; i < 2; ++i)
        WAIT_UNTIL(sale_buy(stack, skus[i], "after", 1, NULL).status == 201);
}

static void expect_the_other_sells(void)
{
    web_answer_t order = sale_buy(stack, skus[WELL], "meanwhile", 1, NULL);
    EXPECT_STATUS(order, 201);
}

/* --- they answer and refuse --- */

static void mysql_is_read_only(void **state)
{
    (void)state;
    mysqld_run(stack, FAILING, "SET GLOBAL read_only = 1");
    web_answer_t ready = await_state(NAME, "away", "read-only");
    EXPECT_STATUS(ready, 200);
    expect_the_other_sells();
    mysqld_run(stack, WELL, "SET GLOBAL read_only = 1");
    WAIT_UNTIL(readyz().status == 503);
    mysqld_run(stack, WELL, "SET GLOBAL read_only = 0");
    mysqld_run(stack, FAILING, "SET GLOBAL read_only = 0");
    expect_well_again();
}

static void another_user_holds_a_global_read_lock(void **state)
{
    (void)state;
    MYSQL *other_user = mysqld_open(stack, FAILING);
    EXPECT(other_user != NULL, "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, "FLUSH TABLES WITH READ LOCK"), 0);
    web_answer_t ready = await_state(NAME, "away", "ock");
    mysql_close(other_user);
    EXPECT_STATUS(ready, 200);
    expect_well_again();
}

/* Then some items wait, and the shard is as well as before: its canaries meet those locks too. */
static void another_user_locks_rows(void **state)
{
    (void)state;
    MYSQL *other_user = mysqld_open(stack, FAILING);
    EXPECT(other_user != NULL, "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, "START TRANSACTION"), 0);
    EXPECT_NUMBER(mysqld_send(other_user, "UPDATE inventory SET updated_at = updated_at"), 0);
    double before = fault_metric(stack, "canaries_total");
    for (int i = 0; i < 5; ++i) {
        WAIT_UNTIL(fault_metric(stack, "canaries_total") >= before + 3 * (i + 1));
        EXPECT(!is_in_state(NAME, "away"), "%s", readyz().body);
    }
    mysql_close(other_user);
    expect_well_again();
}

/* Nobody can buy here, and only who tries knows: the locks of the prober's own rows are free. */
static void another_user_locks_all_orders(void **state)
{
    (void)state;
    MYSQL *other_user = mysqld_open(stack, FAILING);
    EXPECT(other_user != NULL, "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, "START TRANSACTION"), 0);
    EXPECT_NUMBER(mysqld_send(other_user, "SELECT COUNT(*) FROM (SELECT order_id FROM orders "
                                          "FOR UPDATE) locked"),
                  0);
    mysql_free_result(mysql_store_result(other_user));
    const char *sku[] = {skus[FAILING], item_on(FAILING, "lua"), item_on(FAILING, "watch"),
                         item_on(FAILING, "lua")};
    unsigned buyer = 0;
    WAIT_UNTIL((sale_buy(stack, sku[buyer % 4], test_text("locked-%u", buyer), 1, NULL), ++buyer,
                is_in_state(NAME, "away")));
    web_answer_t ready = readyz();
    EXPECT_STATUS(ready, 200);
    expect_the_other_sells();
    mysql_close(other_user);
    expect_well_again();
}

static void another_user_locks_the_tables(void **state)
{
    (void)state;
    MYSQL *other_user = mysqld_open(stack, FAILING);
    EXPECT(other_user != NULL, "no connection");
    EXPECT_NUMBER(mysqld_send(other_user, "LOCK TABLES holdfast.orders WRITE"), 0);
    await_state(NAME, "away", "ock");
    mysql_close(other_user);
    expect_well_again();
}

/* No item of the stack is sold without Redis: so nothing can be sold. */
static void redis_refuses_writes(void **state)
{
    (void)state;
    redis_run(stack, "CONFIG SET maxmemory 1");
    web_answer_t ready = await_state("redis", "away", "OOM");
    EXPECT(fault_metric(stack, "server_ok") == stack->shards, "metric");
    redis_run(stack, "CONFIG SET maxmemory 0");
    EXPECT_STATUS(ready, 503);
    expect_well_again();
}

/* --- they are silent --- */

static web_answer_t at_once(const char *path)
{
    web_answer_t answer = ADMIN(stack, .path = path, .timeout_ms = CLIENT_TIMEOUT_MS);
    EXPECT_STATUS(answer, 200);
    return answer;
}

static bool is_null(const cJSON *json, const char *name)
{
    return cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(json, name));
}

static void expect_honest_status(void)
{
    web_answer_t status = at_once("/v1/status");
    const cJSON *failing = server_in(&status, NAME), *well = server_in(&status, "shard-1");
    EXPECT(cJSON_IsFalse(cJSON_GetObjectItem(failing, "answers")), "%s", web_show(&status));
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(well, "answers")), "%s", web_show(&status));
    EXPECT(strcmp(text_of(failing, "state"), "unknown") == 0, "%s", web_show(&status));
    EXPECT(is_null(cJSON_GetObjectItem(failing, "reconciler"), "holder"), "%s", web_show(&status));
    EXPECT(text_of(failing, "reason")[0] != '\0' && is_null(well, "reason"), "%s",
           web_show(&status));
    web_answer_t items = at_once("/v1/items");
    EXPECT(strstr(items.body, skus[WELL]) != NULL, "%s is not in it", skus[WELL]);
    EXPECT(strstr(items.body, "\"unknown_of\":[\"" NAME "\"]") != NULL, "%s", web_show(&items));
}

static bool audit_names_the_failing_shard(void)
{
    web_answer_t audit = at_once("/v1/audit");
    EXPECT(!cJSON_IsTrue(cJSON_GetObjectItem(audit.json, "ok")) ||
               web_number(&audit, "run") < web_number(&audit, "asked"),
           "it cannot know: %s", web_show(&audit));
    return strstr(audit.body, "\"error\":\"" NAME) != NULL;
}

static web_request_t next_get(void *context, unsigned i)
{
    (void)i;
    return (web_request_t){.base = stack->url, .path = context, .timeout_ms = CLIENT_TIMEOUT_MS};
}

static unsigned not_503;

static bool note_get(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context, (void)i;
    not_503 += answer->status != 503;
    return true;
}

/* More than the pool has threads: all of them hang, and still each is answered in time. */
static void expect_bounded_reads(const char *order_id)
{
    not_503 = 0;
    web_crowd(&(web_crowd_t){.connections = 64,
                             .count = 128,
                             .request = next_get,
                             .answered = note_get,
                             .context = test_text("/v1/orders/%s", order_id)});
    EXPECT_NUMBER(not_503, 0);
    web_answer_t item = WEB(.base = stack->url, .path = test_text("/v1/items/%s", skus[WELL]));
    EXPECT_STATUS(item, 200);
    web_answer_t list = WEB(.base = stack->url, .path = "/v1/buyers/before/orders",
                            .timeout_ms = CLIENT_TIMEOUT_MS);
    EXPECT_PROBLEM(list, 503, "unavailable");
    EXPECT(strstr(list.body, NAME) != NULL, "%s", web_show(&list));
}

static void expect_the_toggle_passes_it_by(void)
{
    web_answer_t toggled =
        ADMIN(stack, .method = "PUT", .path = "/v1/strategy", .body = "{\"strategy\":\"watch\"}");
    EXPECT_PROBLEM(toggled, 503, "unavailable");
    EXPECT(strstr(toggled.body, NAME) != NULL, "%s", web_show(&toggled));
    web_answer_t item = WEB(.base = stack->url, .path = test_text("/v1/items/%s", skus[WELL]));
    EXPECT(strcmp(web_string(&item, "strategy"), "watch") == 0, "%s", web_show(&item));
}

static void one_shard_is_silent(void **state)
{
    (void)state;
    web_answer_t order = sale_buy(stack, skus[FAILING], "before", 1, NULL);
    EXPECT_STATUS(order, 201);
    process_signal(stack->mysql_pids[FAILING], SIGSTOP);
    /* Before it is known to be silent: nobody waits for it even so. */
    at_once("/v1/status");
    at_once("/v1/audit");
    web_answer_t ready = await_state(NAME, "unknown", "no answer");
    EXPECT_STATUS(ready, 200);
    expect_the_other_sells();
    expect_honest_status();
    expect_bounded_reads(sale_id(&order));
    expect_the_toggle_passes_it_by();
    WAIT_UNTIL(audit_names_the_failing_shard());
    EXPECT_NUMBER(stack_command(stack, "audit"), 2);
    process_signal(stack->mysql_pids[WELL], SIGSTOP);
    WAIT_UNTIL(readyz().status == 503);
    at_once("/v1/status");
    process_signal(stack->mysql_pids[WELL], SIGCONT);
    process_signal(stack->mysql_pids[FAILING], SIGCONT);
    expect_well_again();
    web_answer_t audit = sale_audit(stack);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(audit.json, "ok")), "%s", web_show(&audit));
}

static void redis_is_silent(void **state)
{
    (void)state;
    process_signal(stack->redis_pid, SIGSTOP);
    web_answer_t ready = await_state("redis", "unknown", "no answer");
    web_answer_t status = at_once("/v1/status");
    at_once("/v1/audit");
    process_signal(stack->redis_pid, SIGCONT);
    EXPECT_STATUS(ready, 503);
    EXPECT(is_null(cJSON_GetObjectItem(status.json, "connections"), "redis"), "%s",
           web_show(&status));
    expect_well_again();
}

/* --- an audit that takes long --- */

static void a_long_audit_runs_in_the_background(void **state)
{
    (void)state;
    web_answer_t first = sale_audit(stack);
    /* The next run, too, so that this one is shown for a while. */
    fault_arm(stack, "audit_reads pause=6000 times=4\n");
    web_answer_t meanwhile = at_once("/v1/audit");
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(meanwhile.json, "running")), "%s",
           web_show(&meanwhile));
    EXPECT(strcmp(web_string(&meanwhile, "at"), web_string(&first, "at")) == 0,
           "not the last whole one: %s", web_show(&meanwhile));
    EXPECT(web_number(&meanwhile, "age_ms") > 0, "%s", web_show(&meanwhile));
    long long asked = web_number(&meanwhile, "asked");
    web_answer_t fresh;
    WAIT_UNTIL(({
        fresh = at_once("/v1/audit");
        web_number(&fresh, "run") >= asked;
    }));
    EXPECT_NUMBER(web_number(&fresh, "run"), asked);
    fault_disarm(stack);
    EXPECT(cJSON_IsTrue(cJSON_GetObjectItem(fresh.json, "ok")), "%s", web_show(&fresh));
    EXPECT(strcmp(web_string(&fresh, "at"), web_string(&first, "at")) != 0, "%s", web_show(&fresh));
    EXPECT(fault_metric(stack, "audit_verdict") == 0, "metric");
}

/* The last: other cases rely on there being no such item. */
static void an_item_without_redis_is_enough(void **state)
{
    (void)state;
    item_on(WELL, "optimistic");
    redis_run(stack, "CONFIG SET maxmemory 1");
    await_state("redis", "away", "OOM");
    WAIT_UNTIL(readyz().status == 200);
    web_answer_t ready = readyz();
    redis_run(stack, "CONFIG SET maxmemory 0");
    EXPECT(strstr(ready.body, "\"missing\":[\"redis\"]") != NULL, "%s", web_show(&ready));
    expect_well_again();
}

static const suite_t suite = {
    .name = "health",
    .settings = {MYSQL_TIMEOUT, "orders.answer_deadline_ms=3000", "redis.on_gate_down=refuse"},
    .prepare = put_on_sale,
    .before_stop = wake};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_long_audit_runs_in_the_background),
        TEST(mysql_is_read_only),
        TEST(another_user_holds_a_global_read_lock),
        TEST(another_user_locks_rows),
        TEST(another_user_locks_all_orders),
        TEST(another_user_locks_the_tables),
        TEST(redis_refuses_writes),
        TEST(redis_is_silent),
        TEST(one_shard_is_silent),
        TEST(an_item_without_redis_is_enough),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
