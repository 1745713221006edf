/*
 * The list of changes reads what it shows: a range of an index, however many changes there are.
 */
#include "own_database.h"

#include "store/changes.h"

#define CHANGES 3000
#define ITEMS 3
#define SHARD 0
#define BEGAN_MS UINT64_C(1767225600000)

static const char *item_name(unsigned i)
{
    return test_text("listed-%u", i % ITEMS);
}

/* One a millisecond, of each item in turn. */
static void insert_all(db_t *db, sql_t *sql)
{
    item_terms_t before = {.total = 0}, after = {.total = 1};
    EXPECT(db_run(db, "START TRANSACTION") == RESULT_DONE, "%s", db_error(db));
    for (unsigned i = 0; i < CHANGES; ++i) {
        const item_ref_t item = item_ref_of(str_of(item_name(i)));
        change_origin_t origin = {.id = order_id_issue(item.slot, BEGAN_MS + i), .request_id = "r"};
        snprintf(origin.who, sizeof(origin.who), "who-%u", i % 2);
        EXPECT(change_insert(db, sql, &origin, &item, i + 1, &before, &after) == RESULT_DONE, "%s",
               db_error(db));
    }
    EXPECT(db_commit(db) == RESULT_DONE, "%s", db_error(db));
    EXPECT(db_run(db, "ANALYZE TABLE changes") == RESULT_DONE, "%s", db_error(db));
}

/* Rows and entries of indexes that this session has read. */
static uint64_t rows_read(db_t *db)
{
    static const char text[] = "SHOW SESSION STATUS LIKE 'Handler_read%'";
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    uint64_t sum = 0;
    EXPECT(db_query(db, &sql) == RESULT_DONE, "%s", db_error(db));
    while (db_next(db))
        sum += db_u64(db, 1);
    return sum;
}

typedef struct {
    unsigned count;
    uint64_t epochs[8];
} listed_t;

static void take(void *context, const change_row_t *row)
{
    listed_t *listed = context;
    EXPECT(listed->count < TEST_COUNT(listed->epochs), "too many");
    EXPECT(str_eq(row->before, STR("{\"total\":0}")) && str_eq(row->after, STR("{\"total\":1}")),
           "%.*s, %.*s", STR_ARG(row->before), STR_ARG(row->after));
    listed->epochs[listed->count++] = row->epoch;
}

static void lists_are_ranges_of_an_index(void **state)
{
    (void)state;
    const order_id_t middle = order_id_first_of(BEGAN_MS + 1500);
    const struct {
        change_query_t query;
        uint64_t epochs[3]; /* the newest three */
    } lists[] = {
        {{.sku = STR_NONE}, {3000, 2999, 2998}},
        {{.before = middle}, {1500, 1499, 1498}},
        {{.since_ms = BEGAN_MS + 2998}, {3000, 2999}},
        {{.since_ms = BEGAN_MS + 1497, .before = middle}, {1500, 1499, 1498}},
        {{.sku = str_of(item_name(0))}, {2998, 2995, 2992}},
        {{.sku = str_of(item_name(0)), .before = middle}, {1498, 1495, 1492}},
        {{.who = STR("who-0")}, {2999, 2997, 2995}},
        {{.who = STR("who-0"), .before = middle}, {1499, 1497, 1495}},
        {{.sku = str_of(item_name(0)), .who = STR("who-0")}, {2995, 2989, 2983}},
        {{.sku = STR("nothing")}, {0}},
    };
    sql_t sql = {NULL, 0, 0};
    db_t *db = open_shard(here.config, SHARD);
    insert_all(db, &sql);
    /* The test servers set it for each session; MariaDB then reads a list to its end. */
    EXPECT(db_run(db, "SET SESSION sql_buffer_result = 0") == RESULT_DONE, "%s", db_error(db));
    uint64_t first = rows_read(db), itself = rows_read(db) - first;
    for (size_t i = 0; i < TEST_COUNT(lists); ++i) {
        listed_t listed = {.count = 0};
        uint64_t before = rows_read(db);
        EXPECT(change_list(db, &sql, &lists[i].query, 3, take, &listed) == RESULT_DONE, "%s",
               db_error(db));
        uint64_t reads = rows_read(db) - before - itself;
        EXPECT(reads <= 12, "list %zu reads %llu rows", i, (unsigned long long)reads);
        for (unsigned j = 0; j < 3; ++j)
            EXPECT_NUMBER(listed.epochs[j], lists[i].epochs[j]);
    }
    sql_free(&sql);
    db_free(db);
}

static void the_oldest_are_deleted_first(void **state)
{
    (void)state;
    sql_t sql = {NULL, 0, 0};
    db_t *db = open_shard(here.config, SHARD);
    listed_t listed = {.count = 0};
    EXPECT(change_delete_old(db, &sql, BEGAN_MS + 1000, 800) == RESULT_DONE, "%s", db_error(db));
    const change_query_t eldest = {.before = order_id_first_of(BEGAN_MS + 802)};
    EXPECT(change_list(db, &sql, &eldest, 8, take, &listed) == RESULT_DONE, "%s", db_error(db));
    EXPECT_NUMBER(listed.count, 2);
    EXPECT(change_delete_old(db, &sql, BEGAN_MS + 1000, 800) == RESULT_DONE, "%s", db_error(db));
    listed = (listed_t){.count = 0};
    const change_query_t rest = {.before = order_id_first_of(BEGAN_MS + 1001)};
    EXPECT(change_list(db, &sql, &rest, 8, take, &listed) == RESULT_DONE, "%s", db_error(db));
    EXPECT_NUMBER(listed.count, 1);
    sql_free(&sql);
    db_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lists_are_ranges_of_an_index),
        TEST(the_oldest_are_deleted_first),
    };
    return test_run("change_list", tests, TEST_COUNT(tests), set_up_migrated, tear_down_group);
}
