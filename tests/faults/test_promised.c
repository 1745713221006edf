/*
 * What was promised stays so: a total is not lowered under orders that were accepted and are not
 * in MySQL yet, nor does another strategy or mode sell their units; a buyer who heard nothing gets
 * the order by the key; one order that MySQL will never take pulls down no other of its batch.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

/* --- a total that is lowered --- */

#define ACCEPTED "\"acknowledge\":\"accepted\",\"strategy\":\"%s\""
/* So long the change has to come to the server that is stopped. */
#define CHANGE_MS 700

/* So many orders that are answered 202; what a slow machine answers 503 is sent again. */
static unsigned order_accepted(const test_stack_t *at, const char *sku, unsigned count)
{
    unsigned accepted = 0;
    WAIT_UNTIL(({
        unsigned left = count - accepted;
        sale_tally_t tally = sale_rush(
            &(sale_rush_t){.stack = at, .sku = sku, .buyers = left, .connections = count});
        EXPECT(tally.pending + tally.unavailable == left, "%s", sale_show(&tally));
        (accepted += tally.pending) == count;
    }));
    return accepted;
}

/* So that every loop of both services knows the item, and answers without MySQL. */
static unsigned warm_up(const char *sku, unsigned each)
{
    unsigned accepted = order_accepted(stack, sku, each) + order_accepted(node, sku, each);
    EXPECT_GATE_AGREES(stack, sku);
    return accepted;
}

typedef struct {
    const char *sku;
    int total;
    web_answer_t answer;
    pthread_t thread;
} change_t;

static void *lower_the_total(void *context)
{
    change_t *change = context;
    change->answer = sale_patch(node, change->sku, "\"total\":%d", change->total);
    return NULL;
}

/* Whatever the change was answered, no accepted order is rejected for it. */
static void expect_all_accepted_live(const char *sku, unsigned accepted)
{
    WAIT_UNTIL(sale_live_orders(stack, sku) >= accepted);
    EXPECT_NUMBER(sale_live_orders(stack, sku), accepted);
    EXPECT_NUMBER(
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected'", sku),
        0);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static void a_total_is_lowered_while_mysql_is_stopped(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "lower", "\"total\":300," ACCEPTED, strategy);
    unsigned accepted = warm_up(sku, 30);
    pid_t mysql = stack->mysql_pids[rows_shard_of(stack, sku)];
    process_signal(mysql, SIGSTOP);
    change_t change = {.sku = sku, .total = (int)accepted + 10};
    accepted += order_accepted(stack, sku, 40);
    pthread_create(&change.thread, NULL, lower_the_total, &change);
    usleep(CHANGE_MS * 1000);
    process_signal(mysql, SIGCONT);
    pthread_join(change.thread, NULL);
    EXPECT(change.answer.status == 409 || change.answer.status == 503, "%s",
           web_show(&change.answer));
    EXPECT_NUMBER(rows_sum(stack, "SELECT total FROM inventory WHERE sku = '%s'", sku), 300);
    expect_all_accepted_live(sku, accepted);
}

/* The writer stands before its COMMITs; totals are asked for, near what has been taken. */
static void totals_are_lowered_under_a_crowd(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "lowers", "\"total\":20000," ACCEPTED, strategy);
    const test_stack_t *nodes[] = {stack, node};
    unsigned lowered = 0, refused = 0;
    warm_up(sku, 20);
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = nodes,
                                                 .nodes_count = 2,
                                                 .skus = &sku,
                                                 .skus_count = 1,
                                                 .quantity_max = 1,
                                                 .keeps_all = true});
    fault_arm(stack, "writer_before_commit pause=150\n");
    fault_arm(node, "writer_before_commit pause=150\n");
    for (unsigned i = 0; i < 12; ++i) {
        crowd_await(crowd, CROWD_PENDING, 20);
        long long received = crowd_received(crowd, CROWD_PENDING) + 40;
        web_answer_t change = sale_patch(i % 2 == 0 ? stack : node, sku, "\"total\":%lld",
                                         received + (long long)(i % 4) * 15 - 15);
        lowered += change.status == 200;
        refused += change.status != 200;
        EXPECT(change.status == 200 || change.status == 503 ||
                   (change.status == 409 && web_has_code(&change, "wrong_state")),
               "%s", web_show(&change));
        change = sale_patch(stack, sku, "\"total\":20000");
        EXPECT(change.status == 200 || change.status == 503, "%s", web_show(&change));
    }
    EXPECT_FAULT(stack, "writer_before_commit");
    EXPECT_FAULT(node, "writer_before_commit");
    fault_disarm(stack);
    fault_disarm(node);
    WAIT_UNTIL(sale_patch(stack, sku, "\"total\":20000").status == 200);
    crowd_stop(crowd);
    EXPECT_PROMISES(stack, crowd, "%s: lowered %u times, refused %u times", strategy, lowered,
                    refused);
    /* A loser of its key is a repeat, and the only one that may be rejected. */
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected' "
                           "AND reject_code <> 'duplicate_request' AND buyer_id NOT LIKE 'late-%%'",
                           sku),
                  0);
}

/* --- what ends `accepted` --- */

typedef struct {
    const char *strategy, *change;
} way_t;

/* All is sold, and a part of it is not in MySQL yet: whoever sells by the rows would sell that
   again. */
static void another_way_to_sell_waits_for_accepted_orders(void **state)
{
    const way_t *way = *state;
    const char *sku = sale_item(stack, "leaves", "\"total\":60," ACCEPTED, way->strategy);
    unsigned accepted = warm_up(sku, 10);
    fault_arm(stack, "writer_before_commit pause=1500 times=1\n");
    accepted += order_accepted(stack, sku, 40);
    WAIT_UNTIL(sale_patch(node, sku, "%s", way->change).status == 200);
    EXPECT_FAULT(stack, "writer_before_commit");
    fault_disarm(stack);
    for (unsigned i = 0; i < 20; ++i) {
        web_answer_t late = sale_buy(i % 2 == 0 ? stack : node, sku, "late", 1, NULL);
        EXPECT_PROBLEM(late, 409, "sold_out");
    }
    EXPECT_NUMBER(sale_live_orders(stack, sku), accepted);
    EXPECT_NUMBER(
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'rejected'", sku),
        0);
    EXPECT_SOUND(stack, sku, 0);
}

/* --- an answer that is lost --- */

static void all_but_one_are_sold(const char *sku, int total)
{
    sale_order(stack, sku, "first", total - 1, NULL);
}

/* The repeats hear of the order whose answer was lost, at both services; a newcomer is late. */
static void expect_repeat_is_the_order(const char *sku, int total)
{
    WAIT_UNTIL(sale_live_units(stack, sku) == total);
    const test_stack_t *nodes[] = {stack, node};
    const char *first = NULL;
    for (unsigned n = 0; n < TEST_COUNT(nodes); ++n) {
        WAIT_UNTIL(web_has_code(&(web_answer_t[]){sale_buy(nodes[n], sku, "late", 1, NULL)}[0],
                                "sold_out"));
        web_answer_t repeat;
        WAIT_UNTIL((repeat = sale_buy(nodes[n], sku, "last", 1, "k")).status != 503);
        EXPECT(repeat.status == 201 && strcmp(repeat.replayed, "true") == 0, "%s",
               web_show(&repeat));
        EXPECT(first == NULL || strcmp(first, sale_id(&repeat)) == 0, "two orders of a key: %s %s",
               first, sale_id(&repeat));
        first = sale_id(&repeat);
    }
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND buyer_id = 'last' AND "
                           "state = 'confirmed'",
                           sku),
                  1);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static void the_last_unit_is_sold_by_one_who_dies(void **state)
{
    const char *strategy = *state;
    const char *point = sale_uses_gate(strategy) ? "writer_after_commit" : "sql_after_commit";
    const char *sku = sale_item(stack, "dies", "\"total\":5,\"strategy\":\"%s\"", strategy);
    all_but_one_are_sold(sku, 5);
    fault_arm(node, "%s kill\n", point);
    web_request_t request = sale_request(node, sku, "last", 1, "k");
    request.sent_once = true;
    web_answer_t answer;
    WAIT_UNTIL((answer = web_call(&request)).status != 503);
    EXPECT(answer.status == 0 || answer.status == 202, "it lived to say %s", web_show(&answer));
    EXPECT_FAULT(node, point);
    fault_disarm(node);
    stack_node_again(node);
    expect_repeat_is_the_order(sku, 5);
}

static void the_last_buyer_hangs_up(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "hangs", "\"total\":5,\"strategy\":\"%s\"", strategy);
    all_but_one_are_sold(sku, 5);
    web_request_t request = sale_request(node, sku, "last", 1, "k");
    const char *bytes = test_text("POST /v1/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
                                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                  strlen(request.body), request.body);
    int fd = web_connect(node->url);
    EXPECT(fd >= 0, "no connection");
    EXPECT_NUMBER(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    usleep(1000); /* it is read, and then reset */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    /* If the reset came first, nobody has bought, and the repeat is the first. */
    sale_order(node, sku, "last", 1, "k");
    expect_repeat_is_the_order(sku, 5);
}

/* --- an order that MySQL will never take --- */

#define BATCH 200

static void one_of_two_hundred_can_never_be_written(void **state)
{
    const char *strategy = *state;
    chance_t chance = chance_of("poison");
    const char *sku =
        sale_item(stack, "poison", "\"total\":%d,\"strategy\":\"%s\"", BATCH, strategy);
    const char *before = sale_order(stack, sku, "before", 1, NULL);
    unsigned shard = rows_shard_of(stack, sku), poisoned = chance_below(&chance, BATCH);
    mysqld_run(stack, shard,
               "CREATE TRIGGER poison BEFORE INSERT ON orders FOR EACH ROW BEGIN "
               "IF NEW.sku = '%s' AND NEW.buyer_id = 'buyer-%u' THEN "
               "SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 4025, MESSAGE_TEXT = 'never this one'; "
               "END IF; END",
               sku, poisoned); /* a CHECK constraint of MariaDB: it is about the values of a row */
    double split = fault_metric(stack, "writer_bisections_total");
    /* While this holds the writer up, all the others come together. */
    fault_arm(stack, "writer_before_commit pause=800 times=1\n");
    web_answer_t cancel = sale_move(stack, before, "cancel");
    EXPECT_STATUS(cancel, 200);
    sale_tally_t tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = BATCH, .connections = BATCH});
    mysqld_run(stack, shard, "DROP TRIGGER poison");
    EXPECT_FAULT(stack, "writer_before_commit");
    split = fault_metric(stack, "writer_bisections_total") - split;
    /* The one is answered 503, or 202 and is rejected. */
    EXPECT(tally.created == BATCH - 1 && tally.unavailable + tally.other == 1 && tally.odd == NULL,
           "%s", sale_show(&tally));
    EXPECT(split >= 2, "no batch was split to find it: %.0f", split);
    long long rejected = rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE state = 'rejected' AND "
                                         "reject_code = 'unavailable' AND sku IS NULL");
    EXPECT(rejected >= 1, "it has not ended as rejected");
    EXPECT_NUMBER(sale_live_orders(stack, sku), BATCH - 1);
    EXPECT_GATE_AGREES(stack, sku);
    sale_order(stack, sku, "the last unit", 1, NULL);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    print_message("%s: buyer-%u of %d, found by %.0f splits\n", strategy, poisoned, BATCH, split);
}

#define LEAVES(strategy_, change_)                                                                 \
    {                                                                                              \
        strategy_ ": another_way_to_sell_waits_for_accepted_orders: " change_,                     \
            another_way_to_sell_waits_for_accepted_orders, NULL, NULL, &(way_t)                    \
        {                                                                                          \
            strategy_, change_                                                                     \
        }                                                                                          \
    }

static const suite_t suite = {
    .name = "promised", .settings = {SUITE_SHORT_DEADLINES}, .pair = true, .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", a_total_is_lowered_while_mysql_is_stopped),
        UNDER("watch", a_total_is_lowered_while_mysql_is_stopped),
        UNDER("lua", totals_are_lowered_under_a_crowd),
        UNDER("watch", totals_are_lowered_under_a_crowd),
        LEAVES("lua", "\"strategy\":\"optimistic\""),
        LEAVES("watch", "\"strategy\":\"serializable\""),
        UNDER("lua", the_last_unit_is_sold_by_one_who_dies),
        UNDER("watch", the_last_unit_is_sold_by_one_who_dies),
        UNDER("optimistic", the_last_unit_is_sold_by_one_who_dies),
        UNDER("serializable", the_last_unit_is_sold_by_one_who_dies),
        UNDER("lua", the_last_buyer_hangs_up),
        UNDER("watch", the_last_buyer_hangs_up),
        UNDER("optimistic", the_last_buyer_hangs_up),
        UNDER("serializable", the_last_buyer_hangs_up),
        UNDER("lua", one_of_two_hundred_can_never_be_written),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
