/*
 * A hostile network, by connections: readers and writers that take their time, halves of requests,
 * thousands that are idle, floods. Each is bounded, leaves nothing behind, and keeps no
 * well-behaved buyer from buying. What HTTP/2 offers besides is in test_hostile_h2.c.
 */
#include <errno.h>

#include "integration/hostile.h"

/* --- slow ones --- */

/* Thousands of requests on each connection, and no answer is ever read. */
static void readers_that_never_read_are_cut_off(void **state)
{
    (void)state;
    enum { READERS = 6, REQUESTS = 600000 };
    const char *all = test_repeat("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", REQUESTS);
    int fds[READERS];
    long long ended = attack_metric(stack, "http_connections_ended_total");
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < READERS; ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT(attack_send(fds[i], all, strlen(all), 1000) < strlen(all), "all of it was taken");
    }
    /* Nobody reads here either: whether they are cut off is seen in what the service counts. */
    WAIT_UNTIL(attack_metric(stack, "http_connections_ended_total") >= ended + READERS);
    attack_buyer_stop(5);
    expect_all_as_before();
    close_all(fds, READERS);
}

/* A byte every 100 ms: more than the time that a whole request may take. */
static void writers_that_take_their_time_are_cut_off(void **state)
{
    (void)state;
    enum { WRITERS = 60 };
    const char *head = "POST /v1/orders HTTP/1.1\r\nHost: h\r\nX-Header: aaaaaaaaaaaaaaaaaaaaaaaaa";
    const char *body = "POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n";
    int fds[WRITERS];
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < WRITERS; ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT(fds[i] >= 0, "no connection");
        if (i % 2 == 1) /* this one is slow with its body */
            EXPECT_NUMBER(attack_send(fds[i], body, strlen(body), SLACK_MS), strlen(body));
    }
    unsigned open = WRITERS;
    for (int tick = 0; tick < (IDLE_MS + SLACK_MS) / 100 && open != 0; ++tick) {
        open = 0;
        for (size_t i = 0; i < WRITERS; ++i) {
            const char *byte = i % 2 == 1 ? " " : head + tick % (int)strlen(head);
            open += attack_send(fds[i], byte, 1, 0) == 1;
        }
        usleep(100000);
    }
    EXPECT(open == 0, "%u may still write", open);
    attack_buyer_stop(5);
    close_all(fds, WRITERS);
    expect_all_as_before();
}

static void halves_are_cut_off(void **state)
{
    (void)state;
    enum { HALVES = 600 };
    static const char *const said[] = {
        "",
        "P",
        "POST /v1/orders HTTP/1.1\r\nHost: h\r\n",
        "POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n{\"sku\":",
        "POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc",
        "PRI * HTTP/2.0\r\n\r\nSM"};
    int fds[HALVES];
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < HALVES; ++i) {
        const char *half = said[i % TEST_COUNT(said)];
        fds[i] = attack_connect(stack->url);
        EXPECT(fds[i] >= 0, "no connection");
        EXPECT_NUMBER(attack_send(fds[i], half, strlen(half), SLACK_MS), strlen(half));
        if (i % 3 == 0) {
            attack_reset(fds[i]);
            fds[i] = -1;
        }
    }
    expect_all_closed(fds, HALVES);
    attack_buyer_stop(5);
    close_all(fds, HALVES);
    expect_all_as_before();
}

/* Orders that were asked for are made, whoever resets; and nothing hangs on the connection. */
static void resets_in_the_middle_of_purchases_leave_nothing(void **state)
{
    (void)state;
    enum { PURCHASES = 400 };
    const char *mine = sale_item(stack, "reset", "\"total\":1000,\"strategy\":\"lua\"");
    for (int i = 0; i < PURCHASES; ++i) {
        const char *body =
            test_text("{\"sku\":\"%s\",\"buyer_id\":\"r%d\",\"quantity\":1}", mine, i);
        const char *request = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: "
                                        "%zu\r\n\r\n%s",
                                        strlen(body), body);
        int fd = attack_connect(stack->url);
        EXPECT(fd >= 0, "no connection");
        attack_send(fd, request, strlen(request), SLACK_MS);
        if (i % 2 == 0)
            usleep(1000);
        attack_reset(fd);
    }
    expect_all_as_before();
    WAIT_UNTIL(attack_metric(stack, "purchases_in_flight") == 0);
    EXPECT_SOUND(stack, mine, 0);
    EXPECT_GATE_AGREES(stack, mine);
}

static void header_blocks_without_end_are_cut_off(void **state)
{
    (void)state;
    enum { SENDERS = 6, BYTES = 32 * 1024 * 1024 };
    const char *lines =
        test_repeat("X-Header: 0123456789012345678901234567890123456789\r\n", BYTES / 52);
    const char *request = test_text("GET /healthz HTTP/1.1\r\nHost: h\r\n%s", lines);
    int fds[SENDERS];
    attack_buyer_start(stack, sku, false);
    for (size_t i = 0; i < SENDERS; ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT(fds[i] >= 0, "no connection");
        EXPECT(attack_send(fds[i], request, strlen(request), IDLE_MS + SLACK_MS) < strlen(request),
               "%zu bytes of headers were taken", strlen(request));
    }
    expect_all_closed(fds, SENDERS);
    attack_buyer_stop(2);
    close_all(fds, SENDERS);
    expect_all_as_before();
}

/* --- many --- */

static void a_flood_of_connections_is_weathered(void **state)
{
    (void)state;
    enum { CONNECTIONS = 6000 };
    unsigned refused = 0;
    attack_buyer_start(stack, sku, false);
    for (int i = 0; i < CONNECTIONS; ++i) {
        int fd = attack_connect(stack->url);
        refused += fd < 0;
        if (fd >= 0 && i % 2 == 0)
            attack_reset(fd);
        else if (fd >= 0)
            close(fd);
    }
    attack_buyer_stop(5);
    EXPECT(refused == 0, "%u of %u were refused", refused, (unsigned)CONNECTIONS);
    expect_all_as_before();
}

/* Opens `count`, and says how many of them the service holds. */
static void open_idle(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT(fds[i] >= 0, "connection %u: %s", i, strerror(errno));
    }
}

/* `count` idle connections, `over` of them above http.connections_max. */
static void idle_connections(unsigned count, unsigned max)
{
    int *fds = test_bytes(count * sizeof(*fds));
    unsigned closed = 0;
    attack_buyer_start(stack, sku, true);
    WAIT_UNTIL(attack_buyer_created() >= 1);
    long long refused = attack_metric(stack, "http_connections_refused_total");
    open_idle(fds, count);
    attack_gauge_t full = attack_gauge(stack->pid);
    print_message("    %u connections, %u allowed: descriptors %u, resident %ld MB\n", count, max,
                  full.descriptors, full.rss_kb / 1024);
    EXPECT(full.descriptors <= before.descriptors + max + 64, "%u descriptors", full.descriptors);
    unsigned created = attack_buyer_created();
    WAIT_UNTIL(attack_buyer_created() >= created + 5); /* he is served, full or not */
    for (unsigned i = 0; i < count; ++i)
        closed += attack_is_closed(fds[i], 0);
    unsigned over = count + 1 > max ? count + 1 - max : 0; /* the buyer has one */
    EXPECT(closed >= over, "%u of %u are closed, %u are above the limit", closed, count, over);
    attack_buyer_stop(5);
    close_all(fds, count);
    expect_all_as_before();
    EXPECT(attack_metric(stack, "http_connections_refused_total") >= refused + (int)over,
           "not all that are above the limit were counted");
}

static void more_idle_connections_than_allowed(void **state)
{
    (void)state;
    idle_connections(3000, 2000);
}

/* The default bound, reached and passed. */
static void ten_thousand_idle_connections(void **state)
{
    (void)state;
    unsigned may = attack_raise_open_files(12000 + 200), count = may - 200;
    if (count < 12000)
        print_error("THIS MACHINE ALLOWS %u OPEN FILES: ONLY %u CONNECTIONS ARE TRIED\n", may,
                    count);
    STACK_AGAIN(stack, "http.connections_max=", "http.idle_timeout_ms=60000");
    measure("warm-again");
    idle_connections(count, 10000);
}

static void it_ends_cleanly_under_attack(void **state)
{
    (void)state;
    enum { EACH = 50 };
    const char *all = test_repeat("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", 20000);
    int fds[3 * EACH];
    for (size_t i = 0; i < TEST_COUNT(fds); ++i) {
        fds[i] = attack_connect(stack->url);
        EXPECT(fds[i] >= 0, "no connection");
        if (i % 3 == 0)
            attack_send(fds[i], all, strlen(all), 0);
        else if (i % 3 == 1)
            attack_send(fds[i], "POST /v1/orders HTTP/1.1\r\nHo", 28, 0);
    }
    expect_a_clean_end(fds, TEST_COUNT(fds));
}

static const suite_t suite = {.name = "hostile",
                              .settings = {HOSTILE_SETTINGS, "http.connections_max=2000"},
                              .prepare = put_on_sale,
                              .teardown = attack_teardown};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(readers_that_never_read_are_cut_off),
        TEST(writers_that_take_their_time_are_cut_off),
        TEST(halves_are_cut_off),
        TEST(resets_in_the_middle_of_purchases_leave_nothing),
        TEST(header_blocks_without_end_are_cut_off),
        TEST(a_flood_of_connections_is_weathered),
        TEST(more_idle_connections_than_allowed),
        TEST(ten_thousand_idle_connections),
        TEST(it_ends_cleanly_under_attack),
    };
    attack_raise_open_files(8192);
    keep_little_freed_memory();
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
