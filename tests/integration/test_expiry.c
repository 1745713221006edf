/*
 * Expiry and its reminders, batch by batch, on a database of the test's own: no service runs there,
 * so what is due stays so until the test looks.
 */
#include "integration/own_database.h"

#include <pthread.h>
#include <stdatomic.h>

#include "store/expiry.h"
#include "store/migrate.h"

#define SKU "hold"
/* Of most tests; more than any of them inserts. */
#define BATCH 100

static sql_t sql;
static db_t *db;
static expiry_t expiry;

static int set_up_migrated(void **state)
{
    if (set_up_group(state) != 0)
        return -1;
    FILE *log = tmpfile();
    int failed = migrate_all(here.config, log);
    fclose(log);
    return failed;
}

static int set_up_item(void **state)
{
    (void)state;
    run_text(here.config, 0,
             "DELETE FROM holds; DELETE FROM orders; DELETE FROM inventory; "
             "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
             "hold_seconds, strategy, acknowledge, created_at, updated_at) "
             "VALUES ('" SKU "', 0, 0, 1000, 7, 0, 60, 'lua', 'committed', NOW(3), NOW(3))");
    db = open_shard(here.config, 0);
    expiry_init(&expiry, BATCH);
    return 0;
}

static int tear_down_item(void **state)
{
    (void)state;
    expiry_dispose(&expiry);
    db_free(db);
    sql_free(&sql);
    test_forget();
    return 0;
}

static void run(const char *text)
{
    EXPECT(db_run(db, text) == DB_OK, "%s: %s", text, db_error(db));
}

static long long count(const char *text)
{
    const sql_t all = {(char *)test_text("SELECT %s", text), strlen(text) + 7, 0};
    EXPECT(db_query(db, &all) == DB_OK && db_next(db), "%s: %s", text, db_error(db));
    return db_i64(db, 0);
}

/* Orders first, first + 1, ..., each with its units, its reminder and a deadline so many seconds
   from now, as a writer would have inserted them. */
static void hold(unsigned first, unsigned number, int deadline_s)
{
    for (unsigned i = first; i < first + number; i++)
        run(test_text("START TRANSACTION; SET @at = NOW(3) + INTERVAL %d SECOND; "
                      "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, "
                      "created_at, expires_at, updated_at) VALUES (UNHEX(LPAD(HEX(%u), 32, '0')), "
                      "'" SKU "', 'b', 1, 'held', 7, NOW(3), @at, NOW(3)); "
                      "INSERT INTO holds VALUES (@at, UNHEX(LPAD(HEX(%u), 32, '0'))); "
                      "UPDATE inventory SET allocated_total = allocated_total + 1; COMMIT",
                      deadline_s, i, i));
}

static void look(void)
{
    db_result_t result = expiry_batch(&expiry, db, &sql);
    EXPECT(result == DB_OK, "%s", db_error(db));
}

/* Looks once, and expects so many orders to be expired by it and reminders to be left. */
static void expect_look(unsigned expired, long long left)
{
    look();
    EXPECT_NUMBER(expiry.count, expired);
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), left);
}

static void expect_released(long long units)
{
    EXPECT_NUMBER(count("released_total FROM inventory"), units);
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE state = 'expired'"), units);
}

static void what_is_due_expires_and_nothing_else(void **state)
{
    (void)state;
    hold(1, 3, -1);
    hold(4, 2, 60);
    expect_look(3, 2);
    expect_released(3);
    for (unsigned i = 0; i < expiry.count; i++) {
        EXPECT_NUMBER(expiry.releases[i].quantity, 1);
        EXPECT_NUMBER(expiry.releases[i].epoch, 7);
    }
    EXPECT(!expiry.more, "a batch that was not full says that there is more");
    expect_look(0, 2);
    expect_released(3);
}

static void an_extended_order_expires_at_its_new_deadline(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("UPDATE orders SET expires_at = NOW(3) + INTERVAL 500000 MICROSECOND WHERE order_id = "
        "UNHEX(LPAD('1', 32, '0'))");
    expect_look(1, 1);
    EXPECT_NUMBER(count("COUNT(*) FROM holds JOIN orders USING (order_id, expires_at) "
                        "WHERE state = 'held'"),
                  1);
    expect_look(0, 1);
    usleep(600 * 1000);
    expect_look(1, 0);
    expect_released(2);
}

static void what_is_held_no_more_frees_nothing(void **state)
{
    (void)state;
    hold(1, 3, -1);
    run("UPDATE orders SET state = 'confirmed' WHERE order_id = UNHEX(LPAD('1', 32, '0')); "
        "UPDATE orders SET state = 'cancelled' WHERE order_id = UNHEX(LPAD('2', 32, '0')); "
        "DELETE FROM orders WHERE order_id = UNHEX(LPAD('3', 32, '0'))");
    expect_look(0, 0);
    expect_released(0);
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE state = 'confirmed'"), 1);
}

/* Nobody inserts such an order. What must not happen is that it keeps the others from expiring. */
static void an_order_without_a_deadline_stands_in_no_ones_way(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("UPDATE orders SET expires_at = NULL WHERE order_id = UNHEX(LPAD('1', 32, '0'))");
    expect_look(1, 0);
    expect_released(1);
}

/* However an order came to have two, it expires once, and only when its time is over. */
static void two_reminders_of_an_order_are_one_hold(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("INSERT INTO holds SELECT expires_at - INTERVAL 1 SECOND, order_id FROM holds");
    expect_look(2, 0);
    expect_released(2);
    hold(3, 1, 60);
    run("INSERT INTO holds SELECT NOW(3) - INTERVAL n SECOND, order_id FROM holds "
        "JOIN (SELECT 1 AS n UNION SELECT 2) numbers");
    expect_look(0, 1);
    EXPECT_NUMBER(count("COUNT(*) FROM holds JOIN orders USING (order_id, expires_at)"), 1);
}

/* A confirm in flight: whether it then commits or not, its order is looked at again. */
static void an_order_that_is_locked_is_looked_at_again(void **state)
{
    const char *end = *state;
    bool commits = strcmp(end, "COMMIT") == 0;
    db_t *other = open_shard(here.config, 0);
    hold(1, 2, -1);
    EXPECT_NUMBER(db_run(other, "START TRANSACTION; UPDATE orders SET state = 'confirmed' "
                                "WHERE order_id = UNHEX(LPAD('1', 32, '0'))"),
                  DB_OK);
    expect_look(1, 1);
    expect_look(0, 1);
    EXPECT_NUMBER(db_run(other, end), DB_OK);
    db_free(other);
    expect_look(commits ? 0 : 1, 0);
    expect_released(commits ? 1 : 2);
}

/* More is said to be due only if it would not be the same reminders again. */
static void a_batch_says_whether_there_is_more(void **state)
{
    (void)state;
    expiry_dispose(&expiry);
    expiry_init(&expiry, 2);
    hold(1, 5, -1);
    run("UPDATE orders SET state = 'confirmed' WHERE order_id < UNHEX(LPAD('4', 32, '0'))");
    look();
    EXPECT(expiry.count == 0 && expiry.more, "%u expired of two that are confirmed", expiry.count);
    look();
    EXPECT(expiry.count == 1 && expiry.more, "%u expired of one", expiry.count);
    look();
    EXPECT(expiry.count == 1 && !expiry.more, "%u expired of the last", expiry.count);
    hold(6, 2, -1);
    db_t *other = open_shard(here.config, 0);
    EXPECT_NUMBER(db_run(other, "START TRANSACTION; UPDATE orders SET state = 'confirmed'"), DB_OK);
    expect_look(0, 2);
    EXPECT(!expiry.more, "a batch of which all are locked would be looked at without end");
    db_free(other);
}

/* --- two at once --- */

#define MANY 300

static atomic_uint expired_in_all, conflicts;

static void *look_until_none_is_left(void *unused)
{
    (void)unused;
    db_t *own = open_shard(here.config, 0);
    sql_t own_sql = {NULL, 0, 0};
    expiry_t own_expiry;
    expiry_init(&own_expiry, 16);
    for (bool left = true; left;) {
        db_result_t result = expiry_batch(&own_expiry, own, &own_sql);
        atomic_fetch_add(&expired_in_all, own_expiry.count);
        atomic_fetch_add(&conflicts, result != DB_OK);
        sql_reset(&own_sql);
        sql_add(&own_sql, "SELECT COUNT(*) FROM holds WHERE expires_at <= NOW(3)");
        left = db_query(own, &own_sql) != DB_OK || !db_next(own) || db_u64(own, 0) != 0;
    }
    expiry_dispose(&own_expiry);
    sql_free(&own_sql);
    db_free(own);
    db_thread_end();
    return NULL;
}

static void several_at_once_lose_none_and_expire_each_once(void **state)
{
    (void)state;
    pthread_t threads[3];
    hold(1, MANY, -1);
    run("UPDATE orders SET state = 'confirmed' WHERE RIGHT(HEX(order_id), 1) = '3'; "
        "UPDATE orders SET expires_at = NOW(3) + INTERVAL 60 SECOND "
        "WHERE RIGHT(HEX(order_id), 1) IN ('5', 'A')");
    long long due = count("COUNT(*) FROM orders WHERE state = 'held' AND expires_at <= NOW(3)");
    long long extended = count("COUNT(*) FROM orders WHERE state = 'held' AND expires_at > NOW(3)");
    atomic_store(&expired_in_all, 0);
    atomic_store(&conflicts, 0);
    for (size_t i = 0; i < TEST_COUNT(threads); i++)
        EXPECT_NUMBER(pthread_create(&threads[i], NULL, look_until_none_is_left, NULL), 0);
    for (size_t i = 0; i < TEST_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    EXPECT_NUMBER(atomic_load(&expired_in_all), due);
    expect_released(due);
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), extended);
    EXPECT_NUMBER(count("COUNT(*) FROM holds JOIN orders USING (order_id, expires_at) "
                        "WHERE state = 'held'"),
                  extended);
    print_message("%lld expired by three at once, %u conflicts\n", due, atomic_load(&conflicts));
}

/* --- what the invariant asks of an extend --- */

static void extend_never_moves_a_deadline_to_an_earlier_time(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    order_t order;
    release_t release;
    bool released;
    db_result_t result;
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 3600);
    long long before = count("UNIX_TIMESTAMP(expires_at) * 1000 FROM orders");
    EXPECT_NUMBER(
        order_move(db, &sql, ORDER_MOVE_EXTEND, &id, &order, &release, &released, &result),
        ORDER_MOVED);
    EXPECT_NUMBER(order.expires_at_ms, before);
    run("UPDATE inventory SET hold_seconds = 7200");
    EXPECT_NUMBER(
        order_move(db, &sql, ORDER_MOVE_EXTEND, &id, &order, &release, &released, &result),
        ORDER_MOVED);
    EXPECT((long long)order.expires_at_ms > before + 3000 * 1000, "not extended");
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), 1);
}

/* Seconds since 1970, as a session's clock that stands still: two moves fall into one millisecond.
 */
#define STOPPED_CLOCK "SET SESSION timestamp = UNIX_TIMESTAMP() + 1"
#define RUNNING_CLOCK "SET SESSION timestamp = DEFAULT"

static void expect_extended(const order_id_t *id, const char *what)
{
    order_t order;
    release_t release;
    bool released;
    db_result_t result;
    order_move_result_t moved =
        order_move(db, &sql, ORDER_MOVE_EXTEND, id, &order, &release, &released, &result);
    EXPECT(moved == ORDER_MOVED, "%s: %d, %s", what, (int)moved, db_error(db));
    EXPECT_NUMBER(order.state, ORDER_HELD);
}

/* The servers count the rows that an UPDATE has changed. A hold that is extended to the deadline
   that it has, twice in one millisecond, is living all the same. */
static void an_extend_that_changes_nothing_is_no_refusal(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 30);
    run(STOPPED_CLOCK);
    for (unsigned i = 0; i < 4; i++)
        expect_extended(&id, "a clock that stands still");
    run("UPDATE inventory SET hold_seconds = 1");
    expect_extended(&id, "a deadline that stays");
    expect_extended(&id, "a deadline that stays, again");
    run(RUNNING_CLOCK "; UPDATE orders SET updated_at = NOW(3) + INTERVAL 1 HOUR");
    expect_extended(&id, "a clock that was set back");
    expect_extended(&id, "a clock that was set back, again");
}

/* Somebody has deleted the item by hand: its holds keep their deadlines. */
static void an_extend_without_an_item_takes_no_deadline_away(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 3600);
    run("DELETE FROM inventory");
    expect_extended(&id, "an item that is not there");
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE expires_at IS NOT NULL"), 1);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_item, tear_down_item)
#define LOCKED(end_)                                                                               \
    {                                                                                              \
        "an_order_that_is_locked_is_looked_at_again: " end_,                                       \
            an_order_that_is_locked_is_looked_at_again, set_up_item, tear_down_item, (void *)end_  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_is_due_expires_and_nothing_else),
        CASE(an_extended_order_expires_at_its_new_deadline),
        CASE(what_is_held_no_more_frees_nothing),
        CASE(an_order_without_a_deadline_stands_in_no_ones_way),
        CASE(two_reminders_of_an_order_are_one_hold),
        LOCKED("COMMIT"),
        LOCKED("ROLLBACK"),
        CASE(a_batch_says_whether_there_is_more),
        CASE(several_at_once_lose_none_and_expire_each_once),
        CASE(extend_never_moves_a_deadline_to_an_earlier_time),
        CASE(an_extend_that_changes_nothing_is_no_refusal),
        CASE(an_extend_without_an_item_takes_no_deadline_away),
    };
    return test_run("expiry", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
