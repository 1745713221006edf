/*
 * One attempt of the writer to write a batch, on a real server: what it does when the row changes
 * under it again and again, and when COMMIT is refused.
 */
#include "integration/own_database.h"

#include <pthread.h>

#include "work/writer_batch.h"

#define SKU "item"
/* Far more than the misses after which the writer locks the row before it reads it. */
#define ROUNDS_MAX 10

static remote_clock_t shard_clock;
static writer_core_t core;
static db_t *competitor, *looker; /* `looker` may see what waits */
static char failpoints[300];

static struct {
    writer_order_t order, *batch[1];
    writer_group_t groups[2];
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

static void begin_order(void)
{
    attempt.order = (writer_order_t){.epoch = 7, .key = STR_NONE};
    attempt.order.order.id = order_id_issue(0, 1795734000000);
    order_set_sku(&attempt.order.order, STR(SKU));
    order_set_buyer(&attempt.order.order, STR("bob"));
    attempt.order.order.quantity = 1;
    attempt.order.order.state = ORDER_CONFIRMED;
    attempt.batch[0] = &attempt.order;
}

static int set_up_case(void **state)
{
    (void)state;
    run_text(here.config, 0,
             "DELETE FROM orders; DELETE FROM inventory WHERE sku = '" SKU "'; "
             "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
             "hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES ('" SKU
             "', 0, 0, 1000, 7, 0, 0, 'lua', 'committed', NOW(3), NOW(3))");
    writer_core_init(&core, here.config, 0, &shard_clock, false);
    competitor = open_shard(here.config, 0);
    looker = open_shard(&here.root, 0);
    begin_order();
    return 0;
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
    attempt.failure = FAILURE_NONE;
    attempt.outcome = writer_attempt(&core, attempt.batch, 1, attempt.groups, &attempt.failure);
}

static void *try_beside(void *unused)
{
    try_once();
    return unused;
}

/* The competitor has changed the row when the attempt comes to it, and commits when it waits. */
static void try_under_a_change(void)
{
    pthread_t thread;
    EXPECT_NUMBER(db_run(competitor,
                         "SET SESSION idle_transaction_timeout = 0, "
                         "idle_write_transaction_timeout = 0; START TRANSACTION; "
                         "UPDATE inventory SET version = version + 1 WHERE sku = '" SKU "'"),
                  RESULT_DONE);
    EXPECT_NUMBER(pthread_create(&thread, NULL, try_beside, NULL), 0);
    WAIT_UNTIL(number(looker, "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM "
                              "information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = "
                              "'INNODB_ROW_LOCK_CURRENT_WAITS'") != 0);
    EXPECT_NUMBER(db_commit(competitor), RESULT_DONE);
    pthread_join(thread, NULL);
}

/* However often another process is faster: after some misses the writer reads the row under its
   lock, and what it has read stays so. */
static void a_row_that_always_changes_is_locked_before_it_is_read(void **state)
{
    (void)state;
    unsigned misses = 0;
    for (try_under_a_change(); attempt.outcome == ATTEMPT_AGAIN; try_under_a_change())
        EXPECT(++misses < ROUNDS_MAX, "after %u misses the row is still read without a lock",
               misses);
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    print_message("    locked after %u misses\n", misses);
    EXPECT_NUMBER(number(looker, test_text("SELECT COUNT(*) FROM %s.orders WHERE state = "
                                           "'confirmed'",
                                           here.database)),
                  1);
}

/* It is no COMMIT: nobody may hear that the order is in MySQL. */
static void a_refused_commit_is_a_failure(void **state)
{
    (void)state;
    arm("commit_refused error=1290 times=1\n");
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_FAILED);
    EXPECT(attempt.failure != FAILURE_NONE, "no failure");
    EXPECT_NUMBER(writer_drop_marked(attempt.batch, 1), 1); /* it has no result yet */
    try_once();
    EXPECT_NUMBER(attempt.outcome, ATTEMPT_COMMITTED);
    EXPECT_NUMBER(
        number(looker, test_text("SELECT allocated_total FROM %s.inventory", here.database)), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_that_always_changes_is_locked_before_it_is_read,
                                        set_up_case, tear_down_case),
        cmocka_unit_test_setup_teardown(a_refused_commit_is_a_failure, set_up_case, tear_down_case),
    };
    return test_run("writer attempt", tests, TEST_COUNT(tests), set_up, tear_down_group);
}
