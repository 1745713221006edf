/*
 * What the writer's next batch waits for while other processes hold the lock of its row.
 */
#include "integration/own_database.h"

#include "metrics/metrics.h"
#include "work/writer.h"

#define SKU "item"
/* The writer waits for less than 20 ms for a lock of others, and for the gate. */
#define LONGER_THAN_A_LOCK_US 25000
#define SHORTER_THAN_THE_GATE_US 10000
#define ROUNDS 100

static remote_clock_t shard_clock;
static writer_t *writer;
static loop_t loop;
static db_t *competitor, *looker;
static writer_order_t orders[2];
static unsigned expected; /* orders that are not done yet */

static void on_done(writer_order_t *order)
{
    EXPECT_NUMBER(order->result, WRITER_ROW);
    EXPECT_NUMBER(order->order.state, ORDER_CONFIRMED);
    loop.stop = --expected == 0;
}

static void submit(writer_order_t *order)
{
    *order = (writer_order_t){.loop = &loop,
                              .done = on_done,
                              .epoch = 7,
                              .admitted_epoch = 7,
                              .key = STR_NONE,
                              .awaited = true};
    order->order.id = order_id_issue(0, 1795734000000);
    order_set_sku(&order->order, STR(SKU));
    order_set_buyer(&order->order, STR("bob"));
    order->order.quantity = 1;
    order->order.state = ORDER_CONFIRMED;
    ++expected;
    writer_submit(writer, order);
}

static void wait_for_orders(void)
{
    loop.stop = false;
    loop_run(&loop);
}

static bool something_waits_for_a_lock(void)
{
    static const char text[] = "SELECT 1 FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME "
                               "= 'INNODB_ROW_LOCK_CURRENT_WAITS' AND VARIABLE_VALUE <> '0'";
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    EXPECT(db_query(looker, &sql) == RESULT_DONE, "%s", db_error(looker));
    bool found = db_next(looker);
    while (db_next(looker))
        ;
    return found;
}

/* An order waits for the lock of its row for some milliseconds. */
static void write_under_a_lock(void)
{
    EXPECT_NUMBER(db_run(competitor, "START TRANSACTION; UPDATE inventory SET version = version + "
                                     "1 WHERE sku = '" SKU "'"),
                  RESULT_DONE);
    submit(&orders[0]);
    WAIT_UNTIL(something_waits_for_a_lock());
    usleep(LONGER_THAN_A_LOCK_US);
    EXPECT_NUMBER(db_commit(competitor), RESULT_DONE);
    wait_for_orders();
}

static int64_t commits(void)
{
    return METRIC_GET(writer_commits_total);
}

/* The gate admits the second order while the first is queued. True: one transaction has both. */
static bool the_second_joins_the_first(void)
{
    int64_t before = commits();
    usleep(LONGER_THAN_A_LOCK_US);
    writer_expect(writer, 0, 1);
    submit(&orders[0]);
    usleep(SHORTER_THAN_THE_GATE_US);
    submit(&orders[1]);
    writer_expect(writer, 0, -1);
    wait_for_orders();
    return commits() - before == 1;
}

/* On a machine so slow that the second is submitted too late, a later round shows it. */
static void a_contended_row_waits_for_orders_before_the_gate(void **state)
{
    (void)state;
    for (unsigned round = 0; round < ROUNDS; ++round) {
        write_under_a_lock();
        write_under_a_lock();
        if (the_second_joins_the_first())
            return;
    }
    EXPECT(false, "in no round were both orders in one transaction");
}

/* An order is not kept back for what the gate does not answer. */
static void the_gate_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    write_under_a_lock();
    write_under_a_lock();
    writer_expect(writer, 0, 1);
    submit(&orders[0]);
    wait_for_orders();
    writer_expect(writer, 0, -1);
}

static int set_up_case(void **state)
{
    (void)state;
    run_text(here.config, 0,
             "DELETE FROM orders; DELETE FROM inventory; "
             "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
             "hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES "
             "('" SKU "', 0, 0, 1000, 7, 0, 0, 'lua', 'committed', NOW(3), NOW(3))");
    remote_clock_init(&shard_clock);
    writer = writer_start(here.config, 0, &shard_clock);
    competitor = open_shard(here.config, 0);
    looker = open_shard(&here.root, 0);
    return db_run(competitor, "SET SESSION idle_transaction_timeout = 0, "
                              "idle_write_transaction_timeout = 0") == RESULT_DONE
               ? 0
               : -1;
}

static int tear_down_case(void **state)
{
    writer_stop(writer);
    db_free(competitor);
    db_free(looker);
    return test_teardown(state);
}

static int set_up(void **state)
{
    loop_init(&loop, 0);
    return set_up_migrated(state);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_case, tear_down_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_contended_row_waits_for_orders_before_the_gate),
        CASE(the_gate_is_not_waited_for_for_ever),
    };
    return test_run("writer collect", tests, TEST_COUNT(tests), set_up, tear_down_group);
}
