/*
 * CORS: scripts of the origins of http.cors_origins may call the public listener and read its
 * answers, those of others may not, and nobody's may call the admin listener. On a stack of its
 * own.
 */
#include "harness/sale.h"
#include "harness/suite.h"

#define SHOP "https://shop.example"
#define OTHER "https://m.shop.example:8443"

/* The head of the answer to a request, in lower case. */
static const char *head_of(const char *base, const char *line, const char *headers)
{
    const char *request =
        test_text("%s HTTP/1.1\r\nHost: h\r\n%sConnection: close\r\n\r\n", line, headers);
    char *answer = test_bytes(8192);
    int fd = web_connect(base);
    EXPECT(write(fd, request, strlen(request)) == (ssize_t)strlen(request), "not sent");
    for (ssize_t n = 0, part; (part = read(fd, answer + n, 8191 - (size_t)n)) > 0;)
        n += part;
    close(fd);
    char *end = strstr(answer, "\r\n\r\n");
    EXPECT(end != NULL, "no answer: %s", answer);
    end[2] = '\0';
    return answer;
}

static void expect_head(const char *head, int status, const char *const *lines, size_t count)
{
    EXPECT(strncmp(head, test_text("HTTP/1.1 %d ", status), 13) == 0, "not %d: %s", status, head);
    for (size_t i = 0; i < count; ++i)
        EXPECT(strcasestr(head, test_text("\r\n%s", lines[i])) != NULL, "no %s: %s", lines[i],
               head);
}
#define EXPECT_HEAD(head_, status_, ...)                                                           \
    expect_head((head_), (status_), (const char *const[]){__VA_ARGS__},                            \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void listed_origins_read_answers(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "cors", "\"total\":5,\"strategy\":\"lua\"");
    const char *item = test_text("GET /v1/items/%s", sku);
    static const char *const origins[] = {SHOP, OTHER};
    for (size_t i = 0; i < TEST_COUNT(origins); ++i) {
        const char *allowed = test_text("access-control-allow-origin: %s\r\n", origins[i]);
        const char *from = test_text("Origin: %s\r\n", origins[i]);
        EXPECT_HEAD(head_of(stack->url, item, from), 200, allowed, "vary: origin\r\n",
                    "access-control-expose-headers: ");
        EXPECT_HEAD(head_of(stack->url, "GET /v1/orders/x", from), 404, allowed,
                    "vary: origin\r\n");
        EXPECT_HEAD(head_of(stack->url, "GET /nowhere", from), 404, allowed);
    }
}

static void others_do_not(void **state)
{
    (void)state;
    static const char *const froms[] = {
        "",
        "Origin: https://evil.example\r\n",
        "Origin: https://shop.example.evil\r\n",
        "Origin: https://shop.exampl\r\n",
        "Origin: http://shop.example\r\n",
        "Origin: https://shop.example https://m.shop.example:8443\r\n",
        "Origin: *\r\n",
        "Origin: null\r\n",
        "Origin: \r\n"};
    for (size_t i = 0; i < TEST_COUNT(froms); ++i) {
        const char *head = head_of(stack->url, "GET /healthz", froms[i]);
        EXPECT_HEAD(head, 200, "vary: origin\r\n"); /* caches keep it for others */
        EXPECT(strcasestr(head, "access-control") == NULL, "%s: %s", froms[i], head);
        head = head_of(stack->url, "OPTIONS /v1/orders",
                       test_text("%sAccess-Control-Request-Method: POST\r\n", froms[i]));
        EXPECT(strncmp(head, "HTTP/1.1 405", 12) == 0 && strcasestr(head, "access-control") == NULL,
               "%s: %s", froms[i], head);
    }
}

#define PREFLIGHT "Origin: " SHOP "\r\nAccess-Control-Request-Method: POST\r\n"

static void preflights_are_answered(void **state)
{
    (void)state;
    EXPECT_HEAD(
        head_of(stack->url, "OPTIONS /v1/orders", PREFLIGHT), 204,
        "access-control-allow-origin: " SHOP "\r\n", "access-control-allow-methods: POST\r\n",
        "access-control-allow-headers: ", "access-control-max-age: 600\r\n", "vary: origin\r\n");
    const char *head = head_of(stack->url, "OPTIONS /v1/orders/x", PREFLIGHT);
    EXPECT_HEAD(head, 204, "access-control-allow-methods: GET, HEAD\r\n");
    EXPECT(strcasestr(head, "authorization") != NULL && strcasestr(head, "idempotency-key") != NULL,
           "%s", head);
    EXPECT_HEAD(head_of(stack->url, "OPTIONS /nowhere", PREFLIGHT), 404, "vary: origin\r\n");
    EXPECT_HEAD(head_of(stack->url, "OPTIONS /v1/orders", "Origin: " SHOP "\r\n"), 405, "allow: ");
}

static void the_admin_listener_takes_none(void **state)
{
    (void)state;
    const char *head = head_of(stack->admin_url, "OPTIONS /v1/status", PREFLIGHT);
    EXPECT(strncmp(head, "HTTP/1.1 401", 12) == 0 && strcasestr(head, "access-control") == NULL,
           "%s", head);
    head = head_of(stack->admin_url, "OPTIONS /v1/status",
                   test_text(PREFLIGHT "Authorization: Bearer %s\r\n", stack->token));
    EXPECT(strncmp(head, "HTTP/1.1 405", 12) == 0 && strcasestr(head, "access-control") == NULL,
           "%s", head);
}

static const suite_t suite = {.name = "cors", .settings = {"http.cors_origins=" SHOP " " OTHER}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(listed_origins_read_answers),
        TEST(others_do_not),
        TEST(preflights_are_answered),
        TEST(the_admin_listener_takes_none),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
