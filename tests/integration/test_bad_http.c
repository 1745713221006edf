/*
 * Bad HTTP: lengths, headers, clients that go away (framing: test_smuggling.c). As
 * test_bad_input.c: refused clearly, nothing lost, never a 500, never a crash.
 */
#include <signal.h>
#include <sys/socket.h>

#include "harness/attack.h"
#include "harness/mysqld.h"
#include "integration/aftermath.h"

#define PATIENCE_MS 15000
#define RAW(text_)                                                                                 \
    {                                                                                              \
        text_, sizeof(text_) - 1                                                                   \
    }

static void expect_refused(const char *what, const web_answer_t *answer, long status,
                           const char *code)
{
    const char *fault = answer->status == 0 ? "not given" : web_problem_fault(answer);
    if (answer->status != status || fault != NULL || !web_has_code(answer, code))
        FAIL("%.300s\n  expected %ld %s\n  got %s%s%s", what, status, code, web_show(answer),
             fault == NULL ? "" : ": ", fault == NULL ? "" : fault);
}

/* --- lengths --- */

static void a_long_body_is_413(void **state)
{
    (void)state;
    static const size_t lengths[] = {17000, 100000, 2000000};
    for (size_t i = 0; i < TEST_COUNT(lengths); ++i) {
        const char *body = test_text("{\"sku\":\"%s\"}", test_repeat("s", lengths[i]));
        const char *head = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Type: "
                                     "application/json\r\nContent-Length: %zu\r\n\r\n",
                                     strlen(body));
        const char *request = test_text("%s%s", head, body);
        web_answer_t answer = web_raw(STACK->url, request, strlen(request), PATIENCE_MS);
        expect_refused(test_text("%zu bytes", strlen(body)), &answer, 413, "body_too_large");
        head = test_text("PUT /v1/items/%s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer "
                         "%s\r\nContent-Length: %zu\r\n\r\n",
                         sku, STACK->token, strlen(body));
        request = test_text("%s%s", head, body);
        answer = web_raw(STACK->admin_url, request, strlen(request), PATIENCE_MS);
        expect_refused(test_text("%zu bytes", strlen(body)), &answer, 413, "body_too_large");
    }
    /* Chunked: the length is not said before. */
    const char *chunk = test_text("%x\r\n%s\r\n", 8192, test_repeat("x", 8192));
    const char *request = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                                    "chunked\r\n\r\n%s0\r\n\r\n",
                                    test_repeat(chunk, 6));
    web_answer_t answer = web_raw(STACK->url, request, strlen(request), PATIENCE_MS);
    expect_refused("chunks", &answer, 413, "body_too_large");
}

static void a_body_in_chunks_is_a_body(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "chunks", "\"total\":100,\"strategy\":\"lua\"");
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", mine);
    size_t half = strlen(body) / 2;
    const char *request =
        test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Type: "
                  "application/json\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%.*s"
                  "\r\n%zx\r\n%s\r\n0\r\n\r\n",
                  half, (int)half, body, strlen(body) - half, body + half);
    web_answer_t answer = web_raw(STACK->url, request, strlen(request), PATIENCE_MS);
    EXPECT(answer.status == 201, "%s", web_show(&answer));
}

/* --- broken HTTP --- */

/* Where there is no request to answer, the connection may be closed without a word, or with what
   h2o's parser says by itself, which no filter sees. Any other answer is a refusal in our words. */
static void expect_raw_refusal(const char *base, const char *what, const void *bytes, size_t n)
{
    web_answer_t answer = web_raw(base, bytes, n, PATIENCE_MS);
    EXPECT(!answer.refused, "%s: no connection: the service is gone", what);
    bool by_parser = answer.status == 400 && strcmp(answer.body, "Bad Request") == 0;
    if (answer.status == 0 || by_parser)
        return;
    EXPECT(answer.status >= 400 && answer.status < 500, "%s: %s", what, web_show(&answer));
    EXPECT(web_problem_fault(&answer) == NULL, "%s: a refusal %s: %s", what,
           web_problem_fault(&answer), web_show(&answer));
}

static void broken_http_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
    } requests[] = {
        RAW("\r\n\r\n\r\n\r\nX"),
        RAW("GET\r\n\r\n"),
        RAW("GET /\r\n\r\n"),
        RAW("GET / HTTP/9.9\r\n\r\n"),
        RAW("GET / HTTP/1.1\r\nHost h\r\n\r\n"),
        RAW("GET / HTTP/1.1\r\n: x\r\n\r\n"),
        RAW("GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"),
        RAW("GET /v1/orders/\xff HTTP/1.1\r\nHost: h\r\n\r\n"),
        RAW("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"),
        RAW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no TLS here \r\n\r\n"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: 1e1\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: "
            "99999999999999999999999\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: "
            "18446744073709551617\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n{}"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
            "chunked\r\n\r\nzz\r\n{}\r\n0\r\n"
            "\r\n"),
        RAW("POST /v1/orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    };
    const char *const bases[] = {STACK->url, STACK->admin_url};
    for (size_t b = 0; b < TEST_COUNT(bases); ++b)
        for (size_t i = 0; i < TEST_COUNT(requests); ++i)
            expect_raw_refusal(bases[b], test_text("number %zu: %s", i, requests[i].bytes),
                               requests[i].bytes, requests[i].length);
}

static void too_many_headers_are_refused(void **state)
{
    (void)state;
    const char *const bases[] = {STACK->url, STACK->admin_url};
    for (size_t b = 0; b < TEST_COUNT(bases); ++b) {
        const char *many = test_text("GET /healthz HTTP/1.1\r\nHost: h\r\n%s\r\n",
                                     test_repeat("X-Header: value\r\n", 2000));
        expect_raw_refusal(bases[b], "2,000 headers", many, strlen(many));
        const char *big = test_text("GET /healthz HTTP/1.1\r\nHost: h\r\nX-Big: %s\r\n\r\n",
                                    test_repeat("x", 1000000));
        expect_raw_refusal(bases[b], "a header of a megabyte", big, strlen(big));
    }
}

/* A client that sends a byte now and then, or goes away in the middle, costs nothing. */
static void clients_that_go_away_leave_no_trace(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "gone", "\"total\":500,\"strategy\":\"lua\"");
    for (int i = 0; i < 40; ++i) {
        const char *body =
            test_text("{\"sku\":\"%s\",\"buyer_id\":\"g%d\",\"quantity\":1}", mine, i);
        const char *request = test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Length: "
                                        "%zu\r\n\r\n%s",
                                        strlen(body), body);
        int fd = web_connect(STACK->url);
        EXPECT(fd >= 0, "no connection");
        size_t n = i % 4 == 0 ? strlen(request) / 2 : strlen(request);
        EXPECT_NUMBER(write(fd, request, n), n);
        close(fd); /* without reading */
    }
    usleep(300000);
    WAIT_UNTIL(attack_metric(STACK, "purchases_in_flight") == 0);
    /* Whole requests were orders, whoever was there to hear of it; halves were none. */
    WAIT_UNTIL(sale_live_orders(STACK, mine) == sale_allocated(STACK, mine));
    EXPECT(sale_live_orders(STACK, mine) <= 30, "%lld orders of 30 whole requests",
           sale_live_orders(STACK, mine));
    EXPECT_SOUND(STACK, mine, 0);
    EXPECT_GATE_AGREES(STACK, mine);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    static const char three[] = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
                                "GET /v1/orders/x HTTP/1.1\r\nHost: h\r\n\r\n"
                                "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    int fd = web_connect(STACK->url);
    EXPECT_NUMBER(write(fd, three, sizeof(three) - 1), sizeof(three) - 1);
    char all[8192] = "";
    size_t n = 0;
    ssize_t got;
    while ((got = read(fd, all + n, sizeof(all) - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    const char *a = strstr(all, "200 OK"), *b = strstr(all, "unknown_order"),
               *c = strstr(all, "not_found");
    EXPECT(a != NULL && b != NULL && c != NULL && a < b && b < c, "%s", all);
}

/* --- what is sent while a purchase is at work --- */

static const char *purchase_of(const char *mine, const char *buyer)
{
    const char *body =
        test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", mine, buyer);
    return test_text("POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     strlen(body), body);
}

static void send_text(int fd, const char *text)
{
    EXPECT_NUMBER(attack_send(fd, text, strlen(text), PATIENCE_MS), strlen(text));
}

/* A connection whose purchase by `buyer` has passed the gate and waits for the lock of its row. */
static int begin_purchase(const char *mine, const char *buyer, MYSQL **user)
{
    WAIT_UNTIL(redis_view(STACK, mine).unsettled == 0);
    *user = mysqld_hold(STACK, rows_shard_of(STACK, mine),
                        "SELECT total FROM inventory WHERE sku = '%s' FOR UPDATE", mine);
    int fd = web_connect(STACK->url);
    EXPECT(fd >= 0, "no connection");
    send_text(fd, purchase_of(mine, buyer));
    WAIT_UNTIL(redis_view(STACK, mine).unsettled == 1);
    return fd;
}

static void read_all(int fd, char *out, size_t size)
{
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd, out + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    out[n] = '\0';
    close(fd);
}

/* The first purchase waits for its row; two more and a read come meanwhile, and a part of a third.
 */
static void buy_during_a_purchase(const char *mine, char *out, size_t size)
{
    MYSQL *user;
    int fd = begin_purchase(mine, "e-0", &user);
    send_text(fd, purchase_of(mine, "e-1"));
    send_text(fd, test_text("%s%s", purchase_of(mine, "e-2"),
                            "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"));
    const char *last = purchase_of(mine, "e-3");
    send_text(fd, test_text("%.70s", last));
    mysql_close(user);
    send_text(fd, last + 70);
    send_text(fd, "GET /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    read_all(fd, out, size);
}

/* On a slow machine the row may be locked for so long that the item is set aside, and its buyers
   are refused: then it is tried again. */
static void requests_sent_during_a_purchase_are_answered_after_it(void **state)
{
    (void)state;
    static const char *const in_order[] = {"\"e-0\"", "\"e-1\"", "\"e-2\"",
                                           "200 OK",  "\"e-3\"", "not_found"};
    char all[16384];
    const char *mine, *at = all;
    unsigned tries = 0;
    do {
        mine = sale_item(STACK, "early", "\"total\":100,\"strategy\":\"lua\"");
        sale_order(STACK, mine, "before", 1, NULL);
        buy_during_a_purchase(mine, all, sizeof(all));
    } while (strstr(all, " 503 ") != NULL && ++tries < 20);
    for (size_t i = 0; i < TEST_COUNT(in_order); ++i) {
        EXPECT((at = strstr(at, in_order[i])) != NULL, "no %s in its place: %s", in_order[i], all);
        ++at;
    }
    WAIT_UNTIL(sale_live_orders(STACK, mine) == 5);
    EXPECT_SOUND(STACK, mine, 0);
    EXPECT_GATE_AGREES(STACK, mine);
}

/* The client ends its half, all of it, or resets, or sends a flood, while its purchase is at work:
   the order is made, no core is kept busy and no descriptor is kept. */
static void clients_that_leave_during_a_purchase_leave_their_order(void **state)
{
    (void)state;
    MYSQL *user;
    const char *mine = sale_item(STACK, "leaves", "\"total\":100,\"strategy\":\"lua\"");
    sale_order(STACK, mine, "before", 1, NULL);
    attack_gauge_t before = attack_gauge(STACK->pid);
    static const char *const flood = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    for (int i = 0; i < 4; ++i) {
        int fd = begin_purchase(mine, test_text("l-%d", i), &user);
        if (i == 0)
            EXPECT_NUMBER(shutdown(fd, SHUT_WR), 0);
        else if (i == 1)
            close(fd);
        else if (i == 2)
            attack_reset(fd);
        else
            attack_send(fd, test_repeat(flood, 100000), 100000 * strlen(flood), 500);
        mysql_close(user);
        WAIT_UNTIL(redis_view(STACK, mine).unsettled == 0);
        WAIT_UNTIL(sale_live_orders(STACK, mine) == 2 + i);
        if (i == 0 || i == 3)
            close(fd);
    }
    EXPECT_DESCRIPTORS_BACK(STACK->pid, before, 2);
    EXPECT_SOUND(STACK, mine, 0);
    EXPECT_GATE_AGREES(STACK, mine);
}

/* As RFC 9112 (9.3) has it: by whatever header of the name `close` is said, and by nothing else. */
static void a_connection_stays_unless_close_is_sent(void **state)
{
    (void)state;
    static const struct {
        const char *version, *headers;
        bool stays;
    } requests[] = {
        {"1.1", "", true},
        {"1.1", "Connection: keep-alive\r\n", true},
        {"1.1", "Connection: te, x\r\n", true},
        {"1.1", "Connection:\r\n", true},
        {"1.1", "Connection: close\r\n", false},
        {"1.1", "Connection: x, Close\r\n", false},
        {"1.1", "Connection: close\r\nConnection: keep-alive\r\n", false},
        {"1.1", "Connection: keep-alive, close\r\n", false},
        {"1.0", "", false},
        {"1.0", "Connection: keep-alive\r\n", true},
        {"1.0", "Connection: keep-alive\r\nConnection: close\r\n", false},
    };
    for (size_t i = 0; i < TEST_COUNT(requests); ++i) {
        const char *what = test_text("HTTP/%s %s", requests[i].version, requests[i].headers);
        const char *request = test_text("GET /healthz HTTP/%s\r\nHost: h\r\n%s\r\n",
                                        requests[i].version, requests[i].headers);
        int fd = web_connect(STACK->url);
        EXPECT_NUMBER(write(fd, request, strlen(request)), strlen(request));
        web_answer_t first = web_read(fd, PATIENCE_MS);
        EXPECT(first.status == 200, "%s: %s", what, web_show(&first));
        /* Over one that has ended, the second is not answered. */
        bool sent = send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request);
        web_answer_t second = web_read(fd, PATIENCE_MS);
        EXPECT((sent && second.status == 200) == requests[i].stays, "%s: then %s", what,
               web_show(&second));
        close(fd);
    }
}

/* More in a row than the resets that end a connection: an answer without a body is no reset. */
#define DELETIONS 110

static void many_answers_without_a_body_end_no_connection(void **state)
{
    (void)state;
    const char *skus[DELETIONS];
    for (unsigned i = 0; i < DELETIONS; ++i)
        skus[i] = sale_item(STACK, "short", "\"total\":1");
    int fd = web_connect(STACK->admin_url);
    for (unsigned i = 0; i < DELETIONS; ++i) {
        const char *request =
            test_text("DELETE /v1/items/%s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
                      skus[i], STACK->token);
        bool sent = send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request);
        web_answer_t answer = web_read(fd, PATIENCE_MS);
        EXPECT(sent && answer.status == 204, "number %u: %s", i, web_show(&answer));
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_long_body_is_413),
        TEST(a_body_in_chunks_is_a_body),
        TEST(broken_http_is_refused),
        TEST(too_many_headers_are_refused),
        TEST(clients_that_go_away_leave_no_trace),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(requests_sent_during_a_purchase_are_answered_after_it),
        TEST(clients_that_leave_during_a_purchase_leave_their_order),
        TEST(a_connection_stays_unless_close_is_sent),
        TEST(many_answers_without_a_body_end_no_connection),
        TEST(no_input_has_earned_a_500),
        TEST(the_service_still_sells),
    };
    return test_run("bad http", tests, TEST_COUNT(tests), start, NULL);
}
