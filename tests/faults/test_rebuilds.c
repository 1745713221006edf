/*
 * Rebuilds of gates: two at once, stalled ones, many in full traffic, and of an item that has sold
 * a hundred thousand orders. Epochs only rise, nothing is lost, and none leads to another.
 */
#include <pthread.h>
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

/* --- what is done beside the main thread --- */

typedef struct {
    const test_stack_t *at;
    const char *sku;
    const char *change; /* NULL: a purchase */
    int units;
    bool under_way;
    web_answer_t answer;
    pthread_t thread;
} errand_t;

/* Not on the stack of a case, which a failure leaves at once. */
static errand_t errands[3];

static void *run_errand(void *context)
{
    errand_t *errand = context;
    errand->answer =
        errand->change != NULL
            ? sale_patch(errand->at, errand->sku, "%s", errand->change)
            : sale_buy(errand->at, errand->sku, test_text("by-%p", context), errand->units, NULL);
    return NULL;
}

static errand_t *begin_errand(unsigned i, errand_t errand)
{
    errands[i] = errand;
    errands[i].under_way = true;
    EXPECT_NUMBER(pthread_create(&errands[i].thread, NULL, run_errand, &errands[i]), 0);
    return &errands[i];
}

static errand_t *begin_change(unsigned i, const test_stack_t *at, const char *sku,
                              const char *change)
{
    return begin_errand(i, (errand_t){.at = at, .sku = sku, .change = change});
}

static errand_t *begin_purchase(unsigned i, const test_stack_t *at, const char *sku, int units)
{
    return begin_errand(i, (errand_t){.at = at, .sku = sku, .units = units});
}

static void end_errand(errand_t *errand)
{
    if (errand->under_way)
        pthread_join(errand->thread, NULL);
    errand->under_way = false;
}

/* The service that a case has paused goes on, so that every errand ends. */
static int teardown(void **state)
{
    (void)state;
    fault_disarm(node);
    if (!process_is_gone(node->pid))
        process_signal(node->pid, SIGCONT);
    for (size_t i = 0; i < TEST_COUNT(errands); ++i)
        end_errand(&errands[i]);
    test_forget();
    return 0;
}

static int all_up(void **state)
{
    (void)state;
    fault_disarm(stack);
    if (process_is_gone(node->pid))
        stack_node_again(node);
    return 0;
}

/* --- the writer --- */

/* A batch holds orders of one item under its old epoch and under its new one, and meanwhile another
   node has sold: none of the batch's changes of the row fits any more. */
static void a_batch_of_two_epochs_is_written(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "two", "\"total\":50"), *other;
    do
        other = sale_item(stack, "other", "\"total\":50");
    while (rows_shard_of(stack, other) != rows_shard_of(stack, sku));
    web_answer_t warm = sale_buy(node, sku, "warm", 1, NULL);
    EXPECT_STATUS(warm, 201);
    warm = sale_buy(node, other, "warm", 1, NULL);
    EXPECT_STATUS(warm, 201);
    fault_arm(node, "writer_before_commit pause=800 times=1\n"
                    "writer_versions_found pause=800 after=1 times=1\n");
    begin_purchase(0, node, other, 1); /* the writer is busy with it */
    EXPECT_FAULT(node, "writer_before_commit");
    begin_purchase(1, node, sku, 1);
    usleep(150000);
    web_answer_t patched = sale_patch(stack, sku, "\"hold_seconds\":60");
    EXPECT_STATUS(patched, 200);
    begin_purchase(2, node, sku, 1);
    EXPECT_FAULT(node, "writer_versions_found");
    web_answer_t sold = sale_buy(stack, sku, "elsewhere", 1, NULL);
    EXPECT_STATUS(sold, 201);
    for (size_t i = 0; i < TEST_COUNT(errands); ++i) {
        end_errand(&errands[i]);
        EXPECT_STATUS(errands[i].answer, 201);
    }
    EXPECT(!process_is_gone(node->pid), "the service has died");
    EXPECT_NUMBER(sale_live_orders(stack, sku), 4);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- a sale --- */

typedef struct {
    const char *sku;
    const test_stack_t *nodes[2];
    crowd_t *crowd;
    long long row_epoch, gate_epoch; /* the highest that were seen */
} sale_t;

/* Short holds: units come back and are sold again all the time. */
static sale_t begin(const char *name, const char *strategy)
{
    sale_t sale = {.nodes = {stack, node}};
    sale.sku =
        sale_item(stack, name, "\"total\":300,\"hold_seconds\":2,\"strategy\":\"%s\"", strategy);
    sale.crowd = crowd_start(&(crowd_plan_t){.nodes = sale.nodes,
                                             .nodes_count = 2,
                                             .skus = &sale.sku,
                                             .skus_count = 1,
                                             .per_second = 400});
    crowd_await(sale.crowd, CROWD_CREATED, 100);
    return sale;
}

static void see_epochs(sale_t *sale)
{
    long long row = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sale->sku);
    long long gate = redis_run(stack, "HGET %s epoch", redis_key(stack, "gate", sale->sku));
    EXPECT(row >= sale->row_epoch, "the row's epoch fell from %lld to %lld", sale->row_epoch, row);
    EXPECT(gate >= sale->gate_epoch, "the gate's epoch fell from %lld to %lld", sale->gate_epoch,
           gate);
    sale->row_epoch = row;
    sale->gate_epoch = gate;
}

/* --- two rebuilds at once --- */

/* For longer than its lease, and then it goes on: it must change nothing any more. */
typedef struct {
    const char *strategy, *place;
    bool stopped; /* the process, else only the thread that rebuilds */
} stall_t;

static void a_stalled_rebuild_is_overtaken(void **state)
{
    const stall_t *stall = *state;
    sale_t sale = begin("stall", stall->strategy);
    see_epochs(&sale);
    fault_arm(node, "%s %s times=1\n", stall->place, stall->stopped ? "stop" : "pause=5000");
    errand_t *change = begin_change(0, node, sale.sku, "\"hold_seconds\":3");
    EXPECT_FAULT(node, stall->place);
    long long stalled_epoch =
        rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sale.sku);
    see_epochs(&sale);
    EXPECT(sale.gate_epoch < stalled_epoch, "the rebuild has not stalled");
    /* Another comes, by the traffic or the reconciler of the other service, and ends. */
    WAIT_UNTIL((see_epochs(&sale), sale.gate_epoch > stalled_epoch));
    if (stall->stopped)
        process_signal(node->pid, SIGCONT);
    end_errand(change);
    for (int i = 0; i < 50; ++i, usleep(10000))
        see_epochs(&sale);
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    see_epochs(&sale);
    EXPECT_PROMISES(stack, sale.crowd, "%s, a rebuild stalled at %s%s", stall->strategy,
                    stall->place, stall->stopped ? ", its process stopped" : "");
}

/* --- a limit that is lowered --- */

#define OLD_LIMIT 4
#define NEW_LIMIT 2
#define LOWERED "\"per_buyer_limit\":2"

static const char *limited_item(const char *form)
{
    const char *sku =
        sale_item(stack, "lowered", "\"total\":50,\"per_buyer_limit\":%d,%s", OLD_LIMIT, form);
    web_answer_t warm = sale_buy(stack, sku, "warm", 1, NULL);
    EXPECT(warm.status == 201 || warm.status == 202, "%s", web_show(&warm));
    return sku;
}

/* The buyer asked for more than the new limit while the old one was valid. Whatever he received,
   the audit finds nothing wrong, and the next one hears the new limit. */
static void expect_old_orders_stay(const char *sku, errand_t *change, errand_t *purchase)
{
    end_errand(change);
    EXPECT_STATUS(change->answer, 200);
    end_errand(purchase);
    const web_answer_t *bought = &purchase->answer;
    EXPECT(bought->status == 201 || bought->status == 202 || bought->status == 409, "%s",
           web_show(bought));
    web_answer_t later = sale_buy(stack, sku, "later", NEW_LIMIT + 1, NULL);
    EXPECT_PROBLEM(later, 409, "buyer_limit_exceeded");
    EXPECT_GATE_AGREES(stack, sku);
    if (bought->status != 409)
        WAIT_UNTIL(sale_live_orders(stack, sku) == 2);
    EXPECT_NUMBER(stack_command(stack, "audit"), 0);
}

/* The statement that lowers the limit begins, and waits for the row; then a buyer asks. */
static void a_limit_is_lowered_behind_a_lock(void **state)
{
    const char *sku = limited_item(*state);
    unsigned shard = rows_shard_of(stack, sku);
    MYSQL *stranger =
        mysqld_hold(stack, shard, "UPDATE inventory SET updated_at = NOW(3) WHERE sku = '%s'", sku);
    errand_t *change = begin_change(0, stack, sku, LOWERED);
    WAIT_UNTIL(mysqld_waiting(stack, shard) == 1);
    errand_t *purchase = begin_purchase(1, stack, sku, NEW_LIMIT + 1);
    WAIT_UNTIL(strstr(*state, "lua") == NULL ||
               redis_run(stack, "HGET %s reserved", redis_key(stack, "gate", sku)) > NEW_LIMIT + 1);
    mysql_close(stranger);
    expect_old_orders_stay(sku, change, purchase);
}

/* The row has the new limit, the gate still has the old one: it admits the buyer, and the rebuild
   carries his order. */
static void a_limit_is_lowered_by_a_slow_rebuild(void **state)
{
    const char *sku = limited_item(*state);
    fault_arm(stack, "rebuild_row_raised pause=1000 times=1\n");
    errand_t *change = begin_change(0, stack, sku, LOWERED);
    EXPECT_FAULT(stack, "rebuild_row_raised");
    errand_t *purchase = begin_purchase(1, stack, sku, NEW_LIMIT + 1);
    expect_old_orders_stay(sku, change, purchase);
}

/* --- rebuilds in full traffic --- */

#define CHANGES 12

static double on_both(const char *metric)
{
    return fault_metric(stack, metric) + fault_metric(node, metric);
}

static void change_hold(const sale_t *sale, unsigned i)
{
    web_answer_t patched =
        sale_patch(i % 2 == 0 ? stack : node, sale->sku, "\"hold_seconds\":%u", i % 2 == 0 ? 3 : 2);
    EXPECT_STATUS(patched, 200);
}

static void rebuilds_cause_no_rebuilds(void **state)
{
    const char *strategy = *state;
    sale_t sale = begin("beget", strategy);
    double rebuilds = on_both("gate_rebuilds_total"), repairs = on_both("reconciler_repairs_total"),
           expired = on_both("orders_expired_total");
    for (unsigned i = 0; i < CHANGES; ++i) {
        change_hold(&sale, i);
        usleep(250000);
    }
    usleep(3000000); /* in which the reconciler would find something */
    WAIT_UNTIL(on_both("orders_expired_total") > expired);
    rebuilds = on_both("gate_rebuilds_total") - rebuilds;
    repairs = on_both("reconciler_repairs_total") - repairs;
    expired = on_both("orders_expired_total") - expired;
    EXPECT(rebuilds == CHANGES, "%.0f rebuilds for %d changes, %.0f by the reconciler", rebuilds,
           CHANGES, repairs);
    EXPECT(repairs == 0, "%.0f gates were found wrong that were not", repairs);
    EXPECT_PROMISES(stack, sale.crowd, "%s, %d changes, %.0f rebuilds, %.0f expired meanwhile",
                    strategy, CHANGES, rebuilds, expired);
}

/* Every step of a rebuild, of the reconciler and of what tells the gate is slow, and the reconciler
   never rests. */
static const char *const slow_steps =
    "rebuild_row_raised pause=80\nrebuild_looked_up pause=80\nrebuild_staging pause=80\n"
    "rebuild_staged pause=80\nrebuild_swapped pause=80\nreconcile_compared pause=20\n"
    "reconcile_lease_taken pause=50\nrelease_before_gate pause=20\nrelease_after_gate pause=20\n"
    "notify_gate pause=10\nwriter_after_commit pause=20\n";

static void a_restless_reconciler_repairs_nothing_that_is_right(void **state)
{
    const char *strategy = *state;
    STACK_AGAIN(stack, "reconcile.pass_interval_ms=10");
    sale_t sale = begin("restless", strategy);
    fault_arm(stack, "%s", slow_steps);
    fault_arm(node, "%s", slow_steps);
    double rebuilds = on_both("gate_rebuilds_total"), repairs = on_both("reconciler_repairs_total"),
           passes = on_both("reconciler_passes_total");
    for (unsigned i = 0; i < CHANGES / 2; ++i) {
        change_hold(&sale, i);
        usleep(700000);
    }
    WAIT_UNTIL(on_both("reconciler_passes_total") > passes + 2 &&
               fault_hits(stack, "reconcile_compared") + fault_hits(node, "reconcile_compared") >
                   20);
    rebuilds = on_both("gate_rebuilds_total") - rebuilds;
    repairs = on_both("reconciler_repairs_total") - repairs;
    passes = on_both("reconciler_passes_total") - passes;
    fault_disarm(stack);
    fault_disarm(node);
    EXPECT(rebuilds == CHANGES / 2, "%.0f rebuilds for %d changes", rebuilds, CHANGES / 2);
    EXPECT(repairs == 0, "%.0f gates were found wrong that were not", repairs);
    EXPECT_PROMISES(stack, sale.crowd, "%s, %.0f passes, %d slow rebuilds, 0 repairs", strategy,
                    passes, CHANGES / 2);
    STACK_AGAIN(stack, "reconcile.pass_interval_ms=");
}

/* --- an item that has sold a lot --- */

#define SOLD 100000
#define CHUNK 10000

static void sell_in_bulk(const char *sku)
{
    for (int from = 1; from < SOLD; from += CHUNK) {
        unsigned error = rows_change(
            stack,
            "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, "
            "updated_at) SELECT UNHEX(CONCAT(LPAD(HEX(seq), 12, '0'), '7000A00000000000', RIGHT("
            "MD5(sku), 4))), sku, CONCAT('old-', seq), 1, 'confirmed', epoch, NOW(3), NOW(3) FROM "
            "inventory JOIN seq_%d_to_%d WHERE sku = '%s'",
            from, from + CHUNK - 1, sku);
        EXPECT_NUMBER(error, 0);
    }
    unsigned error =
        rows_change(stack,
                    "UPDATE inventory SET allocated_total = %d, epoch_allocated_total = %d, "
                    "epoch = epoch + 1, version = version + 1 WHERE sku = '%s'",
                    SOLD, SOLD, sku);
    EXPECT_NUMBER(error, 0);
    EXPECT_NUMBER(sale_live_orders(stack, sku), SOLD);
}

/* The gate admits before the buyers are read; the row is free meanwhile. */
static void an_item_of_many_orders_serves_again(void **state)
{
    const char *strategy = *state;
    const char *sku =
        sale_item(stack, "many", "\"total\":%d,\"per_buyer_limit\":1,\"strategy\":\"%s\"",
                  SOLD + 50, strategy);
    sell_in_bulk(sku);
    web_answer_t order;
    WAIT_UNTIL((order = sale_buy(stack, sku, "first", 1, "k")).status == 201);
    EXPECT_GATE_AGREES(stack, sku);
    double locked = on_both("rebuild_lock_seconds_sum"), rebuilds = on_both("gate_rebuilds_total");
    fault_arm(stack, "rebuild_staged pause=600 times=1\n");
    fault_arm(node, "rebuild_staged pause=600 times=1\n");
    long long begun = test_clock_ms();
    redis_run(stack, "FLUSHALL");
    WAIT_UNTIL(fault_hits(stack, "rebuild_staged") + fault_hits(node, "rebuild_staged") > 0 ||
               (sale_buy(stack, sku, "b", 1, "b"), false));
    unsigned error =
        rows_change(stack, "UPDATE inventory SET updated_at = NOW(3) WHERE sku = '%s'", sku);
    EXPECT(error == 0, "error %u: the row is locked while buyers are read", error);
    WAIT_UNTIL(sale_buy(stack, sku, "second", 1, "s").status == 201);
    print_message("%s: %d orders: serves again after %lld ms (with a pause of 600); row locked for "
                  "%.1f ms in %.0f rebuilds\n",
                  strategy, SOLD, test_clock_ms() - begun,
                  1000 * (on_both("rebuild_lock_seconds_sum") - locked),
                  on_both("gate_rebuilds_total") - rebuilds);
    order = sale_buy(stack, sku, "old-77777", 1, NULL);
    EXPECT_PROBLEM(order, 409, "buyer_limit_exceeded");
    EXPECT_SOUND(stack, sku, 1);
    EXPECT_GATE_AGREES(stack, sku);
    rows_change(stack, "DELETE FROM orders WHERE sku = '%s'", sku);
    rows_change(stack, "DELETE FROM inventory WHERE sku = '%s'", sku);
}

#define STALL(name_, ...)                                                                          \
    {                                                                                              \
        name_, a_stalled_rebuild_is_overtaken, all_up, teardown, &(stall_t)                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

#define LIMIT(strategy_, acknowledge_, function_)                                                  \
    {                                                                                              \
        strategy_ " " acknowledge_ ": " #function_, function_, NULL, teardown,                     \
            "\"strategy\":\"" strategy_ "\",\"acknowledge\":\"" acknowledge_ "\""                  \
    }

static const suite_t suite = {.name = "rebuilds",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = all_up,
                              .teardown = teardown};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_of_two_epochs_is_written),
        STALL("lua: a rebuild stalls before its swap", "lua", "rebuild_looked_up", false),
        STALL("watch: a rebuild stalls after the row", "watch", "rebuild_row_raised", false),
        STALL("lua: a process is stopped in its rebuild", "lua", "rebuild_looked_up", true),
        LIMIT("lua", "committed", a_limit_is_lowered_behind_a_lock),
        LIMIT("lua", "accepted", a_limit_is_lowered_behind_a_lock),
        LIMIT("watch", "committed", a_limit_is_lowered_behind_a_lock),
        LIMIT("optimistic", "committed", a_limit_is_lowered_behind_a_lock),
        LIMIT("serializable", "committed", a_limit_is_lowered_behind_a_lock),
        LIMIT("lua", "committed", a_limit_is_lowered_by_a_slow_rebuild),
        LIMIT("lua", "accepted", a_limit_is_lowered_by_a_slow_rebuild),
        LIMIT("watch", "committed", a_limit_is_lowered_by_a_slow_rebuild),
        UNDER("lua", rebuilds_cause_no_rebuilds),
        UNDER("watch", rebuilds_cause_no_rebuilds),
        UNDER("lua", a_restless_reconciler_repairs_nothing_that_is_right),
        UNDER("watch", a_restless_reconciler_repairs_nothing_that_is_right),
        UNDER("lua", an_item_of_many_orders_serves_again),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
