/* Orders that Redis has admitted and whose process died before it had written them: another one
   takes them over within seconds, and each ends once. */
#include <signal.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

static long long unsettled_of(const char *sku)
{
    redis_view_t view = redis_view(stack, sku);
    return view.reserved - view.unreserved - view.settled;
}

static bool all_is_settled(const char *sku)
{
    return unsettled_of(sku) == 0;
}

/* How long after the death of its owner the order was settled is printed. */
static void an_order_of_a_dead_process_is_settled_soon(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "orphan", "\"total\":10,\"strategy\":\"%s\"", strategy);
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    WAIT_UNTIL(all_is_settled(sku));
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    long long died = test_clock_ms();
    EXPECT_NUMBER(unsettled_of(sku), 2);
    WAIT_UNTIL(all_is_settled(sku));
    printf("%s: settled %lld ms after its process died\n", strategy, test_clock_ms() - died);
    EXPECT_NUMBER(sale_live_units(stack, sku), 3);
    web_answer_t repeat = sale_buy(stack, sku, "orphan", 2, "k");
    EXPECT_STATUS(repeat, 201);
    EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
    EXPECT(fault_metric(stack, "orphans_adopted_total") >= 1, "nobody took it over");
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    stack_node_again(node);
}

/* --- many --- */

#define LEFT 3000
/* Far fewer; a pass does not end after so many. */
#define A_READ 512

/* The most orders that one pass took over, as the log has it. */
static unsigned most_in_a_pass(void)
{
    static char line[4096];
    unsigned most = 0;
    FILE *in = fopen(stack_log(stack), "re");
    EXPECT(in != NULL, "no log");
    while (fgets(line, sizeof(line), in) != NULL) {
        const char *at = strstr(line, "orphans were taken over");
        at = at == NULL ? NULL : strstr(at, "\"orders\":");
        unsigned orders = at == NULL ? 0 : (unsigned)strtoul(at + strlen("\"orders\":"), NULL, 10);
        most = orders > most ? orders : most;
    }
    fclose(in);
    return most;
}

/* Bought once by somebody, so that it has a gate before the writer is held. */
static const char *accepted_item(void)
{
    const char *sku = sale_item(stack, "item", "\"total\":10000,\"acknowledge\":\"accepted\"");
    sale_order(stack, sku, "first", 1, NULL);
    return sku;
}

/* All are of one item, so of one slot. Its process dies before it has written any. */
static void thousands_of_orders_of_one_item_end(void **state)
{
    (void)state;
    const char *sku = accepted_item();
    const char *other = sale_item(stack, "other", "\"total\":10000");
    fault_arm(node, "writer_before_commit pause=600000\n");
    sale_tally_t told =
        sale_rush(&(sale_rush_t){.stack = node, .sku = sku, .buyers = LEFT, .connections = 40});
    EXPECT_FAULT(node, "writer_before_commit");
    EXPECT(told.pending == LEFT, "%s", sale_show(&told));
    process_signal(node->pid, SIGKILL);
    long long died = test_clock_ms();
    for (unsigned i = 0; !all_is_settled(sku); i++) {
        web_answer_t bought = sale_buy(stack, other, test_text("b-%u", i), 1, NULL);
        EXPECT_STATUS(bought, 201);
        EXPECT(test_clock_ms() - died < TEST_WAIT_MS, "%lld of %u are left", unsettled_of(sku),
               LEFT);
    }
    printf("%u orders: settled %lld ms after their process died, at most %u in a pass\n", LEFT,
           test_clock_ms() - died, most_in_a_pass());
    EXPECT_NUMBER(sale_live_orders(stack, sku), 1 + LEFT);
    WAIT_UNTIL(most_in_a_pass() > A_READ);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    stack_node_again(node);
}

/* --- some that cannot end --- */

#define OTHERS 4

static const char *accepted_item_of(unsigned shard)
{
    const char *sku;
    do
        sku = accepted_item();
    while (rows_shard_of(stack, sku) != shard);
    return sku;
}

/* Another user has locked their item's row: as many as may be under way, and more. The orders of
   other items end meanwhile, whichever slot a pass reads first. */
static void orders_of_a_locked_item_hide_no_other(void **state)
{
    (void)state;
    const char *locked = accepted_item_of(0), *others[OTHERS];
    for (unsigned i = 0; i < OTHERS; i++)
        others[i] = accepted_item_of(0);
    fault_arm(node, "writer_before_commit pause=600000\n");
    sale_tally_t told =
        sale_rush(&(sale_rush_t){.stack = node, .sku = locked, .buyers = LEFT, .connections = 40});
    EXPECT_FAULT(node, "writer_before_commit");
    EXPECT(told.pending == LEFT, "%s", sale_show(&told));
    for (unsigned i = 0; i < OTHERS; i++) {
        web_answer_t order = sale_buy(node, others[i], "buyer", 1, NULL);
        EXPECT_STATUS(order, 202);
    }
    process_signal(node->pid, SIGKILL);
    MYSQL *user = mysqld_hold(stack, 0,
                              "SELECT sku FROM holdfast.inventory WHERE sku = '%s' "
                              "FOR UPDATE",
                              locked);
    for (unsigned i = 0; i < OTHERS; i++)
        WAIT_UNTIL(all_is_settled(others[i]));
    EXPECT_NUMBER(sale_live_orders(stack, locked), 1);
    mysql_close(user);
    WAIT_UNTIL(all_is_settled(locked));
    EXPECT_NUMBER(sale_live_orders(stack, locked), 1 + LEFT);
    EXPECT_SOUND(stack, locked, 0);
    EXPECT_GATE_AGREES(stack, locked);
    stack_node_again(node);
}

static const suite_t suite = {.name = "orphans",
                              .settings = {"redis.timeout_ms=500", "mysql.lock_wait_timeout_s=1"},
                              .pair = true,
                              .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", an_order_of_a_dead_process_is_settled_soon),
        UNDER("watch", an_order_of_a_dead_process_is_settled_soon),
        TEST(thousands_of_orders_of_one_item_end),
        TEST(orders_of_a_locked_item_hide_no_other),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
