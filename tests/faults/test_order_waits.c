/*
 * GET of an order with wait_ms: it is answered when the order ends, at this node and at others,
 * whatever dies or moves meanwhile, and costs no thread and no statement of its own. An order that
 * a node has in hand is read from its memory.
 */
#include <pthread.h>
#include <signal.h>

#include "harness/attack.h"
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/suite.h"

#define ACCEPTED "\"total\":%d,\"acknowledge\":\"accepted\""

/* A wait that ends by nothing but its order's end: the test is over before. */
#define LONG "600000"

/* Its writer waits for this lock, so that its orders stay `reserved`. */
static MYSQL *lock;

static void lock_row(const char *sku)
{
    lock = mysqld_hold(stack, rows_shard_of(stack, sku),
                       "SELECT * FROM holdfast.inventory WHERE sku = '%s' FOR UPDATE", sku);
}

static void unlock_row(void)
{
    if (lock != NULL)
        mysql_close(lock);
    lock = NULL;
}

static int unlocked(void **state)
{
    unlock_row();
    fault_disarm(stack);
    fault_disarm(node);
    return test_teardown(state);
}

/* An order that is answered 202; what a slow machine answers 503 is sent again. */
static const char *order_at(const test_stack_t *at, const char *sku, const char *buyer)
{
    web_answer_t answer = {0};
    WAIT_UNTIL((answer = sale_buy(at, sku, buyer, 1, NULL)).status != 503);
    EXPECT_STATUS(answer, 202);
    return sale_id(&answer);
}

/* The items are known, so that an order is answered by memory and Redis alone. */
static const char *locked_item(const char *name)
{
    const char *sku = sale_item(stack, name, ACCEPTED, 20000);
    sale_order(stack, sku, "first", 1, NULL);
    sale_order(node, sku, "second", 1, NULL);
    lock_row(sku);
    return sku;
}

static const char *path_of(const char *id, const char *wait_ms)
{
    return test_text("/v1/orders/%s%s%s", id, wait_ms[0] == '\0' ? "" : "?wait_ms=", wait_ms);
}

static web_answer_t get(const test_stack_t *at, const char *id, const char *wait_ms)
{
    return WEB(.base = at->url, .path = path_of(id, wait_ms), .timeout_ms = TEST_WAIT_MS);
}

static void expect_state(const web_answer_t *answer, const char *state)
{
    web_expect_status(__FILE__, __LINE__, answer, 200);
    EXPECT(strcmp(sale_state(answer), state) == 0, "not %s: %s", state, web_show(answer));
}

static long long waiting(const test_stack_t *at)
{
    return attack_metric(at, "order_waits");
}

/* --- those who wait: each on a thread and a connection of its own --- */

typedef struct {
    pthread_t thread;
    const test_stack_t *at;
    const char *id, *wait_ms;
    web_answer_t answer;
} waiter_t;

/* Here, because a case that fails leaves some behind. */
enum { FEW = 12 };
static waiter_t waiters[4 * FEW];

static void *wait_for_end(void *context)
{
    waiter_t *waiter = context;
    waiter->answer = get(waiter->at, waiter->id, waiter->wait_ms);
    return NULL;
}

static void waiter_start(waiter_t *waiter)
{
    EXPECT_NUMBER(pthread_create(&waiter->thread, NULL, wait_for_end, waiter), 0);
}

static void waiter_expect(waiter_t *waiter, const char *state)
{
    pthread_join(waiter->thread, NULL);
    expect_state(&waiter->answer, state);
    EXPECT(strcmp(sale_id(&waiter->answer), waiter->id) == 0, "%s", web_show(&waiter->answer));
}

/* All are on the list when it returns. */
static void start_all(waiter_t *all, unsigned count, const test_stack_t *at, const char *id)
{
    long long before = waiting(at);
    for (unsigned i = 0; i < count; ++i) {
        all[i] = (waiter_t){.at = at, .id = id, .wait_ms = LONG};
        waiter_start(&all[i]);
    }
    WAIT_UNTIL(waiting(at) == before + count);
}

/* --- the end of a wait --- */

static void all_hear_the_commit(void **state)
{
    (void)state;
    const char *id = order_at(stack, locked_item("commit"), "buyer");
    start_all(waiters, FEW, stack, id);
    web_answer_t plain = get(stack, id, "");
    expect_state(&plain, "reserved");
    unlock_row();
    for (unsigned i = 0; i < FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
    EXPECT_NUMBER(waiting(stack), 0);
}

static void a_wait_is_over_in_time(void **state)
{
    (void)state;
    const char *id = order_at(stack, locked_item("over"), "buyer");
    const test_stack_t *const nodes[] = {stack, node};
    for (unsigned i = 0; i < TEST_COUNT(nodes); ++i) {
        long long begun_ms = test_clock_ms();
        web_answer_t answer = get(nodes[i], id, "400");
        expect_state(&answer, "reserved");
        EXPECT(test_clock_ms() - begun_ms >= 400, "it did not wait");
        EXPECT_NUMBER(waiting(nodes[i]), 0);
    }
    web_answer_t none = get(stack, id, "0");
    expect_state(&none, "reserved");
}

static void an_order_that_has_ended_is_answered_at_once(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "ended", "\"total\":9,\"hold_seconds\":600");
    const char *id = sale_order(stack, sku, "buyer", 1, NULL);
    const test_stack_t *const nodes[] = {stack, node};
    for (unsigned i = 0; i < TEST_COUNT(nodes); ++i) {
        web_answer_t answer = get(nodes[i], id, "3600000"); /* is cut to orders.wait_max_ms */
        expect_state(&answer, "held");
    }
    web_answer_t moved = sale_move(stack, id, "confirm");
    EXPECT_STATUS(moved, 200);
    web_answer_t answer = get(node, id, "99999999999999999999");
    expect_state(&answer, "confirmed");
}

static void bad_waits_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"wait_ms=",    "wait_ms",     "wait_ms=-1",
                                      "wait_ms=1.5", "wait_ms=1s",  "wait_ms=1&wait_ms=1",
                                      "wait_ms=+1",  "wait_ms=%31", "wait_ms=0x1"};
    const char *id = "01900000-0000-7000-8000-000000000000";
    for (unsigned i = 0; i < TEST_COUNT(bad); ++i) {
        web_answer_t answer =
            WEB(.base = stack->url, .path = test_text("/v1/orders/%s?%s", id, bad[i]));
        EXPECT_PROBLEM(answer, 400, "invalid_request");
        EXPECT(strstr(answer.body, "wait_ms") != NULL, "%s", web_show(&answer));
    }
}

static void nobody_waits_for_an_unknown_order(void **state)
{
    (void)state;
    web_answer_t answer = get(stack, "01900000-0000-7000-8000-000000000000", LONG);
    EXPECT_PROBLEM(answer, 404, "unknown_order");
    answer = get(stack, "order", LONG);
    EXPECT_PROBLEM(answer, 404, "unknown_order");
}

/* --- another node --- */

static void waits_at_another_node_share_a_select(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "far", ACCEPTED, 100);
    unsigned shard = rows_shard_of(stack, sku);
    sale_order(stack, sku, "first", 1, NULL);
    fault_arm(stack, "writer_before_commit pause=6000 times=1\n");
    for (unsigned i = 0; i < 4; ++i)
        start_all(waiters + i * FEW, FEW, node, order_at(stack, sku, test_text("buyer%u", i)));
    EXPECT_FAULT(stack, "writer_before_commit");
    long long begun_ms = test_clock_ms(), begun = mysqld_status(stack, shard, "Com_select");
    long long polls = attack_metric(node, "order_polls_total");
    WAIT_UNTIL(attack_metric(node, "order_polls_total") >= polls + 20);
    polls = attack_metric(node, "order_polls_total") - polls;
    long long selects = mysqld_status(stack, shard, "Com_select") - begun;
    long long took_ms = test_clock_ms() - begun_ms;
    EXPECT(polls <= took_ms / 50 + 2, "%lld polls in %lld ms", polls, took_ms);
    /* Others read too: the housekeeping of two services. By themselves all would send 48 a time. */
    EXPECT(selects >= polls - 2 && selects <= polls + took_ms / 10 + 20,
           "%lld SELECTs, %lld of them polls, in %lld ms", selects, polls, took_ms);
    for (unsigned i = 0; i < 4 * FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
    WAIT_UNTIL(waiting(node) == 0);
}

static void they_hear_of_an_order_whose_node_is_killed(void **state)
{
    (void)state;
    const char *id = order_at(node, locked_item("killed"), "buyer");
    start_all(waiters, FEW, stack, id);
    process_signal(node->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(node->pid));
    unlock_row();
    for (unsigned i = 0; i < FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
}

/* Whatever is away: who waits hears nothing that is not so, and hears the end. */
static void servers_are_away_meanwhile(void **state)
{
    bool is_redis = strcmp(*state, "Redis") == 0;
    waiter_t short_one = {.at = stack, .wait_ms = "200"};
    const char *sku = locked_item("away"), *id = order_at(node, sku, "buyer");
    pid_t away = is_redis ? stack->redis_pid : stack->mysql_pids[rows_shard_of(stack, sku)];
    start_all(waiters, FEW, stack, id);
    process_signal(away, SIGSTOP);
    short_one.id = id;
    waiter_start(&short_one);
    pthread_join(short_one.thread, NULL);
    process_signal(away, SIGCONT);
    EXPECT(short_one.answer.status == 503 || strcmp(sale_state(&short_one.answer), "reserved") == 0,
           "%s", web_show(&short_one.answer));
    unlock_row();
    for (unsigned i = 0; i < FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
}

/* --- moves --- */

/* The row is in MySQL, and the node has not heard of it: until a move finds it, it is `reserved`
   here. After the move no read shows an older state. */
static void a_move_is_seen_by_all_later_reads(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "moved", ACCEPTED ",\"hold_seconds\":600", 100);
    sale_order(stack, sku, "first", 1, NULL);
    fault_arm(stack, "writer_after_commit pause=5000 times=1\n");
    const char *id = order_at(stack, sku, "buyer");
    EXPECT_FAULT(stack, "writer_after_commit");
    start_all(waiters, FEW, stack, id);
    web_answer_t answer = get(stack, id, "");
    expect_state(&answer, "reserved");
    answer = sale_move(stack, id, "confirm");
    expect_state(&answer, "confirmed");
    for (unsigned i = 0; i < 20; ++i) { /* on new connections: on either loop */
        answer = WEB(.base = stack->url, .path = path_of(id, ""), .sent_once = true);
        expect_state(&answer, "confirmed");
    }
    for (unsigned i = 0; i < FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
}

/* --- connections --- */

static int send_get(const char *id)
{
    const char *text = test_text("GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path_of(id, LONG));
    int fd = web_connect(stack->url);
    EXPECT(fd >= 0, "no connection");
    EXPECT_NUMBER(attack_send(fd, text, strlen(text), 5000), strlen(text));
    return fd;
}

static int send_h2_get(const char *id, unsigned streams, const char *wait_ms)
{
    h2_bytes_t bytes = {0};
    int fd = h2_connect(stack->url);
    for (unsigned i = 0; i < streams; ++i)
        h2_add_request(&bytes, 2 * i + 1, "GET", path_of(id, wait_ms), NULL);
    EXPECT_NUMBER(attack_send(fd, bytes.bytes, bytes.n, 5000), bytes.n);
    return fd;
}

static void a_client_that_goes_waits_no_more(void **state)
{
    (void)state;
    h2_bytes_t reset = {0};
    const char *id = order_at(stack, locked_item("gone"), "buyer");
    int first = send_get(id), second = send_h2_get(id, 3, LONG);
    WAIT_UNTIL(waiting(stack) == 4);
    h2_add_reset(&reset, 3);
    EXPECT_NUMBER(attack_send(second, reset.bytes, reset.n, 5000), reset.n);
    WAIT_UNTIL(waiting(stack) == 3);
    attack_reset(first);
    WAIT_UNTIL(waiting(stack) == 2);
    close(second);
    WAIT_UNTIL(waiting(stack) == 0);
}

/* How many streams end with an answer. */
static unsigned count_answers(int fd, unsigned streams)
{
    h2_frame_t frame;
    unsigned ended = 0;
    while (ended < streams && h2_read_frame(fd, &frame, TEST_WAIT_MS))
        ended += frame.type == H2_DATA && (frame.flags & H2_END_STREAM) != 0 &&
                 memmem(frame.payload, frame.length, "order_id", 8) != NULL;
    return ended;
}

/* http.idle_timeout_ms is 500 here. */
static void a_connection_that_waits_is_not_idle(void **state)
{
    (void)state;
    const char *id = order_at(stack, locked_item("idle"), "buyer");
    waiter_t waiter = {.at = stack, .id = id, .wait_ms = "3500"};
    waiter_start(&waiter);
    int fd = send_h2_get(id, 2, "3500");
    EXPECT_NUMBER(count_answers(fd, 2), 2);
    close(fd);
    waiter_expect(&waiter, "reserved");
}

static long long threads_of(pid_t pid)
{
    char line[256];
    long long threads = 0;
    FILE *in = fopen(test_text("/proc/%d/status", (int)pid), "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, "Threads:", 8) == 0)
            threads = atoll(line + 8);
    if (in != NULL)
        fclose(in);
    return threads;
}

enum { CONNECTIONS = 100, STREAMS = 100 };

static void ten_thousand_wait(void **state)
{
    (void)state;
    int fds[CONNECTIONS];
    const char *ids[CONNECTIONS], *sku = locked_item("many");
    long long threads = threads_of(stack->pid);
    for (unsigned i = 0; i < CONNECTIONS; ++i)
        ids[i] = order_at(stack, sku, test_text("buyer%u", i));
    long long polls = attack_metric(stack, "order_polls_total");
    for (unsigned i = 0; i < CONNECTIONS; ++i)
        fds[i] = send_h2_get(ids[i], STREAMS, LONG);
    WAIT_UNTIL(waiting(stack) == CONNECTIONS * STREAMS);
    EXPECT_NUMBER(threads_of(stack->pid), threads);
    EXPECT_NUMBER(attack_metric(stack, "order_polls_total"), polls);
    unlock_row();
    for (unsigned i = 0; i < CONNECTIONS; ++i) {
        EXPECT_NUMBER(count_answers(fds[i], STREAMS), STREAMS);
        close(fds[i]);
    }
    EXPECT_NUMBER(waiting(stack), 0);
}

/* --- bounds and the end of a process --- */

static void beyond_the_bound_nobody_waits(void **state)
{
    (void)state;
    test_stack_t *small = STACK_NODE_START(stack, 3, "orders.waiters_max=12");
    const char *id = order_at(stack, locked_item("bound"), "buyer");
    start_all(waiters, FEW, small, id);
    web_answer_t answer = get(small, id, LONG);
    expect_state(&answer, "reserved");
    EXPECT_NUMBER(attack_metric(small, "order_waits_refused_total"), 1);
    unlock_row();
    for (unsigned i = 0; i < FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
    stack_node_stop(small);
}

/* A SELECT that began before a move is no answer to a read that began after it. */
static void nobody_hears_a_state_that_is_older_than_his_request(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "stale", "\"total\":100,\"hold_seconds\":600");
    const char *id = sale_order(stack, sku, "buyer", 1, NULL);
    fault_arm(stack, "order_polls_read pause=3000 times=1\n");
    waiters[0] = (waiter_t){.at = stack, .id = id, .wait_ms = LONG};
    waiter_start(&waiters[0]);
    EXPECT_FAULT(stack, "order_polls_read");
    web_answer_t answer = sale_move(stack, id, "confirm");
    expect_state(&answer, "confirmed");
    for (unsigned i = 1; i <= FEW; ++i) { /* on either loop */
        waiters[i] = (waiter_t){.at = stack, .id = id, .wait_ms = LONG};
        waiter_start(&waiters[i]);
    }
    for (unsigned i = 1; i <= FEW; ++i)
        waiter_expect(&waiters[i], "confirmed");
    pthread_join(waiters[0].thread, NULL); /* it may hear either */
    EXPECT_STATUS(waiters[0].answer, 200);
}

/* Some wait for an order of this node, some for an order of another. */
static void wait_at_node(const char *name)
{
    const char *sku = locked_item(name);
    start_all(waiters, FEW, node, order_at(node, sku, "near"));
    start_all(waiters + FEW, FEW, node, order_at(stack, sku, "far"));
}

static void end_of_node_answers_all(void)
{
    process_signal(node->pid, SIGTERM);
    for (unsigned i = 0; i < 2 * FEW; ++i)
        waiter_expect(&waiters[i], "reserved");
    unlock_row();
    WAIT_UNTIL(process_is_gone(node->pid));
}

/* As one that waits for a silent server: the process ends without it, at its deadline. */
static void a_thread_that_hangs_does_not_hold_up_the_answers(void **state)
{
    (void)state;
    fault_arm(node, "reconcile_compared pause=60000\n");
    wait_at_node("hangs");
    EXPECT_FAULT(node, "reconcile_compared");
    end_of_node_answers_all();
    fault_disarm(node);
    stack_node_again(node);
}

static void the_end_of_a_process_answers_all(void **state)
{
    (void)state;
    wait_at_node("end");
    end_of_node_answers_all();
    EXPECT(!stack_log_has(node, "did not end in time"), "something held up the end");
    stack_node_again(node);
}

int main(void)
{
    static const suite_t suite = {.name = "order-waits",
                                  .settings = {"http.threads=2", "http.http2=true",
                                               "http.idle_timeout_ms=500",
                                               "orders.wait_max_ms=600000"},
                                  .pair = true,
                                  .setup = suite_pair_up,
                                  .teardown = unlocked};
    const struct CMUnitTest tests[] = {
        TEST(all_hear_the_commit),
        TEST(a_wait_is_over_in_time),
        TEST(an_order_that_has_ended_is_answered_at_once),
        TEST(bad_waits_are_refused),
        TEST(nobody_waits_for_an_unknown_order),
        TEST(waits_at_another_node_share_a_select),
        TEST(they_hear_of_an_order_whose_node_is_killed),
        UNDER("Redis", servers_are_away_meanwhile),
        UNDER("MySQL", servers_are_away_meanwhile),
        TEST(a_move_is_seen_by_all_later_reads),
        TEST(a_client_that_goes_waits_no_more),
        TEST(a_connection_that_waits_is_not_idle),
        TEST(ten_thousand_wait),
        TEST(beyond_the_bound_nobody_waits),
        TEST(nobody_hears_a_state_that_is_older_than_his_request),
        TEST(the_end_of_a_process_answers_all),
        TEST(a_thread_that_hangs_does_not_hold_up_the_answers), /* the last: its log says so */
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
