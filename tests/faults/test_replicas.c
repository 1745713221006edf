/*
 * deploy/up and shards with replicas: the first server of a shard takes the writes, and only if no
 * other one has data that it lacks. After a failover by hand up refuses, nothing becomes writable,
 * and deploy/promote says whose data go on.
 */
#include "harness/deployed.h"
#include "harness/sale.h"
#include "harness/suite.h"

enum { ORDERS_MAX = 64 };
static char sku[80], ids[ORDERS_MAX][SALE_ID_SIZE];
static unsigned orders; /* of the shard that this is all about, number 0 */

/* --- the stack --- */

static bool says(const char *script)
{
    return deployed_run(stack, "", "", script) == 0;
}

/* The status of deploy/COMMAND; what it says is in DIR.said. */
static int deploy(const char *command, const char *arguments)
{
    return deployed_run(stack, command, arguments,
                        "status=0; read -ra words <<<\"$extra\"\n"
                        "\"$HOLDFAST_REPO/deploy/$name\" --dir \"$DIR\" \"${words[@]}\" "
                        ">\"$DIR.said\" 2>&1 || status=$?\n"
                        "cat \"$DIR.said\"; exit $status");
}

static bool said(const char *text)
{
    return deployed_run(stack, "", text, "grep -qF -- \"$extra\" \"$DIR.said\"") == 0;
}

static void up(void)
{
    EXPECT_NUMBER(deploy("up", "--no-build --replicas 1"), 0);
    stack_learn(stack);
}

static bool is_read_only(const char *server)
{
    return deployed_run(stack, server, "",
                        "[[ $(mysql_client \"$name\" --execute='SELECT @@GLOBAL.read_only') == 1 "
                        "]]") == 0;
}

static void expect_roles(void)
{
    EXPECT(!is_read_only("shard-0-a"), "the first takes no writes");
    EXPECT(is_read_only("shard-0-b"), "the replica takes writes");
}

static bool replica_has(unsigned count)
{
    return deployed_run(stack, "", test_text("%u", count),
                        "[[ $(mysql_client shard-0-b --execute='SELECT COUNT(*) FROM "
                        "holdfast.orders') == \"$extra\" ]]") == 0;
}

/* Refused, whatever --replicas says: no server takes writes that has just been started, and no
   service runs. */
static void expect_up_refuses(const char *arguments)
{
    EXPECT(deploy("up", arguments) != 0, "up has made two primaries");
    EXPECT(said("nothing was made writable"), "another reason");
    EXPECT(said("deploy/promote --dir"), "it does not say what to do");
    EXPECT(is_read_only("shard-0-a") && is_read_only("shard-0-b"), "one takes writes");
    EXPECT(says("! process_alive holdfast"), "the service runs");
}

/* --- orders --- */

static bool buys(void)
{
    web_answer_t order = sale_buy(stack, sku, test_text("buyer-%u", orders), 1, NULL);
    if (order.status != 201)
        return false;
    EXPECT(orders < ORDERS_MAX, "so many orders");
    snprintf(ids[orders++], sizeof(ids[0]), "%s", sale_id(&order));
    return true;
}

static void buy(unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        WAIT_UNTIL(buys());
}

static bool is_readable(const char *id)
{
    return sale_get(stack, id).status == 200;
}

static void expect_orders(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; ++i)
        WAIT_UNTIL(is_readable(ids[i]));
}

static void prepare(void)
{
    up(); /* with replicas of servers that had none */
    do {
        snprintf(sku, sizeof(sku), "%s", sale_item(stack, "replicated", "\"total\":1000"));
    } while (rows_shard_of(stack, sku) != 0);
}

/* --- positions --- */

/* Entries of one server, of another, and whether the first has all that the other has. */
static const struct {
    const char *one, *other;
    bool all;
} positions[] = {
    {"", "", true},
    {"1-1-100", "", true},
    {"", "1-1-1", false},
    {"1-1-100", "1-1-100", true},
    {"1-1-100", "1-1-99", true},
    {"1-1-9", "1-1-10", false}, /* as numbers */
    /* the other was promoted, and wrote on */
    {"1-1-100", "1-1-100\\n1-2-101", false},
    {"1-1-100\\n1-2-101", "1-1-100", true},
    /* both wrote on: as much, less, more */
    {"1-1-101", "1-1-100\\n1-2-101", false},
    {"1-1-101", "1-1-100\\n1-2-109", false},
    {"1-1-109", "1-1-100\\n1-2-101", false},
    /* a copy that was taken there has its history up to then, whoever wrote it */
    {"1-2-101", "1-1-100\\n1-2-101", true},
    {"1-2-101", "1-1-100\\n1-2-102", false},
    /* domains are apart */
    {"1-1-100\\n2-1-5", "2-1-6", false},
    {"2-1-9", "1-1-5", false},
};

static void positions_are_compared(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(positions); ++i) {
        int status = deployed_run(
            stack, positions[i].one, positions[i].other,
            "source \"$HOLDFAST_REPO/deploy/positions.sh\"\n"
            "positions_cover \"$(printf '%b' \"$name\")\" \"$(printf '%b' \"$extra\")\"");
        EXPECT((status == 0) == positions[i].all, "%s against %s: %d", positions[i].one,
               positions[i].other, status);
    }
}

/* --- what is no failover --- */

static void up_again_changes_nothing(void **state)
{
    (void)state;
    buy(3);
    pid_t service = stack->pid, first = stack->mysql_pids[0];
    up();
    EXPECT_NUMBER(stack->pid, service);
    EXPECT_NUMBER(stack->mysql_pids[0], first);
    expect_roles();
    buy(1);
    WAIT_UNTIL(replica_has(orders));
}

static void replicas_in_step_and_behind_are_no_obstacle(void **state)
{
    (void)state;
    buy(1);
    WAIT_UNTIL(replica_has(orders));
    EXPECT_NUMBER(deploy("down", ""), 0);
    up();
    expect_roles();
    EXPECT(says("mysql_client shard-0-b --execute='STOP SLAVE'"), "it replicates");
    buy(3);
    EXPECT_NUMBER(deploy("down", ""), 0);
    up();
    expect_roles();
    buy(1);
    WAIT_UNTIL(replica_has(orders));
    expect_orders(0, orders);
}

static void a_lost_replica_is_made_again(void **state)
{
    (void)state;
    EXPECT_NUMBER(deploy("down", ""), 0);
    EXPECT(says("rm -r \"$DIR/mysql/shard-0-b/data\""), "it is still there");
    up();
    expect_roles();
    buy(1);
    WAIT_UNTIL(replica_has(orders));
}

static void data_left_over_by_a_larger_number_are_checked(void **state)
{
    (void)state;
    EXPECT_NUMBER(deploy("up", "--no-build --replicas 0"), 0);
    stack_learn(stack);
    EXPECT(says("! process_alive shard-0-b"), "the replica still runs");
    buy(2);
    up();
    expect_roles();
    WAIT_UNTIL(replica_has(orders));
}

/* --- failovers --- */

/* The old one is gone; the other one takes the writes, and the service goes there. */
static void fail_over(void)
{
    deployed_must(stack, "", "",
                  "processes_stop holdfast; processes_stop shard-0-a\n"
                  "mysql_client shard-0-b --execute='STOP SLAVE; RESET SLAVE ALL; SET GLOBAL "
                  "read_only = 0'\n"
                  "sed -i s/shard-0-a/shard-0-b/ \"$DIR/config.yaml\"\n"
                  "process_start holdfast \"$LOG_DIR/holdfast.log\" "
                  "\"$HOLDFAST_TEST_BUILD/holdfast\" serve -c \"$DIR/config.yaml\"\n");
}

static void after_a_failover_up_refuses_until_one_is_promoted(void **state)
{
    (void)state;
    buy(2);
    WAIT_UNTIL(replica_has(orders));
    fail_over();
    buy(3);
    /* While the other one serves, nothing is taken from it. */
    EXPECT(deploy("up", "--no-build --replicas 1") != 0, "up has made two primaries");
    EXPECT(said("shard-0-b takes writes"), "another reason");
    EXPECT(is_read_only("shard-0-a"), "the old one takes writes");
    buy(1);
    EXPECT_NUMBER(deploy("down", ""), 0);
    expect_up_refuses("--no-build --replicas 1");
    EXPECT(said("shard-0-b has transactions that shard-0-a does not have"), "not which");
    EXPECT(!said("lacks some"), "it lacks none");
    expect_up_refuses("--no-build --replicas 0");
    EXPECT_NUMBER(deploy("promote", "shard-0-b"), 0);
    up();
    expect_roles();
    buy(1);
    expect_orders(0, orders);
    WAIT_UNTIL(replica_has(orders));
    EXPECT_SOUND(stack, sku, 0);
}

/* The first server of a shard, and no other one has data: nothing is stopped, nothing set aside. */
static void the_only_server_cannot_be_promoted(void **state)
{
    (void)state;
    deployed_must(stack, "", "", "mkdir -p \"$DIR/mysql/shard-9-a/data\"");
    int status = deploy("promote", "shard-9-a");
    deployed_must(stack, "", "", "rm -r \"$DIR/mysql/shard-9-a\"");
    EXPECT(status != 0, "it was promoted");
    EXPECT(said("shard-9-a is the only server of its shard"), "another reason");
    EXPECT(says("process_alive holdfast && process_alive shard-0-a"), "the stack was stopped");
    EXPECT(says("[[ ! -e $DIR/mysql/set-aside ]]"), "something was set aside");
}

/* The old one has orders that the new one never heard of. */
static void of_two_that_differ_one_is_chosen(void **state)
{
    (void)state;
    EXPECT(says("mysql_client shard-0-b --execute='STOP SLAVE'"), "it replicates");
    buy(2);
    unsigned common = orders;
    fail_over();
    buy(2);
    EXPECT_NUMBER(deploy("down", ""), 0);
    expect_up_refuses("--no-build --replicas 1");
    EXPECT(said(", and lacks some that shard-0-a has"), "not that they differ");
    EXPECT_NUMBER(deploy("promote", "shard-0-a"), 0);
    up();
    expect_roles();
    expect_orders(0, common);
    EXPECT_NUMBER(sale_live_orders(stack, sku), common);
    EXPECT(says("ls -d \"$DIR\"/mysql/set-aside/*/shard-0-b/data"), "what it had is gone");
    orders = common;
    buy(1);
    WAIT_UNTIL(replica_has(orders));
    EXPECT_SOUND(stack, sku, 0);
}

static const suite_t suite = {
    .name = "replicas", .settings = {"http.threads=2"}, .prepare = prepare};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(positions_are_compared),
        TEST(up_again_changes_nothing),
        TEST(replicas_in_step_and_behind_are_no_obstacle),
        TEST(a_lost_replica_is_made_again),
        TEST(data_left_over_by_a_larger_number_are_checked),
        TEST(the_only_server_cannot_be_promoted),
        TEST(after_a_failover_up_refuses_until_one_is_promoted),
        TEST(of_two_that_differ_one_is_chosen),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
