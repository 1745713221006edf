/*
 * Heads and bodies of HTTP/1 that two servers in a row may read in two ways: refused, and nothing
 * behind them is taken for a request. What looks odd and is not is served.
 */
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "harness/attack.h"
#include "integration/aftermath.h"

#define PATIENCE_MS 15000
#define GET "GET /healthz HTTP/1.1\r\n"
#define POST "POST /v1/orders HTTP/1.1\r\n"
#define HOST "Host: h\r\n"

/* All that the server says until it closes the connection; fails if it does not. */
static const char *read_all(int fd, const char *what)
{
    enum { ALL_MAX = 64 * 1024 };
    char *all = test_bytes(ALL_MAX);
    size_t n = 0;
    ssize_t got = 0;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (n < ALL_MAX - 1 && poll(&readable, 1, PATIENCE_MS) == 1 &&
           (got = recv(fd, all + n, ALL_MAX - 1 - n, 0)) > 0)
        n += (size_t)got;
    EXPECT(got == 0, "%s: not closed: %s", what, all);
    all[n] = '\0';
    return all;
}

static unsigned count_of(const char *all, const char *part)
{
    unsigned count = 0;
    while ((all = strstr(all, part)) != NULL) {
        all += strlen(part);
        ++count;
    }
    return count;
}

/* Writes the bytes in pieces of `piece`, some turns of the loop apart; the last one is longer, so
   that what stands behind a request comes with its end. */
static const char *send_in_pieces(const char *base, const char *bytes, size_t n, size_t piece)
{
    int fd = web_connect(base);
    EXPECT(fd >= 0, "no connection");
    for (size_t at = 0, some; at < n; at += some) {
        some = n - at < piece + 300 ? n - at : piece;
        EXPECT_NUMBER(send(fd, bytes + at, some, MSG_NOSIGNAL), some);
        usleep(at + some < n ? 20000 : 0);
    }
    const char *all = read_all(fd, bytes);
    close(fd);
    return all;
}

static const char *say(const char *base, const char *bytes, size_t n)
{
    return send_in_pieces(base, bytes, n, n);
}

/* What would be bought if the bytes were taken for a request. */
static const char *purchase(const char *item)
{
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"s\",\"quantity\":1}", item);
    return test_text(POST HOST "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
}

static void expect_one_refusal(const char *what, const char *all)
{
    EXPECT(strncmp(all, "HTTP/1.1 400 ", 13) == 0, "%s: %s", what, all);
    EXPECT(count_of(all, "HTTP/1.1 ") == 1, "%s: answered more than once: %s", what, all);
    EXPECT(strcasestr(all, "connection: close") != NULL, "%s: %s", what, all);
    EXPECT(strstr(all, "invalid_request") != NULL || strstr(all, "\r\n\r\nBad Request") != NULL,
           "%s: %s", what, all);
}

/* --- heads --- */

/* `%zu`, where there is one, is the length of a purchase. */
static const char *const heads[] = {
    GET HOST "Content-Length: 0\r\nContent-Length: %zu\r\n\r\n",
    GET HOST "Content-Length: %zu\r\nContent-Length: 5\r\n\r\n",
    POST HOST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    GET HOST "Content-Length: 0, %zu\r\n\r\n",
    GET HOST "Content-Length: 0\r\nContent-Length:\r\n\r\n",
    GET HOST "Content-Length:\r\n\r\n",
    GET HOST "Content-Length: +0\r\n\r\n",
    GET HOST "Content-Length: 0x0\r\n\r\n",
    GET HOST "Content-Length: 0 0\r\n\r\n",
    GET HOST "Content-Length: 0 \r\n\r\n",
    GET HOST "Content-Length: -0\r\n\r\n",
    GET HOST "Content-Length : %zu\r\n\r\n",
    GET HOST "Content-Length: %zu\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: chunked\r\nContent-Length: %zu\r\n\r\n0\r\n\r\n",
    GET HOST "Content-Length: %zu\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Content-Length: %zu\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding: identity\r\n\r\n",
    GET HOST "Transfer-Encoding:\r\n\r\n",
    GET HOST "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n0\r\n\r\n",
    GET HOST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    GET "\r\n",
    GET HOST HOST "\r\n",
    GET HOST "Host: i\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n",
    GET "Host: h/../x\r\n\r\n",
    GET "Host: u@h\r\n\r\n",
    GET "Host: h, i\r\n\r\n",
    GET "Host: h:x\r\n\r\n",
    GET "Host : h\r\n\r\n",
    GET HOST "X: a\r\n Content-Length: %zu\r\n\r\n",
    GET HOST "X: a\r\n\tb\r\n\r\n",
    GET " X: a\r\n" HOST "\r\n",
    GET HOST "X: a\rContent-Length: %zu\r\n\r\n",
    GET HOST "X: a\nContent-Length: 0\r\n\r\n",
    "GET /healthz HTTP/1.1\nHost: h\r\n\r\n",
    GET "Host: h\n\r\n",
    GET HOST "\n",
    GET HOST "X: a\x7f"
             "b\r\n\r\n",
    GET HOST "X: a\x01"
             "b\r\n\r\n",
    GET HOST "X\r\n\r\n",
    GET HOST ": x\r\n\r\n",
    GET HOST "X Y: z\r\n\r\n",
    "GET http://u:p@h/healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET http:///healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET http://h/healthz HTTP/1.1\r\n\r\n",
    "GET  /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /healthz  HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /healthz HTTP/1.1 \r\nHost: h\r\n\r\n",
    "GET\t/healthz HTTP/1.1\r\nHost: h\r\n\r\n",
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static const char *head_before(size_t i, const char *hidden)
{
    return test_text(heads[i], strlen(hidden));
}
#pragma GCC diagnostic pop

/* A purchase stands behind each of them. */
static void heads_that_can_be_read_in_two_ways_are_refused(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "heads", "\"total\":10,\"strategy\":\"lua\"");
    const char *const bases[] = {STACK->url, STACK->admin_url};
    for (size_t b = 0; b < TEST_COUNT(bases); ++b)
        for (size_t i = 0; i < TEST_COUNT(heads); ++i) {
            const char *hidden = purchase(mine), *head = head_before(i, hidden);
            const char *bytes = test_text("%s%s", head, hidden);
            expect_one_refusal(head, say(bases[b], bytes, strlen(bytes)));
        }
    static const char nul[] = GET HOST "X: a\0b\r\n\r\n";
    expect_one_refusal("NUL", say(STACK->url, nul, sizeof(nul) - 1));
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 0);
}

/* The head is looked at when the body is there: it has been moved meanwhile. */
static void they_are_refused_with_a_long_body_too(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "long", "\"total\":10,\"strategy\":\"lua\"");
    static const char *const bad[] = {"Content-Length: 5\r\n", "Host: i\r\n", "X: a\r\n b\r\n"};
    const char *filler = test_repeat(" ", 14000);
    for (size_t i = 0; i < TEST_COUNT(bad); ++i) {
        const char *body =
            test_text("{\"sku\":\"%s\",%s\"buyer_id\":\"s\",\"quantity\":1}", mine, filler);
        const char *bytes = test_text(POST HOST "Content-Length: %zu\r\n%s\r\n%s%s", strlen(body),
                                      bad[i], body, purchase(mine));
        expect_one_refusal(bad[i], send_in_pieces(STACK->url, bytes, strlen(bytes), 3000));
        expect_one_refusal(bad[i], send_in_pieces(STACK->url, bytes, strlen(bytes), 40000));
    }
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 0);
}

static void they_are_refused_between_others(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "between", "\"total\":10,\"strategy\":\"lua\"");
    const char *bytes =
        test_text(GET HOST "\r\n%s" GET HOST HOST "\r\n%s", purchase(mine), purchase(mine));
    const char *all = say(STACK->url, bytes, strlen(bytes));
    EXPECT(count_of(all, "HTTP/1.1 ") == 3 && count_of(all, " 200 OK") == 1 &&
               count_of(all, " 201 Created") == 1 && count_of(all, " 400 Bad Request") == 1,
           "%s", all);
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 1);
}

/* --- chunks --- */

/* Their lines may be written so that another reader takes the end for elsewhere: so nothing that
   stands behind them counts. */
static void nothing_follows_a_body_in_chunks(void **state)
{
    (void)state;
    static const char *const ends[] = {
        "0\r\n\r\n", "0;a=b\r\n\r\n",       "0;\nx\r\n\r\n",       "0 \r\n\r\n",
        "0\n\n",     "000\r\nT: x\r\n\r\n", "0\r\n\rT: x\r\n\r\n",
    };
    const char *mine = sale_item(STACK, "chunks", "\"total\":100,\"strategy\":\"lua\"");
    unsigned served = 0;
    for (size_t i = 0; i < TEST_COUNT(ends); ++i) {
        const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"s\",\"quantity\":1}", mine);
        const char *bytes =
            test_text(POST HOST "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n%s%s", strlen(body),
                      body, ends[i], purchase(mine));
        const char *all = send_in_pieces(STACK->url, bytes, strlen(bytes), i % 2 == 0 ? 9999 : 40);
        EXPECT(count_of(all, "HTTP/1.1 ") == 1, "%s: %s", ends[i], all);
        served += count_of(all, " 201 Created");
    }
    EXPECT(served >= 2, "%u of %zu bodies in chunks were served", served, TEST_COUNT(ends));
    EXPECT_NUMBER(sale_live_orders(STACK, mine), served);
}

/* --- what is served --- */

static void odd_heads_that_leave_nothing_open_are_served(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\r\n" GET HOST "Connection: close\r\n\r\n",
        GET "hOST:h:80\r\nConnection: close\r\n\r\n",
        GET "Host: \t[::1]:8080 \t\r\nConnection: close\r\n\r\n",
        GET "Host:\r\nConnection: close\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        GET HOST "Content-Length:  000\r\nConnection: close\r\n\r\n",
        GET HOST "X: \xff\xc3\xa4\ta\r\nY:\r\nConnection: close\r\n\r\n",
        GET HOST "Transfer-Encoding:\tCHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < TEST_COUNT(requests); ++i) {
        const char *all = say(STACK->url, requests[i], strlen(requests[i]));
        EXPECT(strncmp(all, "HTTP/1.1 200 OK\r\n", 17) == 0, "%s%s", requests[i], all);
    }
}

static void absolute_targets_are_served(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "absolute", "\"total\":10,\"strategy\":\"lua\"");
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"s\",\"quantity\":1}", mine);
    const struct {
        const char *bytes, *status;
    } requests[] = {
        {"GET http://a.example/healthz HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n",
         "200 OK"},
        {"GET HTTPS://[::1]:1/readyz?x=y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
         "200 OK"},
        {"GET http://a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "404 Not Found"},
        {"GET http://a?limit=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "404 Not Found"},
        {"GET http://a/v1/buyers/s/orders?limit=1&limit=2 HTTP/1.1\r\nHost: h\r\nConnection: "
         "close\r\n\r\n",
         "400 Bad Request"},
        {"GET ftp://a/healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "404 Not Found"},
        {test_text("POST http://a/v1/orders HTTP/1.1\r\nHost: h\r\nConnection: "
                   "close\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body), body),
         "201 Created"},
    };
    for (size_t i = 0; i < TEST_COUNT(requests); ++i) {
        const char *all = send_in_pieces(STACK->url, requests[i].bytes, strlen(requests[i].bytes),
                                         i == TEST_COUNT(requests) - 1 ? 60 : 1000);
        EXPECT(strncmp(all + 9, requests[i].status, strlen(requests[i].status)) == 0, "%s%s",
               requests[i].bytes, all);
    }
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(heads_that_can_be_read_in_two_ways_are_refused),
        TEST(they_are_refused_with_a_long_body_too),
        TEST(they_are_refused_between_others),
        TEST(nothing_follows_a_body_in_chunks),
        TEST(odd_heads_that_leave_nothing_open_are_served),
        TEST(absolute_targets_are_served),
        TEST(no_input_has_earned_a_500),
        TEST(the_service_still_sells),
    };
    return test_run("smuggling", tests, TEST_COUNT(tests), start, NULL);
}
