/* `holdfast migrate`, each as a process of its own. */
#include "integration/own_database.h"

#include "embedded.h"
#include "store/expiry.h"
#include "store/migrate.h"

#define AT_ONCE 6

static unsigned count_lines(const char *text, const char *end)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, end)) != NULL; at += strlen(end))
        ++count;
    return count;
}

static long long read_number(unsigned shard, const char *text)
{
    db_t *db = open_shard(here.config, shard);
    const sql_t sql = {(char *)text, strlen(text), 0};
    db_result_t result = db_query(db, &sql);
    EXPECT(result == DB_OK && db_next(db), "%s: %s", text, db_error(db));
    long long number = db_i64(db, 0);
    db_free(db);
    return number;
}

static int check_status(unsigned shard)
{
    sql_t sql = {NULL, 0, 0};
    db_t *db = open_shard(here.config, shard);
    int status = migrate_check(db, &sql);
    db_free(db);
    sql_free(&sql);
    return status;
}

/* --- migrate --- */

static int set_up_empty(void **state)
{
    (void)state;
    create_database();
    return 0;
}

static int set_up_migrated(void **state)
{
    char *said;
    set_up_empty(state);
    EXPECT(migrate(&said) == 0, "%s", said);
    return 0;
}

static unsigned migrations_in_all(void)
{
    return embedded_migrations_count * here.config->shards_count;
}

static void test_migrate_twice(void **state)
{
    (void)state;
    char *said;
    EXPECT_NUMBER(check_status(0), MIGRATE_BEHIND);
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(count_lines(said, ": applied\n"), migrations_in_all());
    EXPECT_NUMBER(count_lines(said, "\n"), migrations_in_all());
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(count_lines(said, ": applied before\n"), migrations_in_all());
    for (unsigned i = 0; i < here.config->shards_count; ++i) {
        EXPECT_NUMBER(check_status(i), MIGRATE_CURRENT);
        EXPECT_NUMBER(read_number(i, "SELECT COUNT(*) FROM schema_migrations"),
                      embedded_migrations_count);
        EXPECT_NUMBER(read_number(i, "SELECT COUNT(*) FROM inventory, orders"), 0);
    }
}

static void test_migrate_at_once(void **state)
{
    (void)state;
    FILE *processes[AT_ONCE];
    unsigned applied = 0;
    for (unsigned i = 0; i < AT_ONCE; ++i)
        processes[i] = start("migrate", here.path);
    for (unsigned i = 0; i < AT_ONCE; ++i) {
        char *said;
        int status = finish(processes[i], &said);
        EXPECT(status == 0, "%s", said);
        applied += count_lines(said, ": applied\n");
    }
    EXPECT_NUMBER(applied, migrations_in_all());
    EXPECT_NUMBER(check_status(0), MIGRATE_CURRENT);
}

/* While another has the lock, migrate changes nothing and waits. */
static void test_migrate_waits(void **state)
{
    (void)state;
    char *said;
    db_t *db = open_shard(here.config, 0);
    EXPECT(db_run(db, "DO GET_LOCK(CONCAT('holdfast.migrate.', SHA1(DATABASE())), 0)") == DB_OK,
           "%s", db_error(db));
    FILE *process = start("migrate", here.path);
    usleep(1000 * 1000);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM information_schema.tables "
                                 "WHERE table_schema = DATABASE()"),
                  0);
    db_free(db);
    EXPECT(finish(process, &said) == 0, "%s", said);
    EXPECT_NUMBER(check_status(0), MIGRATE_CURRENT);
}

static void expect_refused(const char *name, const char *why)
{
    char *said;
    EXPECT_NUMBER(migrate(&said), 1);
    EXPECT(strstr(said, name) != NULL && strstr(said, why) != NULL, "%s", said);
    WAIT_UNTIL(read_number(0, "SELECT IS_FREE_LOCK(CONCAT('holdfast.migrate.', "
                              "SHA1(DATABASE())))") == 1,
               1000);
}

static void test_migrate_refuses_changed_text(void **state)
{
    (void)state;
    char *said;
    run_text(here.config, 0, "UPDATE schema_migrations SET checksum = checksum ^ 1");
    expect_refused(embedded_migrations[0].name, "with another text");
    EXPECT_NUMBER(check_status(0), MIGRATE_CHANGED);
    run_text(here.config, 0, "UPDATE schema_migrations SET checksum = checksum ^ 1");
    EXPECT(migrate(&said) == 0, "%s", said);
}

static void test_migrate_refuses_newer(void **state)
{
    (void)state;
    char *said;
    run_text(here.config, 0, "INSERT INTO schema_migrations VALUES (9999, '9999_x', 1, NOW(3))");
    expect_refused("9999", "newer than this binary");
    EXPECT_NUMBER(check_status(0), MIGRATE_AHEAD);
    run_text(here.config, 0, "DELETE FROM schema_migrations WHERE version = 9999");
    EXPECT(migrate(&said) == 0, "%s", said);
}

/* As a crash between two statements of the first leaves it: tables, but not all, and no record. */
static void test_migrate_after_crash(void **state)
{
    (void)state;
    char *said;
    run_text(here.config, 0,
             "DROP TABLE settings, leases; DELETE FROM schema_migrations; "
             "ALTER TABLE inventory DROP INDEX inventory_gate_down, DROP COLUMN gate_down");
    EXPECT_NUMBER(check_status(0), MIGRATE_BEHIND);
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM settings"), 0);
    EXPECT_NUMBER(check_status(0), MIGRATE_CURRENT);
}

/* Killed when all was done, but before it was recorded. */
static void test_migrate_what_was_not_recorded(void **state)
{
    (void)state;
    char *said;
    run_text(here.config, 0, "DELETE FROM schema_migrations");
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(check_status(0), MIGRATE_CURRENT);
}

/* --- from earlier releases --- */

/* The tables as the release before this migration had them, and nothing recorded. */
static void create_tables_before(unsigned number)
{
    for (unsigned i = 0; i < embedded_migrations_count; ++i)
        if (embedded_migrations[i].number < number)
            run_on_all(here.config, test_text("%.*s", STR_ARG(embedded_migrations[i].text)));
}

static void look(expiry_t *expiry)
{
    sql_t sql = {NULL, 0, 0};
    db_t *db = open_shard(here.config, 0);
    EXPECT(expiry_batch(expiry, db, &sql) == DB_OK, "%s", db_error(db));
    db_free(db);
    sql_free(&sql);
}

/* Orders that were held before there were reminders: one is over, one is not. */
static void test_migrate_held_orders(void **state)
{
    (void)state;
    char *said;
    expiry_t expiry;
    create_tables_before(5);
    run_text(here.config, 0,
             "INSERT INTO inventory (sku, bucket, slot, total, allocated_total, epoch, "
             "per_buyer_limit, hold_seconds, strategy, acknowledge, created_at, updated_at) VALUES "
             "('old', 0, 0, 9, 3, 1, 0, 60, 'lua', 'committed', NOW(3), NOW(3)); "
             "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, "
             "expires_at, updated_at) VALUES "
             "(x'01', 'old', 'a', 1, 'held', 1, NOW(3), NOW(3) - INTERVAL 1 SECOND, NOW(3)), "
             "(x'02', 'old', 'b', 1, 'held', 1, NOW(3), NOW(3) + INTERVAL 1 HOUR, NOW(3)), "
             "(x'03', 'old', 'c', 1, 'confirmed', 1, NOW(3), NOW(3) - INTERVAL 1 SECOND, NOW(3))");
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM holds JOIN orders USING (order_id, "
                                 "expires_at) WHERE state = 'held'"),
                  2);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM holds"), 2);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM information_schema.statistics WHERE "
                                 "table_schema = DATABASE() AND index_name = 'orders_expiry'"),
                  0);
    expiry_init(&expiry, 10);
    look(&expiry);
    EXPECT_NUMBER(expiry.count, 1);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM orders WHERE state = 'expired' AND "
                                 "buyer_id = 'a'"),
                  1);
    EXPECT_NUMBER(read_number(0, "SELECT released_total FROM inventory"), 1);
    run_text(here.config, 0,
             "UPDATE orders SET expires_at = NOW(3) WHERE state = 'held'; "
             "UPDATE holds SET expires_at = NOW(3)");
    look(&expiry);
    EXPECT_NUMBER(expiry.count, 1);
    EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM holds"), 0);
    expiry_dispose(&expiry);
}

static void test_migrate_without_server(void **state)
{
    (void)state;
    char *said;
    const char *path = derive(here.path, "no-mysql", "shard-0-a.sock", "nobody.sock");
    EXPECT_NUMBER(finish(start("migrate", path), &said), 1);
    EXPECT(strstr(said, "no connection") != NULL, "%s", said);
    unlink(path);
}

#define CASE(name_, setup_) cmocka_unit_test_setup_teardown(name_, setup_, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_migrate_twice, set_up_empty),
        CASE(test_migrate_at_once, set_up_empty),
        CASE(test_migrate_waits, set_up_empty),
        CASE(test_migrate_without_server, set_up_empty),
        CASE(test_migrate_refuses_changed_text, set_up_migrated),
        CASE(test_migrate_refuses_newer, set_up_migrated),
        CASE(test_migrate_after_crash, set_up_migrated),
        CASE(test_migrate_what_was_not_recorded, set_up_migrated),
        CASE(test_migrate_held_orders, set_up_empty),
    };
    return test_run("migrate", tests, TEST_COUNT(tests), set_up_group, tear_down_group);
}
