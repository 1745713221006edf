/*
 * Batches of the writer whose orders are inserted in bulk, on a real server: every order ends as it
 * does when they are inserted as text.
 */
#include "integration/own_database.h"

#include <pthread.h>

#include "metrics/metrics.h"
#include "work/writer_batch.h"

#define SKU "item"
#define SKU_2 "other"
#define ORDERS_MAX 4096
#define EPOCH 7

static remote_clock_t shard_clock;
static writer_core_t core;
static db_t *looker; /* root's */
static char failpoints[300];
static writer_order_t orders[ORDERS_MAX], *batch[ORDERS_MAX];
static unsigned count;
static int64_t bulk_before;

static int set_up(void **state)
{
    snprintf(failpoints, sizeof(failpoints), "%s/writer-bulk-%d",
             test_environment("HOLDFAST_TEST_TMP"), (int)getpid());
    setenv("HOLDFAST_FAILPOINTS", failpoints, 1);
    remote_clock_init(&shard_clock);
    return set_up_migrated(state);
}

static void arm(const char *line)
{
    char fresh[320];
    snprintf(fresh, sizeof(fresh), "%s.new", failpoints);
    FILE *out = fopen(fresh, "we");
    EXPECT(out != NULL, "cannot write %s", fresh);
    fputs(line, out);
    fclose(out);
    EXPECT_NUMBER(rename(fresh, failpoints), 0);
}

static long long number(const char *text)
{
    const sql_t sql = {(char *)text, strlen(text), 0};
    EXPECT(db_query(looker, &sql) == RESULT_DONE && db_next(looker), "%s: %s", text,
           db_error(looker));
    long long found = db_i64(looker, 0);
    while (db_next(looker))
        ;
    return found;
}

static void begin_batch(void)
{
    memset(orders, 0, sizeof(orders));
    count = 0;
}

static writer_order_t *add_order(const char *sku)
{
    writer_order_t *order = &orders[count];
    *order = (writer_order_t){
        .epoch = EPOCH, .admitted_epoch = EPOCH, .key = STR_NONE, .arrival = count};
    order->order.id = order_id_issue(0, 1795734000000 + count);
    order_set_sku(&order->order, str_of(sku));
    order_set_buyer(&order->order, STR("bob"));
    order->order.quantity = 1;
    order->order.digest = UINT64_MAX - count;
    order->order.state = ORDER_CONFIRMED;
    batch[count++] = order;
    return order;
}

static writer_order_t *add_with_key(const char *sku, const char *key)
{
    writer_order_t *order = add_order(sku);
    order->key = str_of(key);
    return order;
}

static void add_item(const char *sku)
{
    run_text(here.config, 0,
             test_text("DELETE FROM inventory WHERE sku = '%s'; "
                       "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
                       "hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES "
                       "('%s', 0, 0, 10000, %u, 0, 0, 'lua', 'committed', NOW(3), NOW(3))",
                       sku, sku, EPOCH));
}

static int set_up_case(void **state)
{
    (void)state;
    here.config->mysql.writer_bulk_min = 2;
    run_text(here.config, 0, "DELETE FROM orders; DELETE FROM holds");
    add_item(SKU);
    add_item(SKU_2);
    begin_batch();
    writer_core_init(&core, here.config, 0, &shard_clock, false);
    looker = open_shard(&here.root, 0);
    bulk_before = METRIC_GET(writer_bulk_inserts_total);
    return 0;
}

static int tear_down_case(void **state)
{
    arm("");
    writer_core_dispose(&core);
    run_text(&here.root, 0, "SET GLOBAL max_prepared_stmt_count = DEFAULT");
    db_free(looker);
    return test_teardown(state);
}

static void expect_in_bulk(int64_t least)
{
    int64_t done = METRIC_GET(writer_bulk_inserts_total) - bulk_before;
    EXPECT(done >= least, "%lld inserts in bulk, not %lld", (long long)done, (long long)least);
}

static long long rows_where(const char *condition)
{
    return number(test_text("SELECT COUNT(*) FROM %s.orders WHERE %s", here.database, condition));
}

/* Rows of the item's live orders, and the units that it has allocated for them. */
static void expect_sold(const char *sku, long long units)
{
    EXPECT_NUMBER(rows_where(test_text("sku = '%s' AND state IN ('held', 'confirmed')", sku)),
                  units);
    EXPECT_NUMBER(number(test_text("SELECT allocated_total FROM %s.inventory WHERE sku = '%s'",
                                   here.database, sku)),
                  units);
}

static void expect_inserted(unsigned i, bool inserted, order_state_t order_state)
{
    EXPECT_NUMBER(orders[i].result, WRITER_ROW);
    EXPECT(orders[i].inserted == inserted, "order %u: inserted %d", i, orders[i].inserted);
    EXPECT_NUMBER(orders[i].order.state, order_state);
}

static void the_largest_batch_is_one_transaction(void **state)
{
    (void)state;
    static char keys[ORDERS_MAX][256];
    int64_t commits = METRIC_GET(writer_commits_total);
    for (unsigned i = 0; i < ORDERS_MAX; ++i) {
        snprintf(keys[i], sizeof(keys[i]), "%0255u", i); /* as long as a key may be */
        writer_order_t *order = i % 3 == 0 ? add_order(SKU) : add_with_key(SKU_2, keys[i]);
        order->hold_seconds = i % 2 == 0 ? 60 : 0;
    }
    writer_apply(&core, batch, count);
    EXPECT_NUMBER(METRIC_GET(writer_commits_total), commits + 1);
    expect_in_bulk(1);
    expect_sold(SKU, (ORDERS_MAX + 2) / 3);
    expect_sold(SKU_2, ORDERS_MAX - (ORDERS_MAX + 2) / 3);
    EXPECT_NUMBER(number(test_text("SELECT COUNT(*) FROM %s.orders o JOIN %s.holds h ON h.order_id "
                                   "= o.order_id AND h.expires_at = o.expires_at WHERE o.state = "
                                   "'held' AND o.expires_at = o.created_at + INTERVAL 60 SECOND",
                                   here.database, here.database)),
                  ORDERS_MAX / 2);
    EXPECT_NUMBER(rows_where("expires_at IS NULL AND state = 'confirmed'"), ORDERS_MAX / 2);
    EXPECT_NUMBER(rows_where("idempotency_key IS NULL"), (ORDERS_MAX + 2) / 3);
    EXPECT_NUMBER(rows_where("buyer_id = 'bob' AND epoch = 7 AND quantity = 1 AND updated_at = "
                             "created_at AND reject_code IS NULL AND original_order_id IS NULL"),
                  ORDERS_MAX);
    EXPECT_NUMBER(rows_where("idempotency_key = LPAD(4, 255, '0') AND request_digest = "
                             "18446744073709551615 - 4"),
                  1);
}

static void a_row_that_is_there_already_is_the_result(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; ++i)
        add_order(SKU);
    order_id_t first = orders[1].order.id;
    writer_apply(&core, batch, count);
    begin_batch();
    for (unsigned i = 0; i < 4; ++i)
        add_order(SKU);
    orders[2].order.id = first;
    writer_apply(&core, batch, count);
    for (unsigned i = 0; i < 4; ++i)
        expect_inserted(i, i != 2, ORDER_CONFIRMED);
    expect_sold(SKU, 6);
    expect_in_bulk(2);
}

static void a_key_is_won_once(void **state)
{
    (void)state;
    add_with_key(SKU, "a");
    add_with_key(SKU, "b");
    order_id_t winner = orders[0].order.id;
    writer_apply(&core, batch, count);
    expect_in_bulk(1);
    begin_batch();
    add_with_key(SKU, "a");
    add_with_key(SKU, "c");
    add_with_key(SKU_2, "a"); /* the key of another item */
    add_with_key(SKU, "b");
    writer_apply(&core, batch, count);
    expect_inserted(0, true, ORDER_REJECTED);
    expect_inserted(1, true, ORDER_CONFIRMED);
    expect_inserted(2, true, ORDER_CONFIRMED);
    expect_inserted(3, true, ORDER_REJECTED);
    EXPECT(order_id_eq(&orders[0].order.original_id, &winner), "another has won the key");
    expect_sold(SKU, 3);
    expect_sold(SKU_2, 1);
    EXPECT_NUMBER(rows_where("state = 'rejected' AND reject_code = 'duplicate_request' AND "
                             "original_order_id IS NOT NULL AND idempotency_key IS NULL"),
                  2);
    expect_in_bulk(2);
}

/* No row has the keys yet: the orders meet each other. */
static void orders_of_one_batch_share_a_key_or_an_id(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; ++i)
        add_with_key(SKU, i < 4 ? "a" : test_text("k%u", i));
    orders[8].order.id = orders[9].order.id;
    orders[8].key = orders[9].key;
    writer_apply(&core, batch, count);
    unsigned rejected = 0;
    for (unsigned i = 0; i < 10; ++i) {
        EXPECT_NUMBER(orders[i].result, WRITER_ROW);
        rejected += orders[i].order.state == ORDER_REJECTED;
    }
    EXPECT_NUMBER(rejected, 3);
    EXPECT_NUMBER(rows_where("1"), 9);
    expect_sold(SKU, 6);
    expect_in_bulk(1);
}

static void values_that_are_refused_are_one_orders_own(void **state)
{
    (void)state;
    static char longer[300];
    memset(longer, 'k', sizeof(longer));
    for (unsigned i = 0; i < 16; ++i)
        add_order(SKU);
    orders[11].key = (str_t){longer, sizeof(longer)}; /* longer than the column */
    writer_apply(&core, batch, count);
    for (unsigned i = 0; i < 16; ++i)
        expect_inserted(i, i != 11, i == 11 ? ORDER_REJECTED : ORDER_CONFIRMED);
    expect_sold(SKU, 15);
    expect_in_bulk(1);
}

static void *apply_beside(void *unused)
{
    writer_apply(&core, batch, count);
    return unused;
}

/* Between the orders and the rows of their items: nothing of it was written. */
static void a_connection_lost_in_the_middle_writes_nothing_twice(void **state)
{
    (void)state;
    pthread_t thread;
    int64_t lost = METRIC_GET(writer_lost_total);
    for (unsigned i = 0; i < 50; ++i)
        add_with_key(SKU, test_text("k%u", i));
    arm("writer_inserted_in_bulk pause=700 times=1\n");
    EXPECT_NUMBER(pthread_create(&thread, NULL, apply_beside, NULL), 0);
    WAIT_UNTIL(METRIC_GET(writer_bulk_inserts_total) != bulk_before);
    run_text(&here.root, 0, test_text("KILL USER '%s'@'localhost'", here.config->mysql.user));
    pthread_join(thread, NULL);
    EXPECT_NUMBER(METRIC_GET(writer_lost_total), lost + 1);
    expect_sold(SKU, 50);
    expect_in_bulk(2);
}

/* Whatever a server has against prepared statements: the orders go as text. */
static void a_server_that_prepares_nothing_gets_text(void **state)
{
    (void)state;
    run_text(&here.root, 0, "SET GLOBAL max_prepared_stmt_count = 0");
    for (unsigned round = 1; round <= 3; ++round) {
        begin_batch();
        for (unsigned i = 0; i < 40; ++i)
            add_order(SKU);
        writer_apply(&core, batch, count);
        expect_sold(SKU, round * 40);
    }
    EXPECT_NUMBER(METRIC_GET(writer_bulk_inserts_total), bulk_before);
    EXPECT_NUMBER(writer_probe(&core), true);
}

static void small_batches_are_text(void **state)
{
    (void)state;
    add_order(SKU);
    writer_apply(&core, batch, count);
    EXPECT_NUMBER(METRIC_GET(writer_bulk_inserts_total), bulk_before);
    here.config->mysql.writer_bulk_min = 0;
    begin_batch();
    for (unsigned i = 0; i < 100; ++i)
        add_order(SKU);
    writer_apply(&core, batch, count);
    EXPECT_NUMBER(METRIC_GET(writer_bulk_inserts_total), bulk_before);
    expect_sold(SKU, 101);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_case, tear_down_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_largest_batch_is_one_transaction),
        CASE(a_row_that_is_there_already_is_the_result),
        CASE(a_key_is_won_once),
        CASE(orders_of_one_batch_share_a_key_or_an_id),
        CASE(values_that_are_refused_are_one_orders_own),
        CASE(a_connection_lost_in_the_middle_writes_nothing_twice),
        CASE(a_server_that_prepares_nothing_gets_text),
        CASE(small_batches_are_text),
    };
    return test_run("writer bulk", tests, TEST_COUNT(tests), set_up, tear_down_group);
}
