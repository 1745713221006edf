/*
 * A gate that admits before its table of buyers is whole: the limit holds to the unit while the
 * table loads, units come back once, and another service goes on when one dies. A gate that is
 * intact keeps its table.
 *
 * A part of a table has one buyer here, and the loader rests for a second before each. So there is
 * ample time while a table loads, and no case waits for its end before the loader is let go.
 */
#include <pthread.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/rows.h"
#include "harness/suite.h"

#define BUYERS 60
#define LIMIT 2
#define SLOW_LOADER "buyers_page error=1\nloader_part pause=1000\n"

static const char *buyer(int i)
{
    return test_text("old-%02d", i);
}

static const char *order_of_buyer[BUYERS];

/* Each buyer owns one unit, bought with the key "k". */
static const char *sold_item(const char *strategy)
{
    const char *sku =
        sale_item(stack, "loading", "\"total\":%d,\"per_buyer_limit\":%d,\"strategy\":\"%s\"",
                  10 * BUYERS, LIMIT, strategy);
    for (int i = 0; i < BUYERS; ++i) {
        web_answer_t order = sale_buy(stack, sku, buyer(i), 1, "k");
        EXPECT_STATUS(order, 201);
        order_of_buyer[i] = sale_id(&order);
    }
    return sku;
}

static bool is_loading(const char *sku)
{
    return redis_run(stack, "HGET %s loading", redis_key(stack, "gate", sku)) != 0;
}

static bool is_whole(const char *sku)
{
    const char *gate = redis_key(stack, "gate", sku);
    return redis_run(stack, "EXISTS %s", gate) != 0 &&
           redis_run(stack, "HGET %s loading", gate) == 0;
}

/* Until `at` sells again. */
static void lose_the_gate(const test_stack_t *at, const char *sku)
{
    fault_arm(stack, SLOW_LOADER);
    fault_arm(node, SLOW_LOADER);
    redis_run(stack, "FLUSHALL");
    WAIT_UNTIL(sale_buy(at, sku, "first", 1, NULL).status == 201);
    EXPECT(is_loading(sku), "the table of buyers is whole");
}

static void buys(const test_stack_t *at, const char *sku, const char *who, int units)
{
    web_answer_t order = sale_buy(at, sku, who, units, NULL);
    EXPECT_STATUS(order, 201);
}

static void is_done(web_answer_t answer)
{
    EXPECT_STATUS(answer, 200);
}

static void is_past_his_limit(const test_stack_t *at, const char *sku, const char *who, int units)
{
    web_answer_t order = sale_buy(at, sku, who, units, NULL);
    EXPECT_PROBLEM(order, 409, "buyer_limit_exceeded");
}

static long long live_units_of(const char *sku, const char *who)
{
    return rows_sum(stack,
                    "SELECT COALESCE(SUM(quantity), 0) FROM orders WHERE sku = '%s' AND "
                    "buyer_id = '%s' AND state IN ('held', 'confirmed')",
                    sku, who);
}

/* The loader is let go. In the end the gate has every buyer's units as MySQL has them. */
static void expect_whole(const char *sku)
{
    const char *buyers = redis_key(stack, "buyers", sku);
    fault_disarm(stack);
    fault_disarm(node);
    WAIT_UNTIL(is_whole(sku));
    EXPECT_GATE_AGREES(stack, sku);
    for (int i = 0; i < BUYERS; ++i)
        EXPECT_NUMBER(redis_run(stack, "HGET %s %s", buyers, buyer(i)),
                      live_units_of(sku, buyer(i)));
    EXPECT_SOUND(stack, sku, 0);
}

static void the_limit_holds_while_the_table_loads(void **state)
{
    const char *sku = sold_item(*state);
    lose_the_gate(stack, sku);
    is_past_his_limit(stack, sku, buyer(59), 2);
    buys(node, sku, buyer(59), 1);
    is_past_his_limit(stack, sku, buyer(59), 1);
    web_answer_t repeat = sale_buy(node, sku, buyer(58), 1, "k");
    EXPECT_STATUS(repeat, 201);
    EXPECT(strcmp(sale_id(&repeat), order_of_buyer[58]) == 0, "%s", web_show(&repeat));
    is_past_his_limit(stack, sku, "new", 3);
    buys(stack, sku, "new", 2);
    is_past_his_limit(node, sku, "new", 1);
    is_done(sale_move(node, order_of_buyer[57], "cancel"));
    buys(stack, sku, buyer(57), 2);
    is_past_his_limit(stack, sku, buyer(57), 1);
    EXPECT(is_loading(sku), "the table of buyers is whole");
    expect_whole(sku);
}

/* A change carries what is loaded, and the rest is loaded under the new epoch. */
static void terms_change_while_the_table_loads(void **state)
{
    const char *sku = sold_item(*state);
    lose_the_gate(stack, sku);
    buys(stack, sku, buyer(59), 1);
    double kept = fault_metric(stack, "tables_kept_total");
    is_done(sale_patch(stack, sku, "\"per_buyer_limit\":3"));
    EXPECT(fault_metric(stack, "tables_kept_total") > kept, "the table was not kept");
    is_past_his_limit(node, sku, buyer(59), 2);
    buys(node, sku, buyer(59), 1);
    is_past_his_limit(node, sku, buyer(58), 3);
    buys(node, sku, buyer(58), 2);
    is_done(sale_patch(node, sku, "\"per_buyer_limit\":1"));
    is_past_his_limit(stack, sku, buyer(57), 1);
    is_past_his_limit(stack, sku, buyer(59), 1);
    buys(stack, sku, "new", 1);
    EXPECT(is_loading(sku), "the table of buyers is whole");
    expect_whole(sku);
}

static double on_both(const char *metric)
{
    return fault_metric(stack, metric) + fault_metric(node, metric);
}

/* A change of terms or strategy costs the same, however much an item has sold. */
static void a_change_reads_no_buyers(void **state)
{
    static const char *const changes[] = {"\"per_buyer_limit\":3", "\"strategy\":\"watch\"",
                                          "\"hold_seconds\":60",   "\"strategy\":\"lua\"",
                                          "\"per_buyer_limit\":2", "\"total\":500"};
    const char *sku = sold_item(*state);
    fault_arm(stack, "buyers_page error=1\n");
    fault_arm(node, "buyers_page error=1\n");
    double kept = on_both("tables_kept_total"), loaded = on_both("buyers_loaded_total"),
           demanded = on_both("buyers_loaded_on_demand_total");
    for (unsigned i = 0; i < TEST_COUNT(changes); ++i) {
        is_done(sale_patch(i % 2 == 0 ? stack : node, sku, "%s", changes[i]));
        EXPECT(is_whole(sku), "%s: the table is not whole", changes[i]);
        is_past_his_limit(stack, sku, buyer((int)i), 3);
    }
    EXPECT_NUMBER(on_both("tables_kept_total") - kept, TEST_COUNT(changes));
    EXPECT_NUMBER(on_both("buyers_loaded_total") - loaded, 0);
    EXPECT_NUMBER(on_both("buyers_loaded_on_demand_total") - demanded, 0);
    expect_whole(sku);
}

/* --- what is done beside the main thread --- */

typedef struct {
    const char *sku, *buyer, *order; /* `order`: its cancel, else a purchase */
    int units;
    web_answer_t answer;
    pthread_t thread;
    bool under_way;
} errand_t;

static errand_t errand; /* not on the stack of a case, which a failure leaves at once */

static void *run_errand(void *context)
{
    (void)context;
    errand.answer = errand.order != NULL
                        ? sale_move(node, errand.order, "cancel")
                        : sale_buy(node, errand.sku, errand.buyer, errand.units, NULL);
    return NULL;
}

static void begin(errand_t wanted)
{
    errand = wanted;
    errand.under_way = true;
    EXPECT_NUMBER(pthread_create(&errand.thread, NULL, run_errand, NULL), 0);
}

static void end(void)
{
    if (errand.under_way)
        pthread_join(errand.thread, NULL);
    errand.under_way = false;
}

static int teardown(void **state)
{
    end();
    return test_teardown(state);
}

/* The units of a buyer are read, an order of his is cancelled, and then they come to the gate. */
static void a_cancel_overtakes_a_read(void **state)
{
    const char *sku = sold_item(*state);
    lose_the_gate(stack, sku);
    fault_arm(node, SLOW_LOADER "buyers_read pause=1500 times=1\n");
    begin((errand_t){.sku = sku, .buyer = buyer(59), .units = 2});
    WAIT_UNTIL(fault_hits(node, "buyers_read") != 0);
    is_done(sale_move(stack, order_of_buyer[59], "cancel"));
    end();
    EXPECT_STATUS(errand.answer, 201);
    is_past_his_limit(stack, sku, buyer(59), 1);
    expect_whole(sku);
}

/* The units of a buyer are read after an order of his was cancelled, and before the gate hears of
   that. */
static void a_read_overtakes_a_cancel(void **state)
{
    const char *sku = sold_item(*state);
    lose_the_gate(stack, sku);
    fault_arm(node, SLOW_LOADER "release_before_gate pause=2500 times=1\n");
    begin((errand_t){.sku = sku, .order = order_of_buyer[59]});
    WAIT_UNTIL(fault_hits(node, "release_before_gate") != 0);
    buys(stack, sku, buyer(59), 2);
    end();
    EXPECT_STATUS(errand.answer, 200);
    is_past_his_limit(stack, sku, buyer(59), 1);
    expect_whole(sku);
}

static void a_service_dies_while_it_loads(void **state)
{
    const char *sku = sold_item(*state);
    lose_the_gate(node, sku);
    fault_arm(node, "buyers_page error=1\nloader_part kill times=1\n");
    EXPECT_FAULT(node, "loader_part");
    expect_whole(sku);
    stack_node_again(node);
}

/* --- in traffic --- */

static void change(const char *sku, unsigned i)
{
    static const char *const changes[] = {"\"total\":4100",         "\"strategy\":\"watch\"",
                                          "\"hold_seconds\":2",     "\"strategy\":\"optimistic\"",
                                          "\"strategy\":\"lua\"",   "\"total\":4000",
                                          "\"hold_seconds\":3",     "\"strategy\":\"optimistic\"",
                                          "\"strategy\":\"watch\"", "\"strategy\":\"lua\""};
    web_answer_t answer =
        sale_patch(i % 2 == 0 ? stack : node, sku, "%s", changes[i % TEST_COUNT(changes)]);
    EXPECT_STATUS(answer, 200);
}

static void everything_changes_in_traffic(void **state)
{
    static const test_stack_t *nodes[2];
    const char *skus[] = {
        sale_item(stack, "traffic", "\"total\":4000,\"per_buyer_limit\":2,\"hold_seconds\":2")};
    (void)state;
    nodes[0] = stack;
    nodes[1] = node;
    crowd_t *crowd = crowd_start(&(crowd_plan_t){
        .nodes = nodes, .nodes_count = 2, .skus = skus, .skus_count = 1, .per_second = 400});
    crowd_await(crowd, CROWD_CREATED, 60);
    double loaded = on_both("buyers_loaded_total"), kept = on_both("tables_kept_total");
    fault_arm(stack, "buyers_page error=5\nloader_part pause=20\nbuyers_read pause=10\n");
    fault_arm(node, "buyers_page error=5\nloader_part pause=20\nrelease_before_gate pause=10\n");
    for (unsigned i = 0; i < 20; ++i) {
        if (i % 7 == 3)
            redis_run(stack, "FLUSHALL");
        change(skus[0], i);
        crowd_await(crowd, CROWD_CREATED, 10);
    }
    fault_disarm(stack);
    fault_disarm(node);
    loaded = on_both("buyers_loaded_total") - loaded;
    kept = on_both("tables_kept_total") - kept;
    EXPECT(loaded > 0 && kept > 0, "%.0f buyers were loaded, %.0f tables kept", loaded, kept);
    EXPECT_PROMISES(stack, crowd, "20 changes, 3 losses; %.0f buyers loaded, %.0f tables kept",
                    loaded, kept);
}

#define EACH(function_) UNDER("lua", function_), UNDER("watch", function_)

static const suite_t suite = {.name = "loading",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = suite_pair_up,
                              .teardown = teardown};

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(the_limit_holds_while_the_table_loads),
        EACH(terms_change_while_the_table_loads),
        UNDER("lua", a_change_reads_no_buyers),
        EACH(a_cancel_overtakes_a_read),
        EACH(a_read_overtakes_a_cancel),
        UNDER("lua", a_service_dies_while_it_loads),
        TEST(everything_changes_in_traffic),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
