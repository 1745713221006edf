/*
 * Buyers with tokens of the shop (http.auth: buyer): each buys as himself, sees and moves his own
 * orders only, and keys are replaced while they buy. On a stack of its own.
 */
#include <signal.h>
#include <sys/stat.h>

#include "harness/jwt.h"
#include "harness/sale.h"
#include "harness/suite.h"
#include "integration/reload.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NEXT_SECRET "fedcba9876543210fedcba9876543210"

static char *file;
static EVP_PKEY *curve;

static const char *oct(const char *kid, const char *secret)
{
    return test_text("{\"kid\":\"%s\",\"kty\":\"oct\",\"k\":\"%s\"}", kid,
                     test_base64url(secret, strlen(secret)));
}

static void write_keys(const char *text)
{
    const char *fresh = test_text("%s.new", file);
    FILE *out = fopen(fresh, "we");
    EXPECT(out != NULL && fputs(text, out) >= 0, "cannot write %s", fresh);
    EXPECT(fclose(out) == 0 && chmod(fresh, 0600) == 0 && rename(fresh, file) == 0, "no %s", file);
}

static const char *usual_keys(void)
{
    return test_text("{\"keys\":[%s,{\"kid\":\"curve\",%s}]}", oct("shop", SECRET),
                     test_jwt_public(curve));
}

static test_stack_t *start_for_buyers(void)
{
    file = strdup(
        test_text("%s/buyers-%d-keys.json", test_environment("HOLDFAST_TEST_TMP"), (int)getpid()));
    curve = test_jwt_key();
    EVP_PKEY_up_ref(curve);
    write_keys(usual_keys());
    return STACK_START("buyers", "http.auth=buyer", test_text("http.buyer_keys_file=%s", file),
                       "http.buyer_clock_skew_s=2", "log.access=true", "log.level=debug");
}

/* --- tokens --- */

#define HEADER "{\"alg\":\"HS256\",\"kid\":\"shop\",\"typ\":\"JWT\"}"

static const char *payload_of(const char *buyer, const char *more)
{
    return test_text("{\"sub\":\"%s\",\"exp\":%lld%s}", buyer, sale_now_ms() / 1000 + 3600, more);
}

/* `more`: further members, each behind a comma. */
static const char *token_of(const char *buyer, const char *more)
{
    return test_jwt(HEADER, payload_of(buyer, more), SECRET, strlen(SECRET));
}

/* --- calls --- */

static web_answer_t call(const char *method, const char *path, const char *body, const char *token)
{
    return WEB(.base = stack->url, .method = method, .path = path, .body = body, .token = token);
}

static web_answer_t post(const char *body, const char *token)
{
    web_answer_t answer;
    WAIT_UNTIL((answer = call("POST", "/v1/orders", body, token), answer.status != 503));
    return answer;
}

/* A purchase that succeeds; the order's path. Its row is there. */
static const char *buy(const char *sku, const char *buyer)
{
    long long before = sale_live_orders(stack, sku);
    web_answer_t answer =
        post(test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":2}", sku, buyer),
             token_of(buyer, ""));
    EXPECT(answer.status == 201 || answer.status == 202, "%s", web_show(&answer));
    WAIT_UNTIL(sale_live_orders(stack, sku) == before + 1);
    return test_text("/v1/orders/%s", web_string(&answer, "order_id"));
}

static const char *item(const char *name)
{
    return sale_item(stack, name, "\"total\":1000,\"strategy\":\"lua\",\"hold_seconds\":600");
}

/* --- cases --- */

static void a_buyer_buys_as_himself(void **state)
{
    (void)state;
    const char *sku = item("himself");
    const char *with = test_text("{\"sku\":\"%s\",\"buyer_id\":\"alice\",\"quantity\":1}", sku),
               *without = test_text("{\"sku\":\"%s\",\"quantity\":1}", sku);
    const char *const tokens[] = {
        token_of("alice", ""),
        test_jwt_es256("{\"alg\":\"ES256\",\"kid\":\"curve\"}", payload_of("alice", ""), curve)};
    for (size_t i = 0; i < TEST_COUNT(tokens); ++i) {
        web_answer_t named = post(with, tokens[i]), left_out = post(without, tokens[i]);
        EXPECT(named.status == 201 || named.status == 202, "%s", web_show(&named));
        EXPECT(left_out.status == 201 || left_out.status == 202, "%s", web_show(&left_out));
        assert_string_equal(web_string(&left_out, "buyer_id"), "alice");
    }
    WAIT_UNTIL(sale_live_orders(stack, sku) == 4);
    web_answer_t other = post(with, token_of("bob", ""));
    EXPECT_PROBLEM(other, 403, "forbidden");
    EXPECT(strstr(other.body, "buyer_id") != NULL, "%s", web_show(&other));
    web_answer_t bad = post(test_text("{\"sku\":\"%s\",\"buyer_id\":5,\"quantity\":1}", sku),
                            token_of("alice", ""));
    EXPECT_PROBLEM(bad, 400, "invalid_request");
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s'", sku), 4);
}

static void a_token_may_be_for_an_item_and_a_quantity(void **state)
{
    (void)state;
    const char *sku = item("one"), *other = item("other");
    const char *token = token_of("carol", test_text(",\"sku\":\"%s\",\"quantity_max\":2", sku));
    static const struct {
        bool other;
        unsigned quantity;
        bool allowed;
    } cases[] = {{false, 3, false}, {true, 1, false}, {false, 2, true}};
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        web_answer_t answer = post(test_text("{\"sku\":\"%s\",\"quantity\":%u}",
                                             cases[i].other ? other : sku, cases[i].quantity),
                                   token);
        if (cases[i].allowed)
            EXPECT(answer.status == 201 || answer.status == 202, "%s", web_show(&answer));
        else
            EXPECT_PROBLEM(answer, 403, "forbidden");
    }
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s'", other), 0);
}

static void the_orders_of_others_are_not_there(void **state)
{
    (void)state;
    const char *sku = item("others"), *path = buy(sku, "dora"), *eve = token_of("eve", "");
    static const char *const moves[] = {"confirm", "extend", "cancel"};
    web_answer_t answer = call("GET", path, NULL, eve);
    EXPECT_PROBLEM(answer, 404, "unknown_order");
    answer = call("GET", test_text("%s?wait_ms=60000", path), NULL, eve);
    EXPECT_PROBLEM(answer, 404, "unknown_order");
    for (size_t i = 0; i < TEST_COUNT(moves); ++i) {
        answer = call("POST", test_text("%s/%s", path, moves[i]), NULL, eve);
        EXPECT_PROBLEM(answer, 404, "unknown_order");
    }
    answer = WEB(.base = stack->url, .path = test_text("%s/cancel", path), .token = eve,
                 .key = "k1", .body = "{\"quantity\":1}");
    EXPECT_PROBLEM(answer, 404, "unknown_order");
    const char *dora = token_of("dora", "");
    answer = call("GET", path, NULL, dora);
    EXPECT_STATUS(answer, 200);
    assert_string_equal(web_string(&answer, "state"), "held");
    EXPECT_NUMBER(web_number(&answer, "quantity"), 2);
    for (size_t i = 0; i < TEST_COUNT(moves); ++i) {
        answer = call("POST", test_text("%s/%s", path, moves[i]), NULL, dora);
        EXPECT_STATUS(answer, moves[i][0] == 'e' ? 409 : 200); /* confirmed, and no hold any more */
    }
    EXPECT_SOUND(stack, sku, 0);
}

static void a_list_is_that_of_its_buyer(void **state)
{
    (void)state;
    const char *sku = item("list");
    buy(sku, "fred");
    web_answer_t answer = call("GET", "/v1/buyers/fred/orders", NULL, token_of("fred", ""));
    EXPECT_STATUS(answer, 200);
    EXPECT(strstr(answer.body, sku) != NULL, "%s", web_show(&answer));
    answer = call("GET", "/v1/buyers/fred/orders", NULL, token_of("fre", ""));
    EXPECT_PROBLEM(answer, 403, "forbidden");
    answer = call("GET", "/v1/buyers/fred/orders", NULL, NULL);
    EXPECT_PROBLEM(answer, 401, "unauthorized");
}

/* While MySQL is stopped, orders of an `accepted` item stay reserved: here in hand. */
static void an_order_on_its_way_is_shown_to_its_buyer_only(void **state)
{
    (void)state;
    const char *sku =
        sale_item(stack, "way", "\"total\":1000,\"strategy\":\"lua\",\"acknowledge\":\"accepted\"");
    const char *gina = token_of("gina", ""), *hugo = token_of("hugo", "");
    buy(sku, "zoe"); /* the gate is built from MySQL */
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGSTOP);
    web_answer_t order = post(test_text("{\"sku\":\"%s\",\"quantity\":1}", sku), gina);
    const char *path = test_text("/v1/orders/%s", web_string(&order, "order_id"));
    web_answer_t own = call("GET", path, NULL, gina), other = call("GET", path, NULL, hugo),
                 waits = call("GET", test_text("%s?wait_ms=60000", path), NULL, hugo);
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGCONT);
    EXPECT_STATUS(order, 202);
    EXPECT_STATUS(own, 200);
    assert_string_equal(web_string(&own, "state"), "reserved");
    EXPECT_PROBLEM(other, 404, "unknown_order");
    EXPECT_PROBLEM(waits, 404, "unknown_order");
    web_answer_t end;
    WAIT_UNTIL((end = call("GET", test_text("%s?wait_ms=60000", path), NULL, gina),
                end.status == 200 && strcmp(web_string(&end, "state"), "confirmed") == 0));
}

/* Those who wait while the order's end comes hear it, and one who goes is forgotten. */
static void a_buyer_waits_for_his_order(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "waits",
                                "\"total\":1000,\"strategy\":\"lua\",\"acknowledge\":\"accepted\"");
    const char *ida = token_of("ida", "");
    for (unsigned round = 0; round < 5; ++round) {
        web_answer_t order = post(test_text("{\"sku\":\"%s\",\"quantity\":1}", sku), ida);
        EXPECT(order.status == 202 || order.status == 201, "%s", web_show(&order));
        const char *path = test_text("/v1/orders/%s?wait_ms=30000", web_string(&order, "order_id"));
        int fd = web_connect(stack->url);
        const char *head = test_text("GET %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
                                     "\r\n",
                                     path, ida);
        EXPECT(write(fd, head, strlen(head)) == (ssize_t)strlen(head), "not sent");
        close(fd);
        web_answer_t end;
        WAIT_UNTIL((end = call("GET", path, NULL, ida),
                    end.status == 200 && strcmp(web_string(&end, "state"), "confirmed") == 0));
    }
}

static void what_is_open_stays_open(void **state)
{
    (void)state;
    const char *sku = item("open");
    static const char *const tokens[] = {NULL, "x", "a.b.c"};
    for (size_t i = 0; i < TEST_COUNT(tokens); ++i) {
        web_answer_t answer = call("GET", test_text("/v1/items/%s", sku), NULL, tokens[i]);
        EXPECT_STATUS(answer, 200);
        answer = call("GET", "/healthz", NULL, tokens[i]);
        EXPECT_STATUS(answer, 200);
    }
    /* A buyer is no administrator, and an administrator no buyer. */
    web_answer_t answer =
        WEB(.base = stack->admin_url, .path = "/v1/status", .token = token_of("root", ""));
    EXPECT_PROBLEM(answer, 401, "unauthorized");
    answer = call("GET", "/v1/buyers/fred/orders", NULL, stack->token);
    EXPECT_PROBLEM(answer, 401, "unauthorized");
}

static void hostile_tokens_are_401(void **state)
{
    (void)state;
    const char *sku = item("hostile");
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"mallory\",\"quantity\":1}", sku);
    const char *payload = payload_of("mallory", "");
    const char *good = test_jwt(HEADER, payload, SECRET, strlen(SECRET));
    const char *none = test_jwt("{\"alg\":\"none\",\"kid\":\"shop\"}", payload, "", 0);
    const char *const tokens[] = {
        NULL,
        "x",
        "a.b.c",
        "..",
        test_text("%.*s", (int)(strrchr(good, '.') - good) + 1, good),
        test_text("%.*s", (int)(strrchr(none, '.') - none) + 1, none),
        none,
        test_jwt("{\"alg\":\"HS512\",\"kid\":\"shop\"}", payload, SECRET, strlen(SECRET)),
        test_jwt("{\"alg\":\"HS256\",\"kid\":\"curve\"}", payload, SECRET, strlen(SECRET)),
        test_jwt("{\"alg\":\"ES256\",\"kid\":\"curve\"}", payload, SECRET, strlen(SECRET)),
        test_jwt("{\"alg\":\"HS256\",\"kid\":\"next\"}", payload, SECRET, strlen(SECRET)),
        test_jwt("{\"alg\":\"HS256\"}", payload, SECRET, strlen(SECRET)),
        test_jwt(HEADER, payload, NEXT_SECRET, strlen(NEXT_SECRET)),
        test_jwt(HEADER, "{\"sub\":\"mallory\"}", SECRET, strlen(SECRET)),
        test_jwt(HEADER, "{\"sub\":\"mallory\",\"exp\":1000}", SECRET, strlen(SECRET)),
        test_jwt(HEADER, test_text("{\"sub\":\"mallory\",\"exp\":%lld}", sale_now_ms() / 1000 - 60),
                 SECRET, strlen(SECRET)),
        test_jwt(HEADER, payload_of("", ""), SECRET, strlen(SECRET)),
        token_of("mallory", test_text(",\"x\":\"%s\"", test_repeat("y", 5000))),
        test_repeat("a", 10000),
    };
    for (size_t i = 0; i < TEST_COUNT(tokens); ++i) {
        web_answer_t answer = call("POST", "/v1/orders", body, tokens[i]);
        EXPECT(answer.status == 401 && web_has_code(&answer, "unauthorized"), "%zu: %s", i,
               web_show(&answer));
    }
    EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s'", sku), 0);
    web_answer_t in_url = call("POST", test_text("/v1/orders?access_token=%s", good), body, NULL);
    EXPECT_PROBLEM(in_url, 400, "invalid_request");
}

/* --- keys that change --- */

static void expect_kept(const char *old, const char *next)
{
    static const char words[] = "the new tokens and keys cannot be used; the old ones stay";
    unsigned before = count_in_log(words);
    hangup();
    WAIT_UNTIL(count_in_log(words) == before + 1);
    EXPECT(all_answer(old, 400) && all_answer(next, 401), "not the old ones");
}

static void keys_are_replaced_without_a_gap(void **state)
{
    (void)state;
    const char *old = token_of("nina", "");
    const char *next = test_jwt("{\"alg\":\"HS256\",\"kid\":\"next\"}", payload_of("nina", ""),
                                NEXT_SECRET, strlen(NEXT_SECRET));
    EXPECT(all_answer(old, 400) && all_answer(next, 401), "not as it was");
    write_keys("{\"keys\":[]}");
    expect_kept(old, next);
    write_keys(test_text("{\"keys\":[%s", oct("next", NEXT_SECRET)));
    expect_kept(old, next);
    write_keys(test_text("{\"keys\":[%s]}", oct("next", "short")));
    expect_kept(old, next);
    write_keys(test_text("{\"keys\":[%s]}", oct("next", NEXT_SECRET)));
    EXPECT(chmod(file, 0644) == 0, "no file");
    expect_kept(old, next); /* others may read it */
    EXPECT(unlink(file) == 0, "no file");
    expect_kept(old, next);
    write_keys(test_text("{\"keys\":[%s,%s]}", oct("shop", SECRET), oct("next", NEXT_SECRET)));
    hangup();
    WAIT_UNTIL(all_answer(next, 400));
    EXPECT(all_answer(old, 400), "the old key is gone too early");
    write_keys(test_text("{\"keys\":[%s]}", oct("next", NEXT_SECRET)));
    hangup();
    WAIT_UNTIL(all_answer(old, 401));
    EXPECT(all_answer(next, 400), "the new key is gone");
    write_keys(usual_keys());
    hangup();
    WAIT_UNTIL(all_answer(old, 400));
}

/* The last case: the log has all that came before. Each token has this header, or a payload. */
static void no_token_and_no_key_is_in_the_log(void **state)
{
    (void)state;
    const char *const texts[] = {test_base64url(HEADER, strlen(HEADER)), "eyJ", SECRET,
                                 test_base64url(SECRET, strlen(SECRET)), NEXT_SECRET};
    WEB(.base = stack->url, .path = "/the-last-of-all");
    WAIT_UNTIL(count_in_log("the-last-of-all") != 0);
    for (size_t i = 0; i < TEST_COUNT(texts); ++i)
        EXPECT(count_in_log(texts[i]) == 0, "%s is in %s", texts[i], stack_log(stack));
}

static void free_key(void)
{
    EVP_PKEY_free(curve);
}

static const suite_t suite = {.name = "buyers", .start = start_for_buyers, .after_stop = free_key};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_buyer_buys_as_himself),
        TEST(a_token_may_be_for_an_item_and_a_quantity),
        TEST(the_orders_of_others_are_not_there),
        TEST(a_list_is_that_of_its_buyer),
        TEST(an_order_on_its_way_is_shown_to_its_buyer_only),
        TEST(a_buyer_waits_for_his_order),
        TEST(what_is_open_stays_open),
        TEST(hostile_tokens_are_401),
        TEST(keys_are_replaced_without_a_gap),
        TEST(no_token_and_no_key_is_in_the_log),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
