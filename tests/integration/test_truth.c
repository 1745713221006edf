/*
 * What is promised (PROMISES.md): what Redis loses or lies about, a MySQL that stops, orders
 * whose outcome nobody knew in time. All on a stack of its own, whose servers may be stopped.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/order_id.h" /* to issue ids as the service does, with its key */
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"

/* A crowd that ends when all is sold; every answer must be true and all be sold. */
static void expect_sold(const char *sku, unsigned orders, const sale_tally_t *tally)
{
    EXPECT_TOLD_TRUE(stack, sku, tally);
    EXPECT(sale_live_orders(stack, sku) == orders, "%lld live orders of %u, %s",
           sale_live_orders(stack, sku), orders, sale_show(tally));
}

/* --- a gate that is lost or lies --- */

static void flush_now_and_then(void *context, unsigned answers, unsigned created)
{
    (void)context;
    (void)created;
    if (answers == 60 || answers == 150 || answers == 151 || answers == 300)
        redis_run(stack, "FLUSHALL");
}

static void redis_is_emptied_in_the_middle(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "flush", "\"total\":400,\"strategy\":\"%s\"", strategy);
    sale_tally_t tally = sale_rush(&(sale_rush_t){
        .stack = stack, .sku = sku, .buyers = 900, .connections = 16, .after = flush_now_and_then});
    EXPECT(tally.unavailable == 0, "buyers should wait, not be sent away: %s", sale_show(&tally));
    expect_sold(sku, 400, &tally);
}

static void an_emptied_redis_forgets_no_limit_and_no_key(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "forget",
                                "\"total\":10,\"per_buyer_limit\":2,\"strategy\":\"%s\"", strategy);
    const char *first = sale_order(stack, sku, "alice", 2, "k");
    redis_run(stack, "FLUSHALL");
    web_answer_t more = sale_buy(stack, sku, "alice", 1, NULL);
    EXPECT_PROBLEM(more, 409, "buyer_limit_exceeded");
    web_answer_t repeat = sale_buy(stack, sku, "alice", 2, "k");
    EXPECT(strcmp(sale_id(&repeat), first) == 0, "%s", web_show(&repeat));
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_gate_that_is_missing_or_foreign_is_rebuilt(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "gone", "\"total\":10,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "a", 4, NULL);
    const char *gate = redis_key(stack, "gate", sku);
    EXPECT_GATE_AGREES(stack, sku);
    redis_run(stack, "DEL %s", gate);
    sale_order(stack, sku, "b", 1, NULL);
    EXPECT_GATE_AGREES(stack, sku);
    /* What an older backup, or a failover to a stale replica, would show. */
    redis_run(stack, "HSET %s built_under 0123456789 capacity 100", gate);
    web_answer_t order = sale_buy(stack, sku, "c", 6, NULL);
    EXPECT_PROBLEM(order, 409, "sold_out");
    long long asked =
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected'", sku);
    EXPECT(asked == 0, "the foreign gate admitted, and only the row refused");
    redis_run(stack, "HSET %s epoch 17 capacity 100", gate);
    sale_order(stack, sku, "c", 5, NULL);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* Nobody is past the limit by it, not even until the reconciler comes. */
static void a_gate_that_lost_its_buyers_admits_nobody(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "buyers",
                                "\"total\":50,\"per_buyer_limit\":2,\"strategy\":\"%s\"", strategy);
    for (int i = 0; i < 20; ++i) {
        web_answer_t order = sale_buy(stack, sku, "alice", 2, NULL);
        if (i == 0)
            EXPECT_STATUS(order, 201);
        else
            EXPECT_PROBLEM(order, 409, "buyer_limit_exceeded");
        EXPECT_NUMBER(redis_run(stack, "DEL %s", redis_key(stack, "buyers", sku)), 1);
    }
    sale_order(stack, sku, "bob", 1, NULL);
    EXPECT_SOUND(stack, sku, 2);
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_lying_gate_oversells_nothing(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "lie", "\"total\":20,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "first", 1, NULL);
    EXPECT_GATE_AGREES(stack, sku);
    redis_run(stack, "HINCRBY %s capacity 1000", redis_key(stack, "gate", sku));
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = 200, .connections = 32});
    EXPECT(tally.created == 19 && tally.sold_out == 181, "%s", sale_show(&tally));
    EXPECT_NUMBER(sale_live_orders(stack, sku), 20);
    long long rejected = rows_sum(stack,
                                  "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = "
                                  "'rejected' AND reject_code = 'sold_out'",
                                  sku);
    EXPECT(rejected > 0, "the row's guard was never asked: the gate did not lie");
    EXPECT_SOUND(stack, sku, 0);
    /* The guard's refusals are drift: the gate is rebuilt, by itself. */
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_gate_that_hides_units_is_rebuilt_by_reconcile(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "hide", "\"total\":20,\"strategy\":\"lua\"");
    redis_run(stack, "HINCRBY %s reserved 20", redis_key(stack, "gate", sku));
    web_answer_t pass = ADMIN(stack, .method = "POST",
                              .path = test_text("/v1/items/%s/reconcile", sku), .body = "{}");
    EXPECT_STATUS(pass, 200);
    EXPECT_GATE_AGREES(stack, sku);
    sale_order(stack, sku, "a", 20, NULL);
}

/* What stands under the gate's keys is not what the service put there: the item sells again. */
static void a_spoiled_gate_is_built_again(void **state)
{
    const char *strategy = *state;
    static const struct {
        const char *command, *key; /* %s: the key */
    } spoils[] = {
        {"HSET %s capacity abc", "gate"},
        {"HSET %s frozen_until 99999999999999", "gate"},
        {"HSET %s ends_at 5", "gate"},
        {"HSET %s per_buyer_limit 0", "gate"},
        {"HSET %s epoch 99999999999999", "gate"},
        {"SET %s x", "gate"},
        {"SET %s x", "buyers"},
        {"DEL %s", "gate"},
        {"SET %s x", "unsettled"},
        {"SET %s x", "keys"},
    };
    const char *sku = sale_item(stack, "spoil",
                                "\"total\":20,\"per_buyer_limit\":1,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "first", 1, NULL);
    for (size_t i = 0; i < TEST_COUNT(spoils); ++i) {
        redis_run(stack, spoils[i].command, redis_key(stack, spoils[i].key, sku));
        WAIT_UNTIL(sale_buy(stack, sku, test_text("b%zu", i), 1, "k").status == 201);
    }
    WAIT_UNTIL(sale_buy(stack, sku, "first", 1, NULL).status == 409);
    EXPECT_SOUND(stack, sku, 1);
    EXPECT_GATE_AGREES(stack, sku);
}

/* Nothing asks about it and nobody buys: the pass finds it. */
static void a_gate_that_drifts_is_found_by_the_reconciler(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "drift", "\"total\":20,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "a", 2, NULL);
    EXPECT_GATE_AGREES(stack, sku);
    redis_run(stack, "HINCRBY %s reserved 5", redis_key(stack, "gate", sku));
    EXPECT_GATE_AGREES(stack, sku);
    /* Counters and records agree with each other, but units are missing. */
    redis_run(stack, "HINCRBY %s capacity -5", redis_key(stack, "gate", sku));
    EXPECT_GATE_AGREES(stack, sku);
    sale_order(stack, sku, "b", 18, NULL);
}

/* The writer that was refused by the row has it mended at once, long before the next pass. */
static void a_gate_that_the_row_contradicts_is_rebuilt_without_a_pass(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "reconcile.pass_interval_ms=3600000");
    const char *sku = sale_item(stack, "mend", "\"total\":10,\"strategy\":\"lua\"");
    sale_order(stack, sku, "a", 10, NULL);
    redis_run(stack, "HINCRBY %s capacity 100", redis_key(stack, "gate", sku));
    WAIT_UNTIL(({
        web_answer_t order = sale_buy(stack, sku, "b", 1, "k"); /* past what loops remember */
        EXPECT_PROBLEM(order, 409, "sold_out");
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected'",
                 sku) != 0;
    }));
    EXPECT_GATE_AGREES(stack, sku);
    STACK_AGAIN(stack, "reconcile.pass_interval_ms=");
}

static void a_frozen_gate_keeps_buyers_waiting(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "frozen", "\"total\":9,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "a", 1, NULL);
    long long frozen_until_ms = sale_now_ms() + 1500;
    redis_run(stack, "HSET %s frozen_until %lld", redis_key(stack, "gate", sku), frozen_until_ms);
    sale_order(stack, sku, "b", 1, NULL);
    EXPECT(sale_now_ms() >= frozen_until_ms, "through a frozen gate");
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- the row --- */

static void the_row_itself_refuses_to_be_oversold(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "check", "\"total\":5,\"strategy\":\"lua\"");
    unsigned error = rows_change(
        stack, "UPDATE inventory SET allocated_total = released_total + total + 1 WHERE sku = '%s'",
        sku);
    EXPECT_NUMBER(error, 4025); /* CONSTRAINT failed */
    error = rows_change(
        stack, "UPDATE inventory SET released_total = allocated_total + 1 WHERE sku = '%s'", sku);
    EXPECT_NUMBER(error, 4025);
    error = rows_change(
        stack, "UPDATE inventory SET allocated_total = released_total + total WHERE sku = '%s'",
        sku);
    EXPECT_NUMBER(error, 0);
    error = rows_change(stack, "UPDATE inventory SET total = total - 1 WHERE sku = '%s'", sku);
    EXPECT_NUMBER(error, 4025);
}

static void a_row_changed_behind_its_back_is_obeyed(void **state)
{
    enum { CONNECTIONS = 8 };
    const char *strategy = *state;
    const char *sku = sale_item(stack, "behind", "\"total\":50,\"strategy\":\"%s\"", strategy);
    sale_order(stack, sku, "a", 1, NULL);
    /* A new epoch, and nothing else: the old one commits nothing any more. So of each connection at
       most one order, its first, was admitted under it, and was answered under a later one. */
    unsigned error =
        rows_change(stack, "UPDATE inventory SET epoch = epoch + 5000 WHERE sku = '%s'", sku);
    EXPECT_NUMBER(error, 0);
    long long epoch = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = CONNECTIONS});
    EXPECT(tally.created == 40, "%s", sale_show(&tally));
    long long old_epochs = rows_sum(stack,
                                    "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND buyer_id <> "
                                    "'a' AND epoch < %lld",
                                    sku, epoch);
    EXPECT(old_epochs <= CONNECTIONS, "%lld orders of an epoch that is over", old_epochs);
    /* And without one: no more than the row allows, whatever the gate believes. */
    error = rows_change(
        stack, "UPDATE inventory SET total = 43, version = version + 1 WHERE sku = '%s'", sku);
    EXPECT_NUMBER(error, 0);
    tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = 9, .connections = 3});
    EXPECT(tally.created == 2 && tally.sold_out == 7, "%s", sale_show(&tally));
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- a MySQL that stops --- */

typedef struct {
    pid_t mysql;
    bool stopped;
} stopper_t;

static void stop_in_the_middle(void *context, unsigned answers, unsigned created)
{
    stopper_t *stopper = context;
    (void)created;
    if (answers >= 40 && !stopper->stopped) {
        process_signal(stopper->mysql, SIGSTOP);
        stopper->stopped = true;
    }
}

static pid_t mysql_of(const char *sku)
{
    return stack->mysql_pids[rows_shard_of(stack, sku)];
}

static void orders_sent_to_a_stopped_mysql_end_by_themselves(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "stop", "\"total\":500,\"strategy\":\"%s\"", strategy);
    stopper_t stopper = {.mysql = mysql_of(sku)};
    sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = stack,
                                                  .sku = sku,
                                                  .buyers = 120,
                                                  .connections = 16,
                                                  .after = stop_in_the_middle,
                                                  .context = &stopper});
    process_signal(stopper.mysql, SIGCONT);
    EXPECT(stopper.stopped, "%s", sale_show(&tally));
    EXPECT(tally.odd == NULL && tally.sold_out == 0, "%s", sale_show(&tally));
    EXPECT(tally.created + tally.pending + tally.unavailable == 120, "%s", sale_show(&tally));
    EXPECT(tally.pending + tally.unavailable > 0, "%s", sale_show(&tally));
    unsigned late = sale_settle_pending(stack, &tally);
    EXPECT_NUMBER(sale_count_live(stack, tally.ids, tally.created), tally.created);
    /* Who was told 503 owns nothing. */
    EXPECT(sale_live_orders(stack, sku) == tally.created + late, "%lld live, of the 202s %u: %s",
           sale_live_orders(stack, sku), late, sale_show(&tally));
    EXPECT_SOUND(stack, sku, 0);
    WAIT_UNTIL(sale_buy(stack, sku, "after", 1, "after").status != 503);
    EXPECT_GATE_AGREES(stack, sku);
}

static void the_other_shard_sells_on(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "here", "\"total\":50,\"strategy\":\"lua\""), *other;
    do
        other = sale_item(stack, "there", "\"total\":50,\"strategy\":\"lua\"");
    while (rows_shard_of(stack, other) == rows_shard_of(stack, sku));
    pid_t mysql = mysql_of(sku);
    process_signal(mysql, SIGSTOP);
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = other, .buyers = 60, .connections = 8});
    web_answer_t ready = WEB(.base = stack->url, .path = "/readyz");
    process_signal(mysql, SIGCONT);
    EXPECT(tally.created == 50 && tally.sold_out == 10, "%s", sale_show(&tally));
    EXPECT(ready.status == 503 || ready.status == 200, "%s", web_show(&ready));
}

/* Between its deadline and the pass that expires it, which is made not to come. */
static void a_hold_past_its_deadline_can_only_be_given_back(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "reconcile.expiry_interval_ms=3600000");
    const char *sku = sale_item(stack, "hold", "\"total\":5,\"hold_seconds\":1");
    web_answer_t order = sale_buy(stack, sku, "a", 2, NULL);
    EXPECT_STATUS(order, 201);
    while (sale_now_ms() < sale_parse_time(web_string(&order, "expires_at")) + 100)
        usleep(20000);
    web_answer_t extend = sale_move(stack, sale_id(&order), "extend");
    EXPECT_PROBLEM(extend, 409, "wrong_state");
    web_answer_t confirm = sale_move(stack, sale_id(&order), "confirm");
    EXPECT_PROBLEM(confirm, 409, "wrong_state");
    EXPECT_NUMBER(sale_live_units(stack, sku), 2); /* nothing has expired it meanwhile */
    web_answer_t cancel = sale_move(stack, sale_id(&order), "cancel");
    EXPECT_STATUS(cancel, 200);
    WAIT_UNTIL(sale_available(stack, sku) == 5);
    STACK_AGAIN(stack, "reconcile.expiry_interval_ms=");
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- ids --- */

static void use_the_id_key_of_the_stack(void)
{
    const char *key = stack_secret(stack, "id_key");
    order_id_set_key((str_t){key, strlen(key)});
}

static const char *id_text(const order_id_t *id)
{
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, id);
    return test_text("%s", text);
}

static void an_issued_id_that_is_nowhere_becomes_rejected(void **state)
{
    (void)state;
    use_the_id_key_of_the_stack();
    order_id_t id = order_id_issue(77, (uint64_t)sale_now_ms() - 60000);
    web_answer_t order = sale_get(stack, id_text(&id));
    EXPECT_STATUS(order, 200);
    EXPECT(strcmp(sale_state(&order), "rejected") == 0, "%s", web_show(&order));
    EXPECT(strcmp(sale_id(&order), id_text(&id)) == 0, "%s", web_show(&order));
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE order_id = %s AND state = "
                           "'rejected'",
                           rows_order_id(id_text(&id))),
                  1);
    web_answer_t confirm = sale_move(stack, id_text(&id), "confirm");
    EXPECT_PROBLEM(confirm, 409, "wrong_state");
    web_answer_t cancel = sale_move(stack, id_text(&id), "cancel");
    EXPECT_PROBLEM(cancel, 409, "wrong_state");
    web_answer_t again = sale_get(stack, id_text(&id));
    EXPECT(strcmp(sale_state(&again), "rejected") == 0, "%s", web_show(&again));
}

static void an_id_that_may_still_be_admitted_is_not_decided(void **state)
{
    (void)state;
    use_the_id_key_of_the_stack();
    order_id_t id = order_id_issue(77, (uint64_t)sale_now_ms());
    web_answer_t order = sale_get(stack, id_text(&id));
    EXPECT_PROBLEM(order, 503, "unavailable");
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE order_id = %s",
                           rows_order_id(id_text(&id))),
                  0);
}

static void a_forged_id_is_404_and_writes_nothing(void **state)
{
    (void)state;
    use_the_id_key_of_the_stack();
    long long before = rows_sum(stack, "SELECT COUNT(*) FROM orders");
    for (int bit = 0; bit < 16; ++bit) {
        order_id_t id = order_id_issue(77, (uint64_t)sale_now_ms() - 60000);
        /* One check bit: see base/order_id.h for where they are. */
        id.bytes[bit < 6    ? 8
                 : bit < 14 ? 9
                            : 10] ^= (uint8_t)(bit < 6    ? 1 << bit
                                               : bit < 14 ? 1 << (bit - 6)
                                                          : 0x40 << (bit - 14));
        web_answer_t order = sale_get(stack, id_text(&id));
        EXPECT_PROBLEM(order, 404, "unknown_order");
        web_answer_t cancel = sale_move(stack, id_text(&id), "cancel");
        EXPECT_PROBLEM(cancel, 404, "unknown_order");
    }
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders"), before);
}

/* --- acknowledge = accepted --- */

static void accepted_is_202_and_then_confirmed(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(
        stack, "accept", "\"total\":3,\"acknowledge\":\"accepted\",\"strategy\":\"%s\"", strategy);
    web_answer_t order = sale_buy(stack, sku, "alice", 2, "k");
    EXPECT_STATUS(order, 202);
    EXPECT(strcmp(order.location, test_text("/v1/orders/%s", sale_id(&order))) == 0, "Location: %s",
           order.location);
    EXPECT(strcmp(sale_state(&order), "reserved") == 0, "%s", web_show(&order));
    WAIT_UNTIL(({
        web_answer_t now = sale_get(stack, sale_id(&order));
        EXPECT_STATUS(now, 200);
        strcmp(sale_state(&now), "confirmed") == 0;
    }));
    web_answer_t repeat = sale_buy(stack, sku, "alice", 2, "k");
    EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
    EXPECT(strcmp(sale_id(&repeat), sale_id(&order)) == 0, "%s", web_show(&repeat));
    web_answer_t two = sale_buy(stack, sku, "bob", 2, NULL);
    EXPECT_PROBLEM(two, 409, "sold_out");
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_crowd_that_is_accepted_is_not_oversold(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "accepts",
                                "\"total\":100,\"acknowledge\":\"accepted\",\"strategy\":\"lua\"");
    sale_tally_t tally =
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 300, .connections = 16});
    EXPECT(tally.pending == 100 && tally.sold_out == 200, "%s", sale_show(&tally));
    expect_sold(sku, 100, &tally);
}

static void what_is_accepted_while_mysql_is_stopped_ends_after(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "accepts",
                                "\"total\":99,\"acknowledge\":\"accepted\",\"strategy\":\"lua\"");
    /* Over many connections, so that every loop of the service knows the item. */
    sale_tally_t warm =
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = 40});
    EXPECT(warm.pending == 40, "%s", sale_show(&warm));
    EXPECT_GATE_AGREES(stack, sku);
    pid_t mysql = mysql_of(sku);
    process_signal(mysql, SIGSTOP);
    web_answer_t order = sale_buy(stack, sku, "alice", 1, NULL);
    process_signal(mysql, SIGCONT);
    EXPECT_STATUS(order, 202);
    WAIT_UNTIL(({
        web_answer_t now = sale_get(stack, sale_id(&order));
        strcmp(sale_state(&now), "confirmed") == 0;
    }));
    EXPECT_NUMBER(sale_live_orders(stack, sku), 41);
    EXPECT_GATE_AGREES(stack, sku);
}

/* While the first is on its way, a repeat hears of it, and takes no units. */
static void a_repeat_of_what_mysql_does_not_have_yet_is_that_order(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(
        stack, "repeat", "\"total\":60,\"acknowledge\":\"accepted\",\"strategy\":\"%s\"", strategy);
    sale_tally_t warm =
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = 40});
    EXPECT(warm.pending == 40, "%s", sale_show(&warm));
    EXPECT_GATE_AGREES(stack, sku);
    pid_t mysql = mysql_of(sku);
    process_signal(mysql, SIGSTOP);
    web_answer_t first = sale_buy(stack, sku, "alice", 2, "k");
    web_answer_t repeat = sale_buy(stack, sku, "alice", 2, "k");
    process_signal(mysql, SIGCONT);
    EXPECT_STATUS(first, 202);
    EXPECT_STATUS(repeat, 202);
    EXPECT(strcmp(sale_id(&repeat), sale_id(&first)) == 0, "two orders of a key: %s and %s",
           sale_id(&first), sale_id(&repeat));
    EXPECT(strcmp(repeat.replayed, "true") == 0, "%s", web_show(&repeat));
    WAIT_UNTIL(sale_live_units(stack, sku) == 42);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- a total that is lowered while the row is busy --- */

/* Not on the stack of a case, which a failure leaves at once. */
static struct {
    const char *sku;
    int total;
    web_answer_t answer;
    pthread_t thread;
} change;

static void *lower_the_total(void *context)
{
    (void)context;
    change.answer = sale_patch(stack, change.sku, "\"total\":%d", change.total);
    return NULL;
}

/* Beside a transaction that has locked the row; returns when the change waits for that lock. */
static void begin_to_lower(const char *sku, int total)
{
    change.sku = sku;
    change.total = total;
    EXPECT_NUMBER(pthread_create(&change.thread, NULL, lower_the_total, NULL), 0);
    WAIT_UNTIL(mysqld_waiting(stack, rows_shard_of(stack, sku)) != 0);
}

static void end_lock(MYSQL *lock)
{
    EXPECT_NUMBER(mysqld_send(lock, "COMMIT"), 0);
    mysql_close(lock);
    pthread_join(change.thread, NULL);
}

/* The change of total waits for the row for longer than the gate stays frozen, and the gate admits
   in between: the change must look again, or what was promised would be more than there is. */
static void a_total_is_not_lowered_under_what_came_after_the_freeze(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "mysql.lock_wait_timeout_s=20");
    const char *sku = sale_item(stack, "thawed",
                                "\"total\":60,\"acknowledge\":\"accepted\",\"strategy\":\"lua\"");
    sale_tally_t warm =
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = 40});
    EXPECT(warm.pending == 40, "%s", sale_show(&warm));
    EXPECT_GATE_AGREES(stack, sku);
    MYSQL *lock = mysqld_hold(stack, rows_shard_of(stack, sku),
                              "UPDATE inventory SET updated_at = NOW(3) WHERE sku = '%s'", sku);
    begin_to_lower(sku, 45);
    web_answer_t order = sale_buy(stack, sku, "late", 10, NULL); /* waits for the freeze to end */
    end_lock(lock);
    EXPECT_STATUS(order, 202);
    EXPECT_PROBLEM(change.answer, 409, "wrong_state");
    WAIT_UNTIL(sale_live_units(stack, sku) == 50);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    STACK_AGAIN(stack, "mysql.lock_wait_timeout_s=");
}

/* Somebody buys between the look at the row and its change: the change looks again. */
static void a_total_is_not_lowered_under_what_is_sold_meanwhile(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "race", "\"total\":10,\"strategy\":\"%s\"", strategy);
    web_answer_t order = sale_buy(stack, sku, "a", 5, NULL);
    EXPECT_STATUS(order, 201);
    MYSQL *buyer = mysqld_hold(
        stack, rows_shard_of(stack, sku),
        "UPDATE inventory SET allocated_total = allocated_total + 4 WHERE sku = '%s'", sku);
    begin_to_lower(sku, 7);
    end_lock(buyer);
    EXPECT_PROBLEM(change.answer, 409, "wrong_state");
    unsigned error = rows_change(
        stack, "UPDATE inventory SET allocated_total = allocated_total - 4 WHERE sku = '%s'", sku);
    EXPECT_NUMBER(error, 0);
    EXPECT_SOUND(stack, sku, 0);
}

/* --- two processes --- */

static void two_processes_sell_and_expire_at_once(void **state)
{
    const char *strategy = *state;
    test_stack_t *second = stack_second_start(stack);
    const char *sku =
        sale_item(stack, "two", "\"total\":60,\"hold_seconds\":1,\"strategy\":\"%s\"", strategy);
    /* Units come back by expiry, and are sold again, all the time. */
    sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = stack,
                                                  .other = second,
                                                  .sku = sku,
                                                  .buyers = 1200,
                                                  .connections = 16,
                                                  .burst = 20,
                                                  .burst_ms = 60});
    EXPECT(tally.odd == NULL, "%s", sale_show(&tally));
    EXPECT(tally.created > 60, "nothing was sold twice over: %s", sale_show(&tally));
    EXPECT_SOUND(stack, sku, 0);
    WAIT_UNTIL(sale_live_orders(stack, sku) == 0);
    stack_second_stop(second);
    long long ever = rows_sum(stack, "SELECT allocated_total FROM inventory WHERE sku = '%s'", sku);
    unsigned late = sale_settle_pending(stack, &tally);
    EXPECT(late == 0, "live after all have expired: %u", late);
    EXPECT(ever >= tally.created && ever <= tally.created + tally.pending,
           "%lld units were ever allocated: %s", ever, sale_show(&tally));
    EXPECT_NUMBER(rows_sum(stack, "SELECT released_total FROM inventory WHERE sku = '%s'", sku),
                  ever);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* Both come to expire the same orders while the item's row is locked, so that neither can finish
   first: each unit comes back once. */
static void two_processes_expire_an_order_once(void **state)
{
    (void)state;
    test_stack_t *second = stack_second_start(stack);
    const char *sku = sale_item(stack, "once", "\"total\":20,\"hold_seconds\":60");
    web_answer_t kept =
        sale_buy(stack, sku, "kept", 10, NULL); /* else the row itself would object */
    EXPECT_STATUS(kept, 201);
    kept = sale_move(stack, sale_id(&kept), "confirm");
    EXPECT_STATUS(kept, 200);
    kept = sale_patch(stack, sku, "\"hold_seconds\":1");
    EXPECT_STATUS(kept, 200);
    for (int i = 0; i < 3; ++i) {
        web_answer_t order = sale_buy(stack, sku, test_text("b%d", i), 2, NULL);
        EXPECT_STATUS(order, 201);
    }
    unsigned shard = rows_shard_of(stack, sku);
    MYSQL *lock =
        mysqld_hold(stack, shard, "UPDATE inventory SET updated_at = NOW(3) WHERE sku = '%s'", sku);
    WAIT_UNTIL(sale_live_orders(stack, sku) == 1 || mysqld_waiting(stack, shard) != 0);
    usleep(300000); /* so that the other one comes, too */
    EXPECT_NUMBER(mysqld_send(lock, "COMMIT"), 0);
    mysql_close(lock);
    WAIT_UNTIL(sale_live_orders(stack, sku) == 1);
    usleep(300000); /* the other one's turn */
    stack_second_stop(second);
    EXPECT_NUMBER(rows_sum(stack, "SELECT released_total FROM inventory WHERE sku = '%s'", sku), 6);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_change_at_one_process_is_obeyed_by_the_other(void **state)
{
    (void)state;
    test_stack_t *second = stack_second_start(stack);
    const char *sku = sale_item(stack, "news", "\"total\":10,\"strategy\":\"lua\"");
    web_answer_t order = sale_buy(second, sku, "a", 1, NULL);
    EXPECT_STATUS(order, 201);
    const char *const changes[] = {"\"strategy\":\"optimistic\"", "\"strategy\":\"watch\"",
                                   "\"strategy\":\"serializable\"", "\"strategy\":\"lua\""};
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        web_answer_t patched = sale_patch(stack, sku, "%s", changes[i]);
        EXPECT_STATUS(patched, 200);
        order = sale_buy(second, sku, test_text("b%zu", i), 1, NULL);
        EXPECT_STATUS(order, 201);
    }
    web_answer_t closed = sale_patch(stack, sku, "\"total\":5");
    EXPECT_STATUS(closed, 200);
    order = sale_buy(second, sku, "late", 1, NULL);
    EXPECT_PROBLEM(order, 409, "sold_out");
    web_answer_t toggled =
        ADMIN(stack, .method = "PUT", .path = "/v1/strategy", .body = "{\"strategy\":\"watch\"}");
    EXPECT_STATUS(toggled, 200);
    WAIT_UNTIL(strstr(ADMIN(second, .path = "/v1/status").body, "\"default_strategy\":\"watch\""));
    stack_second_stop(second);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- Redis dies --- */

static void redis_dies_and_comes_back(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "dies", "\"total\":100,\"strategy\":\"lua\"");
    sale_tally_t before = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = 50, .connections = 8});
    EXPECT(before.created == 50, "%s", sale_show(&before));
    pid_t service = stack->pid;
    process_signal(stack->redis_pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(stack->redis_pid));
    web_answer_t refused = sale_buy(stack, sku, "meanwhile", 1, NULL);
    EXPECT(refused.status == 503 || refused.status == 202, "%s", web_show(&refused));
    stack_again(stack, NULL, 0);
    EXPECT(service == stack->pid, "the service was started again");
    WAIT_UNTIL(WEB(.base = stack->url, .path = "/readyz").status == 200);
    /* readyz speaks for one loop; another may still be about to connect, and answer 503. */
    long long end = test_clock_ms() + TEST_WAIT_MS;
    while (sale_live_orders(stack, sku) < 100) {
        sale_tally_t after =
            sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 100, .connections = 8});
        EXPECT(after.odd == NULL, "%s", sale_show(&after));
        EXPECT(test_clock_ms() < end, "only %lld sold: %s", sale_live_orders(stack, sku),
               sale_show(&after));
        sale_settle_pending(stack, &after);
    }
    if (refused.status == 202)
        WAIT_UNTIL(sale_get(stack, sale_id(&refused)).status == 200);
    EXPECT_NUMBER(sale_live_orders(stack, sku), 100);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static const suite_t suite = {
    .name = "truth",
    .settings = {"orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=5000"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", redis_is_emptied_in_the_middle),
        UNDER("watch", redis_is_emptied_in_the_middle),
        UNDER("lua", an_emptied_redis_forgets_no_limit_and_no_key),
        UNDER("watch", an_emptied_redis_forgets_no_limit_and_no_key),
        UNDER("lua", a_gate_that_is_missing_or_foreign_is_rebuilt),
        UNDER("watch", a_gate_that_is_missing_or_foreign_is_rebuilt),
        UNDER("lua", a_gate_that_lost_its_buyers_admits_nobody),
        UNDER("watch", a_gate_that_lost_its_buyers_admits_nobody),
        UNDER("lua", a_lying_gate_oversells_nothing),
        UNDER("watch", a_lying_gate_oversells_nothing),
        TEST(a_gate_that_hides_units_is_rebuilt_by_reconcile),
        UNDER("lua", a_spoiled_gate_is_built_again),
        UNDER("watch", a_spoiled_gate_is_built_again),
        UNDER("lua", a_gate_that_drifts_is_found_by_the_reconciler),
        UNDER("watch", a_gate_that_drifts_is_found_by_the_reconciler),
        TEST(a_gate_that_the_row_contradicts_is_rebuilt_without_a_pass),
        UNDER("lua", a_frozen_gate_keeps_buyers_waiting),
        UNDER("watch", a_frozen_gate_keeps_buyers_waiting),
        TEST(the_row_itself_refuses_to_be_oversold),
        UNDER("lua", a_row_changed_behind_its_back_is_obeyed),
        UNDER("watch", a_row_changed_behind_its_back_is_obeyed),
        UNDER("optimistic", a_row_changed_behind_its_back_is_obeyed),
        UNDER("serializable", a_row_changed_behind_its_back_is_obeyed),
        UNDER("lua", orders_sent_to_a_stopped_mysql_end_by_themselves),
        UNDER("watch", orders_sent_to_a_stopped_mysql_end_by_themselves),
        UNDER("optimistic", orders_sent_to_a_stopped_mysql_end_by_themselves),
        UNDER("serializable", orders_sent_to_a_stopped_mysql_end_by_themselves),
        TEST(the_other_shard_sells_on),
        TEST(a_hold_past_its_deadline_can_only_be_given_back),
        TEST(an_issued_id_that_is_nowhere_becomes_rejected),
        TEST(an_id_that_may_still_be_admitted_is_not_decided),
        TEST(a_forged_id_is_404_and_writes_nothing),
        UNDER("lua", accepted_is_202_and_then_confirmed),
        UNDER("watch", accepted_is_202_and_then_confirmed),
        TEST(a_crowd_that_is_accepted_is_not_oversold),
        TEST(what_is_accepted_while_mysql_is_stopped_ends_after),
        UNDER("lua", a_repeat_of_what_mysql_does_not_have_yet_is_that_order),
        UNDER("watch", a_repeat_of_what_mysql_does_not_have_yet_is_that_order),
        TEST(a_total_is_not_lowered_under_what_came_after_the_freeze),
        UNDER("optimistic", a_total_is_not_lowered_under_what_is_sold_meanwhile),
        UNDER("serializable", a_total_is_not_lowered_under_what_is_sold_meanwhile),
        UNDER("lua", two_processes_sell_and_expire_at_once),
        UNDER("optimistic", two_processes_sell_and_expire_at_once),
        TEST(two_processes_expire_an_order_once),
        TEST(a_change_at_one_process_is_obeyed_by_the_other),
        TEST(redis_dies_and_comes_back),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
