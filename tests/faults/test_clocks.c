/*
 * Services whose wall clocks are an hour ahead and an hour behind. What counts are the clocks of
 * the servers: ids, deadlines of holds and of commits, windows of sales.
 */
#include <glob.h>
#include <signal.h>
#include <time.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define NODES 3
#define HOUR_MS 3600000LL
/* What a slow machine may add to a moment; far below an hour. */
#define SLACK_MS 120000LL

static const char *const offsets[NODES] = {"+1h", "-1h", "0"};
/* The last is the stack's own, whose clock is right. */
static test_stack_t *nodes[NODES];

/* For what is started until put_clock_right(). Only the wall clock is another. */
static void set_clock(const char *offset)
{
    glob_t found;
    EXPECT(glob("/usr/lib/*/faketime/libfaketimeMT.so.1", 0, NULL, &found) == 0,
           "libfaketime is not installed");
    const char *options = getenv("ASAN_OPTIONS");
    setenv("LD_PRELOAD", found.gl_pathv[0], 1);
    globfree(&found);
    setenv("FAKETIME", offset, 1);
    setenv("DONT_FAKE_MONOTONIC", "1", 1);
    setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    /* The sanitizer wants to be the first library, and need not be. */
    setenv("ASAN_OPTIONS", test_text("%s:verify_asan_link_order=0", options == NULL ? "" : options),
           1);
}

static void put_clock_right(void)
{
    unsetenv("LD_PRELOAD");
    unsetenv("FAKETIME");
    unsetenv("DONT_FAKE_MONOTONIC");
    unsetenv("FAKETIME_DONT_FAKE_MONOTONIC");
}

static void start_nodes(void)
{
    for (unsigned n = 0; n < NODES - 1; ++n) {
        set_clock(offsets[n]);
        nodes[n] = stack_node_start(stack, 2 + n, NULL, 0);
        put_clock_right();
    }
    nodes[NODES - 1] = stack;
}

static void kill_node(const test_stack_t *service)
{
    process_signal(service->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(service->pid));
    /* What libfaketime would take away itself. */
    unlink(test_text("/dev/shm/faketime_shm_%d", (int)service->pid));
    unlink(test_text("/dev/shm/sem.faketime_sem_%d", (int)service->pid));
}

/* Not by SIGTERM: libfaketime itself aborts a process whose threads are about to end. */
static void kill_nodes(void)
{
    for (unsigned n = 0; n < NODES - 1; ++n) {
        kill_node(nodes[n]);
        stack_node_stop(nodes[n]);
    }
}

/* False: its log has no line yet, a thread writes it. */
static bool read_latest(const test_stack_t *service, char latest[64])
{
    char line[4096];
    latest[0] = '\0';
    FILE *in = fopen(test_text("%s/log/holdfast-%u.log", service->dir, service->number), "re");
    EXPECT(in != NULL, "no log of service %u", service->number);
    while (fgets(line, sizeof(line), in) != NULL)
        sscanf(line, "{\"ts\":\"%63[^\"]", latest);
    fclose(in);
    return latest[0] != '\0';
}

/* By its own words: the latest time in its log, before or after ours. */
static long long clock_of(const test_stack_t *service)
{
    char latest[64];
    WAIT_UNTIL(read_latest(service, latest));
    return sale_parse_time(latest) - sale_now_ms();
}

static void the_clocks_are_wrong(void **state)
{
    (void)state;
    long long ahead = clock_of(nodes[0]), behind = clock_of(nodes[1]);
    print_message("clocks: %+lld ms and %+lld ms\n", ahead, behind);
    EXPECT(ahead > HOUR_MS - SLACK_MS && ahead < HOUR_MS + SLACK_MS, "%lld ms", ahead);
    EXPECT(behind > -HOUR_MS - SLACK_MS && behind < -HOUR_MS + SLACK_MS, "%lld ms", behind);
}

/* --- windows --- */

static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};

/* Each service, each strategy. False: it took until after `end` (0: never), and says nothing. */
static bool hear_everywhere(const char *const *skus, const char *when, time_t end, long status,
                            const char *code)
{
    for (unsigned n = 0; n < NODES; ++n)
        for (size_t i = 0; i < TEST_COUNT(strategies); ++i) {
            web_answer_t order = sale_buy(nodes[n], skus[i], test_text("%s-%u", when, n), 1, NULL);
            if (end != 0 && sale_now_ms() >= end * 1000LL)
                return false;
            EXPECT(order.status == status && (code == NULL || web_has_code(&order, code)),
                   "%s, service %s, %s: %s", when, offsets[n], strategies[i], web_show(&order));
        }
    return true;
}

static void wait_for(long long ms)
{
    while (sale_now_ms() < ms)
        usleep(20000);
}

/* False: this machine is too slow to see what is answered within such times. */
static bool opens_and_closes(long long starts_ms, long long ends_ms)
{
    long long now = sale_now_ms();
    const char *skus[TEST_COUNT(strategies)];
    time_t opens = (now + starts_ms) / 1000, closes = (now + ends_ms) / 1000;
    int until_open = (int)(opens - time(NULL)), until_close = (int)(closes - time(NULL));
    for (size_t i = 0; i < TEST_COUNT(strategies); ++i)
        skus[i] = sale_item(stack, "window",
                            "\"total\":100,\"starts_at\":\"%s\",\"ends_at\":\"%s\","
                            "\"strategy\":\"%s\"",
                            sale_time(until_open), sale_time(until_close), strategies[i]);
    if (!hear_everywhere(skus, "before", opens, 409, "sale_not_started"))
        return false;
    wait_for(opens * 1000LL + 1500);
    if (!hear_everywhere(skus, "during", closes, 201, NULL))
        return false;
    wait_for(closes * 1000LL + 1500);
    return hear_everywhere(skus, "after", 0, 409, "sale_ended");
}

static void a_sale_opens_and_closes_by_the_servers_clocks(void **state)
{
    (void)state;
    long long starts_ms = 4000, ends_ms = 14000;
    for (unsigned tries = 0; !opens_and_closes(starts_ms, ends_ms); ++tries) {
        EXPECT(tries < 3, "too slow to see it within %lld ms", starts_ms);
        starts_ms *= 2;
        ends_ms *= 2;
    }
}

/* --- orders --- */

static int awake(void **state)
{
    process_signal(stack->redis_pid, SIGCONT);
    return test_teardown(state);
}

#define CREATED_MS "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', created_at) DIV 1000"
#define ID_MS "CAST(CONV(SUBSTR(HEX(order_id), 1, 12), 16, 10) AS SIGNED)"

static void expect_none(const char *sku, const char *what, const char *where)
{
    long long found =
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND %s", sku, where);
    EXPECT(found == 0, "%s: %lld orders %s", sku, found, what);
}

static void expect_right_times(const char *sku)
{
    expect_none(sku, "expired before their deadline",
                "state = 'expired' AND updated_at < expires_at");
    expect_none(sku, "with a deadline that is not their hold's",
                "expires_at < created_at + INTERVAL 3 SECOND OR "
                "expires_at > created_at + INTERVAL 60 SECOND");
    expect_none(sku, "of another hour by their row",
                "ABS(TIMESTAMPDIFF(SECOND, created_at, UTC_TIMESTAMP(3))) > 600");
    expect_none(sku, "of another hour by their id", "ABS(" ID_MS " - " CREATED_MS ") > 120000");
}

/* Those with the wrong clocks die too, so that others settle what they have left. */
static void a_crowd_buys_at_all_of_them(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "crowd",
                                "\"total\":900,\"per_buyer_limit\":20,\"hold_seconds\":3,"
                                "\"strategy\":\"%s\"",
                                strategy);
    crowd_t *crowd =
        crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const *)nodes,
                                    .nodes_count = NODES,
                                    .skus = &sku,
                                    .skus_count = 1,
                                    .connections = sale_uses_gate(strategy) ? 0 : SALE_FEW,
                                    .per_second = 150,
                                    .quantity_max = 1});
    crowd_await(crowd, CROWD_CREATED, 60);
    for (unsigned n = 0; n < NODES - 1; ++n) {
        kill_node(nodes[n]);
        set_clock(offsets[n]);
        stack_node_again(nodes[n]);
        put_clock_right();
    }
    usleep(3500000); /* until the first holds have run out */
    crowd_await(crowd, CROWD_CREATED, 60);
    WAIT_UNTIL(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'expired'",
                        sku) > 0);
    crowd_stop(crowd);
    const char *other = sale_item(stack, "each", "\"total\":900,\"strategy\":\"%s\"", strategy);
    for (unsigned n = 0; n < NODES; ++n)
        WAIT_UNTIL(sale_buy(nodes[n], other, test_text("at-%u", n), 1, NULL).status == 201);
    expect_right_times(sku);
    WAIT_UNTIL(sale_patch(stack, sku, "\"hold_seconds\":60").status == 200);
    EXPECT_PROMISES(stack, crowd, "%s, clocks %s and %s, both killed", strategy, offsets[0],
                    offsets[1]);
}

/* Redis is silent from before its start, so that it has heard of no clock but the shards'. */
static void a_service_that_has_not_reached_redis(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "unheard", "\"total\":10,\"strategy\":\"optimistic\"");
    process_signal(stack->redis_pid, SIGSTOP);
    set_clock("+1h");
    test_stack_t *late = stack_node_start_changed(stack, NODES + 1, NULL, 0);
    put_clock_right();
    web_answer_t order = {0};
    WAIT_UNTIL((order = sale_buy(late, sku, "buyer", 1, NULL)).status == 201);
    process_signal(stack->redis_pid, SIGCONT);
    expect_right_times(sku);
    kill_node(late);
    stack_node_stop(late);
}

static const suite_t suite = {.name = "clocks",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .repeats = true,
                              .prepare = start_nodes,
                              .before_stop = kill_nodes};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_clocks_are_wrong),
        TEST(a_sale_opens_and_closes_by_the_servers_clocks),
        {"a_service_that_has_not_reached_redis", a_service_that_has_not_reached_redis, NULL, awake,
         NULL},
        UNDER("lua", a_crowd_buys_at_all_of_them),
        UNDER("optimistic", a_crowd_buys_at_all_of_them),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
