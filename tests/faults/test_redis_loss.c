/*
 * Redis loses what it knew in the middle of a sale: all of it, the last of it, or all since a
 * backup; while services rebuild gates, and while they are dead themselves.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/redis_files.h"
#include "harness/suite.h"

typedef struct {
    const char *sku;
    const test_stack_t *nodes[2];
    crowd_t *crowd;
    chance_t chance;
} sale_t;

/* Units come back, by cancel and expiry, and all are sold now and then. */
static sale_t begin(const char *name, const char *terms)
{
    sale_t sale = {.nodes = {stack, node}, .chance = chance_of(name)};
    sale.sku = sale_item(stack, name, "\"total\":400,\"per_buyer_limit\":9,%s", terms);
    sale.crowd = crowd_start(
        &(crowd_plan_t){.nodes = sale.nodes, .nodes_count = 2, .skus = &sale.sku, .skus_count = 1});
    crowd_await(sale.crowd, CROWD_CREATED, 40);
    return sale;
}

static long long row_epoch(const char *sku)
{
    return rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
}

static const char *terms_of(const char *strategy)
{
    return test_text("\"hold_seconds\":3,\"strategy\":\"%s\"", strategy);
}

static void kill_services(void)
{
    process_signal(stack->pid, SIGKILL);
    process_signal(node->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(stack->pid) && process_is_gone(node->pid));
}

/* Whatever of Redis and the services has died. */
static void start_what_died(void)
{
    stack_again(stack, NULL, 0);
    if (process_is_gone(node->pid))
        stack_node_again(node);
}

/* --- all of it --- */

static void redis_is_emptied_in_traffic(void **state)
{
    sale_t sale = begin("flush", terms_of(*state));
    for (unsigned i = 0; i < 5; ++i) {
        long long before = row_epoch(sale.sku);
        if (chance_percent(&sale.chance, 40))
            redis_run(stack, "FUNCTION FLUSH");
        redis_run(stack, "FLUSHALL");
        WAIT_UNTIL(row_epoch(sale.sku) > before);
        usleep(chance_below(&sale.chance, 700) * 1000);
    }
    crowd_await(sale.crowd, CROWD_CREATED, 40);
    EXPECT_PROMISES(stack, sale.crowd, "%s, emptied 5 times", (const char *)*state);
}

/* The item's epoch is raised, and its gate is not there yet. */
static bool is_being_rebuilt(const char *sku, const char *gate, long long old_epoch)
{
    return row_epoch(sku) > old_epoch && redis_run(stack, "EXISTS %s", gate) == 0;
}

/* The rebuild that the first loss has led to waits while the second comes. */
static void redis_is_emptied_in_a_rebuild(void **state)
{
    static const char *const places[] = {"rebuild_staging", "rebuild_staged", "rebuild_looked_up"};
    sale_t sale = begin("again", terms_of(*state));
    const char *gate = redis_key(stack, "gate", sale.sku);
    for (size_t i = 0; i < TEST_COUNT(places); ++i) {
        long long before = row_epoch(sale.sku);
        fault_arm(stack, "%s pause=1500\n", places[i]);
        fault_arm(node, "%s pause=1500\n", places[i]);
        redis_run(stack, "FLUSHALL");
        WAIT_UNTIL(is_being_rebuilt(sale.sku, gate, before));
        WAIT_UNTIL(fault_hits(stack, places[i]) + fault_hits(node, places[i]) > 0);
        redis_run(stack, "FLUSHALL");
        fault_disarm(stack);
        fault_disarm(node);
        crowd_await(sale.crowd, CROWD_CREATED, 20);
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, emptied in 3 rebuilds", (const char *)*state);
}

static void redis_is_emptied_while_all_are_dead(void **state)
{
    sale_t sale = begin("dead", terms_of(*state));
    for (int i = 0; i < 2; ++i) {
        long long before = row_epoch(sale.sku);
        kill_services();
        redis_run(stack, "FLUSHALL");
        start_what_died();
        crowd_await(sale.crowd, CROWD_CREATED, 40);
        EXPECT(row_epoch(sale.sku) > before, "sold without a rebuild");
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, twice emptied while all were dead",
                    (const char *)*state);
}

/* --- the last of it --- */

static void redis_loses_the_last_of_its_log(void **state)
{
    unsigned cut = 0, dead = 0;
    sale_t sale = begin("cut", terms_of(*state));
    for (int i = 0; i < 3; ++i) {
        long long before = row_epoch(sale.sku);
        bool with_services = chance_percent(&sale.chance, 40);
        redis_files_kill(stack);
        if (with_services)
            kill_services();
        unsigned taken = redis_files_cut(stack, 1 + chance_below(&sale.chance, 200),
                                         chance_percent(&sale.chance, 50));
        EXPECT(taken > 0, "nothing was cut");
        start_what_died();
        crowd_await(sale.crowd, CROWD_CREATED, 40);
        EXPECT(row_epoch(sale.sku) > before, "sold without a rebuild");
        cut += taken;
        dead += with_services;
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, 3 kills of Redis, %u commands cut, services dead %u",
                    (const char *)*state, cut, dead);
}

static void redis_is_restored_from_a_backup(void **state)
{
    sale_t sale = begin("backup", terms_of(*state));
    redis_files_save(stack);
    for (int i = 0; i < 2; ++i) {
        crowd_await(sale.crowd, CROWD_CREATED, 150);
        long long before = row_epoch(sale.sku);
        redis_files_kill(stack);
        if (i == 1)
            kill_services();
        redis_files_restore(stack);
        start_what_died();
        crowd_await(sale.crowd, CROWD_CREATED, 40);
        EXPECT(row_epoch(sale.sku) > before, "sold without a rebuild");
    }
    EXPECT_PROMISES(stack, sale.crowd, "%s, twice set back to a backup", (const char *)*state);
}

/* --- acknowledge = accepted --- */

#define ACCEPTED "\"acknowledge\":\"accepted\",\"strategy\":\"lua\""

/* Waits until all that were answered 202 have ended; returns how many as rejected. */
static unsigned ended_rejected(const crowd_t *crowd)
{
    unsigned rejected = 0;
    for (unsigned i = 0; i < crowd_orders(crowd); ++i) {
        web_answer_t answer;
        WAIT_UNTIL((answer = sale_get(stack, crowd_order(crowd, i)->id)).status == 200 &&
                   strcmp(sale_state(&answer), "reserved") != 0);
        rejected += strcmp(sale_state(&answer), "rejected") == 0;
    }
    return rejected;
}

/* Admitted, answered 202, and before they are written their service dies and Redis forgets some of
   them (`lose`), or all. */
static void lose_accepted(const char *name, unsigned (*lose)(chance_t *chance))
{
    chance_t chance = chance_of(name);
    const char *sku = sale_item(stack, name, "\"total\":100000," ACCEPTED);
    const test_stack_t *nodes[] = {node};
    crowd_t *crowd = crowd_start(&(crowd_plan_t){
        .nodes = nodes, .nodes_count = 1, .skus = &sku, .skus_count = 1, .keeps_all = true});
    crowd_await(crowd, CROWD_PENDING, 100);
    fault_arm(node, "writer_before_commit pause=60000\n");
    EXPECT_FAULT(node, "writer_before_commit");
    crowd_await(crowd, CROWD_PENDING, 150);
    process_signal(node->pid, SIGKILL);
    unsigned entries = lose(&chance);
    crowd_stop(crowd);
    start_what_died();
    fault_disarm(node);
    unsigned rejected = ended_rejected(crowd);
    EXPECT(rejected > 0, "nothing was lost");
    EXPECT_PROMISES(stack, crowd,
                    "accepted, killed before the write, %u commands lost, %u rejected", entries,
                    rejected);
}

static unsigned lose_all(chance_t *chance)
{
    (void)chance;
    redis_run(stack, "FLUSHALL");
    return 0;
}

static unsigned lose_some(chance_t *chance)
{
    redis_files_kill(stack);
    return redis_files_cut(stack, 100 + chance_below(chance, 100), false);
}

static void accepted_orders_that_redis_forgot_are_rejected(void **state)
{
    (void)state;
    lose_accepted("forgotten", lose_all);
}

static void accepted_orders_that_redis_half_forgot_end(void **state)
{
    (void)state;
    lose_accepted("half", lose_some);
}

static const suite_t suite = {.name = "redis_loss",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = suite_pair_up};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", redis_is_emptied_in_traffic),
        UNDER("watch", redis_is_emptied_in_traffic),
        UNDER("lua", redis_is_emptied_in_a_rebuild),
        UNDER("watch", redis_is_emptied_while_all_are_dead),
        UNDER("lua", redis_loses_the_last_of_its_log),
        UNDER("watch", redis_loses_the_last_of_its_log),
        UNDER("lua", redis_is_restored_from_a_backup),
        UNDER("watch", redis_is_restored_from_a_backup),
        TEST(accepted_orders_that_redis_forgot_are_rejected),
        TEST(accepted_orders_that_redis_half_forgot_end),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
