/*
 * `Expect: 100-continue` in HTTP/1: who waits to hear whether the body is wanted hears it, and what
 * the head alone refuses is refused before.
 */
#include <signal.h>
#include <sys/socket.h>

#include "harness/attack.h"
#include "integration/aftermath.h"

#define PATIENCE_MS 15000
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define EXPECTS "Host: h\r\nExpect: 100-continue\r\n"

static void send_text(int fd, const char *text)
{
    EXPECT_NUMBER(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static const char *order_body(const char *item, const char *buyer)
{
    return test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", item, buyer);
}

static const char *length_of(const char *body)
{
    return test_text("Content-Length: %zu\r\n", strlen(body));
}

/* Nothing else is there yet: it waits for the body. */
static void expect_continue(int fd, const char *what)
{
    char said[sizeof(CONTINUE)] = "";
    for (size_t n = 0; n < sizeof(CONTINUE) - 1;) {
        ssize_t got = recv(fd, said + n, sizeof(CONTINUE) - 1 - n, 0);
        EXPECT(got > 0, "%s: closed after \"%s\"", what, said);
        n += (size_t)got;
    }
    EXPECT(strcmp(said, CONTINUE) == 0, "%s: %s", what, said);
    EXPECT(recv(fd, said, 1, MSG_DONTWAIT) < 0, "%s: more than that", what);
}

static int connect_to(const char *base)
{
    int fd = web_connect(base);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    EXPECT(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0,
           "no connection");
    return fd;
}

/* --- who is told to go on --- */

static void a_body_that_is_wanted_gets_100(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "wanted", "\"total\":10,\"strategy\":\"lua\"");
    int fd = connect_to(STACK->url);
    for (int i = 0; i < 3; ++i) { /* over one connection */
        const char *body = order_body(mine, test_text("b%d", i));
        send_text(fd, test_text("POST /v1/orders HTTP/1.1\r\n" EXPECTS "%s\r\n", length_of(body)));
        expect_continue(fd, "a length");
        send_text(fd, test_text("%.10s", body));
        usleep(20000);
        send_text(fd, body + 10);
        web_answer_t answer = web_read(fd, PATIENCE_MS);
        EXPECT_STATUS(answer, 201);
    }
    const char *body = order_body(mine, "chunks");
    send_text(fd,
              "POST http://h/v1/orders HTTP/1.1\r\n" EXPECTS "Transfer-Encoding: chunked\r\n\r\n");
    expect_continue(fd, "chunks");
    send_text(fd, test_text("%zx\r\n%s\r\n0\r\n\r\n", strlen(body), body));
    web_answer_t answer = web_read(fd, PATIENCE_MS);
    EXPECT_STATUS(answer, 201);
    EXPECT(attack_is_closed(fd, PATIENCE_MS), "open after chunks");
    close(fd);
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 4);
}

static void so_is_one_behind_another_request(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "behind", "\"total\":10,\"strategy\":\"lua\"");
    const char *body = order_body(mine, "b");
    int fd = connect_to(STACK->url);
    send_text(
        fd, test_text("GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\nPOST /v1/orders HTTP/1.1\r\n" EXPECTS
                      "%s\r\n",
                      length_of(body)));
    /* Both answers may come in one piece. */
    char all[4096] = "";
    for (size_t n = 0; strstr(all, CONTINUE) == NULL;) {
        ssize_t got = recv(fd, all + n, sizeof(all) - 1 - n, 0);
        EXPECT(got > 0, "closed after \"%s\"", all);
        n += (size_t)got;
    }
    EXPECT(strncmp(all, "HTTP/1.1 404 ", 13) == 0, "%s", all);
    send_text(fd, body);
    web_answer_t answer = web_read(fd, PATIENCE_MS);
    EXPECT_STATUS(answer, 201);
    close(fd);
}

static void slow_heads_are_seen_too(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "slow", "\"total\":10,\"strategy\":\"lua\"");
    const char *body = order_body(mine, "b");
    const char *head = test_text("POST /v1/orders HTTP/1.1\r\n" EXPECTS "%s\r\n", length_of(body));
    int fd = connect_to(STACK->url);
    for (size_t i = 0; i < strlen(head); ++i) {
        send_text(fd, test_text("%.1s", head + i));
        usleep(2000);
    }
    expect_continue(fd, "byte by byte");
    send_text(fd, body);
    web_answer_t answer = web_read(fd, PATIENCE_MS);
    EXPECT_STATUS(answer, 201);
    close(fd);
}

/* --- who is not --- */

/* The first that they hear is the answer. */
static void expect_answer_at_once(const char *base, const char *head, long status)
{
    int fd = connect_to(base);
    send_text(fd, head);
    web_answer_t answer = web_read(fd, PATIENCE_MS);
    EXPECT(answer.status == status && web_problem_fault(&answer) == NULL, "%s: %s", head,
           web_show(&answer));
    EXPECT(attack_is_closed(fd, PATIENCE_MS), "%s: open", head);
    close(fd);
}

static void what_the_head_refuses_is_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *line, *headers;
        long status, admin_status; /* with the token */
    } heads[] = {
        {"POST /nowhere", "Content-Length: 5\r\n", 404, 404},
        {"POST /nowhere", "Transfer-Encoding: chunked\r\n", 404, 404},
        {"POST http://h/nowhere", "Content-Length: 5\r\n", 404, 404},
        {"POST /v1/items/x", "Content-Length: 5\r\n", 405, 405},
        {"PUT /v1/orders", "Content-Length: 5\r\n", 405, 404},
        {"POST /v1/orders", "Content-Length: 5\r\nContent-Type: text/plain\r\n", 415, 404},
        {"POST /v1/orders", "Content-Length: 5\r\nContent-Encoding: gzip\r\n", 415, 404},
        {"PUT /v1/strategy", "Content-Length: 5\r\nContent-Type: text/plain\r\n", 404, 415},
        {"POST /v1/orders", "Content-Length: 16385\r\n", 413, 413},
        {"POST /v1/orders", "Content-Length: 99999999\r\n", 413, 413},
        {"POST /v1/orders", "Content-Length: 5\r\nContent-Length: 6\r\n", 400, 400},
        {"POST /v1/orders", "Content-Length: 5\r\nHost: i\r\n", 400, 400},
        {"POST /v1/orders", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400, 400},
    };
    for (size_t i = 0; i < TEST_COUNT(heads); ++i) {
        expect_answer_at_once(
            STACK->url,
            test_text("%s HTTP/1.1\r\n" EXPECTS "%s\r\n", heads[i].line, heads[i].headers),
            heads[i].status);
        expect_answer_at_once(STACK->admin_url,
                              test_text("%s HTTP/1.1\r\n" EXPECTS
                                        "Authorization: Bearer %s\r\n%s\r\n",
                                        heads[i].line, STACK->token, heads[i].headers),
                              heads[i].admin_status);
    }
    expect_answer_at_once(STACK->admin_url,
                          "PUT /v1/strategy HTTP/1.1\r\n" EXPECTS "Content-Length: 5\r\n\r\n", 401);
}

/* HTTP/1.0 knows no 100; who has sent the body waits for nothing; what else is expected is not
   known. */
static void a_client_that_waits_for_nothing_gets_only_the_answer(void **state)
{
    (void)state;
    const char *mine = sale_item(STACK, "sent", "\"total\":10,\"strategy\":\"lua\"");
    const char *const firsts[] = {"POST /v1/orders HTTP/1.0\r\n" EXPECTS,
                                  "POST /v1/orders HTTP/1.1\r\n" EXPECTS,
                                  "POST /v1/orders HTTP/1.1\r\nHost: h\r\nExpect: a-cake\r\n"};
    for (size_t i = 0; i < TEST_COUNT(firsts); ++i) {
        const char *body = order_body(mine, test_text("b%zu", i));
        int fd = connect_to(STACK->url);
        send_text(fd, test_text("%s%s\r\n%s", firsts[i], length_of(body), i == 1 ? body : ""));
        if (i != 1) {
            usleep(50000);
            send_text(fd, body);
        }
        web_answer_t answer = web_read(fd, PATIENCE_MS);
        EXPECT(answer.status == 201, "%s: %s", firsts[i], web_show(&answer));
        close(fd);
    }
    EXPECT_NUMBER(sale_live_orders(STACK, mine), 3);
}

static void clients_that_go_away_while_they_wait_leave_no_trace(void **state)
{
    (void)state;
    attack_gauge_t before = attack_gauge(STACK->pid);
    for (int i = 0; i < 200; ++i) {
        int fd = connect_to(STACK->url);
        send_text(fd, test_text("POST /%s HTTP/1.1\r\n" EXPECTS "Content-Length: 50\r\n\r\n",
                                i % 2 == 0 ? "v1/orders" : "nowhere"));
        if (i % 3 == 0)
            usleep(1000);
        if (i % 4 < 2)
            attack_reset(fd);
        else
            close(fd);
    }
    EXPECT_DESCRIPTORS_BACK(STACK->pid, before, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_body_that_is_wanted_gets_100),
        TEST(so_is_one_behind_another_request),
        TEST(slow_heads_are_seen_too),
        TEST(what_the_head_refuses_is_refused_at_once),
        TEST(a_client_that_waits_for_nothing_gets_only_the_answer),
        TEST(clients_that_go_away_while_they_wait_leave_no_trace),
        TEST(no_input_has_earned_a_500),
        TEST(the_service_still_sells),
    };
    return test_run("expect", tests, TEST_COUNT(tests), start, NULL);
}
