/* Leases: of two holders one has it at a time, the fence goes up with each change of hands, and
   what the one before wanted to do is not done any more. */
#include "integration/own_database.h"

#include "store/lease.h"

#define SHARD 0
#define LONG_MS 600000
#define SHORT_MS 1

static struct {
    db_t *db;
    sql_t sql;
} at;

static int set_up(void **state)
{
    int failed = set_up_migrated(state);
    at.db = open_shard(here.config, SHARD);
    return failed;
}

static int tear_down(void **state)
{
    db_free(at.db);
    sql_free(&at.sql);
    return tear_down_group(state);
}

/* --- by whom, and whether he may act --- */

static uint64_t take(lease_t *lease, uint32_t ms)
{
    result_t result = lease_take(at.db, &at.sql, lease, ms);
    EXPECT(result == RESULT_DONE, "%s", db_error(at.db));
    return lease->fence;
}

static void expect_holder(const char *name, const char *holder)
{
    char out[65];
    EXPECT_NUMBER(lease_holder(at.db, &at.sql, name, out), RESULT_DONE);
    assert_string_equal(out, holder);
}

static bool is_over(const char *name)
{
    char out[65];
    return lease_holder(at.db, &at.sql, name, out) == RESULT_DONE && out[0] == '\0';
}

static uint64_t fence_there(const char *name)
{
    sql_reset(&at.sql);
    sql_add(&at.sql, "SELECT fence FROM leases WHERE name = %w", name);
    EXPECT(db_query(at.db, &at.sql) == RESULT_DONE && db_next(at.db), "%s", db_error(at.db));
    uint64_t fence = db_u64(at.db, 0);
    EXPECT(!db_next(at.db), "two leases of a name");
    return fence;
}

/* Takes it for so short that it is over; the lease says what its holder may still believe. */
static void take_and_lose(lease_t *lease)
{
    take(lease, SHORT_MS);
    WAIT_UNTIL(is_over(lease->name));
    lease->fence = fence_there(lease->name);
}

/* An hour later than LONG_MS from now. */
static void end_late(const char *name)
{
    sql_reset(&at.sql);
    sql_add(&at.sql, "UPDATE leases SET until = NOW(3) + INTERVAL %u MICROSECOND WHERE name = %w",
            (uint64_t)(LONG_MS + 3600000) * 1000, name);
    EXPECT(db_exec(at.db, &at.sql, NULL, 0) == RESULT_DONE, "%s", db_error(at.db));
}

/* Would a statement with its condition do anything? */
static bool acts(const lease_t *lease)
{
    sql_reset(&at.sql);
    sql_add(&at.sql, "SELECT 1 FROM DUAL WHERE TRUE");
    lease_condition(&at.sql, lease);
    result_t result = db_query(at.db, &at.sql);
    EXPECT(result == RESULT_DONE, "%s", db_error(at.db));
    bool found = false;
    while (db_next(at.db))
        found = true;
    return found;
}

/* --- cases --- */

static void one_of_two_has_it(void **state)
{
    (void)state;
    lease_t ann = {.name = "one", .holder = "ann"}, bob = {.name = "one", .holder = "bob"};
    EXPECT(take(&ann, LONG_MS) != 0, "nobody had it, and it was not given");
    EXPECT(lease_is_held(&ann), "not held");
    EXPECT_NUMBER(take(&bob, LONG_MS), 0);
    EXPECT(!lease_is_held(&bob), "both hold it");
    expect_holder("one", "ann");
    EXPECT(acts(&ann), "the holder may not act");
    bob.fence = ann.fence; /* whatever he thinks */
    EXPECT(!acts(&bob), "both may act");
}

static void a_holder_renews_it_under_the_same_fence(void **state)
{
    (void)state;
    lease_t ann = {.name = "renewed", .holder = "ann"};
    uint64_t fence = take(&ann, LONG_MS);
    EXPECT_NUMBER(take(&ann, LONG_MS), fence);
    EXPECT(acts(&ann), "the holder may not act");
}

static void who_was_overtaken_does_nothing_more(void **state)
{
    (void)state;
    lease_t ann = {.name = "overtaken", .holder = "ann"},
            bob = {.name = "overtaken", .holder = "bob"};
    take_and_lose(&ann);
    EXPECT(!acts(&ann), "acts after his time");
    EXPECT_NUMBER(take(&bob, LONG_MS), ann.fence + 1);
    EXPECT(!acts(&ann), "acts under another's lease");
    EXPECT(acts(&bob), "the holder may not act");
    lease_t again = {.name = "overtaken", .holder = "ann"};
    EXPECT_NUMBER(take(&again, LONG_MS), 0);
    expect_holder("overtaken", "bob");
}

/* He has it once more: what he began the first time is not his any more. */
static void what_was_begun_under_an_earlier_fence_is_not_done(void **state)
{
    (void)state;
    lease_t ann = {.name = "again", .holder = "ann"}, bob = {.name = "again", .holder = "bob"};
    take_and_lose(&ann);
    take_and_lose(&bob);
    lease_t now = {.name = "again", .holder = "ann"};
    EXPECT_NUMBER(take(&now, LONG_MS), ann.fence + 2);
    EXPECT(acts(&now), "the holder may not act");
    EXPECT(!acts(&ann), "an earlier fence acts");
}

static void leases_of_two_names_are_independent(void **state)
{
    (void)state;
    lease_t ann = {.name = "this", .holder = "ann"}, bob = {.name = "that", .holder = "bob"};
    EXPECT(take(&ann, LONG_MS) != 0 && take(&bob, LONG_MS) != 0, "not given");
    expect_holder("this", "ann");
    expect_holder("that", "bob");
    lease_t other = {.name = "that", .holder = "ann", .fence = ann.fence};
    EXPECT(!acts(&other), "acts under another name");
}

/* The clock of the server was set back: by it the lease runs for an hour more. */
static void a_lease_that_ends_too_late_is_over(void **state)
{
    (void)state;
    lease_t ann = {.name = "late", .holder = "ann"}, bob = {.name = "late", .holder = "bob"};
    take(&ann, SHORT_MS);
    uint64_t fence = fence_there("late");
    end_late("late");
    EXPECT_NUMBER(take(&bob, LONG_MS), fence + 1);
    expect_holder("late", "bob");
    ann.fence = fence;
    EXPECT(!acts(&ann), "acts under another's lease");
    EXPECT_NUMBER(take(&ann, LONG_MS), 0);
}

/* Its holder renews it as if nothing had happened; then it ends in time. */
static void a_holder_renews_a_lease_that_ends_too_late(void **state)
{
    (void)state;
    lease_t ann = {.name = "own", .holder = "ann"}, bob = {.name = "own", .holder = "bob"};
    uint64_t fence = take(&ann, LONG_MS);
    end_late("own");
    EXPECT_NUMBER(take(&ann, LONG_MS), fence);
    EXPECT_NUMBER(take(&bob, LONG_MS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_of_two_has_it),
        TEST(a_holder_renews_it_under_the_same_fence),
        TEST(who_was_overtaken_does_nothing_more),
        TEST(what_was_begun_under_an_earlier_fence_is_not_done),
        TEST(leases_of_two_names_are_independent),
        TEST(a_lease_that_ends_too_late_is_over),
        TEST(a_holder_renews_a_lease_that_ends_too_late),
    };
    return test_run("lease", tests, TEST_COUNT(tests), set_up, tear_down);
}
