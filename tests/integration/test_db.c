/* Sessions as the service has them: what a server is set to for all changes nothing of these. */
#include "integration/own_database.h"

#include "metrics/metrics.h"

static db_t *connected(void)
{
    db_t *db = open_shard(here.config, 0);
    test_keep(db, (void (*)(void *))db_free);
    EXPECT_NUMBER(db_connect(db), RESULT_DONE);
    return db;
}

static const char *variable(db_t *db, const char *name)
{
    const char *text = test_text("SELECT @@SESSION.%s", name);
    const sql_t sql = {(char *)text, strlen(text), 0};
    EXPECT(db_query(db, &sql) == RESULT_DONE && db_next(db), "%s: %s", name, db_error(db));
    const char *value = test_text("%.*s", STR_ARG(db_bytes(db, 0)));
    EXPECT(!db_next(db), "two rows");
    return value;
}

/* A stranger's default is none of these, but for what has no other. */
static void a_session_has_its_own_settings(void **state)
{
    (void)state;
    const char *idle = test_text("%u", here.config->mysql.idle_transaction_timeout_s);
    const char *lock = test_text("%u", here.config->mysql.lock_wait_timeout_s);
    const struct {
        const char *name, *value;
    } wanted[] = {
        {"idle_transaction_timeout", idle},
        {"idle_readonly_transaction_timeout", idle},
        {"idle_write_transaction_timeout", idle},
        {"innodb_lock_wait_timeout", lock},
        {"lock_wait_timeout", lock},
        {"time_zone", "+00:00"},
        {"tx_isolation", "READ-COMMITTED"},
        {"tx_read_only", "0"},
        {"autocommit", "1"},
        {"completion_type", "NO_CHAIN"},
        {"sql_mode", "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"},
        {"max_statement_time", "0.000000"},
        {"check_constraint_checks", "1"},
        {"foreign_key_checks", "1"},
        {"unique_checks", "1"},
    };
    db_t *db = connected();
    for (size_t i = 0; i < TEST_COUNT(wanted); ++i) {
        const char *value = variable(db, wanted[i].name);
        EXPECT(strcmp(value, wanted[i].value) == 0, "%s is %s, not %s", wanted[i].name, value,
               wanted[i].value);
    }
}

/* Whoever stands still in a transaction keeps others from its rows no longer than that. */
static void a_transaction_that_stands_still_is_ended(void **state)
{
    (void)state;
    db_t *db = connected();
    EXPECT_NUMBER(db_run(db, "START TRANSACTION; INSERT INTO holds VALUES (NOW(3), x'01')"),
                  RESULT_DONE);
    long long begun = test_clock_ms();
    db_t *other = connected();
    result_t result;
    do
        result = db_run(other, "INSERT INTO holds VALUES (NOW(3), x'02'); DELETE FROM holds");
    while (result != RESULT_DONE && test_clock_ms() - begun < 60000);
    EXPECT_NUMBER(result, RESULT_DONE);
    EXPECT(db_commit(db) != RESULT_DONE, "it was committed");
}

/* What the service counts of its statements, and how much of each. */
typedef struct {
    int64_t refusals, conflicts, lost;
} counts_t;

static counts_t counts(void)
{
    return (counts_t){METRIC_GET(mysql_refusals_total), METRIC_GET(mysql_conflicts_total),
                      METRIC_GET(mysql_lost_total)};
}

static void expect_counted(counts_t before, int64_t refusals, int64_t conflicts, int64_t lost)
{
    counts_t now = counts();
    EXPECT_NUMBER(now.refusals - before.refusals, refusals);
    EXPECT_NUMBER(now.conflicts - before.conflicts, conflicts);
    EXPECT_NUMBER(now.lost - before.lost, lost);
}

/* As the service has it: one that is checked, and that tells of its failures. */
static db_t *checked(void)
{
    db_t *db = db_new(here.config, shard_primary(&here.config->shards[0]));
    test_keep(db, (void (*)(void *))db_free);
    return db;
}

/* Whatever becomes of a statement: once, where it is met. */
static void each_failure_is_counted_where_it_is_met(void **state)
{
    (void)state;
    db_t *db = checked(), *other = connected();
    counts_t before = counts();
    EXPECT_NUMBER(db_run(db, "INSERT INTO holds VALUES (NOW(3), NULL)"), RESULT_REFUSED);
    EXPECT(!db_error_is_duplicate(db), "%s", db_error(db));
    expect_counted(before, 1, 0, 0);
    EXPECT_NUMBER(db_run(db, "INSERT INTO settings VALUES ('twice', '', NOW(3))"), RESULT_DONE);
    EXPECT_NUMBER(db_run(db, "INSERT INTO settings VALUES ('twice', '', NOW(3))"), RESULT_REFUSED);
    EXPECT(db_error_is_duplicate(db), "%s", db_error(db));
    expect_counted(before, 1, 1, 0);
    EXPECT_NUMBER(db_run(other, "SET SESSION idle_transaction_timeout = 0, "
                                "idle_write_transaction_timeout = 0; "
                                "START TRANSACTION; DELETE FROM settings WHERE name = 'twice'"),
                  RESULT_DONE);
    EXPECT_NUMBER(db_run(db, "DELETE FROM settings WHERE name = 'twice'"), RESULT_RETRY);
    EXPECT(db_error_is_lock(db), "%s", db_error(db));
    db_rollback(db);
    EXPECT(db_error_is_lock(db), "%s", db_error(db));
    expect_counted(before, 1, 2, 0);
    EXPECT_NUMBER(db_run(db, "DO 0"), RESULT_DONE);
    EXPECT(!db_error_is_lock(db), "a statement that did not fail");
    EXPECT_NUMBER(db_run(db, "SELECT 1 FROM nowhere"), RESULT_AWAY);
    expect_counted(before, 2, 2, 0);
    EXPECT_NUMBER(db_run(other, "COMMIT"), RESULT_DONE);
}

/* A connection that is not made, too: somebody keeps the table that says which database it is. */
static void a_session_that_waits_for_a_lock_is_counted(void **state)
{
    (void)state;
    db_t *other = connected(), *db = checked();
    EXPECT_NUMBER(db_run(other, "LOCK TABLES shard_identity WRITE"), RESULT_DONE);
    counts_t before = counts();
    EXPECT_NUMBER(db_connect(db), RESULT_AWAY);
    EXPECT_NUMBER(db_run(other, "UNLOCK TABLES"), RESULT_DONE);
    expect_counted(before, 0, 1, 0);
    EXPECT_NUMBER(db_connect(db), RESULT_DONE);
}

/* And one to a database that is another one. */
static void a_database_that_is_not_used_is_counted(void **state)
{
    (void)state;
    db_t *other = connected(), *db = checked();
    EXPECT_NUMBER(db_run(other, "UPDATE shard_identity SET shard = 'else'"), RESULT_DONE);
    counts_t before = counts();
    EXPECT_NUMBER(db_connect(db), RESULT_AWAY);
    EXPECT(db_error_is_unfit(db), "%s", db_error(db));
    expect_counted(before, 1, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_has_its_own_settings),
        TEST(a_transaction_that_stands_still_is_ended),
        TEST(each_failure_is_counted_where_it_is_met),
        TEST(a_session_that_waits_for_a_lock_is_counted),
        TEST(a_database_that_is_not_used_is_counted),
    };
    return test_run("db", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
