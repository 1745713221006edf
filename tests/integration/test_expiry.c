/*
 * Expiry and its reminders, batch by batch, on a database of the test's own: no service runs there,
 * so what is due stays so until the test looks.
 */
#include "integration/own_database.h"

#include <pthread.h>
#include <stdatomic.h>

#include "metrics/metrics.h"
#include "store/expiry.h"
#include "store/move.h"

#define SKU "hold"
/* Of most tests; more than any of them inserts. */
#define BATCH 100

static sql_t sql;
static db_t *db;
static expiry_t expiry;

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
    EXPECT(db_run(db, text) == RESULT_DONE, "%s: %s", text, db_error(db));
}

static long long count(const char *text)
{
    const sql_t all = {(char *)test_text("SELECT %s", text), strlen(text) + 7, 0};
    EXPECT(db_query(db, &all) == RESULT_DONE && db_next(db), "%s: %s", text, db_error(db));
    return db_i64(db, 0);
}

/* Orders first, first + 1, ..., each with its units, its reminder and a deadline so many seconds
   from now, as a writer would have inserted them. */
static void hold_of(const char *sku, unsigned first, unsigned number, int deadline_s)
{
    for (unsigned i = first; i < first + number; ++i)
        run(test_text("START TRANSACTION; SET @at = NOW(3) + INTERVAL %d SECOND; "
                      "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, "
                      "created_at, expires_at, updated_at) VALUES (UNHEX(LPAD(HEX(%u), 32, '0')), "
                      "'%s', 'b', 1, 'held', 7, NOW(3), @at, NOW(3)); "
                      "INSERT INTO holds VALUES (@at, UNHEX(LPAD(HEX(%u), 32, '0'))); "
                      "UPDATE inventory SET allocated_total = allocated_total + 1 "
                      "WHERE sku = '%s'; COMMIT",
                      deadline_s, i, sku, i, sku));
}

static void hold(unsigned first, unsigned number, int deadline_s)
{
    hold_of(SKU, first, number, deadline_s);
}

/* A further item like the first; it stays until the next case. */
static const char *item_like(const char *sku)
{
    run(test_text("INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
                  "hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES ('%s', 0, "
                  "0, 1000, 7, 0, 60, 'lua', 'committed', NOW(3), NOW(3))",
                  sku));
    return sku;
}

static void look(void)
{
    result_t result = expiry_batch(&expiry, db, &sql);
    EXPECT(result == RESULT_DONE, "%s", db_error(db));
}

/* Looks once, and expects so many orders to be expired by it and reminders to be left. */
static void expect_batch(unsigned expired, long long left)
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
    expect_batch(3, 2);
    expect_released(3);
    for (unsigned i = 0; i < expiry.count; ++i) {
        EXPECT_NUMBER(expiry.releases[i].quantity, 1);
        EXPECT_NUMBER(expiry.releases[i].epoch, 7);
    }
    EXPECT(!expiry.more, "a batch that was not full says that there is more");
    expect_batch(0, 2);
    expect_released(3);
}

static void an_extended_order_expires_at_its_new_deadline(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("UPDATE orders SET expires_at = NOW(3) + INTERVAL 1 HOUR WHERE order_id = "
        "UNHEX(LPAD('1', 32, '0'))");
    expect_batch(1, 1);
    EXPECT_NUMBER(count("COUNT(*) FROM holds JOIN orders USING (order_id, expires_at) "
                        "WHERE state = 'held'"),
                  1);
    expect_batch(0, 1);
    run("UPDATE orders JOIN holds USING (order_id) SET orders.expires_at = orders.expires_at - "
        "INTERVAL 1 HOUR, holds.expires_at = holds.expires_at - INTERVAL 1 HOUR");
    expect_batch(1, 0);
    expect_released(2);
}

static void what_is_held_no_more_frees_nothing(void **state)
{
    (void)state;
    hold(1, 3, -1);
    run("UPDATE orders SET state = 'confirmed' WHERE order_id = UNHEX(LPAD('1', 32, '0')); "
        "UPDATE orders SET state = 'cancelled' WHERE order_id = UNHEX(LPAD('2', 32, '0')); "
        "DELETE FROM orders WHERE order_id = UNHEX(LPAD('3', 32, '0'))");
    expect_batch(0, 0);
    expect_released(0);
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE state = 'confirmed'"), 1);
}

/* Nobody inserts such an order. What must not happen is that it keeps the others from expiring. */
static void an_order_without_a_deadline_stands_in_no_ones_way(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("UPDATE orders SET expires_at = NULL WHERE order_id = UNHEX(LPAD('1', 32, '0'))");
    expect_batch(1, 0);
    expect_released(1);
}

/* However an order came to have two, it expires once, and only when its time is over. */
static void two_reminders_of_an_order_are_one_hold(void **state)
{
    (void)state;
    hold(1, 2, -1);
    run("INSERT INTO holds SELECT expires_at - INTERVAL 1 SECOND, order_id FROM holds");
    expect_batch(2, 0);
    expect_released(2);
    hold(3, 1, 60);
    run("INSERT INTO holds SELECT NOW(3) - INTERVAL n SECOND, order_id FROM holds "
        "JOIN (SELECT 1 AS n UNION SELECT 2) numbers");
    expect_batch(0, 1);
    EXPECT_NUMBER(count("COUNT(*) FROM holds JOIN orders USING (order_id, expires_at)"), 1);
}

/* A confirm in flight: whether it then commits or not, its order is looked at again. */
static void an_order_that_is_locked_is_read_again(void **state)
{
    const char *end = *state;
    bool commits = strcmp(end, "COMMIT") == 0;
    db_t *other = open_shard(here.config, 0);
    hold(1, 2, -1);
    EXPECT_NUMBER(db_run(other, "START TRANSACTION; UPDATE orders SET state = 'confirmed' "
                                "WHERE order_id = UNHEX(LPAD('1', 32, '0'))"),
                  RESULT_DONE);
    expect_batch(1, 1);
    expect_batch(0, 1);
    EXPECT_NUMBER(db_run(other, end), RESULT_DONE);
    db_free(other);
    expect_batch(commits ? 0 : 1, 0);
    expect_released(commits ? 1 : 2);
}

/* More is said to be due if a batch was full; the walk goes on behind it, and so ends. */
static void a_batch_reports_whether_there_is_more(void **state)
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
    EXPECT_NUMBER(db_run(other, "START TRANSACTION; UPDATE orders SET state = 'confirmed'"),
                  RESULT_DONE);
    expect_batch(0, 2);
    expect_batch(0, 2);
    EXPECT(!expiry.more, "a batch of which all are locked would be looked at without end");
    db_free(other);
}

/* --- what cannot be expired --- */

/* Looks until the walk ends. Returns how many it has expired. */
static unsigned walk(void)
{
    unsigned expired = 0, looks = 0;
    do {
        expiry_batch(&expiry, db, &sql);
        expired += expiry.count;
        EXPECT(++looks < 100, "a walk without end");
    } while (expiry.more);
    return expired;
}

static unsigned set_aside(void)
{
    return (unsigned)METRIC_GET(expiry_set_aside);
}

/* Waits for the backoff of what is set aside. */
static unsigned retry_until_expired(unsigned wanted)
{
    unsigned expired = 0;
    for (unsigned waits = 0; expired < wanted && waits < 600; ++waits) {
        while (expiry_retry(&expiry, db, &sql))
            expired += expiry.count;
        expired += walk();
        usleep(50 * 1000);
    }
    return expired;
}

static db_t *lock(const char *what)
{
    db_t *other = open_shard(here.config, 0);
    const sql_t select = {(char *)test_text("SELECT %s FOR UPDATE", what), strlen(what) + 18, 0};
    EXPECT_NUMBER(db_run(other, "SET SESSION idle_transaction_timeout = 0, "
                                "idle_readonly_transaction_timeout = 0; START TRANSACTION"),
                  RESULT_DONE);
    EXPECT_NUMBER(db_query(other, &select), RESULT_DONE);
    return other;
}

/* A server ends the transaction of a connection that is gone in its own time. */
static void unlock(db_t *other)
{
    db_rollback(other);
    db_free(other);
}

/* Somebody has deleted an item by hand. Its holds stay as they are until it is put back. */
static void an_item_that_is_gone_stops_only_its_own_holds(void **state)
{
    (void)state;
    item_like("gone");
    hold_of("gone", 1, 3, -3);
    hold(4, 5, -2);
    hold_of("gone", 9, 3, -1);
    run("DELETE FROM inventory WHERE sku = 'gone'");
    EXPECT_NUMBER(walk(), 5);
    EXPECT_NUMBER(set_aside(), 1);
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE state = 'held' AND sku = 'gone'"), 6);
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), 6);
    hold(12, 2, -1);
    EXPECT_NUMBER(walk(), 2);
    item_like("gone");
    run("UPDATE inventory SET allocated_total = 6 WHERE sku = 'gone'");
    EXPECT_NUMBER(retry_until_expired(6), 6);
    EXPECT_NUMBER(set_aside(), 0);
    EXPECT_NUMBER(count("released_total FROM inventory WHERE sku = 'gone'"), 6);
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), 0);
}

/* A stranger's locks cost one wait, however many items he has locked. */
static void locked_items_stop_only_their_own_holds(void **state)
{
    (void)state;
    unsigned locked = 0, expired = 0;
    for (unsigned i = 0; i < 6; ++i)
        hold_of(item_like(test_text("locked-%u", i)), 10 * i + 1, 2, -2);
    hold(100, 5, -1);
    db_t *other = lock("sku FROM inventory WHERE sku LIKE 'locked-%'");
    do {
        result_t result = expiry_batch(&expiry, db, &sql);
        locked += result == RESULT_RETRY && db_error_is_lock(db);
        expired += expiry.count;
    } while (expiry.more);
    EXPECT_NUMBER(locked, 1);
    EXPECT_NUMBER(expired, 5);
    EXPECT_NUMBER(set_aside(), 6);
    hold(105, 2, -1);
    EXPECT_NUMBER(walk(), 2);
    unlock(other);
    EXPECT_NUMBER(retry_until_expired(12), 12);
    EXPECT_NUMBER(set_aside(), 0);
    EXPECT_NUMBER(count("SUM(released_total) FROM inventory"), 19);
}

/* Until drop_trigger(): what `when` says of a table is refused if `condition` holds, with an error
   that is in nobody's list. */
static void refuse(const char *when, const char *table, const char *condition)
{
    run_text(&here.root, 0,
             test_text("CREATE TRIGGER %s.refuse_%s BEFORE %s ON %s.%s FOR EACH ROW IF %s THEN "
                       "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF",
                       here.database, table, when, here.database, table, condition));
}

static void drop_trigger(const char *table)
{
    run_text(&here.root, 0, test_text("DROP TRIGGER %s.refuse_%s", here.database, table));
}

static void one_order_that_is_refused_stops_no_other(void **state)
{
    (void)state;
    hold(1, 40, -1);
    refuse("UPDATE", "orders", "NEW.order_id = UNHEX(LPAD(HEX(17), 32, '0'))");
    EXPECT_NUMBER(walk(), 39);
    EXPECT_NUMBER(set_aside(), 1);
    EXPECT_NUMBER(count("HEX(RIGHT(order_id, 1)) FROM orders WHERE state = 'held'"), 11);
    expect_released(39);
    hold(50, 3, -1);
    EXPECT_NUMBER(walk(), 3);
    drop_trigger("orders");
    EXPECT_NUMBER(retry_until_expired(1), 1);
    EXPECT_NUMBER(set_aside(), 0);
    expect_released(43);
}

/* More holds than a batch has are locked, and all are older than the one that is not. */
static void locked_orders_hide_none_behind_them(void **state)
{
    (void)state;
    expiry_dispose(&expiry);
    expiry_init(&expiry, 4);
    hold(1, 9, -3);
    hold(10, 1, -1);
    db_t *other = lock("order_id FROM orders WHERE order_id < UNHEX(LPAD('A', 32, '0'))");
    EXPECT_NUMBER(walk(), 1);
    EXPECT_NUMBER(set_aside(), 0);
    unlock(other);
    EXPECT_NUMBER(walk(), 9);
}

/* However many are set aside, what becomes due is found. */
static void holds_set_aside_hide_none_behind_them(void **state)
{
    (void)state;
    expiry_dispose(&expiry);
    expiry_init(&expiry, 4);
    item_like("gone");
    hold_of("gone", 1, 30, -3);
    run("DELETE FROM inventory WHERE sku = 'gone'");
    EXPECT_NUMBER(walk(), 0);
    for (unsigned i = 0; i < 5; ++i) {
        hold(100 + i, 1, 0);
        usleep(2000);
        EXPECT_NUMBER(walk(), 1);
        while (expiry_retry(&expiry, db, &sql))
            ;
    }
    EXPECT_NUMBER(set_aside(), 1);
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), 30);
}

/* A server that takes no writes says nothing about an order. */
static void a_server_that_refuses_all_sets_nothing_aside(void **state)
{
    (void)state;
    hold(1, 20, -1);
    refuse("UPDATE", "orders", "TRUE");
    refuse("INSERT", "inventory", "TRUE");
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT_NUMBER(expiry_batch(&expiry, db, &sql), RESULT_AWAY);
        EXPECT(!expiry.more, "it goes on without MySQL");
    }
    EXPECT_NUMBER(set_aside(), 0);
    drop_trigger("orders");
    drop_trigger("inventory");
    expect_batch(20, 0);
    expect_released(20);
}

/* --- two at once --- */

#define MANY 300

static atomic_uint expired_in_all, conflicts;

static void *expire_until_none_is_left(void *unused)
{
    (void)unused;
    db_t *own = open_shard(here.config, 0);
    sql_t own_sql = {NULL, 0, 0};
    expiry_t own_expiry;
    expiry_init(&own_expiry, 16);
    for (bool left = true; left;) {
        result_t result = expiry_batch(&own_expiry, own, &own_sql);
        atomic_fetch_add(&expired_in_all, own_expiry.count);
        atomic_fetch_add(&conflicts, result != RESULT_DONE);
        sql_reset(&own_sql);
        sql_add(&own_sql, "SELECT COUNT(*) FROM holds WHERE expires_at <= NOW(3)");
        left = db_query(own, &own_sql) != RESULT_DONE || !db_next(own) || db_u64(own, 0) != 0;
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
    for (size_t i = 0; i < TEST_COUNT(threads); ++i)
        EXPECT_NUMBER(pthread_create(&threads[i], NULL, expire_until_none_is_left, NULL), 0);
    for (size_t i = 0; i < TEST_COUNT(threads); ++i)
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

/* That it happens at all, or had happened. */
static order_t extend(const order_id_t *id, const char *what)
{
    moved_t moved;
    result_t result =
        order_move(db, &sql, &(move_request_t){.move = ORDER_MOVE_EXTEND, .id = *id}, &moved);
    EXPECT(result == RESULT_DONE && moved.outcome == ORDER_MOVED, "%s: %s, %d, %s", what,
           result_name(result), (int)moved.outcome, db_error(db));
    EXPECT_NUMBER(moved.order.state, ORDER_HELD);
    return moved.order;
}

static void extend_never_moves_a_deadline_to_an_earlier_time(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 3600);
    long long before = count("UNIX_TIMESTAMP(expires_at) * 1000 FROM orders");
    EXPECT_NUMBER(extend(&id, "a shorter hold").expires_at_ms, before);
    run("UPDATE inventory SET hold_seconds = 7200");
    order_t order = extend(&id, "a longer hold");
    EXPECT((long long)order.expires_at_ms > before + 3000 * 1000, "not extended");
    EXPECT_NUMBER(count("COUNT(*) FROM holds"), 1);
}

/* Seconds since 1970, as a session's clock that stands still: two moves fall into one millisecond.
 */
#define STOPPED_CLOCK "SET SESSION timestamp = UNIX_TIMESTAMP() + 1"
#define RUNNING_CLOCK "SET SESSION timestamp = DEFAULT"

/* The servers count the rows that an UPDATE has changed. A hold that is extended to the deadline
   that it has, twice in one millisecond, is living all the same. */
static void an_extend_that_changes_nothing_is_no_refusal(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 30);
    run(STOPPED_CLOCK);
    for (unsigned i = 0; i < 4; ++i)
        extend(&id, "a clock that stands still");
    run("UPDATE inventory SET hold_seconds = 1");
    extend(&id, "a deadline that stays");
    extend(&id, "a deadline that stays, again");
    run(RUNNING_CLOCK "; UPDATE orders SET updated_at = NOW(3) + INTERVAL 1 HOUR");
    extend(&id, "a clock that was set back");
    extend(&id, "a clock that was set back, again");
}

/* Somebody has deleted the item by hand: its holds keep their deadlines. */
static void an_extend_without_an_item_takes_no_deadline_away(void **state)
{
    (void)state;
    order_id_t id = {{0}};
    id.bytes[sizeof(id.bytes) - 1] = 1;
    hold(1, 1, 3600);
    run("DELETE FROM inventory");
    extend(&id, "an item that is not there");
    EXPECT_NUMBER(count("COUNT(*) FROM orders WHERE expires_at IS NOT NULL"), 1);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_item, tear_down_item)
#define LOCKED(end_)                                                                               \
    {                                                                                              \
        "an_order_that_is_locked_is_read_again: " end_, an_order_that_is_locked_is_read_again,     \
            set_up_item, tear_down_item, (void *)end_                                              \
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
        CASE(a_batch_reports_whether_there_is_more),
        CASE(an_item_that_is_gone_stops_only_its_own_holds),
        CASE(locked_items_stop_only_their_own_holds),
        CASE(one_order_that_is_refused_stops_no_other),
        CASE(locked_orders_hide_none_behind_them),
        CASE(holds_set_aside_hide_none_behind_them),
        CASE(a_server_that_refuses_all_sets_nothing_aside),
        CASE(several_at_once_lose_none_and_expire_each_once),
        CASE(extend_never_moves_a_deadline_to_an_earlier_time),
        CASE(an_extend_that_changes_nothing_is_no_refusal),
        CASE(an_extend_without_an_item_takes_no_deadline_away),
    };
    return test_run("expiry", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
