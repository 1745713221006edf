/* An INSERT of rows in bulk and as text: the same rows, the same counts, the same failures. */
#include "integration/own_database.h"

#include <pthread.h>

#include "metrics/metrics.h"

#define ROWS 64
#define TIME_MS UINT64_C(1795734000123)
#define END " ON DUPLICATE KEY UPDATE id = values_of.id"

static db_t *db, *other; /* `other` is root's */
static rows_t rows;
static char ids[ROWS][16];

static int set_up_case(void **state)
{
    (void)state;
    run_text(here.config, 0,
             "DROP TABLE IF EXISTS values_of, values_as_text; CREATE TABLE values_of ("
             "id BINARY(16) PRIMARY KEY, name VARBINARY(64) UNIQUE, state ENUM('held','expired') "
             "CHARACTER SET utf8mb4, n BIGINT UNSIGNED, at DATETIME(3)) ENGINE=InnoDB; "
             "CREATE TABLE values_as_text LIKE values_of");
    for (unsigned i = 0; i < ROWS; ++i)
        snprintf(ids[i], sizeof(ids[i]), "id %u", i);
    db = db_new(here.config, shard_primary(&here.config->shards[0]));
    other = open_shard(&here.root, 0);
    EXPECT_NUMBER(db_connect(db), RESULT_DONE);
    EXPECT(db_takes_rows(db), "this server or client has no bulk execution");
    return 0;
}

static int tear_down_case(void **state)
{
    db_free(db);
    db_free(other);
    rows_free(&rows);
    return test_teardown(state);
}

static void begin(const char *table, const char *tail)
{
    rows_begin(&rows, table, tail, ROWS);
    rows_column(&rows, "id", ROWS_BYTES);
    rows_column(&rows, "name", ROWS_BYTES);
    rows_column(&rows, "state", ROWS_WORD);
    rows_column(&rows, "n", ROWS_U64);
    rows_column(&rows, "at", ROWS_TIME);
}

static void add(unsigned id, str_t name, const char *word, uint64_t n, uint64_t ms)
{
    rows_add_bytes(&rows, (str_t){ids[id], sizeof(ids[id])});
    rows_add_bytes(&rows, name);
    rows_add_word(&rows, word);
    rows_add_u64(&rows, n);
    rows_add_time(&rows, ms);
}

/* Plain rows with these ids. */
static void begin_range(const char *tail, unsigned from, unsigned to)
{
    begin("values_of", tail);
    for (unsigned i = from; i < to; ++i)
        add(i, STR_NONE, "held", i, TIME_MS);
}

static result_t insert(uint64_t *count)
{
    *count = 999;
    return db_insert_rows(db, &rows, count);
}

static long long number(const char *text)
{
    const sql_t sql = {(char *)text, strlen(text), 0};
    EXPECT(db_query(other, &sql) == RESULT_DONE && db_next(other), "%s: %s", text, db_error(other));
    long long found = db_i64(other, 0);
    while (db_next(other))
        ;
    return found;
}

static void expect_rows(long long count)
{
    EXPECT_NUMBER(number(test_text("SELECT COUNT(*) FROM %s.values_of", here.database)), count);
}

static void add_all_kinds(void)
{
    static char bytes[ROWS][64];
    for (unsigned i = 0; i < ROWS; ++i) {
        for (unsigned j = 0; j < sizeof(bytes[i]); ++j)
            bytes[i][j] = (char)(i * sizeof(bytes[i]) + j);
        str_t name = i % 5 == 0 ? STR_NONE : (str_t){bytes[i], i};
        uint64_t ms = TIME_MS + (uint64_t)(i / 3) * 86399001;
        add(i, name,
            i % 3 == 0 ? NULL
            : i % 2    ? "held"
                       : "expired",
            i == 1 ? UINT64_MAX : i * UINT64_C(1234567890123), i % 4 == 0 ? 0 : ms);
    }
}

static void both_ways_write_the_same(void **state)
{
    (void)state;
    uint64_t count;
    sql_t sql = {NULL, 0, 0};
    begin("values_of", "");
    add_all_kinds();
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, ROWS);
    begin("values_as_text", "");
    add_all_kinds();
    rows_add_insert(&sql, &rows);
    EXPECT_NUMBER(db_exec(db, &sql, &count, 1), RESULT_DONE);
    EXPECT_NUMBER(count, ROWS);
    sql_free(&sql);
    EXPECT_NUMBER(number(test_text("SELECT COUNT(*) FROM %s.values_of a JOIN %s.values_as_text b "
                                   "ON a.id = b.id AND a.name <=> b.name AND a.state <=> b.state "
                                   "AND a.n <=> b.n AND a.at <=> b.at",
                                   here.database, here.database)),
                  ROWS);
    EXPECT_NUMBER(number(test_text("SELECT COUNT(*) FROM %s.values_of WHERE name IS NULL AND n = "
                                   "5 * 1234567890123 AND at = '2026-11-27 22:59:59.124' AND state "
                                   "= 'held'",
                                   here.database)),
                  1);
}

/* In the table or twice in the statement, by one key or the other: none of them counts. */
static void a_duplicate_is_not_counted(void **state)
{
    (void)state;
    uint64_t count;
    begin_range(END, 0, 10);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 10);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 0);
    begin_range(END, 7, 20); /* three that exist, ten that do not */
    add(12, STR_NONE, "held", 0, 0);
    add(30, STR("name"), "held", 0, 0);
    add(31, STR("name"), "held", 0, 0);
    add(32, STR("name"), "held", 0, 0);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 11);
    expect_rows(21);
}

/* All or nothing; and the statement is used again, since its failure is understood. */
static void a_row_that_is_refused_refuses_all(void **state)
{
    (void)state;
    uint64_t count;
    int64_t refusals = METRIC_GET(mysql_refusals_total);
    static char longer[65];
    memset(longer, 'x', sizeof(longer));
    begin_range("", 0, 5); /* the server pads the ids as they are padded here */
    add(5, (str_t){longer, sizeof(longer)}, "held", 0, 0);
    EXPECT_NUMBER(insert(&count), RESULT_REFUSED);
    EXPECT(!db_error_is_duplicate(db), "%s", db_error(db));
    EXPECT_NUMBER(METRIC_GET(mysql_refusals_total), refusals + 1);
    expect_rows(0);
    begin_range("", 0, 5);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(insert(&count), RESULT_REFUSED);
    EXPECT(db_error_is_duplicate(db), "%s", db_error(db));
    begin("values_of", "");
    add(6, STR_NONE, "sold", 0, 0); /* no word of the column */
    EXPECT_NUMBER(insert(&count), RESULT_REFUSED);
    EXPECT(db_takes_rows(db), "%s", db_error(db));
    expect_rows(5);
}

static void a_lock_is_waited_for_until_the_time_out(void **state)
{
    (void)state;
    uint64_t count;
    EXPECT_NUMBER(db_run(other, test_text("SET SESSION idle_transaction_timeout = 0, "
                                          "idle_write_transaction_timeout = 0; START TRANSACTION; "
                                          "INSERT INTO %s.values_of (id) VALUES ('id 3')",
                                          here.database)),
                  RESULT_DONE);
    unsigned waits = db_lock_waits(db);
    begin_range("", 0, 5);
    EXPECT_NUMBER(insert(&count), RESULT_RETRY);
    EXPECT(db_error_is_lock(db), "%s", db_error(db));
    EXPECT_NUMBER(db_lock_waits(db), waits + 1);
    db_rollback(db);
    db_rollback(other);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
}

static void *insert_beside(void *result)
{
    uint64_t count;
    *(result_t *)result = db_insert_rows(db, &rows, &count);
    db_thread_end();
    return NULL;
}

#define WAITERS                                                                                    \
    "SELECT CAST(VARIABLE_VALUE AS UNSIGNED) FROM information_schema.GLOBAL_STATUS WHERE "         \
    "VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'"

/* The rows wait for `id 3`, which the other's transaction has; then `then` is run on `other`. */
static result_t insert_into_a_lock(const char *then)
{
    pthread_t thread;
    result_t result = RESULT_DONE;
    db_t *looker = other;
    EXPECT_NUMBER(db_run(other, test_text("SET SESSION idle_transaction_timeout = 0, "
                                          "idle_write_transaction_timeout = 0; "
                                          "USE %s; START TRANSACTION; "
                                          "INSERT INTO values_of (id) VALUES ('id 3'), ('x1'), "
                                          "('x2'), ('x3'), ('x4'), ('x5'), ('x6'), ('x7')",
                                          here.database)),
                  RESULT_DONE);
    other = open_shard(&here.root, 0);
    begin_range("", 0, 5);
    EXPECT_NUMBER(pthread_create(&thread, NULL, insert_beside, &result), 0);
    WAIT_UNTIL(number(WAITERS) != 0);
    EXPECT_NUMBER(db_run(looker, then), RESULT_DONE);
    pthread_join(thread, NULL);
    db_free(looker);
    return result;
}

static void a_deadlock_is_tried_again(void **state)
{
    (void)state;
    uint64_t count;
    here.config->mysql.lock_wait_timeout_s = 50;
    db_disconnect(db);
    result_t result = insert_into_a_lock(
        "INSERT INTO values_of (id) VALUES ('id 0') ON DUPLICATE KEY UPDATE n = 1");
    here.config->mysql.lock_wait_timeout_s = 1;
    EXPECT_NUMBER(result, RESULT_RETRY);
    EXPECT(!db_error_is_lock(db), "%s", db_error(db));
    db_rollback(db);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 5);
}

#define KILL_WRITERS                                                                               \
    "BEGIN NOT ATOMIC FOR p IN (SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE "    \
    "'INSERT INTO values_of (id, name%') DO KILL CONNECTION p.ID; END FOR; END"

static void a_connection_that_is_lost_says_nothing(void **state)
{
    (void)state;
    uint64_t count;
    int64_t lost = METRIC_GET(mysql_lost_total);
    EXPECT_NUMBER(insert_into_a_lock(KILL_WRITERS), RESULT_UNKNOWN);
    EXPECT(!db_takes_rows(db), "there is still a connection");
    EXPECT_NUMBER(METRIC_GET(mysql_lost_total), lost + 1);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 5);
    EXPECT(db_takes_rows(db), "%s", db_error(db));
}

/* The server closed the connection while it was idle: its statements are gone with it. */
static void a_statement_goes_with_its_connection(void **state)
{
    (void)state;
    uint64_t count;
    begin_range("", 0, 5);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    const sql_t mine = {(char *)"SELECT CONNECTION_ID()", 22, 0};
    EXPECT(db_query(db, &mine) == RESULT_DONE && db_next(db), "%s", db_error(db));
    EXPECT_NUMBER(
        db_run(other, test_text("KILL CONNECTION %llu", (unsigned long long)db_u64(db, 0))),
        RESULT_DONE);
    begin_range("", 5, 9);
    EXPECT_NUMBER(insert(&count), RESULT_UNKNOWN);
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    expect_rows(9);
}

/* After an error of no list the same rows go as text, for some time. */
static void what_is_not_understood_is_not_repeated(void **state)
{
    (void)state;
    uint64_t count;
    begin("nowhere", "");
    add(0, STR_NONE, "held", 0, 0);
    EXPECT_NUMBER(insert(&count), RESULT_AWAY);
    db_rollback(db);
    begin_range("", 0, 5);
    EXPECT_NUMBER(db_connect(db), RESULT_DONE);
    EXPECT(!db_takes_rows(db), "bulk execution is tried again at once");
    EXPECT_NUMBER(insert(&count), RESULT_DONE);
    EXPECT_NUMBER(count, 5);
    expect_rows(5);
}

/* The server prepares its statement again. */
static void a_table_that_changes_takes_rows(void **state)
{
    (void)state;
    uint64_t count;
    for (unsigned round = 0; round < 4; ++round) {
        begin_range(END, round * 10, round * 10 + 10);
        EXPECT_NUMBER(insert(&count), RESULT_DONE);
        EXPECT_NUMBER(count, 10);
        run_text(here.config, 0,
                 test_text("ALTER TABLE values_of ADD COLUMN more%u INT NULL", round));
    }
    EXPECT(db_takes_rows(db), "%s", db_error(db));
}

/* More than are kept. */
static void many_statements_take_turns(void **state)
{
    (void)state;
    uint64_t count;
    static const char *const tails[] = {"",     " ",     "  ",     "   ",     "    ",    "     ",
                                        " #\n", "  #\n", "   #\n", "    #\n", "     #\n"};
    for (unsigned i = 0; i < 30; ++i) {
        begin_range(tails[i % TEST_COUNT(tails)], i, i + 1);
        EXPECT_NUMBER(insert(&count), RESULT_DONE);
        EXPECT_NUMBER(count, 1);
    }
    expect_rows(30);
}

#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up_case, tear_down_case)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(both_ways_write_the_same),
        CASE(a_duplicate_is_not_counted),
        CASE(a_row_that_is_refused_refuses_all),
        CASE(a_lock_is_waited_for_until_the_time_out),
        CASE(a_deadlock_is_tried_again),
        CASE(a_connection_that_is_lost_says_nothing),
        CASE(a_statement_goes_with_its_connection),
        CASE(what_is_not_understood_is_not_repeated),
        CASE(a_table_that_changes_takes_rows),
        CASE(many_statements_take_turns),
    };
    return test_run("db rows", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
