/*
 * One sick thing stops no other in the background: an item that somebody deleted by hand, a row
 * that a stranger keeps locked, records in Redis that are none. The others are expired, mended and
 * taken over meanwhile; what is sick is named, counted and tried again until it is well.
 */
#include <signal.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define SHARD 0

static MYSQL *other_user;

static int well(void **state)
{
    if (other_user != NULL)
        mysql_close(other_user);
    other_user = NULL;
    fault_disarm(stack);
    return test_teardown(state);
}

static const char *item_here(const char *name, const char *terms)
{
    const char *sku;
    do
        sku = sale_item(stack, name, "%s", terms);
    while (rows_shard_of(stack, sku) != SHARD);
    return sku;
}

static void buy_some(const char *sku, unsigned count)
{
    for (unsigned i = 0; i < count; ++i) {
        web_answer_t order = sale_buy(stack, sku, test_text("b-%u", i), 1, NULL);
        EXPECT_STATUS(order, 201);
    }
}

/* `skus`: a list of SQL. */
static void lock_rows(const char *skus)
{
    other_user = mysqld_open(stack, SHARD);
    EXPECT(other_user != NULL, "MySQL does not answer");
    EXPECT_NUMBER(mysqld_send(other_user, "BEGIN"), 0);
    EXPECT_NUMBER(mysqld_send(other_user,
                              test_text("SELECT COUNT(*) FROM (SELECT sku FROM holdfast.inventory "
                                        "WHERE sku IN (%s) FOR UPDATE) locked",
                                        skus)),
                  0);
    mysql_free_result(mysql_store_result(other_user));
}

static void unlock_row(void)
{
    mysql_close(other_user);
    other_user = NULL;
}

static double on_both(const char *metric)
{
    return fault_metric(stack, metric) + fault_metric(node, metric);
}

static bool log_has(const char *words, const char *sku)
{
    return system(test_text("grep -hF '%s' %s/log/holdfast*.log | grep -qF '\"sku\":\"%s\"'", words,
                            stack->dir, sku)) == 0;
}

/* --- expiry --- */

#define SHORT_HOLDS "\"total\":20,\"hold_seconds\":2"
/* Until their deadlines are set. */
#define LONG_HOLDS "\"total\":20,\"hold_seconds\":600"

static bool all_expired(const char *sku)
{
    return sale_live_orders(stack, sku) == 0;
}

static const char *audit_text(void)
{
    web_answer_t audit = ADMIN(stack, .path = "/v1/audit");
    return audit.body;
}

/* The row of an item is deleted by hand while it has holds. */
static void an_item_deleted_by_hand_stops_no_other_expiry(void **state)
{
    (void)state;
    const char *gone = item_here("by-hand", LONG_HOLDS), *others = item_here("others", SHORT_HOLDS);
    buy_some(gone, 3);
    mysqld_run(stack, SHARD, "DELETE FROM holdfast.inventory WHERE sku = '%s'", gone);
    sale_set_deadlines(stack, gone, sale_now_ms());
    buy_some(others, 5);
    WAIT_UNTIL(all_expired(others));
    WAIT_UNTIL(on_both("expiry_set_aside") >= 1);
    EXPECT_NUMBER(sale_live_orders(stack, gone), 3);
    WAIT_UNTIL(log_has("holds of an item cannot be expired", gone));
    EXPECT(strstr(audit_text(), "PUT the item again") != NULL, "the audit does not say what to do");
    /* Too few units for those orders; then enough: they count, and expire. */
    web_answer_t put = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", gone),
                             .body = "{\"total\":2,\"hold_seconds\":2}");
    EXPECT_PROBLEM(put, 409, "wrong_state");
    put = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", gone),
                .body = "{\"total\":20,\"hold_seconds\":2}");
    EXPECT_STATUS(put, 201);
    WAIT_UNTIL(all_expired(gone));
    WAIT_UNTIL(on_both("expiry_set_aside") == 0);
    EXPECT_SOUND(stack, gone, 0);
    EXPECT_GATE_AGREES(stack, gone);
    EXPECT_NUMBER(stack_command(stack, "audit"), 0);
}

static void a_locked_row_stops_no_other_expiry(void **state)
{
    (void)state;
    const char *locked = item_here("locked", LONG_HOLDS), *others = item_here("free", SHORT_HOLDS);
    buy_some(locked, 3);
    buy_some(others, 5);
    lock_rows(test_text("'%s'", locked));
    sale_set_deadlines(stack, locked, sale_now_ms());
    WAIT_UNTIL(all_expired(others));
    EXPECT_NUMBER(sale_live_orders(stack, locked), 3);
    WAIT_UNTIL(on_both("expiry_set_aside") >= 1);
    WAIT_UNTIL(log_has("holds of an item cannot be expired", locked));
    unlock_row();
    WAIT_UNTIL(all_expired(locked));
    WAIT_UNTIL(on_both("expiry_set_aside") == 0);
    EXPECT_SOUND(stack, locked, 0);
    EXPECT_GATE_AGREES(stack, locked);
}

/* --- rebuilds --- */

static bool gate_is_there(const char *sku)
{
    return redis_view(stack, sku).exists;
}

#define LOCKED 6

/* Of each kind of line one a second is written: not all are named at once. */
static bool log_names_one_of(const char *const *skus)
{
    for (unsigned i = 0; i < LOCKED; ++i)
        if (log_has("the gate of an item cannot be repaired", skus[i]))
            return true;
    return false;
}

/* Gates are gone; nobody asks for them, so only the reconciler builds them. Those of many items
   whose rows are locked come first. */
static void locked_rows_stop_no_other_rebuild(void **state)
{
    (void)state;
    const char *locked[LOCKED], *list = "";
    for (unsigned i = 0; i < LOCKED; ++i) {
        locked[i] = item_here("alocked", "\"total\":20");
        buy_some(locked[i], 1);
        EXPECT_GATE_AGREES(stack, locked[i]);
        list = test_text("%s%s'%s'", list, i == 0 ? "" : ", ", locked[i]);
    }
    const char *free_one = item_here("zfree", "\"total\":20");
    buy_some(free_one, 1);
    EXPECT_GATE_AGREES(stack, free_one);
    lock_rows(list);
    for (unsigned i = 0; i < LOCKED; ++i)
        redis_run(stack, "DEL %s", redis_key(stack, "gate", locked[i]));
    redis_run(stack, "DEL %s", redis_key(stack, "gate", free_one));
    WAIT_UNTIL(gate_is_there(free_one));
    WAIT_UNTIL(on_both("reconciler_set_aside") >= LOCKED);
    for (unsigned i = 0; i < LOCKED; ++i)
        EXPECT(!gate_is_there(locked[i]), "rebuilt although its row is locked");
    WAIT_UNTIL(log_names_one_of(locked));
    /* The pass goes on: it is soon there again for whoever needs it next. */
    for (unsigned i = 0; i < 3; ++i) {
        redis_run(stack, "DEL %s", redis_key(stack, "gate", free_one));
        WAIT_UNTIL(gate_is_there(free_one));
    }
    unlock_row();
    for (unsigned i = 0; i < LOCKED; ++i) {
        WAIT_UNTIL(gate_is_there(locked[i]));
        EXPECT_SOUND(stack, locked[i], 0);
        EXPECT_GATE_AGREES(stack, locked[i]);
    }
    WAIT_UNTIL(on_both("reconciler_set_aside") == 0);
}

/* Its row is locked at any moment while it is sold. Each read of the row asks for the gate to be
   closed; one that is closed, or is not there, needs no repair. */
static void a_busy_item_of_a_sql_strategy_needs_no_repair(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; ++i) {
        const char *sku = item_here("by-sql", "\"total\":20");
        buy_some(sku, 1);
        web_answer_t change = sale_patch(
            stack, sku,
            test_text("\"strategy\":\"%s\"", i % 2 == 0 ? "optimistic" : "serializable"));
        EXPECT_STATUS(change, 200);
        EXPECT(redis_view(stack, sku).closed, "its gate is not closed");
        double before = on_both("reconciler_set_aside_total");
        if (i / 2 != 0)
            redis_run(stack, "DEL %s", redis_key(stack, "gate", sku));
        lock_rows(test_text("'%s'", sku));
        EXPECT(sale_buy(stack, sku, "ann", 1, NULL).status != 201, "the row is not locked");
        double passes = on_both("reconciler_passes_total");
        WAIT_UNTIL(on_both("reconciler_passes_total") >= passes + 6);
        EXPECT_NUMBER(on_both("reconciler_set_aside_total"), before);
        unlock_row();
        buy_some(sku, 2);
        EXPECT_GATE_AGREES(stack, sku);
    }
}

/* --- orphans --- */

static const char *slot_key(const char *which, const char *sku)
{
    const char *gate = redis_key(stack, "gate", sku);
    return test_text("%.*s:%s", (int)(strchr(gate, '}') + 1 - gate), gate, which);
}

static long long unsettled_of(const char *sku)
{
    redis_view_t view = redis_view(stack, sku);
    return view.reserved - view.unreserved - view.settled;
}

static bool all_is_settled(const char *sku)
{
    return unsettled_of(sku) == 0;
}

/* So many that a look at some of them hardly ever meets the order. A script is one word here. */
#define OF_ALL_POISON(do_) "for\ni=1,6000\ndo\n" do_ "\nend"

/* An order of a dead process, in a slot that somebody has filled with what is no order. */
static void records_that_are_none_hide_no_orphan(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "poisoned", "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    WAIT_UNTIL(all_is_settled(sku));
    const char *key = slot_key("unsettled", sku);
    redis_run(stack,
              "EVAL " OF_ALL_POISON("redis.call('HSET',KEYS[1],'poison-'..i,'none')") " 1 %s", key);
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    WAIT_UNTIL(all_is_settled(sku));
    EXPECT_NUMBER(sale_live_units(stack, sku), 3);
    redis_run(stack, "EVAL " OF_ALL_POISON("redis.call('HDEL',KEYS[1],'poison-'..i)") " 1 %s", key);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    stack_node_again(node);
}

/* Redis answers nothing of use for one slot; an orphan of another slot is taken over. */
static void a_slot_that_fails_hides_no_other(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "after", "\"total\":10");
    for (unsigned i = 0; i < 4; ++i)
        sale_item(stack, test_text("other-slot-%u", i), "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    WAIT_UNTIL(all_is_settled(sku));
    /* The first slots of the next passes; they are tried again later. */
    fault_arm(stack, "orphans_slot fail times=3\n");
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    WAIT_UNTIL(all_is_settled(sku));
    WAIT_UNTIL(fault_hits(stack, "orphans_slot") == 3);
    EXPECT(fault_metric(stack, "orphans_set_aside_total") >= 3, "no slot was set aside");
    WAIT_UNTIL(fault_metric(stack, "orphans_set_aside") == 0);
    EXPECT_NUMBER(sale_live_units(stack, sku), 3);
    EXPECT_SOUND(stack, sku, 0);
    stack_node_again(node);
}

/* Somebody keeps the row of the reconciler's lease locked. Who it is for nobody can say; orders
   whose owner is gone are taken over all the same. */
static void a_locked_lease_hides_no_orphan(void **state)
{
    (void)state;
    const char *sku = item_here("leased", "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    WAIT_UNTIL(all_is_settled(sku));
    other_user = mysqld_open(stack, SHARD);
    EXPECT(other_user != NULL, "MySQL does not answer");
    EXPECT_NUMBER(mysqld_send(other_user, "BEGIN"), 0);
    EXPECT_NUMBER(mysqld_send(other_user, "UPDATE holdfast.leases SET until = NOW(3) "
                                          "WHERE name = 'reconciler'"),
                  0);
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    WAIT_UNTIL(all_is_settled(sku));
    EXPECT_NUMBER(sale_live_units(stack, sku), 3);
    unlock_row();
    EXPECT_SOUND(stack, sku, 0);
    stack_node_again(node);
}

/* --- deadlines in rows that lie an hour ahead, since MySQL's clock was set back --- */

static bool one_log_has(const char *words)
{
    return stack_log_has(stack, words) || stack_log_has(node, words);
}

static void a_lease_that_ends_an_hour_ahead_is_taken(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "ahead", "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    rows_change(stack, "UPDATE leases SET holder = 'dead', until = NOW(3) + INTERVAL 1 HOUR "
                       "WHERE name = 'reconciler'");
    WAIT_UNTIL(rows_sum(stack, "SELECT COUNT(*) FROM leases WHERE until > NOW(3) + INTERVAL 60 "
                               "SECOND") == 0);
    WAIT_UNTIL(one_log_has("a lease ends later than any lease lasts"));
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    WAIT_UNTIL(all_is_settled(sku));
    EXPECT_NUMBER(sale_live_units(stack, sku), 3);
    EXPECT_SOUND(stack, sku, 0);
    stack_node_again(node);
}

/* A rebuild has raised the epoch and died; then the clock was set back. */
static void a_rebuild_that_ends_an_hour_ahead_is_over(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "rebuilt", "\"total\":10");
    buy_some(sku, 2);
    WAIT_UNTIL(all_is_settled(sku));
    rows_change(stack,
                "UPDATE inventory SET epoch = epoch + 1, version = version + 1, "
                "epoch_allocated_total = allocated_total, epoch_released_total = released_total, "
                "rebuild_token = 7, rebuild_until = NOW(3) + INTERVAL 1 HOUR WHERE sku = '%s'",
                sku);
    WAIT_UNTIL(sale_buy(stack, sku, "late", 1, NULL).status == 201);
    EXPECT(one_log_has("a rebuild ends later than any rebuild lasts"), "not reported");
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM inventory WHERE sku = '%s' AND "
                           "rebuild_until > NOW(3) + INTERVAL 60 SECOND",
                           sku),
                  0);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- orders of an item that is not there --- */

/* Redis has admitted it, its process is dead, and somebody has deleted the item by hand. */
static void an_orphan_without_an_item_ends_rejected(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "lost", "\"total\":10");
    web_answer_t first = sale_buy(stack, sku, "first", 1, NULL);
    EXPECT_STATUS(first, 201);
    WAIT_UNTIL(all_is_settled(sku));
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 2, "k");
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    rows_change(stack, "DELETE FROM orders WHERE sku = '%s'", sku);
    rows_change(stack, "DELETE FROM inventory WHERE sku = '%s'", sku);
    WAIT_UNTIL(rows_sum(stack,
                        "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected' AND "
                        "reject_code = 'unknown_item'",
                        sku) == 1);
    WAIT_UNTIL(redis_run(stack, "HLEN %s", slot_key("unsettled", sku)) == 0);
    stack_node_again(node);
}

/* --- values that MySQL refuses --- */

static bool is_in_log(const char *words)
{
    return system(test_text("grep -qF -- '%s' '%s/log/holdfast.log'", words, stack->dir)) == 0;
}

/* An admin's, by a constraint of somebody's own: told as that, and not as a server that is away. */
static void a_change_that_mysql_refuses_is_reported_as_refused(void **state)
{
    (void)state;
    const char *sku = item_here("refused", "\"total\":10");
    double refused = fault_metric(stack, "mysql_refusals_total");
    mysqld_run(stack, SHARD,
               "ALTER TABLE holdfast.inventory ADD CONSTRAINT no_77 CHECK (total <> 77)");
    web_answer_t change = ADMIN(stack, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
                                .body = "{\"total\":77}");
    EXPECT_STATUS(change, 409);
    EXPECT(strstr(change.body, "MySQL refuses these values") != NULL, "%s", change.body);
    EXPECT(fault_metric(stack, "mysql_refusals_total") > refused, "nothing counted");
    WAIT_UNTIL(is_in_log("no_77"));
    mysqld_run(stack, SHARD, "ALTER TABLE holdfast.inventory DROP CONSTRAINT no_77");
    change = ADMIN(stack, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
                   .body = "{\"total\":77}");
    EXPECT_STATUS(change, 200);
    buy_some(sku, 1);
}

static const suite_t suite = {.name = "sick",
                              .settings = {"redis.timeout_ms=500", "mysql.lock_wait_timeout_s=1",
                                           "reconcile.pass_interval_ms=200"},
                              .pair = true,
                              .repeats = true,
                              .teardown = well};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_item_deleted_by_hand_stops_no_other_expiry),
        TEST(a_locked_row_stops_no_other_expiry),
        TEST(locked_rows_stop_no_other_rebuild),
        TEST(a_busy_item_of_a_sql_strategy_needs_no_repair),
        TEST(records_that_are_none_hide_no_orphan),
        TEST(a_slot_that_fails_hides_no_other),
        TEST(a_locked_lease_hides_no_orphan),
        TEST(a_lease_that_ends_an_hour_ahead_is_taken),
        TEST(a_rebuild_that_ends_an_hour_ahead_is_over),
        TEST(an_orphan_without_an_item_ends_rejected),
        TEST(a_change_that_mysql_refuses_is_reported_as_refused),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
