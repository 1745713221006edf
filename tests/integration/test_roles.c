/*
 * Named tokens and their roles, on both listeners: who may make which call, what hostile heads are
 * answered, tokens that are replaced while requests come, mistakes in their file, and that no token
 * reaches the log. On a stack of its own, where http.auth is `token`.
 */
#include <openssl/evp.h>
#include <signal.h>
#include <sys/stat.h>

#include "admin/admin.h"
#include "harness/sale.h"
#include "harness/suite.h"
#include "http/api.h"
#include "integration/reload.h"

#define READER "reader-4b1c6f0e2d7a"
#define OPERATOR "operator-98d3e1aa07bc"
#define SELLER "seller-5566778899aabb"
#define EXPIRED "expired-0011223344556"
#define NEXT "next-seller-ffeeddccbb"

static char *file;

static const char *hash_of(const char *token)
{
    unsigned char hash[32];
    char *text = test_bytes(65);
    EXPECT(EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL) == 1, "no hash");
    for (size_t i = 0; i < sizeof(hash); ++i)
        sprintf(text + 2 * i, "%02x", hash[i]);
    return text;
}

static void write_tokens(const char *text)
{
    const char *fresh = test_text("%s.new", file);
    FILE *out = fopen(fresh, "we");
    EXPECT(out != NULL && fputs(text, out) >= 0, "cannot write %s", fresh);
    EXPECT(fclose(out) == 0 && chmod(fresh, 0600) == 0 && rename(fresh, file) == 0, "no %s", file);
}

static const char *usual_tokens(void)
{
    return test_text("# of the test\n"
                     "prom read %s\n"
                     "ops operate %s\n"
                     "shop sell %s\n"
                     "old sell %s 2020-01-01T00:00:00Z\n",
                     hash_of(READER), hash_of(OPERATOR), hash_of(SELLER), hash_of(EXPIRED));
}

static test_stack_t *start_with_tokens(void)
{
    file = strdup(
        test_text("%s/roles-%d-tokens", test_environment("HOLDFAST_TEST_TMP"), (int)getpid()));
    write_tokens(usual_tokens());
    return STACK_START("roles", "http.auth=token", test_text("admin.tokens_file=%s", file),
                       "log.access=true", "log.level=debug");
}

/* --- each call and each caller --- */

static const struct caller {
    const char *name, *token;
    role_t role; /* ROLE_UNDECLARED: it is not known */
} callers[] = {
    {"nobody", NULL, ROLE_UNDECLARED},
    {"a wrong token", "x", ROLE_UNDECLARED},
    {"another case", "SELLER-5566778899AABB", ROLE_UNDECLARED},
    {"an expired token", EXPIRED, ROLE_UNDECLARED},
    {"read", READER, ROLE_READ},
    {"operate", OPERATOR, ROLE_OPERATE},
    {"sell", SELLER, ROLE_SELL},
};

static bool is_allowed(role_t has, role_t demanded)
{
    return demanded == ROLE_EVERYBODY || has == demanded ||
           (has == ROLE_OPERATE && demanded == ROLE_READ);
}

/* A call that is allowed is answered by its handler, or refused for another reason. */
static void expect_call(const char *base, const route_entry_t *call, const struct caller *caller)
{
    char path[100];
    const char *star = strchr(call->pattern, '*');
    if (star == NULL)
        snprintf(path, sizeof(path), "%s", call->pattern);
    else
        snprintf(path, sizeof(path), "%.*sx%s", (int)(star - call->pattern), call->pattern,
                 star + 1);
    web_answer_t answer =
        WEB(.base = base, .method = call->method, .path = path, .token = caller->token);
    const char *shown =
        test_text("%s %s by %s: %s", call->method, call->pattern, caller->name, web_show(&answer));
    bool refused = answer.status == 401 || answer.status == 403;
    if (is_allowed(caller->role, call->role))
        EXPECT(answer.status != 0 && !refused, "%s", shown);
    else if (caller->role == ROLE_UNDECLARED)
        EXPECT(answer.status == 401 && web_has_code(&answer, "unauthorized"), "%s", shown);
    else
        EXPECT(answer.status == 403 && web_has_code(&answer, "forbidden"), "%s", shown);
}

static void each_call_is_made_by_those_who_may(void **state)
{
    (void)state;
    admin_t admin = {.incarnation = ""};
    const struct {
        const char *base;
        const route_entry_t *table;
    } listeners[] = {{stack->url, api_routes.table},
                     {stack->admin_url, admin_routes(&admin).table}};
    for (size_t i = 0; i < TEST_COUNT(listeners); ++i)
        for (const route_entry_t *call = listeners[i].table; call->method != NULL; ++call)
            for (size_t c = 0; c < TEST_COUNT(callers); ++c)
                expect_call(listeners[i].base, call, &callers[c]);
}

static void the_admin_listener_shows_no_paths_to_strangers(void **state)
{
    (void)state;
    static const char *const paths[] = {"/nowhere", "/v1/orders", "/v1/strategy"};
    for (size_t i = 0; i < TEST_COUNT(paths); ++i) {
        web_answer_t answer =
            WEB(.base = stack->admin_url, .method = "DELETE", .path = paths[i], .token = EXPIRED);
        EXPECT_PROBLEM(answer, 401, "unauthorized");
        answer =
            WEB(.base = stack->admin_url, .method = "DELETE", .path = paths[i], .token = SELLER);
        EXPECT(answer.status == 404 || answer.status == 405, "%s", web_show(&answer));
    }
    web_answer_t open = WEB(.base = stack->url, .path = "/nowhere");
    EXPECT_PROBLEM(open, 404, "not_found");
}

static web_answer_t buy_with(const char *sku, const char *buyer, const char *token)
{
    return WEB(.base = stack->url, .path = "/v1/orders", .token = token,
               .body =
                   test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", sku, buyer));
}

static void a_seller_sells_and_moves(void **state)
{
    (void)state;
    const char *sku =
        sale_item(stack, "sold", "\"total\":9,\"strategy\":\"lua\",\"hold_seconds\":600");
    web_answer_t order;
    WAIT_UNTIL((order = buy_with(sku, "b", SELLER), order.status != 503));
    EXPECT(order.status == 201 || order.status == 202, "%s", web_show(&order));
    const char *path = test_text("/v1/orders/%s", web_string(&order, "order_id"));
    WAIT_UNTIL(sale_live_orders(stack, sku) == 1);
    web_answer_t confirmed = WEB(.base = stack->url, .method = "POST", .token = SELLER,
                                 .path = test_text("%s/confirm", path));
    EXPECT_STATUS(confirmed, 200);
    web_answer_t refused = buy_with(sku, "b", NULL);
    EXPECT_PROBLEM(refused, 401, "unauthorized");
    refused = WEB(.base = stack->url, .path = test_text("%s?wait_ms=5", path), .token = READER);
    EXPECT_PROBLEM(refused, 403, "forbidden");
    EXPECT_NUMBER(sale_live_orders(stack, sku), 1);
    web_answer_t item = WEB(.base = stack->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(item, 200); /* is shown to everybody */
}

/* --- hostile heads --- */

static void a_token_in_a_url_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"access_token", "token", "TOKEN", "jwt", "Authorization"};
    static const char *const paths[] = {"/v1/status", "/metrics", "/nowhere", "/v1/audit"};
    for (size_t n = 0; n < TEST_COUNT(names); ++n)
        for (size_t p = 0; p < TEST_COUNT(paths); ++p) {
            const char *path = test_text("%s?a=b&%s=%s", paths[p], names[n], OPERATOR);
            web_answer_t answer = WEB(.base = stack->admin_url, .path = path);
            EXPECT_PROBLEM(answer, 400, "invalid_request");
            answer = WEB(.base = stack->admin_url, .path = path, .token = OPERATOR);
            EXPECT_PROBLEM(answer, 400, "invalid_request");
        }
    web_answer_t answer = WEB(.base = stack->url, .path = "/healthz?token=" SELLER);
    EXPECT_PROBLEM(answer, 400, "invalid_request");
    answer = WEB(.base = stack->url, .path = "/v1/orders?access_token=" SELLER, .body = "{}");
    EXPECT_PROBLEM(answer, 400, "invalid_request");
    answer = WEB(.base = stack->url, .path = "/healthz?probe=" SELLER); /* nothing to it */
    EXPECT_STATUS(answer, 200);
}

static void hostile_heads_are_401(void **state)
{
    (void)state;
    const char *const headers[][2] = {
        {"Authorization: Bearer"},
        {"Authorization: Bearer  " SELLER},
        {"Authorization: Basic " SELLER},
        {"Authorization: " SELLER},
        {"Authorization: Bearer " SELLER ", Bearer " SELLER},
        {"Authorization: Bearer " SELLER, "Authorization: Bearer " SELLER},
        {"Authorization: Bearer x", "Authorization: Bearer " SELLER},
        {"X-Authorization: Bearer " SELLER},
        {"Cookie: token=" SELLER},
        {test_text("Authorization: Bearer %s", hash_of(SELLER))},
        {test_text("Authorization: Bearer %s", test_repeat("y", 8000))},
        {"Proxy-Authorization: Bearer " SELLER},
    };
    for (size_t i = 0; i < TEST_COUNT(headers); ++i) {
        web_answer_t answer = WEB(.base = stack->url, .path = "/v1/orders", .body = "{}",
                                  .headers = {headers[i][0], headers[i][1]});
        EXPECT(answer.status == 401 && web_has_code(&answer, "unauthorized"), "%s: %s",
               headers[i][0], web_show(&answer));
    }
    web_answer_t lower = WEB(.base = stack->url, .path = "/v1/orders", .body = "{}",
                             .headers = {"authorization: bEARER " SELLER});
    EXPECT_STATUS(lower, 400);
}

static void no_origin_is_allowed_by_default(void **state)
{
    (void)state;
    static const char head[] =
        "OPTIONS /v1/orders HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n"
        "Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n";
    char answer[4096] = "";
    int fd = web_connect(stack->url);
    EXPECT(write(fd, head, sizeof(head) - 1) == (ssize_t)sizeof(head) - 1, "not sent");
    for (ssize_t n = 0, part; (part = read(fd, answer + n, sizeof(answer) - 1 - (size_t)n)) > 0;)
        n += part;
    close(fd);
    EXPECT(strncmp(answer, "HTTP/1.1 405", 12) == 0 &&
               strcasestr(answer, "access-control") == NULL && strcasestr(answer, "vary") == NULL,
           "%s", answer);
}

/* --- tokens that change --- */

static void one_token_replaces_another_without_a_gap(void **state)
{
    (void)state;
    EXPECT(all_answer(SELLER, 400) && all_answer(NEXT, 401), "not as it was");
    write_tokens(test_text("%sshop sell %s\n", usual_tokens(), hash_of(NEXT)));
    EXPECT(all_answer(NEXT, 401), "read without a signal");
    hangup();
    WAIT_UNTIL(all_answer(NEXT, 400));
    EXPECT(all_answer(SELLER, 400), "the old one is gone too early");
    write_tokens(test_text("shop sell %s\n", hash_of(NEXT)));
    hangup();
    WAIT_UNTIL(all_answer(SELLER, 401));
    EXPECT(all_answer(NEXT, 400), "the new one is gone");
    web_answer_t gone = WEB(.base = stack->admin_url, .path = "/v1/status", .token = READER);
    EXPECT_PROBLEM(gone, 401, "unauthorized");
    web_answer_t single = ADMIN(stack, .path = "/v1/status");
    EXPECT_STATUS(single, 200);
    write_tokens(usual_tokens());
    hangup();
    WAIT_UNTIL(all_answer(SELLER, 400));
}

/* The last one that was used is not looked up again, but it ends all the same. */
static void a_token_ends_while_it_is_used(void **state)
{
    (void)state;
    write_tokens(test_text("%sshop sell %s %s\n", usual_tokens(), hash_of(NEXT), sale_time(4)));
    hangup();
    WAIT_UNTIL(all_answer(NEXT, 400));
    WAIT_UNTIL(all_answer(NEXT, 401));
    EXPECT(all_answer(SELLER, 400), "another one has ended too");
    write_tokens(usual_tokens());
    hangup();
}

/* Tokens of the same length, and shorter ones, between two uses of one. */
static void other_tokens_come_between(void **state)
{
    (void)state;
    const char *changed = test_text("%s", SELLER), *cut = test_text("%.*s", 10, SELLER);
    ((char *)changed)[strlen(SELLER) - 1] ^= 1;
    for (unsigned i = 0; i < 3; ++i) {
        EXPECT(all_answer(SELLER, 400), "the right one is refused");
        EXPECT(all_answer(changed, 401) && all_answer(cut, 401), "a wrong one is not");
        web_answer_t other =
            WEB(.base = stack->url, .path = "/v1/orders", .body = "{}", .token = OPERATOR);
        EXPECT_PROBLEM(other, 403, "forbidden");
    }
}

static void expect_kept(void)
{
    static const char words[] = "the new tokens and keys cannot be used; the old ones stay";
    unsigned before = count_in_log(words);
    hangup();
    WAIT_UNTIL(count_in_log(words) == before + 1);
    EXPECT(all_answer(SELLER, 400) && all_answer(NEXT, 401), "not the old ones");
}

static void mistakes_in_the_file_keep_the_old_ones(void **state)
{
    (void)state;
    write_tokens(test_text("shop sell %s\nshop sell\n", hash_of(NEXT)));
    expect_kept();
    write_tokens(test_text("shop sell " NEXT "\n"));
    expect_kept();
    write_tokens(test_text("shop sell %s\n", hash_of(NEXT)));
    EXPECT(chmod(file, 0604) == 0, "no file");
    expect_kept(); /* others may read it */
    EXPECT(unlink(file) == 0, "no file");
    expect_kept();
    EXPECT(mkdir(file, 0700) == 0, "no directory");
    expect_kept();
    EXPECT(rmdir(file) == 0, "no directory");
    write_tokens(usual_tokens());
    hangup();
    WAIT_UNTIL(all_answer(SELLER, 400));
}

static void check_names_the_mistake(void **state)
{
    (void)state;
    EXPECT_NUMBER(stack_command(stack, "check"), 0);
    write_tokens("shop sell of-no-use\n");
    EXPECT_NUMBER(stack_command(stack, "check"), 1);
    write_tokens(usual_tokens());
}

/* The last case: the log has all that came before. */
static void no_token_is_in_the_log(void **state)
{
    (void)state;
    const char *const tokens[] = {READER, OPERATOR, SELLER, EXPIRED, NEXT, stack->token};
    WEB(.base = stack->url, .path = "/the-last-of-all");
    WAIT_UNTIL(count_in_log("the-last-of-all") != 0);
    for (size_t i = 0; i < TEST_COUNT(tokens); ++i)
        EXPECT(count_in_log(tokens[i]) == 0, "a token is in %s", stack_log(stack));
}

static const suite_t suite = {.name = "roles", .start = start_with_tokens};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_call_is_made_by_those_who_may),
        TEST(the_admin_listener_shows_no_paths_to_strangers),
        TEST(a_seller_sells_and_moves),
        TEST(a_token_in_a_url_is_refused),
        TEST(hostile_heads_are_401),
        TEST(no_origin_is_allowed_by_default),
        TEST(one_token_replaces_another_without_a_gap),
        TEST(a_token_ends_while_it_is_used),
        TEST(other_tokens_come_between),
        TEST(mistakes_in_the_file_keep_the_old_ones),
        TEST(check_names_the_mistake),
        TEST(no_token_is_in_the_log),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
