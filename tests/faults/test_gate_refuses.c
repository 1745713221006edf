/*
 * Redis answers, and refuses calls before they run: it is away. Nobody hears 202, since nobody was
 * admitted; redis.on_gate_down applies; and when it takes calls again all items sell again without
 * a restart.
 */
#include <hiredis/hiredis.h>
#include <sys/stat.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

static redisContext *control; /* stays open: it was there before a password was asked for */

static void use_policy(const char *policy)
{
    static const char *used = "refuse";
    if (strcmp(policy, used) != 0)
        STACK_AGAIN(stack, test_text("redis.on_gate_down=%s", policy), "redis.timeout_ms=2000");
    used = policy;
}

static void open_control(void)
{
    control = redisConnectUnix(stack->redis_socket);
    EXPECT(control != NULL && control->err == 0, "no connection to Redis");
}

static void close_control(void)
{
    redisFree(control);
}

/* --- ways to refuse --- */

#define ORDER(...)                                                                                 \
    do {                                                                                           \
        redisReply *reply_ = redisCommand(control, __VA_ARGS__);                                   \
        EXPECT(reply_ != NULL && reply_->type != REDIS_REPLY_ERROR, "%s",                          \
               reply_ == NULL ? control->errstr : reply_->str);                                    \
        freeReplyObject(reply_);                                                                   \
    } while (0)

static bool info_has(const char *section, const char *text)
{
    redisReply *reply = redisCommand(control, "INFO %s", section);
    bool has = reply != NULL && reply->str != NULL && strstr(reply->str, text) != NULL;
    freeReplyObject(reply);
    return has;
}

static void be_out_of_memory(void)
{
    ORDER("CONFIG SET maxmemory 1");
}

static void have_memory(void)
{
    ORDER("CONFIG SET maxmemory 0");
}

static void want_replicas(void)
{
    ORDER("CONFIG SET min-replicas-to-write 1");
}

static void want_none(void)
{
    ORDER("CONFIG SET min-replicas-to-write 0");
}

static void be_a_replica(void)
{
    ORDER("REPLICAOF 127.0.0.1 1");
}

static void be_a_stale_replica(void)
{
    ORDER("CONFIG SET replica-serve-stale-data no");
    ORDER("REPLICAOF 127.0.0.1 1");
}

static void be_a_master(void)
{
    ORDER("REPLICAOF NO ONE");
    ORDER("CONFIG SET replica-serve-stale-data yes");
}

/* A directory stands where the snapshot is to be. */
static const char *snapshot_path(void)
{
    return test_text("%s/redis/dump.rdb", stack->dir);
}

static void fail_to_save(void)
{
    unlink(snapshot_path());
    EXPECT(mkdir(snapshot_path(), 0700) == 0, "mkdir %s", snapshot_path());
    ORDER("CONFIG SET save %s", "3600 1");
}

static void fail_to_save_now(void)
{
    fail_to_save();
    ORDER("BGSAVE");
    WAIT_UNTIL(info_has("persistence", "rdb_last_bgsave_status:err"));
}

static void save_again(void)
{
    ORDER("CONFIG SET save %s", "");
    EXPECT(rmdir(snapshot_path()) == 0, "rmdir");
}

static void forbid_functions(void)
{
    ORDER("ACL SETUSER default -fcall");
}

static void allow_functions(void)
{
    ORDER("ACL SETUSER default +fcall");
}

static void want_a_password(void)
{
    ORDER("ACL SETUSER default resetpass >secret");
    ORDER("CLIENT KILL TYPE normal SKIPME yes");
}

static void want_no_password(void)
{
    ORDER("ACL SETUSER default nopass");
}

static void hang_in_a_script(void)
{
    redisContext *other = redisConnectUnix(stack->redis_socket);
    EXPECT(other != NULL && other->err == 0, "no connection to Redis");
    ORDER("CONFIG SET busy-reply-threshold 100");
    EXPECT(redisAppendCommand(other, "EVAL %s 0", "while true do end") == REDIS_OK, "EVAL");
    for (int done = 0; done == 0;)
        EXPECT(redisBufferWrite(other, &done) == REDIS_OK, "EVAL");
    test_keep(other, (void (*)(void *))redisFree);
    WAIT_UNTIL(redis_refuses(stack, "PING"));
}

static void end_the_script(void)
{
    ORDER("SCRIPT KILL");
}

/* The functions library is gone: connections load it, and Redis refuses that too. */
static void lose_the_library(void)
{
    ORDER("ACL SETUSER default -function|load");
    ORDER("FUNCTION FLUSH SYNC");
}

static void allow_the_library(void)
{
    ORDER("ACL SETUSER default +function|load");
}

typedef struct {
    const char *name;
    void (*begin)(void), (*end)(void);
    const char *says;    /* in a line of the log */
    bool functions_only; /* what watch sends is taken: refused only once the loops have noticed */
} refusal_t;

static const refusal_t refusals[] = {
    {"oom", be_out_of_memory, have_memory, "OOM ", false},
    {"noreplicas", want_replicas, want_none, "NOREPLICAS ", false},
    {"readonly", be_a_replica, be_a_master, "READONLY ", false},
    {"masterdown", be_a_stale_replica, be_a_master, "MASTERDOWN ", false},
    {"misconf", fail_to_save_now, save_again, "MISCONF ", false},
    {"noperm", forbid_functions, allow_functions, "NOPERM ", true},
    {"noauth", want_a_password, want_no_password, "NOAUTH ", false},
    {"busy", hang_in_a_script, end_the_script, "BUSY ", false},
    {"library", lose_the_library, allow_the_library, "NOPERM ", true},
};

/* --- what buyers hear --- */

typedef struct {
    const char *lua, *watch;         /* sold before */
    const char *new_lua, *new_watch; /* not */
    const char *accepted;
    const char *sql; /* not sold before, and needs no Redis */
} items_t;

static bool buys(const char *sku, const char *buyer)
{
    return sale_buy(stack, sku, buyer, 1, NULL).status == 201;
}

static items_t make_items(const char *name)
{
    items_t items = {
        sale_item(stack, test_text("%s-lua", name), "\"total\":500,\"strategy\":\"lua\""),
        sale_item(stack, test_text("%s-watch", name), "\"total\":500,\"strategy\":\"watch\""),
        sale_item(stack, test_text("%s-new-lua", name), "\"total\":500,\"strategy\":\"lua\""),
        sale_item(stack, test_text("%s-new-watch", name), "\"total\":500,\"strategy\":\"watch\""),
        sale_item(stack, test_text("%s-202", name),
                  "\"total\":500,\"strategy\":\"lua\",\"acknowledge\":\"accepted\""),
        sale_item(stack, test_text("%s-sql", name), "\"total\":500,\"strategy\":\"optimistic\"")};
    WAIT_UNTIL(buys(items.lua, "first") && buys(items.watch, "first") &&
               sale_buy(stack, items.accepted, "first", 1, NULL).status == 202);
    return items;
}

#define GATED 5
#define STOOD_IN_FOR 4 /* the accepted one is not: only Redis knows its orders */
static const char *gated(const items_t *items, unsigned i)
{
    const char *const all[GATED] = {items->lua, items->watch, items->new_lua, items->new_watch,
                                    items->accepted};
    return all[i];
}

/* Refused, and known to be: no id to look for. */
static void expect_refused(const char *sku, const char *buyer)
{
    web_answer_t answer = sale_buy(stack, sku, buyer, 1, NULL);
    EXPECT_PROBLEM(answer, 503, "unavailable");
    EXPECT(answer.location[0] == '\0', "a refusal with a Location: %s", web_show(&answer));
}

static bool is_refused(const char *sku, const char *buyer)
{
    return sale_buy(stack, sku, buyer, 1, NULL).status == 503;
}

static bool log_says(const char *text)
{
    static char line[65536];
    bool says = false;
    FILE *in = fopen(test_text("%s/log/holdfast.log", stack->dir), "re");
    EXPECT(in != NULL, "no log");
    while (!says && fgets(line, sizeof(line), in) != NULL)
        says = strstr(line, "redis") != NULL && strstr(line, text) != NULL;
    fclose(in);
    return says;
}

static void expect_sound(const items_t *items)
{
    for (unsigned i = 0; i < GATED; ++i)
        EXPECT_SOUND(stack, gated(items, i), 0);
    EXPECT_SOUND(stack, items->sql, 0);
    for (unsigned i = 0; i < GATED; ++i)
        EXPECT_GATE_AGREES(stack, gated(items, i));
}

/* --- refuse --- */

static void is_refused_at_once(void **state)
{
    const refusal_t *refusal = *state;
    use_policy("refuse");
    items_t items = make_items(refusal->name);
    double unknown = fault_metric(stack, "orders_unknown_total");
    refusal->begin();
    for (unsigned i = 0; refusal->functions_only && i < GATED; ++i)
        WAIT_UNTIL(is_refused(gated(&items, i), "soon"));
    for (unsigned round = 0; round < 3; ++round)
        for (unsigned i = 0; i < GATED; ++i)
            expect_refused(gated(&items, i), test_text("r%u", round));
    EXPECT(buys(items.sql, "sql"), "an item without a gate needs no Redis");
    WAIT_UNTIL(fault_metric(stack, "redis_connections") == 0);
    WAIT_UNTIL(log_says(refusal->says));
    expect_refused(items.lua, "later");
    EXPECT_NUMBER(fault_metric(stack, "stand_ins_total"), 0);
    refusal->end();
    long long ended_ms = test_clock_ms();
    for (unsigned i = 0; i < GATED; ++i)
        WAIT_UNTIL(sale_buy(stack, gated(&items, i), "again", 1, NULL).status < 300);
    print_message("%s: all items sell again after %lld ms\n", refusal->name,
                  test_clock_ms() - ended_ms);
    EXPECT_NUMBER(fault_metric(stack, "orders_unknown_total"), unknown);
    expect_sound(&items);
}

/* --- optimistic --- */

static bool has_fallback(const char *sku)
{
    return rows_sum(stack, "SELECT gate_down FROM inventory WHERE sku = '%s'", sku) != 0;
}

/* Sold by the fallback, or refused until it takes over; the outcome is always known. */
static bool is_sold_without_gate(const char *sku, unsigned nth)
{
    web_answer_t answer = sale_buy(stack, sku, test_text("s%u", nth), 1, NULL);
    EXPECT(answer.status == 201 || (answer.status == 503 && answer.location[0] == '\0'), "%s",
           web_show(&answer));
    return answer.status == 201 && has_fallback(sku);
}

static void is_sold_by_the_fallback(void **state)
{
    const refusal_t *refusal = *state;
    unsigned nth = 0;
    use_policy("optimistic");
    items_t items = make_items(refusal->name);
    refusal->begin();
    for (unsigned i = 0; i < STOOD_IN_FOR; ++i)
        WAIT_UNTIL(is_sold_without_gate(gated(&items, i), nth++));
    expect_refused(items.accepted, "meanwhile");
    EXPECT(!has_fallback(items.accepted), "its accepted orders may be sold again");
    refusal->end();
    for (unsigned i = 0; i < GATED; ++i) {
        WAIT_UNTIL(!has_fallback(gated(&items, i)));
        WAIT_UNTIL(sale_buy(stack, gated(&items, i), "again", 1, NULL).status < 300);
    }
    expect_sound(&items);
}

/* --- a transaction of which only the writes are taken --- */

/* MULTI and EXEC are refused, and what stands between them runs by itself: the units are taken. So
   nobody may hear that nothing is live; the order ends in MySQL. */
static void writes_without_their_transaction_are_in_doubt(void **state)
{
    (void)state;
    use_policy("refuse");
    const char *sku = sale_item(stack, "half", "\"total\":500,\"strategy\":\"watch\"");
    WAIT_UNTIL(buys(sku, "first"));
    ORDER("ACL SETUSER default -multi -exec");
    web_answer_t answer;
    /* Refused without an order: the connections were being made anew. */
    WAIT_UNTIL((answer = sale_buy(stack, sku, "half", 1, NULL)).status != 503 ||
               sale_live_orders(stack, sku) > 1);
    ORDER("ACL SETUSER default +multi +exec");
    /* 201: a second attempt has found the order at the gate. */
    EXPECT(answer.status == 201 || answer.status == 202, "%s", web_show(&answer));
    WAIT_UNTIL(buys(sku, "again"));
    WAIT_UNTIL(({
        web_answer_t order = sale_get(stack, sale_id(&answer));
        order.status == 200 && strcmp(sale_state(&order), "reserved") != 0;
    }));
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* A case that fails may leave Redis refusing. */
static int take_calls(void **state)
{
    static const char *const back[] = {"CONFIG SET maxmemory 0",
                                       "CONFIG SET min-replicas-to-write 0",
                                       "REPLICAOF NO ONE",
                                       "CONFIG SET replica-serve-stale-data yes",
                                       "CONFIG SET stop-writes-on-bgsave-error no",
                                       "ACL SETUSER default nopass +@all"};
    freeReplyObject(redisCommand(control, "SCRIPT KILL"));
    for (size_t i = 0; i < TEST_COUNT(back); ++i)
        freeReplyObject(redisCommand(control, back[i]));
    freeReplyObject(redisCommand(control, "CONFIG SET stop-writes-on-bgsave-error yes"));
    freeReplyObject(redisCommand(control, "CONFIG SET save %s", ""));
    rmdir(snapshot_path());
    return test_teardown(state);
}

static const suite_t suite = {.name = "gate_refuses",
                              .settings = {"redis.on_gate_down=refuse", "redis.timeout_ms=2000",
                                           "orders.answer_deadline_ms=16000",
                                           "orders.commit_deadline_ms=20000"},
                              .repeats = true,
                              .prepare = open_control,
                              .after_stop = close_control};

int main(void)
{
    static char names[2 * TEST_COUNT(refusals)][48];
    struct CMUnitTest tests[TEST_COUNT(names) + 1];
    for (size_t i = 0; i < TEST_COUNT(names); ++i) { /* one policy after the other */
        const refusal_t *refusal = &refusals[i % TEST_COUNT(refusals)];
        bool stood_in = i >= TEST_COUNT(refusals);
        snprintf(names[i], sizeof(names[i]), "%s_is_%s", refusal->name,
                 stood_in ? "stood_in_for" : "refused_at_once");
        tests[i] =
            (struct CMUnitTest){names[i], stood_in ? is_sold_by_the_fallback : is_refused_at_once,
                                NULL, take_calls, (void *)refusal};
    }
    tests[TEST_COUNT(names)] = (struct CMUnitTest)cmocka_unit_test_teardown(
        writes_without_their_transaction_are_in_doubt, take_calls);
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
