/* `holdfast migrate`, each as a process of its own. */
#include "integration/own_database.h"

#include "base/embedded.h"
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
    result_t result = db_query(db, &sql);
    EXPECT(result == RESULT_DONE && db_next(db), "%s: %s", text, db_error(db));
    long long number = db_i64(db, 0);
    db_free(db);
    return number;
}

static migrate_status_t check_status(unsigned shard)
{
    sql_t sql = {NULL, 0, 0};
    db_t *db = open_shard(here.config, shard);
    migrate_status_t status;
    EXPECT_NUMBER(migrate_check(db, &sql, &status), RESULT_DONE);
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

static int set_up_by_command(void **state)
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
    EXPECT_NUMBER(count_lines(said, ": stamped: "), here.config->shards_count);
    EXPECT_NUMBER(count_lines(said, "\n"), migrations_in_all() + here.config->shards_count);
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(count_lines(said, ": applied before\n"), migrations_in_all());
    EXPECT_NUMBER(count_lines(said, "\n"), migrations_in_all());
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
    EXPECT(db_run(db, "DO GET_LOCK(CONCAT('holdfast.migrate.', SHA1(DATABASE())), 0)") ==
               RESULT_DONE,
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
                              "SHA1(DATABASE())))") == 1);
}

/* A new connection of the service: does it take the database, and if not, what does it say? */
static const char *why_unfit(unsigned shard)
{
    db_t *db = db_new(here.config, shard_primary(&here.config->shards[shard]));
    result_t result = db_connect(db);
    const char *why = result == RESULT_DONE ? NULL : test_text("%s", db_error(db));
    EXPECT(result == RESULT_DONE || result == RESULT_AWAY, "%s", result_name(result));
    db_free(db);
    return why;
}

static void expect_unfit(unsigned shard, const char *word)
{
    const char *why = why_unfit(shard);
    EXPECT(why != NULL && strstr(why, word) != NULL, "%s", why != NULL ? why : "it fits");
}

static void expect_fit(unsigned shard)
{
    const char *why = why_unfit(shard);
    EXPECT(why == NULL, "%s", why);
}

static void test_migrate_refuses_changed_text(void **state)
{
    (void)state;
    char *said;
    expect_fit(0);
    run_text(here.config, 0,
             "UPDATE schema_migrations SET checksum = checksum ^ 1 WHERE version = 1");
    expect_refused(embedded_migrations[0].name, "with another text");
    EXPECT_NUMBER(check_status(0), MIGRATE_CHANGED);
    expect_unfit(0, "with another text");
    expect_fit(1);
    run_text(here.config, 0,
             "UPDATE schema_migrations SET checksum = checksum ^ 1 WHERE version = 1");
    EXPECT(migrate(&said) == 0, "%s", said);
}

/* A migration that this binary does not know says by min_binary whether it may run beside it. */
static void test_migrate_refuses_newer(void **state)
{
    (void)state;
    char *said;
    run_text(here.config, 0,
             "INSERT INTO schema_migrations VALUES (9999, '9999_x', 1, NOW(3)); "
             "UPDATE shard_identity SET min_binary = 9999");
    expect_refused("9999", "newer than this binary");
    EXPECT_NUMBER(check_status(0), MIGRATE_TOO_NEW);
    expect_unfit(0, "9999");
    run_text(here.config, 0, "UPDATE shard_identity SET min_binary = 8");
    EXPECT_NUMBER(check_status(0), MIGRATE_AHEAD);
    expect_fit(0);
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT(strstr(said, "9999: newer than this binary, which may run beside it") != NULL, "%s",
           said);
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
    EXPECT(expiry_batch(expiry, db, &sql) == RESULT_DONE, "%s", db_error(db));
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

/* --- which shard it is --- */

/* An item of a slot that the other shard has, and an order of one that this shard has. */
#define ITEM_OF_SLOT(slot_)                                                                        \
    "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, hold_seconds, "      \
    "strategy, acknowledge, created_at, updated_at) VALUES ('strange', 0, " slot_                  \
    ", 9, 1, 0, 0, 'lua', 'committed', NOW(3), NOW(3)); "
#define ORDER_OF_SLOT(hex_)                                                                        \
    "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, epoch, created_at, "            \
    "updated_at) "                                                                                 \
    "VALUES (x'0123456789ab7" hex_ "8000000000000001', 'strange', 'a', 1, 'confirmed', 1, "        \
    "NOW(3), NOW(3)); "

static const char *deployment_on(unsigned shard)
{
    db_t *db = open_shard(here.config, shard);
    const sql_t sql = {(char *)"SELECT deployment FROM shard_identity", 37, 0};
    EXPECT(db_query(db, &sql) == RESULT_DONE && db_next(db), "%s", db_error(db));
    const char *name = test_text("%.*s", STR_ARG(db_bytes(db, 0)));
    db_free(db);
    return name;
}

/* Unstamped, as it was before there were stamps. */
static void forget_stamps(void)
{
    run_on_all(here.config, "UPDATE shard_identity SET deployment = '', shard = ''");
}

/* Keys as they were stored with quotes around them: found by their name from now on. */
static void test_migrate_quoted_keys(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } keys[] = {
        {"'k1'", "'k1'"},
        {"'\"k2\"'", "'k2'"},
        {"'\"k1\"'", "'\"k1\"'"},
        {"'\"'", "'\"'"},
        {"'\"\"'", "'\"\"'"},
        {"'\"k3'", "'\"k3'"},
        {"'k\"4\"'", "'k\"4\"'"},
        {"'\"k\"5\"'", "'\"k\"5\"'"},
        {"x'226b5c5c22'", "x'226b5c5c22'"},
        {"NULL", "NULL"},
        {"REPEAT('6', 128)", "REPEAT('6', 128)"},
    };
    char *said;
    create_tables_before(9);
    for (size_t i = 0; i < TEST_COUNT(keys); ++i)
        run_text(here.config, 0,
                 test_text("INSERT INTO orders (order_id, sku, buyer_id, quantity, state, "
                           "idempotency_key, epoch, created_at, updated_at) VALUES "
                           "(UNHEX(LPAD(%zu, 32, '0')), 's', 'b', 1, 'confirmed', %s, 1, NOW(3), "
                           "NOW(3))",
                           i, keys[i].before));
    /* Once as a run that ended before it had recorded it. */
    for (int run = 0; run < 2; ++run) {
        EXPECT(migrate(&said) == 0, "%s", said);
        for (size_t i = 0; i < TEST_COUNT(keys); ++i)
            EXPECT(read_number(0, test_text("SELECT idempotency_key <=> %s FROM orders WHERE "
                                            "order_id = UNHEX(LPAD(%zu, 32, '0'))",
                                            keys[i].after, i)) == 1,
                   "%s does not become %s", keys[i].before, keys[i].after);
        run_text(here.config, 0, "DELETE FROM schema_migrations WHERE version = 9");
    }
    EXPECT(read_number(0, "SELECT min_binary FROM shard_identity") >= 9, "older ones may run");
    run_text(here.config, 0,
             "UPDATE orders SET idempotency_key = REPEAT('6', 255) WHERE LENGTH(idempotency_key) "
             "= 128");
}

/* Orders from before have given nothing back; an older service would cancel the whole of one. */
static void test_migrate_given_back(void **state)
{
    (void)state;
    char *said;
    create_tables_before(10);
    run_text(here.config, 0, ORDER_OF_SLOT("1ff"));
    /* Once as a run that ended before it had recorded it. */
    for (int run = 0; run < 2; ++run) {
        EXPECT(migrate(&said) == 0, "%s", said);
        EXPECT_NUMBER(read_number(0, "SELECT SUM(given_back = 0) FROM orders"), 1);
        EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM cancellations"), 0);
        EXPECT(read_number(0, "SELECT min_binary FROM shard_identity") >= 11, "older ones may run");
        run_text(here.config, 0, "DELETE FROM schema_migrations WHERE version >= 10");
    }
}

static void test_migrate_stamps_only_its_own_rows(void **state)
{
    (void)state;
    char *said;
    static const char *const rows[] = {ITEM_OF_SLOT("1000"), ORDER_OF_SLOT("200"),
                                       ITEM_OF_SLOT("1000") ORDER_OF_SLOT("3e8")};
    for (size_t i = 0; i < TEST_COUNT(rows); ++i) {
        forget_stamps();
        run_text(here.config, 0, "DELETE FROM inventory; DELETE FROM orders");
        expect_unfit(0, "run holdfast migrate");
        run_text(here.config, 0, rows[i]);
        expect_refused("not stamped", "correct the configuration");
        EXPECT(strcmp(deployment_on(0), "") == 0, "it was stamped: %s", deployment_on(0));
        expect_unfit(0, "run holdfast migrate");
    }
    run_text(here.config, 0,
             "DELETE FROM inventory; DELETE FROM orders; " ITEM_OF_SLOT("511") ORDER_OF_SLOT("1ff")
                 ORDER_OF_SLOT("000"));
    EXPECT(migrate(&said) == 0, "%s", said);
    EXPECT_NUMBER(count_lines(said, ": stamped: "), here.config->shards_count);
    expect_fit(0);
    expect_fit(1);
}

/* Another deployment's, another shard's, other slots: nothing is changed in it, not even by a
   migration that is missing. */
static void test_migrate_refuses_another_stamp(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        {"deployment = 'other'", "of deployment 'other'"},
        {"shard = 'shard-7'", "shard 'shard-7'"},
        {"slot_last = 510", "slots 0-510"},
        {"slot_first = 1", "slots 1-511"},
    };
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        set_up_by_command(state);
        run_text(here.config, 0,
                 test_text("UPDATE shard_identity SET %s; "
                           "DELETE FROM schema_migrations WHERE version = 7; "
                           "ALTER TABLE inventory DROP INDEX inventory_gate_down",
                           changes[i][0]));
        expect_refused(changes[i][1], "correct the configuration");
        EXPECT_NUMBER(read_number(0, "SELECT COUNT(*) FROM schema_migrations WHERE version = 7"),
                      0);
    }
}

/* Without node.deployment: made up once, and the same on all shards, also on one that comes later
   or is made anew. */
static void test_migrate_names_the_deployment(void **state)
{
    (void)state;
    char *said;
    const char *path = derive(here.path, "unnamed",
                              test_text("  deployment: %s\n", here.config->node.deployment), "");
    EXPECT(finish(start("migrate", path), &said) == 0, "%s", said);
    const char *name = deployment_on(0);
    EXPECT(strlen(name) == 32, "%s", name);
    EXPECT(strcmp(deployment_on(1), name) == 0, "%s and %s", name, deployment_on(1));
    run_text(here.config, 0, "UPDATE shard_identity SET deployment = ''");
    EXPECT(finish(start("migrate", path), &said) == 0, "%s", said);
    EXPECT(strcmp(deployment_on(0), name) == 0, "%s and %s", name, deployment_on(0));
    EXPECT_NUMBER(migrate(&said), 1);
    EXPECT(strstr(said, test_text("of deployment '%s'", name)) != NULL, "%s", said);
    unlink(path);
}

/* Both at once give one name. */
static void test_migrate_names_the_deployment_once(void **state)
{
    (void)state;
    FILE *processes[AT_ONCE];
    char *said;
    const char *path = derive(here.path, "unnamed",
                              test_text("  deployment: %s\n", here.config->node.deployment), "");
    for (unsigned i = 0; i < AT_ONCE; ++i)
        processes[i] = start("migrate", path);
    for (unsigned i = 0; i < AT_ONCE; ++i)
        EXPECT(finish(processes[i], &said) == 0, "%s", said);
    EXPECT(strcmp(deployment_on(0), deployment_on(1)) == 0, "%s and %s", deployment_on(0),
           deployment_on(1));
    unlink(path);
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
        CASE(test_migrate_refuses_changed_text, set_up_by_command),
        CASE(test_migrate_refuses_newer, set_up_by_command),
        CASE(test_migrate_after_crash, set_up_by_command),
        CASE(test_migrate_what_was_not_recorded, set_up_by_command),
        CASE(test_migrate_held_orders, set_up_empty),
        CASE(test_migrate_quoted_keys, set_up_empty),
        CASE(test_migrate_given_back, set_up_empty),
        CASE(test_migrate_stamps_only_its_own_rows, set_up_by_command),
        CASE(test_migrate_refuses_another_stamp, set_up_by_command),
        CASE(test_migrate_names_the_deployment, set_up_empty),
        CASE(test_migrate_names_the_deployment_once, set_up_empty),
    };
    return test_run("migrate", tests, TEST_COUNT(tests), set_up_group, tear_down_group);
}
