/*
 * Attempts of the writer to write a batch, on a real server: what it does when other transactions
 * change the rows, and when COMMIT is refused. Each case twice: with orders inserted as text, and
 * in bulk.
 */
#include "integration/own_database.h"

#include <pthread.h>

#include "metrics/metrics.h"
#include "work/writer_batch.h"

#define SKU "item"
#define SKU_2 "other"
#define ORDERS 2

static remote_clock_t shard_clock;
static writer_core_t core;
static db_t *competitor, *looker; /* `looker` may see what waits */
static char failpoints[300];

static struct {
    writer_order_t orders[ORDERS], *batch[ORDERS];
    unsigned count;
    writer_group_t groups[ORDERS + 1];
    writer_attempt_t outcome;
    writer_failure_kind_t failure;
} attempt;

static int set_up(void **state)
{
    snprintf(failpoints, sizeof(failpoints), "%s/writer-attempt-%d",
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

static void begin_batch(void)
{
    memset(&attempt, 0, sizeof(attempt));
}

static void add_order(const char *sku, unsigned units)
{
    writer_order_t *order = &attempt.orders[attempt.count];
    *order = (writer_order_t){
        .epoch = 7, .admitted_epoch = 7, .key = STR_NONE, .arrival = attempt.count};
    order->order.id = order_id_issue(0, 1795734000000);
    order_set_sku(&order->order, str_of(sku));
    order_set_buyer(&order->order, STR("bob"));
    order->order.quantity = units;
    order->order.state = ORDER_CONFIRMED;
    attempt.batch[attempt.count++] = order;
}

static void add_item(const char *sku)
{
    run_text(here.config, 0,
             test_text("DELETE FROM inventory WHERE sku = '%s'; "
                       "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
                       "hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES "
                       "('%s', 0, 0, 1000, 7, 0, 0, 'lua', 'committed', NOW(3), NOW(3))",
                       sku, sku));
}

static int set_up_case(unsigned bulk_min)
{
    here.config->mysql.writer_bulk_min = bulk_min;
    run_text(here.config, 0, "DELETE FROM orders");
    add_item(SKU);
    add_item(SKU_2);
    begin_batch();
    writer_core_init(&core, here.config, 0, &shard_clock, false);
    competitor = open_shard(here.config, 0);
    looker = open_shard(&here.root, 0);
    return 0;
}

static int set_up_text(void **state)
{
    (void)state;
    return set_up_case(0);
}

static int set_up_bulk(void **state)
{
    (void)state;
    return set_up_case(1);
}

static int tear_down_case(void **state)
{
    arm("");
    writer_core_dispose(&core);
    db_free(competitor);
    db_free(looker);
    return test_teardown(state);
}

static long long number(db_t *db, const char *text)
{
    const sql_t sql = {(char *)text, strlen(text), 0};
    EXPECT(db_query(db, &sql) == RESULT_DONE && db_next(db), "%s: %s", text, db_error(db));
    long long found = (long long)db_u64(db, 0);
    while (db_next(db))
        ;
    return found;
}

static void try_once(void)
{
    attempt.count = writer_drop_marked(attempt.batch, attempt.count);
    attempt.failure = FAILURE_NONE;
    attempt.outcome =
        writer_attempt(&core, attempt.batch, attempt.count, attempt.groups, &attempt.failure);
}

static void *try_beside(void *unused)
{
    try_once();
    return unused;
}

static void change(const char *what, const char *sku)
{
    run_text(
        here.config, 0,
        test_text("UPDATE inventory SET version = version + 1, %s WHERE sku = '%s'", what, sku));
}

/* The competitor has changed the row when the attempt comes to it, and commits when it waits. */
static void try_under_a_change(const char *what)
{
    pthread_t thread;
    EXPECT_NUMBER(db_run(competitor, "SET SESSION idle_transaction_timeout = 0, "
                                     "idle_write_transaction_timeout = 0; START TRANSACTION"),
                  RESULT_DONE);
    EXPECT_NUMBER(
        db_run(competitor,
               test_text("UPDATE inventory SET version = version + 1, %s WHERE sku = '%s'", what,
                         SKU)),
        RESULT_DONE);
    EXPECT_NUMBER(pthread_create(&thread, NULL, try_beside, NULL), 0);
    WAIT_UNTIL(number(looker, "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM "
                              "information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = "
                              "'INNODB_ROW_LOCK_CURRENT_WAITS'") != 0);
    EXPECT_NUMBER(db_commit(competitor), RESULT_DONE);
    pthread_join(thread, NULL);
}

static void expect_sold(const char *sku, long long units)
{
    EXPECT_NUMBER(number(looker, test_text("SELECT allocated_total FROM %s.inventory WHERE sku = "
                                           "'%s'",
                                           here.database, sku)),
                  units);
    EXPECT_NUMBER(number(looker, test_text("SELECT CAST(COALESCE(SUM(quantity), 0) AS UNSIGNED) "
                                           "FROM %s.orders WHERE sku = '%s' AND state = "
                                           "'confirmed'",
                                           here.database, sku)),
                  units);
}

/* The next batch of one order of one unit, which must be written by its first attempt. */
static void write_one(const char *sku)
{
    begin_batch();
    add_order(sku, 1);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
}

static int64_t misses(void)
{
    return METRIC_GET(writer_version_misses_total);
}

/* However often another process is faster: each batch is inserted once, and only its UPDATE is
   repeated, under the lock. */
static void a_row_that_always_changes_costs_no_second_insert(void **state)
{
    (void)state;
    for (unsigned round = 1; round <= 4; ++round) {
        begin_batch();
        add_order(SKU, 1);
        try_under_a_change("released_total = released_total");
        EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
        expect_sold(SKU, round);
    }
}

/* While others change the row, it is locked before its UPDATE, which then misses no version; when
   nobody has changed it for some time, it is not locked any more. */
static void a_contended_row_is_locked_before_its_update(void **state)
{
    (void)state;
    unsigned written = 0;
    write_one(SKU);
    int64_t before = misses();
    for (unsigned i = 0; i < 5; ++i) {
        change("released_total = released_total", SKU);
        write_one(SKU);
    }
    EXPECT_NUMBER(misses(), before + 1);
    for (written = 6; misses() == before + 1; ++written) {
        EXPECT(written < 1000, "after %u batches alone, the row is still locked first", written);
        write_one(SKU);
        if (written % 50 == 0) {
            change("released_total = released_total", SKU);
            write_one(SKU);
            ++written;
        }
    }
    expect_sold(SKU, written);
}

/* One row of two has changed: the UPDATE of both has changed the other. If only the UPDATE were
   repeated, it would count the units of that one twice. */
static void units_are_counted_once_if_one_row_of_two_has_changed(void **state)
{
    (void)state;
    write_one(SKU);
    write_one(SKU_2);
    change("released_total = released_total", SKU);
    begin_batch();
    add_order(SKU, 2);
    add_order(SKU_2, 3);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_AGAIN);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    expect_sold(SKU, 3);
    expect_sold(SKU_2, 4);
}

/* The row has other terms when it is locked: the order must be admitted again. */
static void an_epoch_that_ends_during_the_attempt_is_stale(void **state)
{
    (void)state;
    write_one(SKU);
    begin_batch();
    add_order(SKU, 1);
    try_under_a_change("epoch = epoch + 1");
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_AGAIN);
    EXPECT_NUMBER(attempt.orders[0].result, WRITER_STALE);
    EXPECT_NUMBER(writer_drop_marked(attempt.batch, attempt.count), 0);
    expect_sold(SKU, 1);
}

/* The second order finds no room after the first. That is decided and written under the lock, so
   units that come back in between are not refused to it. */
static void a_refusal_holds_only_under_the_lock(void **state)
{
    (void)state;
    change("total = 1", SKU);
    add_order(SKU, 1);
    add_order(SKU, 1);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_AGAIN);
    change("total = 2", SKU);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    expect_sold(SKU, 2);
}

/* Units come back after an attempt under the lock has failed. */
static void a_refusal_ends_with_its_attempt(void **state)
{
    (void)state;
    change("total = 1", SKU);
    add_order(SKU, 1);
    add_order(SKU, 1);
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_AGAIN);
    arm("commit_refused error=1290 times=1\n");
    try_once(); /* under the lock, and in vain */
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_FAILED);
    change("total = 2", SKU);
    for (try_once(); attempt.outcome == ATTEMPT_AGAIN; try_once())
        ;
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    expect_sold(SKU, 2);
}

static void an_order_without_room_is_rejected(void **state)
{
    (void)state;
    change("total = 0", SKU);
    add_order(SKU, 1);
    for (try_once(); attempt.outcome == ATTEMPT_AGAIN; try_once())
        EXPECT(attempt.count == 1, "the order has left its batch without a row");
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    EXPECT_NUMBER(attempt.orders[0].order.state, ORDER_REJECTED);
    EXPECT(attempt.orders[0].drift, "the gate has admitted it");
    expect_sold(SKU, 0);
}

/* Two writers that find the row by two indexes would lock these in opposite orders. */
static void rows_are_found_by_their_key(void **state)
{
    (void)state;
    sql_t sql = {0};
    bool by_key = false, by_epoch = false;
    add_order(SKU, 1);
    const writer_group_t group = {.orders = attempt.batch, .count = 1, .units = 1, .version = 1};
    sql_add(&sql, "EXPLAIN ");
    writer_add_update(&sql, &group, 1);
    EXPECT_NUMBER(db_query(competitor, &sql), RESULT_DONE);
    while (db_next(competitor))
        for (unsigned column = 0; column < 10; ++column) { /* both servers have ten or more */
            by_key = by_key || str_eq(db_bytes(competitor, column), STR("PRIMARY"));
            by_epoch =
                by_epoch || memmem(db_bytes(competitor, column).p ?: "",
                                   db_bytes(competitor, column).n, "inventory_epoch", 15) != NULL;
        }
    sql_free(&sql);
    EXPECT(by_key && !by_epoch, "the UPDATE may find its row by the epoch");
}

/* It is no COMMIT: nobody may hear that the order is in MySQL. */
static void a_refused_commit_is_a_failure(void **state)
{
    (void)state;
    add_order(SKU, 1);
    arm("commit_refused error=1290 times=1\n");
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_FAILED);
    EXPECT(attempt.failure != FAILURE_NONE, "no failure");
    EXPECT_NUMBER(writer_drop_marked(attempt.batch, 1), 1); /* it has no result yet */
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    expect_sold(SKU, 1);
}

#define CASE(name_)                                                                                \
    cmocka_unit_test_setup_teardown(name_, set_up_text, tear_down_case),                           \
    {                                                                                              \
#name_ ", in bulk", name_, set_up_bulk, tear_down_case, NULL                               \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_row_that_always_changes_costs_no_second_insert),
        CASE(a_contended_row_is_locked_before_its_update),
        CASE(units_are_counted_once_if_one_row_of_two_has_changed),
        CASE(an_epoch_that_ends_during_the_attempt_is_stale),
        CASE(a_refusal_holds_only_under_the_lock),
        CASE(a_refusal_ends_with_its_attempt),
        CASE(an_order_without_room_is_rejected),
        CASE(rows_are_found_by_their_key),
        CASE(a_refused_commit_is_a_failure),
    };
    return test_run("writer attempt", tests, TEST_COUNT(tests), set_up, tear_down_group);
}
