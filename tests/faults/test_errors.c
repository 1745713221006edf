/*
 * Errors of MySQL that nobody expected: every number of the server's list, at INSERT, UPDATE and
 * COMMIT, for one order and for all. Only a short list of numbers says anything about an order. No
 * order that heard 503 is live, no acknowledged order is rejected, the others of its batch do not
 * notice, and all goes on by itself.
 */
#include <pthread.h>

#include "faults/thrown.h"
#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/received.h"
#include "harness/suite.h"

/* The shard that throws. */
#define FAILING 0

/* `node` answers soon what waits for the outcome of a COMMIT, so that cases with one buyer after
   the other need not wait long for each. */
#define SOON "orders.answer_deadline_ms=2000"

static void prepare(void)
{
    thrown_prepare(stack, FAILING);
    node = STACK_NODE_START(stack, 2, SOON);
}

/* A connection that was killed while it was idle is met by the next statement on it, whose request
   hears 503; one that has been idle for longer than half a second is asked before it is used. */
#define IDLE_MS 700
static bool killed_some;

/* After each case, also one that failed. */
static int back_to_normal(void **state)
{
    fault_disarm(stack);
    fault_disarm(node);
    thrown_set(stack, FAILING, THROWN_NOT, 0);
    mysqld_run(stack, FAILING, "SET GLOBAL read_only = 0, GLOBAL tx_read_only = 0");
    if (killed_some)
        usleep(IDLE_MS * 1000);
    killed_some = false;
    return test_teardown(state);
}

#define STOCK "\"total\":1000000,"

static const char *failing_item(const char *name, const char *terms)
{
    const char *sku;
    do
        sku = sale_item(stack, name, STOCK "%s", terms);
    while (rows_shard_of(stack, sku) != FAILING);
    return sku;
}

static bool buys_at(const test_stack_t *at, const char *sku)
{
    static unsigned count;
    return sale_buy(at, sku, test_text("again-%u", ++count), 1, NULL).status == 201;
}

static bool buys(const char *sku)
{
    return buys_at(stack, sku);
}

static void expect_nothing_set_aside(void)
{
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") == 0);
}

/* All of the services' at this shard. */
static void kill_connections(void)
{
    MYSQL_RES *ids = NULL;
    MYSQL_ROW row;
    MYSQL *mysql = mysqld_open(stack, FAILING);
    EXPECT(mysql != NULL, "no connection");
    killed_some = true;
    if (mysql_query(mysql, "SELECT id FROM information_schema.processlist WHERE user = "
                           "'holdfast'") == 0)
        ids = mysql_store_result(mysql);
    while (ids != NULL && (row = mysql_fetch_row(ids)) != NULL)
        mysqld_send(mysql, test_text("KILL CONNECTION %s", row[0]));
    mysql_free_result(ids);
    mysql_close(mysql);
}

/* --- one order --- */

/* Numbers at a time, beside as many neighbours. */
#define WAVE 16
/* Numbers until the fault is taken away. */
#define BLOCK 160

typedef struct {
    thrown_mode_t mode;
    const char *strategy;
} place_t;

/* Also what a trigger that says "duplicate" or "deadlock" of a row that is none gets in the end. */
static bool may_be_rejected(unsigned number)
{
    return thrown_is_verdict(number) || number == 1062 || number == 1586;
}

/* A thread writes the log. */
static void expect_named(const received_book_t *book, const char *sku)
{
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") > 0);
    WAIT_UNTIL(stack_log_has(stack, THROWN_WORDS));
    WAIT_UNTIL(received_is_logged(book, sku));
    EXPECT(fault_metric(stack, "writer_errors_total") > 0, "no error was counted");
}

/* Each number of a block at one order, while neighbours buy the same item and another one. */
static void throw_block(const place_t *place, const unsigned *numbers, unsigned count)
{
    const char *terms = test_text("\"strategy\":\"%s\"", place->strategy);
    const char *near = failing_item("near", terms);
    const char *failing = failing_item("sick", test_text("%s,\"acknowledge\":\"accepted\"", terms));
    received_book_t *book = received_new(stack);
    thrown_set(stack, FAILING, place->mode, 0);
    for (unsigned i = 0; i < count; i += WAVE) {
        for (unsigned j = i; j < count && j < i + WAVE; ++j) {
            received_plan(book, failing, numbers[j], THROWN_BUYER, numbers[j]);
            received_plan(book, j % 2 == 0 ? near : failing, 0, "n-%u", numbers[j]);
        }
        received_send(book, 2 * WAVE, 0, 0);
    }
    EXPECT_RECEIVED_VALID(book);
    expect_named(book, failing);
    thrown_set(stack, FAILING, THROWN_NOT, 0);
    print_message("%s, %u to %u: %s\n", place->strategy, numbers[0], numbers[count - 1],
                  received_show(book));
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT_RECEIVED_KEPT(book, may_be_rejected);
    EXPECT(received_count(book, near, 201) == (count + 1) / 2, "neighbours: %s",
           received_show(book));
    expect_nothing_set_aside();
    EXPECT(buys(near), "it does not go on");
    EXPECT_SOUND(stack, near, 0);
    EXPECT_SOUND(stack, failing, 0);
    EXPECT_GATE_AGREES(stack, failing);
}

static void every_error_at_one_order(void **state)
{
    const place_t *place = *state;
    unsigned block[BLOCK], count = 0;
    for (size_t i = 0; i < TEST_COUNT(thrown_sections); ++i)
        for (unsigned n = thrown_sections[i].first; n <= thrown_sections[i].last; ++n) {
            block[count++] = n;
            if (count == BLOCK || n == thrown_sections[TEST_COUNT(thrown_sections) - 1].last) {
                throw_block(place, block, count);
                count = 0;
            }
        }
}

/* One of each class, and what its buyer hears: of a committed item, under all strategies. */
static void one_of_each_class_at_one_order(void **state)
{
    const char *strategy = *state;
    static const unsigned numbers[] = {1036, 1792, 1364, 1205, 1213, 1927, 1264, 4025};
    const char *terms = test_text("\"strategy\":\"%s\"", strategy);
    const char *sku = failing_item("class", terms), *near = failing_item("near", terms);
    received_book_t *book = received_new(stack);
    thrown_set(stack, FAILING, THROWN_ONE_INSERT, 0);
    for (size_t i = 0; i < TEST_COUNT(numbers); ++i) {
        received_plan(book, sku, numbers[i], THROWN_BUYER, numbers[i]);
        received_plan(book, near, 0, "n-%u", numbers[i]);
    }
    received_send(book, 2 * TEST_COUNT(numbers), 0, 0);
    thrown_set(stack, FAILING, THROWN_NOT, 0);
    EXPECT_RECEIVED_VALID(book);
    for (unsigned i = 0; i < book->count; ++i) {
        const received_t *received = &book->all[i];
        print_message("%s: %s heard %ld after %.1f s\n", strategy, received->buyer,
                      received->status, received->seconds);
        if (received->sku == near)
            EXPECT_NUMBER(received->status, 201);
        else if (!thrown_is_verdict(received->tag) && sale_uses_gate(strategy))
            EXPECT(received->status == 202, "%s: %s", received->buyer, received->body);
    }
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT_RECEIVED_KEPT(book, may_be_rejected);
    expect_nothing_set_aside();
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_SOUND(stack, near, 0);
}

/* Within one of the arrays: other members of the answer name items too. */
static bool status_names(const char *sku)
{
    web_answer_t status = ADMIN(stack, .path = "/v1/status");
    for (const char *at = status.body; (at = strstr(at, "\"set_aside\":[")) != NULL; ++at) {
        const char *found = strstr(at, sku), *end = strchr(at, ']');
        if (found != NULL && end != NULL && found < end)
            return true;
    }
    return false;
}

static void status_names_what_is_set_aside(void **state)
{
    (void)state;
    const char *sku = failing_item("named", "\"strategy\":\"lua\",\"acknowledge\":\"accepted\"");
    received_book_t *book = received_new(stack);
    thrown_set(stack, FAILING, THROWN_ONE_INSERT, 0);
    received_plan(book, sku, 1036, THROWN_BUYER, 1036);
    received_send(book, 1, 0, 0);
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") > 0);
    EXPECT(status_names(sku), "%s", ADMIN(stack, .path = "/v1/status").body);
    thrown_set(stack, FAILING, THROWN_NOT, 0);
    EXPECT_RECEIVED_KEPT(book, NULL);
    WAIT_UNTIL(!status_names(sku));
}

/* --- an item whose every order fails --- */

/* Each of its orders would be tried apart: it is the item that is set aside, and while its buyers
   come on those of another item of the shard are sold to. */
static void a_failing_item_delays_no_other(void **state)
{
    unsigned number = *(const unsigned *)*state;
    const char *sku = failing_item("sick", "\"strategy\":\"lua\",\"acknowledge\":\"accepted\"");
    const char *near = failing_item("well", "\"strategy\":\"lua\"");
    received_book_t *book = received_new(stack);
    WAIT_UNTIL(buys(near));
    mysqld_run(stack, FAILING,
               "CREATE TRIGGER failing_item BEFORE UPDATE ON inventory FOR EACH ROW BEGIN "
               "IF NEW.sku = '%s' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = %u, "
               "MESSAGE_TEXT = 'no'; END IF; END",
               sku, number);
    for (unsigned i = 0; i < 600; ++i)
        received_plan(book, i % 6 == 5 ? near : sku, i % 6, "s-%u-%u", number, i);
    received_send(book, 16, 12, 100);
    unsigned sold = received_count(book, near, 201);
    print_message("%u at each UPDATE of an item: %s; of the other item %u of 100 are sold\n",
                  number, received_show(book), sold);
    EXPECT(sold >= 90, "the other item is starved: %u of 100", sold);
    mysqld_run(stack, FAILING, "DROP TRIGGER failing_item");
    unsigned rejected = 0;
    WAIT_UNTIL(fault_metric(stack, "writer_set_aside_orders") == 0);
    for (unsigned i = 0; i < book->count; ++i)
        if (book->all[i].sku == sku && book->all[i].status == 202) {
            web_answer_t order = sale_get(stack, book->all[i].id);
            rejected += strcmp(sale_state(&order), "rejected") == 0;
        }
    /* What says that it is about the values of a row is believed until the item is seen to be sick.
     */
    EXPECT(rejected < 10, "%u acknowledged orders are rejected", rejected);
    EXPECT_NUMBER(received_ghosts(book), 0);
    WAIT_UNTIL(sale_buy(stack, sku, "after", 1, NULL).status == 202);
}

/* --- COMMIT --- */

typedef struct {
    const char *point, *strategy;
} commit_t;

/* Each number is the answer to one COMMIT; the next one is true, and so on. */
static void every_error_at_commit(void **state)
{
    const commit_t *commit = *state;
    const char *terms = test_text(STOCK "\"strategy\":\"%s\"", commit->strategy);
    const char *skus[] = {
        failing_item("commit", test_text("\"strategy\":\"%s\"", commit->strategy)),
        sale_item(stack, "commit", "%s", terms)};
    received_book_t *book = received_new(stack);
    unsigned buyers = 0;
    for (size_t i = 0; i < TEST_COUNT(thrown_sections); ++i) {
        unsigned first = thrown_sections[i].first, last = thrown_sections[i].last;
        fault_arm(stack, "%s error=%u-%u every=2\n", commit->point, first, last);
        while (fault_hits(stack, commit->point) < last - first + 1) {
            EXPECT(buyers < 20000, "too few COMMITs");
            for (unsigned j = 0; j < 100; ++j, ++buyers)
                received_plan(book, skus[j % TEST_COUNT(skus)], 0, "c-%u", buyers);
            received_send(book, 4, 0, 0);
        }
        fault_disarm(stack);
    }
    print_message("%s, %s: %s\n", commit->strategy, commit->point, received_show(book));
    EXPECT_RECEIVED_VALID(book);
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT_RECEIVED_KEPT(book, NULL);
    for (size_t i = 0; i < TEST_COUNT(skus); ++i) {
        WAIT_UNTIL(buys(skus[i]));
        EXPECT_SOUND(stack, skus[i], 0);
        EXPECT_GATE_AGREES(stack, skus[i]);
    }
}

/* --- all orders --- */

#define BUYERS_EACH 8
#define FAILING_MS 800

typedef struct {
    const char *skus[6];
} shop_t;

static shop_t open_shop(void)
{
    return (shop_t){
        {failing_item("lua", "\"strategy\":\"lua\""),
         failing_item("lua-202", "\"strategy\":\"lua\",\"acknowledge\":\"accepted\""),
         failing_item("watch", "\"strategy\":\"watch\""),
         failing_item("watch-202", "\"strategy\":\"watch\",\"acknowledge\":\"accepted\""),
         failing_item("optimistic", "\"strategy\":\"optimistic\""),
         failing_item("serializable", "\"strategy\":\"serializable\"")}};
}

static void *heal_soon(void *context)
{
    MYSQL *mysql = mysqld_open(stack, FAILING);
    (void)context;
    usleep(FAILING_MS * 1000);
    if (mysql != NULL) {
        mysqld_send(mysql, test_text("SET GLOBAL auto_increment_increment = %d", THROWN_NOT));
        mysql_close(mysql);
    }
    mysql_thread_end();
    return NULL;
}

/* While buyers come to all items, everything meets the error for some time. */
static void expect_survived(const shop_t *shop, const char *what)
{
    static unsigned buyers;
    pthread_t healer;
    received_book_t *book = received_new(stack);
    for (unsigned i = 0; i < BUYERS_EACH * TEST_COUNT(shop->skus); ++i)
        received_plan(book, shop->skus[i % TEST_COUNT(shop->skus)], 0, "all-%u", ++buyers);
    pthread_create(&healer, NULL, heal_soon, NULL);
    received_send(book, BUYERS_EACH * TEST_COUNT(shop->skus), 12, 100);
    pthread_join(healer, NULL);
    EXPECT_NUMBER(mysqld_number(stack, FAILING, "SELECT @@GLOBAL.auto_increment_increment"),
                  THROWN_NOT);
    print_message("%s: %s\n", what, received_show(book));
    EXPECT_RECEIVED_VALID(book);
    for (size_t i = 0; i < TEST_COUNT(shop->skus); ++i) {
        if (strstr(shop->skus[i], "-202") == NULL)
            WAIT_UNTIL(buys(shop->skus[i]));
    }
    EXPECT_RECEIVED_KEPT(book, NULL);
    EXPECT_NUMBER(received_ghosts(book), 0);
    for (size_t i = 0; i < TEST_COUNT(shop->skus); ++i)
        EXPECT_SOUND(stack, shop->skus[i], 0);
}

/* Seen to break a promise once, and one of each class; then, with HOLDFAST_LONG=1, what else
   servers say when they are ill. */
static const unsigned for_all[] = {1036, 1792, 1665, 1364, 1146, 1142, 1047, 1264, 1062,
                                   1205, 1213, 1927, 1290, 1030, 1114, 1021, 1317, 1969,
                                   4025, 1048, 1406, 1020, 1053, 3169, 3572, 3819};

static size_t for_all_count(void)
{
    return chance_is_long() ? TEST_COUNT(for_all) : 12;
}

static void errors_at_all_orders(void **state)
{
    const place_t *place = *state;
    shop_t shop = open_shop();
    for (size_t i = 0; i < for_all_count(); ++i) {
        thrown_set(stack, FAILING, place->mode, for_all[i]);
        expect_survived(&shop, test_text("%u at every %s", for_all[i], place->strategy));
    }
    expect_nothing_set_aside();
}

static void errors_at_all_commits(void **state)
{
    const char *point = *state;
    shop_t shop = open_shop();
    for (size_t i = 0; i < for_all_count(); i += 2) {
        fault_arm(stack, "%s error=%u times=20\n", point, for_all[i]);
        expect_survived(&shop, test_text("%u, %s", for_all[i], point));
        EXPECT_FAULT(stack, point);
    }
    expect_nothing_set_aside();
}

/* --- a COMMIT that is lost, and then an error --- */

typedef struct {
    const char *strategy;
    bool alone; /* the error is for its order only */
} after_t;

typedef struct {
    const char *point, *sql;
} throw_t;

/* When it stands at the point, its statements done. */
static void *throw_then(void *context)
{
    const throw_t *throw = context;
    MYSQL *mysql = mysqld_open(stack, FAILING);
    long long end = test_clock_ms() + TEST_WAIT_MS;
    while (fault_hits(node, throw->point) == 0 && test_clock_ms() < end)
        usleep(5000);
    if (mysql != NULL) {
        mysqld_send(mysql, throw->sql);
        mysql_close(mysql);
    }
    mysql_thread_end();
    return NULL;
}

static void expect_lost_commit_kept(const after_t *after, const char *sku, unsigned number)
{
    const char *point =
        sale_uses_gate(after->strategy) ? "writer_before_commit" : "sql_before_commit";
    received_book_t *book = received_new(node);
    pthread_t thrower;
    /* Others than this order's writer COMMIT too, so it is not for one time only. */
    fault_arm(node, "%s pause=600 times=1\ncommit_answer_lost fail\n", point);
    throw_t throw = {point,
                     test_text("SET GLOBAL auto_increment_offset = %u, GLOBAL "
                               "auto_increment_increment = %d",
                               number, after->alone ? THROWN_ONE_INSERT : THROWN_ALL_INSERTS)};
    EXPECT_NUMBER(pthread_create(&thrower, NULL, throw_then, &throw), 0);
    received_plan(book, sku, number, THROWN_BUYER, number);
    received_send(book, 1, 0, 0);
    pthread_join(thrower, NULL);
    EXPECT_FAULT(node, "commit_answer_lost");
    thrown_set(stack, FAILING, THROWN_NOT, 0);
    fault_disarm(node);
    print_message("%s, COMMIT lost, then %u: %ld\n", after->strategy, number, book->all[0].status);
    EXPECT_RECEIVED_VALID(book);
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT(book->all[0].id[0] != '\0', "it is live, and its buyer heard %s", book->all[0].body);
    EXPECT_RECEIVED_KEPT(book, NULL);
    WAIT_UNTIL(buys_at(node, sku));
}

/* Each waits out the deadline of an answer: only with HOLDFAST_LONG=1 all of them in each case. */
static void a_lost_commit_then_an_error(void **state)
{
    static const unsigned numbers[] = {1792, 1290, 1146, 1264, 4025, 1205, 1927, 1062};
    const after_t *after = *state;
    const char *sku = failing_item("lost", test_text("\"strategy\":\"%s\"", after->strategy));
    WAIT_UNTIL(buys_at(node, sku));
    bool all = chance_is_long();
    for (size_t i = all ? 0 : after->alone; i < TEST_COUNT(numbers); i += all ? 1 : 2)
        expect_lost_commit_kept(after, sku, numbers[i]);
    EXPECT_SOUND(stack, sku, 0);
}

/* As it was seen: sessions that begin after the loss are read-only. */
static void a_lost_commit_then_a_read_only_session(void **state)
{
    const char *strategy = *state;
    const char *sku = failing_item("session", test_text("\"strategy\":\"%s\"", strategy));
    received_book_t *book = received_new(node);
    for (unsigned i = 0; i < 8; ++i) {
        WAIT_UNTIL(buys_at(node, sku));
        mysqld_run(stack, FAILING, "SET GLOBAL tx_read_only = 1");
        fault_arm(node, "commit_answer_lost fail\n");
        received_plan(book, sku, 0, "session-%u", i);
        received_send(book, 1, 0, 0);
        EXPECT_FAULT(node, "commit_answer_lost");
        fault_disarm(node);
        mysqld_run(stack, FAILING, "SET GLOBAL tx_read_only = 0");
        kill_connections();
    }
    print_message("%s: %s\n", strategy, received_show(book));
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT_RECEIVED_KEPT(book, NULL);
    WAIT_UNTIL(buys(sku));
}

/* --- storms --- */

static crowd_t *storm_begins(const shop_t *shop)
{
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const[]){stack},
                                                 .nodes_count = 1,
                                                 .skus = shop->skus,
                                                 .skus_count = TEST_COUNT(shop->skus),
                                                 .connections = 16,
                                                 .buyers = 100000,
                                                 .quantity_max = 1,
                                                 .keeps_all = true});
    crowd_await(crowd, CROWD_CREATED, 30);
    return crowd;
}

/* EXPECT_PROMISES would buy all the rest. */
static void expect_storm_survived(const shop_t *shop, crowd_t *crowd, long long rejected_before,
                                  const char *what)
{
    crowd_await(crowd, CROWD_CREATED, 30);
    crowd_stop(crowd);
    for (size_t i = 0; i < TEST_COUNT(shop->skus); ++i)
        sale_patch(stack, shop->skus[i], "\"total\":%lld",
                   sale_live_units(stack, shop->skus[i]) + 100);
    EXPECT_PROMISES(stack, crowd, "%s", what);
    long long rejected = rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE state = 'rejected' AND "
                                         "reject_code = 'unavailable'");
    EXPECT_NUMBER(rejected - rejected_before, 0);
}

static long long rejected_now(void)
{
    return rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE state = 'rejected' AND reject_code = "
                           "'unavailable'");
}

static void innodb_is_read_only(void **state)
{
    (void)state;
    shop_t shop = open_shop();
    long long rejected = rejected_now();
    crowd_t *crowd = storm_begins(&shop);
    for (unsigned i = 0; i < 3; ++i) {
        mysqld_stop(stack, FAILING);
        mysqld_start(stack, FAILING, "", "--innodb-read-only=1");
        crowd_await(crowd, CROWD_UNAVAILABLE, 30); /* so that it meets the refusing server */
        mysqld_stop(stack, FAILING);
        mysqld_start(stack, FAILING, "", "");
        crowd_await(crowd, CROWD_CREATED, 30);
    }
    killed_some = true;
    expect_storm_survived(&shop, crowd, rejected, "InnoDB read-only, three times");
}

static void the_table_is_away(void **state)
{
    (void)state;
    shop_t shop = open_shop();
    long long rejected = rejected_now();
    crowd_t *crowd = storm_begins(&shop);
    MYSQL *mysql = mysqld_open(stack, FAILING);
    EXPECT(mysql != NULL, "no connection");
    for (unsigned i = 0; i < 30; ++i) {
        EXPECT_NUMBER(mysqld_send(mysql, "RENAME TABLE orders TO orders_away"), 0);
        kill_connections();
        usleep(300000);
        EXPECT_NUMBER(mysqld_send(mysql, "RENAME TABLE orders_away TO orders"), 0);
        if (i % 5 == 4)
            crowd_await(crowd, CROWD_CREATED, 20);
    }
    mysql_close(mysql);
    expect_storm_survived(&shop, crowd, rejected, "orders renamed away, thirty times");
}

/* --- away, and back without traffic --- */

typedef struct {
    const char *name;
    thrown_mode_t mode;
    unsigned number;
    const char *options;
} refusing_t;

/* Lost, so that the shard counts as away; then it answers and refuses; then it is well. */
static void lost_then_refusing_then_healthy(void **state)
{
    const refusing_t *refusing = *state;
    const char *sku = failing_item("away", "\"strategy\":\"lua\"");
    received_book_t *book = received_new(node);
    WAIT_UNTIL(buys_at(node, sku));
    if (refusing->options != NULL) /* what was killed InnoDB must repair, which it then may not */
        mysqld_stop(stack, FAILING);
    else
        mysqld_kill(stack, FAILING);
    killed_some = true;
    for (unsigned i = 0; i < 4; ++i)
        received_plan(book, sku, 0, "away-%u", i);
    received_send(book, 4, 0, 0);
    double refused = fault_metric(node, "mysql_refusals_total");
    const char *options = refusing->options != NULL
                              ? refusing->options
                              : thrown_options(refusing->mode, refusing->number);
    mysqld_start(stack, FAILING, "", options);
    WAIT_UNTIL(fault_metric(node, "mysql_refusals_total") > refused);
    if (refusing->options != NULL) {
        mysqld_stop(stack, FAILING);
        mysqld_start(stack, FAILING, "", "");
    } else {
        thrown_set(stack, FAILING, THROWN_NOT, 0);
    }
    /* Nobody buys meanwhile: what is away must find out by itself. */
    stack_await_ready(node);
    print_message("%s: %s\n", refusing->name, received_show(book));
    web_answer_t order = sale_buy(node, sku, "the first one again", 1, NULL);
    EXPECT(order.status == 201 || order.status == 202, "%s", web_show(&order));
    EXPECT_NUMBER(received_ghosts(book), 0);
    EXPECT_RECEIVED_KEPT(book, NULL);
    EXPECT_SOUND(stack, sku, 0);
}

#define CASE(name_, function_, ...)                                                                \
    {                                                                                              \
        name_ ": " #function_, function_, NULL, back_to_normal, __VA_ARGS__                        \
    }
#define ONE(mode_, strategy_)                                                                      \
    CASE(#mode_ " " strategy_, every_error_at_one_order, &(place_t){mode_, strategy_})
#define CLASSES(strategy_) CASE(strategy_, one_of_each_class_at_one_order, (void *)strategy_)
#define COMMIT(point_, strategy_)                                                                  \
    CASE(point_ " " strategy_, every_error_at_commit, &(commit_t){point_, strategy_})
#define AFTER(strategy_, alone_)                                                                   \
    CASE(strategy_ " " #alone_, a_lost_commit_then_an_error, &(after_t){strategy_, alone_})
#define REFUSING(name_, mode_, number_, options_)                                                  \
    CASE(name_, lost_then_refusing_then_healthy, &(refusing_t){name_, mode_, number_, options_})

static const suite_t suite = {.name = "errors",
                              .settings = {"orders.answer_deadline_ms=5000",
                                           "orders.commit_deadline_ms=8000",
                                           "mysql.timeout_ms=2000"},
                              .repeats = true,
                              .prepare = prepare,
                              .teardown = back_to_normal};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        ONE(THROWN_ONE_INSERT, "watch"),
        ONE(THROWN_ONE_UPDATE, "watch"),
        COMMIT("commit_refused", "optimistic"),
        COMMIT("commit_done_and_refused", "optimistic"),
        COMMIT("commit_done_and_refused", "serializable"),
        /* Always: */
        ONE(THROWN_ONE_INSERT, "lua"),
        ONE(THROWN_ONE_UPDATE, "lua"),
        CLASSES("lua"),
        CLASSES("watch"),
        CLASSES("optimistic"),
        CLASSES("serializable"),
        CASE("lua", status_names_what_is_set_aside, NULL),
        CASE("an unknown error", a_failing_item_delays_no_other, &(unsigned){1644}),
        CASE("a verdict", a_failing_item_delays_no_other, &(unsigned){4025}),
        COMMIT("commit_refused", "lua"),
        COMMIT("commit_done_and_refused", "lua"),
        CASE("INSERT", errors_at_all_orders, &(place_t){THROWN_ALL_INSERTS, "INSERT"}),
        CASE("UPDATE", errors_at_all_orders, &(place_t){THROWN_ALL_UPDATES, "UPDATE"}),
        CASE("refused", errors_at_all_commits, (void *)"commit_refused"),
        CASE("done", errors_at_all_commits, (void *)"commit_done_and_refused"),
        AFTER("lua", false),
        AFTER("lua", true),
        AFTER("watch", true),
        AFTER("optimistic", true),
        AFTER("serializable", false),
        CASE("lua", a_lost_commit_then_a_read_only_session, (void *)"lua"),
        CASE("optimistic", a_lost_commit_then_a_read_only_session, (void *)"optimistic"),
        CASE("storm", innodb_is_read_only, NULL),
        CASE("storm", the_table_is_away, NULL),
        REFUSING("read-only", THROWN_NOT, 1, "--innodb-read-only=1"),
        REFUSING("an unknown error", THROWN_ALL_INSERTS, 1036, NULL),
        REFUSING("a verdict for all", THROWN_ALL_INSERTS, 1264, NULL),
        REFUSING("a verdict at UPDATE", THROWN_ALL_UPDATES, 1264, NULL),
    };
    size_t from = chance_is_long() ? 0 : 5;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
