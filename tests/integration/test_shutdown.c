/*
 * The end of a process, and full queues: SIGTERM drains, nothing that was started is dropped, and a
 * buyer for whom there is no place hears so at once. On a stack of its own, whose service is
 * started again and again with other settings.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

/* --- SIGTERM --- */

typedef struct {
    unsigned at;
    int signal;
    bool sent;
} ender_t;

static void end_in_the_middle(void *context, unsigned answers, unsigned created)
{
    ender_t *ender = context;
    (void)created;
    if (answers < ender->at || ender->sent)
        return;
    process_signal(stack->pid, ender->signal);
    ender->sent = true;
}

/* Looks at readyz all the time: what it says between 200 and silence. */
typedef struct {
    atomic_bool stop;
    pthread_t thread;
    unsigned ready, draining, odd;
} watcher_t;

static void *watch_readiness(void *context)
{
    watcher_t *watcher = context;
    while (!atomic_load(&watcher->stop)) {
        web_answer_t ready = WEB(.base = stack->url, .path = "/readyz");
        if (ready.status == 200)
            ++watcher->ready;
        else if (ready.status == 503)
            ++watcher->draining;
        else if (!ready.refused)
            ++watcher->odd;
        usleep(20000);
    }
    return NULL;
}

/* By itself: at its deadline it would say so. */
static void expect_ended(void)
{
    WAIT_UNTIL(process_is_gone(stack->pid));
    EXPECT(!stack_log_has(stack, "did not end in time"), "something held up the end");
}

static void sigterm_in_the_middle_of_a_crowd_loses_nothing(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "term", "\"total\":3000,\"strategy\":\"%s\"", strategy);
    ender_t ender = {.at = 150, .signal = SIGTERM};
    watcher_t watcher = {.ready = 0};
    if (pthread_create(&watcher.thread, NULL, watch_readiness, &watcher) != 0)
        FAIL("no thread");
    sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = stack,
                                                  .sku = sku,
                                                  .buyers = 8000,
                                                  .connections = 16,
                                                  .after = end_in_the_middle,
                                                  .context = &ender});
    atomic_store(&watcher.stop, true);
    pthread_join(watcher.thread, NULL);
    EXPECT(ender.sent, "%s", sale_show(&tally));
    expect_ended();
    EXPECT_NUMBER(sale_count_live(stack, tally.ids, tally.created), tally.created);
    EXPECT(tally.created >= 150 || tally.sold_out > 0, "%s", sale_show(&tally));
    EXPECT(tally.unanswered == 0 && tally.odd == NULL, "%s", sale_show(&tally));
    EXPECT(watcher.draining > 0 && watcher.odd == 0, "readyz: 200 %u, 503 %u, no answer %u",
           watcher.ready, watcher.draining, watcher.odd);

    stack_again(stack, NULL, 0);
    unsigned late = sale_settle_pending(stack, &tally);
    EXPECT(sale_live_orders(stack, sku) == tally.created + late, "%lld live, %s",
           sale_live_orders(stack, sku), sale_show(&tally));
    EXPECT_SOUND(stack, sku, 0);
    web_answer_t order = sale_buy(stack, sku, "after", 1, "after");
    EXPECT(order.status == 201 || web_has_code(&order, "sold_out"), "%s", web_show(&order));
    EXPECT_GATE_AGREES(stack, sku);
}

typedef struct {
    const char *sku;
    web_answer_t answer;
    pthread_t thread;
} buyer_t;

static void *buy(void *context)
{
    buyer_t *buyer = context;
    buyer->answer = sale_buy(stack, buyer->sku, "patient", 3, NULL);
    return NULL;
}

/* It waits at a frozen gate, neither with the writer nor with the pool: only its loop knows of it,
   and its connection is silent for longer than an idle one may be. */
static void a_purchase_that_waits_at_the_gate_is_answered_before_the_end(void **state)
{
    const char *strategy = *state;
    STACK_AGAIN(stack, "orders.answer_deadline_ms=8000", "orders.commit_deadline_ms=9000");
    const char *sku = sale_item(stack, "drain", "\"total\":9,\"strategy\":\"%s\"", strategy);
    buyer_t buyer = {.sku = sku};
    sale_order(stack, sku, "first", 1, NULL); /* has the gate built */
    long long frozen_until_ms = sale_now_ms() + 4000;
    redis_run(stack, "HSET %s frozen_until %lld", redis_key(stack, "gate", sku), frozen_until_ms);
    EXPECT_NUMBER(pthread_create(&buyer.thread, NULL, buy, &buyer), 0);
    WAIT_UNTIL(fault_metric(stack, "purchases_in_flight") == 1);
    process_signal(stack->pid, SIGTERM);
    pthread_join(buyer.thread, NULL);
    EXPECT(sale_now_ms() >= frozen_until_ms, "it did not wait");
    expect_ended();
    EXPECT_STATUS(buyer.answer, 201);
    EXPECT_NUMBER(sale_live_units(stack, sku), 4);
    EXPECT_GATE_AGREES(stack, sku); /* with nobody there to mend it */
    STACK_AGAIN(stack, "orders.answer_deadline_ms=", "orders.commit_deadline_ms=");
}

static void idle_connections_do_not_hold_up_the_end(void **state)
{
    (void)state;
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    int idle[20];
    /* By themselves they last for longer than the process may take to end. */
    STACK_AGAIN(stack, "http.idle_timeout_ms=600000");
    for (size_t i = 0; i < TEST_COUNT(idle); ++i) {
        idle[i] = web_connect(stack->url);
        EXPECT(idle[i] >= 0, "no connection");
        if (i % 2 == 0)
            continue; /* never says anything */
        EXPECT_NUMBER(write(idle[i], request, sizeof(request) - 1), sizeof(request) - 1);
        web_answer_t healthy = web_read(idle[i], TEST_WAIT_MS);
        EXPECT_STATUS(healthy, 200);
    }
    process_signal(stack->pid, SIGTERM);
    expect_ended();
    for (size_t i = 0; i < TEST_COUNT(idle); ++i)
        close(idle[i]);
    STACK_AGAIN(stack, "http.idle_timeout_ms=");
}

static void half_a_request_does_not_hold_up_the_end(void **state)
{
    (void)state;
    static const char half[] =
        "POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{";
    STACK_AGAIN(stack, "shutdown.deadline_ms=5000"); /* its end waits for so long */
    int fd = web_connect(stack->url);
    EXPECT_NUMBER(write(fd, half, sizeof(half) - 1), sizeof(half) - 1);
    usleep(100000);
    process_signal(stack->pid, SIGTERM);
    expect_ended();
    close(fd);
    STACK_AGAIN(stack, "shutdown.deadline_ms=60000");
}

static void a_second_sigterm_does_no_harm(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "twice", "\"total\":5,\"strategy\":\"lua\"");
    web_answer_t order = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_STATUS(order, 201);
    process_signal(stack->pid, SIGTERM);
    usleep(200000);
    if (!process_is_gone(stack->pid))
        process_signal(stack->pid, SIGTERM);
    expect_ended();
    stack_again(stack, NULL, 0);
    EXPECT_NUMBER(sale_live_orders(stack, sku), 1);
}

static void killed_in_the_middle_every_201_is_there(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(stack, "kill", "\"total\":300,\"strategy\":\"%s\"", strategy);
    ender_t ender = {.at = 60, .signal = SIGKILL};
    sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = stack,
                                                  .sku = sku,
                                                  .buyers = 1500,
                                                  .connections = 16,
                                                  .burst = 16,
                                                  .burst_ms = 20,
                                                  .after = end_in_the_middle,
                                                  .context = &ender});
    WAIT_UNTIL(process_is_gone(stack->pid));
    EXPECT(tally.created > 0, "%s", sale_show(&tally));
    EXPECT_NUMBER(sale_count_live(stack, tally.ids, tally.created), tally.created);
    EXPECT_SOUND(stack, sku, 0);
    stack_again(stack, NULL, 0);
    web_answer_t order = sale_buy(stack, sku, "after", 1, "after");
    EXPECT(order.status == 201 || web_has_code(&order, "sold_out"), "%s", web_show(&order));
    EXPECT_SOUND(stack, sku, 0);
}

/* Admitted by the gate, on its way to a MySQL that hangs, and then its process is killed: it ends
   in MySQL all the same, or its unit returns. */
static void an_orphan_ends_or_returns_its_unit(void **state)
{
    const char *strategy = *state;
    STACK_AGAIN(stack, "mysql.writer_queue_max="); /* the default again */
    const char *sku = sale_item(
        stack, "orphan", "\"total\":40,\"acknowledge\":\"accepted\",\"strategy\":\"%s\"", strategy);
    for (int i = 0; i < 30; ++i) /* every loop knows the item */
        sale_buy(stack, sku, test_text("warm-%d", i), 1, NULL);
    WAIT_UNTIL(sale_live_orders(stack, sku) == 30);
    EXPECT_GATE_AGREES(stack, sku);
    pid_t mysql = stack->mysql_pids[rows_shard_of(stack, sku)];
    process_signal(mysql, SIGSTOP);
    web_answer_t orphan = sale_buy(stack, sku, "orphan", 3, NULL);
    process_signal(stack->pid, SIGKILL);
    process_signal(mysql, SIGCONT);
    WAIT_UNTIL(process_is_gone(stack->pid));
    EXPECT_STATUS(orphan, 202);
    stack_again(stack, NULL, 0);
    WAIT_UNTIL(strcmp(sale_state(&(web_answer_t){.json = sale_get(stack, sale_id(&orphan)).json}),
                      "reserved") != 0);
    web_answer_t rest = sale_buy(stack, sku, "rest", (int)sale_available(stack, sku), NULL);
    EXPECT_STATUS(rest, 202);
    WAIT_UNTIL(sale_available(stack, sku) == 0);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- a full queue --- */

static web_request_t next_buyer(void *context, unsigned i)
{
    return sale_request(stack, context, test_text("b%u", i), 1, NULL);
}

typedef struct {
    unsigned at_once, late; /* 503s before any buyer with a permit is answered, and after it */
    unsigned permitted;     /* 201 or 202 */
    unsigned wrong;
} full_t;
static full_t full;

static bool count_full(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context;
    (void)i;
    if (answer->status == 503 && answer->retry_after[0] != '\0')
        *(full.permitted == 0 ? &full.at_once : &full.late) += 1;
    else if (answer->status == 202 || answer->status == 201)
        ++full.permitted;
    else
        ++full.wrong;
    return true;
}

static void a_full_queue_is_503_at_once(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "mysql.writer_queue_max=4");
    const char *sku = sale_item(stack, "full", "\"total\":100,\"strategy\":\"lua\"");
    for (int i = 0; i < 30; ++i) { /* over connections of their own: every loop knows the item */
        web_answer_t warm = sale_buy(stack, sku, test_text("warm-%d", i), 1, NULL);
        EXPECT_STATUS(warm, 201);
    }
    pid_t mysql = stack->mysql_pids[rows_shard_of(stack, sku)];
    full = (full_t){0};
    process_signal(mysql, SIGSTOP);
    web_crowd(&(web_crowd_t){.connections = 24,
                             .count = 24,
                             .request = next_buyer,
                             .answered = count_full,
                             .context = (void *)sku});
    process_signal(mysql, SIGCONT);
    EXPECT(full.wrong == 0 && full.at_once >= 20,
           "503 at once %u, later %u, permitted %u, other %u", full.at_once, full.late,
           full.permitted, full.wrong);
    WAIT_UNTIL(sale_buy(stack, sku, test_text("after-%lld", test_clock_ms()), 1, NULL).status ==
               201);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

static const suite_t suite = {
    .name = "shutdown",
    .settings = {"shutdown.readiness_delay_ms=1000", "mysql.writer_queue_max=512"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", sigterm_in_the_middle_of_a_crowd_loses_nothing),
        UNDER("watch", sigterm_in_the_middle_of_a_crowd_loses_nothing),
        UNDER("optimistic", sigterm_in_the_middle_of_a_crowd_loses_nothing),
        UNDER("lua", a_purchase_that_waits_at_the_gate_is_answered_before_the_end),
        UNDER("watch", a_purchase_that_waits_at_the_gate_is_answered_before_the_end),
        TEST(idle_connections_do_not_hold_up_the_end),
        TEST(half_a_request_does_not_hold_up_the_end),
        TEST(a_second_sigterm_does_no_harm),
        UNDER("lua", killed_in_the_middle_every_201_is_there),
        UNDER("watch", killed_in_the_middle_every_201_is_there),
        UNDER("optimistic", killed_in_the_middle_every_201_is_there),
        TEST(a_full_queue_is_503_at_once),
        UNDER("lua", an_orphan_ends_or_returns_its_unit),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
