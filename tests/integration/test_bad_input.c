/*
 * Bad input: a clear refusal in the terms of service/API.md, nothing lost, never a 500, never a
 * crash. Every refusal, whoever gives it, is application/problem+json with a code.
 */
#include <signal.h>

#include "integration/aftermath.h"

static web_answer_t post(const char *body, size_t length)
{
    return WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .body_length = length);
}

static web_answer_t admin_call(const char *method, const char *path, const char *body)
{
    return ADMIN(STACK, .method = method, .path = path, .body = body);
}

static void expect_refused(const char *what, const web_answer_t *answer, long status,
                           const char *code)
{
    const char *fault = answer->status == 0 ? "not given" : web_problem_fault(answer);
    if (answer->status != status || fault != NULL || !web_has_code(answer, code))
        FAIL("%.300s\n  expected %ld %s\n  got %s%s%s", what, status, code, web_show(answer),
             fault == NULL ? "" : ": ", fault == NULL ? "" : fault);
}

/* --- JSON --- */

#define ORDER(sku_, buyer_, quantity_)                                                             \
    "{\"sku\":" sku_ ",\"buyer_id\":" buyer_ ",\"quantity\":" quantity_ "}"

static void broken_json_is_malformed(void **state)
{
    static const char *const bodies[] = {
        " ",
        "{",
        "}",
        "[]",
        "null",
        "true",
        "17",
        "\"text\"",
        "{\"sku\"}",
        "{\"sku\":}",
        "{sku:1}",
        "{'sku':'x'}",
        "{\"sku\":\"x\",}",
        "{\"sku\":\"x\"} {}",
        "{\"sku\":\"x\"}]",
        "{\"sku\":\"x\" \"buyer_id\":\"y\"}",
        "{\"sku\":\"x",
        "{\"sku\":\"\\x\"}",
        "{\"sku\":\"\\u12\"}",
        "{\"sku\":\"a\tb\"}",
        "{\"sku\":\"a\nb\"}",
        "\xef\xbb\xbf{}",
        "// comment\n{}",
        "{\"quantity\":01}",
        "{\"quantity\":+1}",
        "{\"quantity\":.5}",
        "{\"quantity\":1.}",
        "{\"quantity\":1e}",
        "{\"quantity\":0x10}",
        "{\"quantity\":NaN}",
        "{\"quantity\":Infinity}",
        "{\"quantity\":--1}",
        "{\"quantity\":tru}",
        "{\"quantity\":nulll}",
    };
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(bodies); ++i) {
        web_answer_t answer = post(bodies[i], 0);
        expect_refused(bodies[i], &answer, 400, "malformed_json");
        answer = admin_call("PATCH", test_text("/v1/items/%s", sku), bodies[i]);
        expect_refused(bodies[i], &answer, 400, "malformed_json");
        answer = admin_call("PUT", "/v1/strategy", bodies[i]);
        expect_refused(bodies[i], &answer, 400, "malformed_json");
    }
    web_answer_t empty = WEB(.base = STACK->url, .method = "POST", .path = "/v1/orders");
    expect_refused("no body", &empty, 400, "malformed_json");
}

static void a_name_twice_is_malformed(void **state)
{
    static const char *const bodies[] = {
        "{\"sku\":\"a\",\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1}",
        "{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1,\"quantity\":2}",
        "{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1,\"s\\u006bu\":\"c\"}",
    };
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(bodies); ++i) {
        web_answer_t answer = post(bodies[i], 0);
        expect_refused(bodies[i], &answer, 400, "malformed_json");
    }
    web_answer_t answer =
        admin_call("PATCH", test_text("/v1/items/%s", sku), "{\"total\":1,\"total\":2}");
    expect_refused("total twice", &answer, 400, "malformed_json");
}

static void nul_and_bad_utf8_are_malformed(void **state)
{
#define RAW(text_)                                                                                 \
    {                                                                                              \
        text_, sizeof(text_) - 1                                                                   \
    }
    static const struct {
        const char *body;
        size_t length;
    } bodies[] = {
        RAW("{\"sku\":\"a\0b\",\"buyer_id\":\"b\",\"quantity\":1}"),
        RAW("{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1}\0"),
        RAW("\0{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1}"),
        RAW("{\"sku\":\"a\",\0\"buyer_id\":\"b\",\"quantity\":1}"),
        RAW("\0\0\0\0"),
        RAW(ORDER("\"a\"", "\"b\\u0000c\"", "1")),
        RAW(ORDER("\"a\\u0000\"", "\"b\"", "1")),
        RAW("{\"s\\u0000ku\":\"a\"}"),
        RAW(ORDER("\"a\"", "\"\xff\"", "1")),
        RAW(ORDER("\"a\"", "\"\xc3\x28\"", "1")),
        RAW(ORDER("\"a\"", "\"\xc0\x80\"", "1")),         /* overlong NUL */
        RAW(ORDER("\"a\"", "\"\xed\xa0\x80\"", "1")),     /* a surrogate */
        RAW(ORDER("\"a\"", "\"\xf4\x90\x80\x80\"", "1")), /* past U+10FFFF */
        RAW(ORDER("\"a\"", "\"\xe2\x82\"", "1")),         /* cut short */
        RAW("{\"\xff\":1}"),
        RAW(ORDER("\"a\"", "\"\\ud800\"", "1")),
        RAW(ORDER("\"a\"", "\"\\udc00\"", "1")),
        RAW(ORDER("\"a\"", "\"\\ud800\\u0041\"", "1")),
        RAW(ORDER("\"a\"", "\"\\udc00\\ud800\"", "1")),
    };
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(bodies); ++i) {
        web_answer_t answer = post(bodies[i].body, bodies[i].length);
        expect_refused(test_text("number %zu: %s", i, bodies[i].body), &answer, 400,
                       "malformed_json");
    }
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    static const char *const units[] = {"[", "{\"a\":", "[[],", "{\"a\":[{\"b\":"};
    for (size_t i = 0; i < TEST_COUNT(units); ++i) {
        for (size_t depth = 350; depth <= 1400; depth *= 2) {
            web_answer_t answer = post(test_repeat(units[i], depth), 0);
            expect_refused(units[i], &answer, 400, "malformed_json");
        }
    }
    const char *balanced =
        test_text("{\"sku\":%s%s}", test_repeat("[", 900), test_repeat("]", 900));
    web_answer_t answer = post(balanced, 0);
    EXPECT(answer.status == 400 && web_problem_fault(&answer) == NULL, "%s", web_show(&answer));
    const char *members = test_text("{%s\"a\":1}", test_repeat("\"x\":1,", 900));
    answer = post(members, 0);
    EXPECT(answer.status == 400 && web_problem_fault(&answer) == NULL, "%s", web_show(&answer));
}

static void expect_invalid(const char *body, const char *member)
{
    web_answer_t answer = post(body, 0);
    expect_refused(body, &answer, 400, "invalid_request");
    EXPECT(strstr(answer.body, member) != NULL, "%s\n  does not name %s: %s", body, member,
           web_show(&answer));
}

static void a_quantity_is_a_whole_number_of_units(void **state)
{
    static const char *const numbers[] = {
        "0",
        "-1",
        "-0",
        "1.5",
        "0.5",
        "1e-1",
        "-9223372036854775808",
        "1001",
        "2e9",
        "2147483648",
        "4294967296",
        "4294967297",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551617",
        "1e308",
        "1e309",
        "1e999",
        "-1e999",
        "123456789012345678901234567890",
        "\"1\"",
        "\"\"",
        "null",
        "true",
        "[]",
        "[1]",
        "{}",
        "{\"a\":1}",
        "1.0000000001",
    };
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(numbers); ++i)
        expect_invalid(
            test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":%s}", sku, numbers[i]),
            "quantity");
    /* A number of some thousand digits is a number still. */
    expect_invalid(test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1%s}", sku,
                             test_repeat("0", 4000)),
                   "quantity");
}

static void every_member_of_an_order_is_checked(void **state)
{
    (void)state;
    expect_invalid("{}", "sku");
    expect_invalid("{\"buyer_id\":\"b\",\"quantity\":1}", "sku");
    expect_invalid("{\"sku\":\"a\",\"quantity\":1}", "buyer_id");
    expect_invalid("{\"sku\":\"a\",\"buyer_id\":\"b\"}", "quantity");
    expect_invalid("{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1,\"price\":1}", "price");
    expect_invalid("{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1,\"Quantity\":1}", "Quantity");
    expect_invalid("{\"SKU\":\"a\",\"buyer_id\":\"b\",\"quantity\":1}", "SKU");
    static const char *const not_text[] = {"1", "null", "true", "[]", "{}", "[\"a\"]"};
    for (size_t i = 0; i < TEST_COUNT(not_text); ++i) {
        expect_invalid(test_text("{\"sku\":%s,\"buyer_id\":\"b\",\"quantity\":1}", not_text[i]),
                       "sku");
        expect_invalid(test_text("{\"sku\":\"a\",\"buyer_id\":%s,\"quantity\":1}", not_text[i]),
                       "buyer_id");
    }
}

static void a_sku_is_short_and_plain(void **state)
{
    const char *const skus[] = {
        "",
        " ",
        "a b",
        "a/b",
        "../x",
        "a'b",
        "a\\\"b",
        "a;b",
        "a%b",
        "a%20b",
        "a{b}",
        "' OR 1=1 --",
        "\\u0007",
        "caf\xc3\xa9",
        "a\\nb",
        "\\u007f",
        "-a",
        "a\\u001fb",
        "a*",
        "a,b",
        test_repeat("a", 65),
        test_repeat("s", 10000),
    };
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(skus); ++i)
        expect_invalid(test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", skus[i]),
                       "sku");
}

static void a_buyer_id_is_bounded_text(void **state)
{
    (void)state;
    const char *const buyers[] = {
        "",        "\\u0001",   "a\\nb",     "a\\u001fb",           "\\u007f",
        "\\u0080", "a\\u0085b", "a\xc2\x9f", test_repeat("b", 129), test_repeat("b", 10000)};
    for (size_t i = 0; i < TEST_COUNT(buyers); ++i)
        expect_invalid(
            test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", sku, buyers[i]),
            "buyer_id");
}

/* Odd, but a name: it must come back as it went in, and find its orders. */
static void odd_buyers_are_buyers(void **state)
{
    (void)state;
    static const struct {
        const char *json, *plain, *path;
    } buyers[] = {
        {"o'brien", "o'brien", "o%27brien"},
        {"' OR '1'='1", "' OR '1'='1", "%27%20OR%20%271%27=%271"},
        {"a\\\\b", "a\\b", "a%5Cb"},
        {"a\\\"b", "a\"b", "a%22b"},
        {"a/b", "a/b", "a%2Fb"},
        {"a%b", "a%b", "a%25b"},
        {"../../etc", "../../etc", "..%2F..%2Fetc"},
        {"\\u00e9\\ud83d\\ude00", "\xc3\xa9\xf0\x9f\x98\x80", "%C3%A9%F0%9F%98%80"},
        {"{}:*?[]", "{}:*?[]", "%7B%7D:*%3F%5B%5D"},
    };
    const char *mine = sale_item(STACK, "odd", "\"total\":100,\"strategy\":\"lua\"");
    for (size_t i = 0; i < TEST_COUNT(buyers); ++i) {
        web_answer_t order = post(
            test_text("{\"sku\":\"%s\",\"buyer_id\":\"%s\",\"quantity\":1}", mine, buyers[i].json),
            0);
        EXPECT(order.status == 201, "%s: %s", buyers[i].json, web_show(&order));
        EXPECT(strcmp(web_string(&order, "buyer_id"), buyers[i].plain) == 0, "%s: %s",
               buyers[i].json, web_show(&order));
        web_answer_t orders =
            WEB(.base = STACK->url, .path = test_text("/v1/buyers/%s/orders", buyers[i].path));
        EXPECT(orders.status == 200, "%s: %s", buyers[i].path, web_show(&orders));
        EXPECT(strstr(orders.body, sale_id(&order)) != NULL, "%s: not there: %s", buyers[i].path,
               web_show(&orders));
    }
    EXPECT_NUMBER(sale_live_orders(STACK, mine), TEST_COUNT(buyers));
    EXPECT_GATE_AGREES(STACK, mine);
}

static void an_idempotency_key_is_short_and_visible(void **state)
{
    (void)state;
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", sku);
    const char *const keys[] = {"a b",
                                "\xc3\xa9",
                                "\"",
                                "\"\"",
                                "\"k",
                                "\"k\"1\"",
                                "\"k\\1\"",
                                "\"k\";a=b",
                                "\"k 1\"",
                                test_repeat("k", 256),
                                test_text("\"%s\"", test_repeat("k", 256)),
                                test_repeat("k", 5000)};
    for (size_t i = 0; i < TEST_COUNT(keys); ++i) {
        web_answer_t answer =
            WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .key = keys[i]);
        expect_refused(keys[i], &answer, 400, "invalid_request");
    }
    web_answer_t control =
        WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .key = "\x01");
    EXPECT_STATUS(control, 400); /* broken HTTP, so the parser's own words will do */
    web_answer_t twice = WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .key = "one",
                             .headers = {"Idempotency-Key: two"});
    expect_refused("two keys", &twice, 400, "invalid_request");
    web_answer_t empty = WEB(.base = STACK->url, .path = "/v1/orders", .body = body,
                             .headers = {"Idempotency-Key;"});
    expect_refused("an empty key", &empty, 400, "invalid_request");
}

/* --- paths, methods, types, lengths --- */

static void odd_paths_are_404(void **state)
{
    (void)state;
    static const struct {
        const char *path, *code;
    } paths[] = {
        {"/", "not_found"},
        {"/v1", "not_found"},
        {"/v1/", "not_found"},
        {"/v2/orders", "not_found"},
        {"/v1/orders/", "not_found"},
        {"/v1/orders/x/y", "not_found"},
        {"//v1/orders/x", "not_found"},
        {"/V1/items/x", "not_found"},
        {"/v1/items/x/", "not_found"},
        {"/v1/buyers//orders", "not_found"},
        {"/v1/buyers/x", "not_found"},
        {"/v1/orders/x", "unknown_order"},
        {"/v1/orders/%00", "unknown_order"},
        {"/v1/orders/%", "unknown_order"},
        {"/v1/orders/%zz", "unknown_order"},
        {"/v1/orders/'%20OR%201=1", "unknown_order"},
        {"/v1/orders/..%2f..%2fetc%2fpasswd", "unknown_order"},
        {"/v1/orders/01a1fc40-1879-7047-8f91-874ad695956", "unknown_order"},
        {"/v1/orders/01a1fc40-1879-7047-8f91-874ad69595667", "unknown_order"},
        {"/v1/orders/01a1fc40_1879_7047_8f91_874ad6959566", "unknown_order"},
        {"/v1/orders/01a1fc40-1879-7fff-8f91-874ad6959566", "unknown_order"}, /* no such slot */
        {"/v1/items/%ff", "unknown_item"},
        {"/v1/items/%00", "unknown_item"},
        {"/v1/items/a%27b", "unknown_item"},
        {"/v1/items/a%2Fb", "unknown_item"},
        {"/metrics", "not_found"},
        {"/v1/status", "not_found"},
        {"/v1/audit", "not_found"},
    };
    for (size_t i = 0; i < TEST_COUNT(paths); ++i) {
        web_answer_t answer = WEB(.base = STACK->url, .path = paths[i].path);
        expect_refused(paths[i].path, &answer, 404, paths[i].code);
    }
    const char *const longs[] = {"/v1/orders/", "/v1/items/"};
    for (size_t i = 0; i < TEST_COUNT(longs); ++i) {
        web_answer_t answer =
            WEB(.base = STACK->url, .path = test_text("%s%s", longs[i], test_repeat("x", 10000)));
        EXPECT(answer.status == 404 || answer.status == 414 || answer.status == 400, "%s",
               web_show(&answer));
        EXPECT(web_problem_fault(&answer) == NULL, "%s: %s", web_problem_fault(&answer),
               web_show(&answer));
    }
}

static void bad_queries_are_invalid(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "cursor=",
        "cursor=x",
        "cursor=%00",
        "cursor=01a1fc40-1879-4047-8f91-874ad6959566",
        "cursor=' OR 1=1",
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=x",
        "limit=1.5",
        "limit=1e1",
        "limit=",
        "limit=99999999999999999999",
        "limit=0020x",
        "limit=%31",
        "limit",
        "cursor",
        "limit=1&limit=2",
        "limit=2&limit=2",
        "limit=1&a=b&limit",
        "limit=1&cursor=&cursor=",
        "cursor=01a1fc40-1879-7047-8f91-874ad6959566&cursor=01a1fc40-1879-7047-8f91-874ad6959566",
    };
    for (size_t i = 0; i < TEST_COUNT(queries); ++i) {
        char *path = test_text("/v1/buyers/b/orders?%s", queries[i]);
        for (char *c = path; *c != '\0'; ++c)
            *c = *c == ' ' ? '+' : *c;
        web_answer_t answer = WEB(.base = STACK->url, .path = path);
        expect_refused(path, &answer, 400, "invalid_request");
    }
    static const char *const buyers[] = {"%00", "%ff", "%0a", "%", "%1", "%C2%85"};
    for (size_t i = 0; i < TEST_COUNT(buyers); ++i) {
        web_answer_t answer =
            WEB(.base = STACK->url, .path = test_text("/v1/buyers/%s/orders", buyers[i]));
        expect_refused(buyers[i], &answer, 400, "invalid_request");
    }
    web_answer_t answer =
        WEB(.base = STACK->url, .path = test_text("/v1/buyers/%s/orders", test_repeat("b", 10000)));
    EXPECT(answer.status >= 400 && answer.status < 500 && web_problem_fault(&answer) == NULL, "%s",
           web_show(&answer));
}

static void wrong_methods_are_405_with_allow(void **state)
{
    (void)state;
    static const struct {
        bool admin;
        const char *method, *path, *allow;
    } calls[] = {
        {false, "PUT", "/v1/orders", "POST"},
        {false, "GET", "/v1/orders", "POST"},
        {false, "DELETE", "/v1/orders/x", "GET"},
        {false, "POST", "/v1/orders/x", "GET"},
        {false, "GET", "/v1/orders/x/confirm", "POST"},
        {false, "PUT", "/v1/orders/x/cancel", "POST"},
        {false, "PATCH", "/v1/orders/x/extend", "POST"},
        {false, "PUT", "/v1/items/x", "GET"},
        {false, "POST", "/v1/buyers/x/orders", "GET"},
        {false, "POST", "/healthz", "GET"},
        {false, "POST", "/readyz", "GET"},
        {false, "BREW", "/v1/orders", "POST"},
        {false, "get", "/healthz", "GET"},
        {false, "OPTIONS", "/v1/orders", "POST"},
        {true, "POST", "/v1/items/x", "PUT"},
        {true, "POST", "/v1/items", "GET"},
        {true, "OPTIONS", "/v1/items/x", "DELETE"},
        {true, "GET", "/v1/strategy", "PUT"},
        {true, "PUT", "/v1/status", "GET"},
        {true, "POST", "/metrics", "GET"},
        {true, "GET", "/v1/items/x/reconcile", "POST"},
    };
    for (size_t i = 0; i < TEST_COUNT(calls); ++i) {
        web_answer_t answer = WEB(.base = calls[i].admin ? STACK->admin_url : STACK->url,
                                  .token = calls[i].admin ? STACK->token : NULL,
                                  .method = calls[i].method, .path = calls[i].path);
        const char *what = test_text("%s %s", calls[i].method, calls[i].path);
        expect_refused(what, &answer, 405, "method_not_allowed");
        EXPECT(strstr(answer.allow, calls[i].allow) != NULL, "%s: Allow: %s", what, answer.allow);
    }
}

/* It says what is taken: to people, and in the header that is for it. */
static void expect_unsupported(const char *what, const web_answer_t *answer, const char *taken)
{
    expect_refused(what, answer, 415, "unsupported_media_type");
    EXPECT(strcmp(answer->taken, taken) == 0, "%s: %s is taken, not %s", what, answer->taken,
           taken);
    const char *detail = web_string(answer, "detail");
    EXPECT(detail != NULL && (strstr(detail, "application/json") != NULL ||
                              strstr(detail, "Content-Encoding") != NULL),
           "%s: %s", what, web_show(answer));
}

#define JSON_TAKEN "application/json"
#define PATCH_TAKEN "application/json, application/merge-patch+json"

static void other_media_types_are_415(void **state)
{
    (void)state;
    static const char *const types[] = {"text/plain",
                                        "application/x-www-form-urlencoded",
                                        "application/xml",
                                        "application/jsonp",
                                        "application/json-patch+json",
                                        "json",
                                        "multipart/form-data; boundary=x",
                                        "application/json charset=utf-8",
                                        "application/json;charset",
                                        "application/json, text/plain",
                                        "text/plain; application/json"};
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", sku);
    const char *item = test_text("/v1/items/%s", sku);
    for (size_t i = 0; i < TEST_COUNT(types); ++i) {
        web_answer_t answer =
            WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .content_type = types[i]);
        expect_unsupported(types[i], &answer, JSON_TAKEN);
        answer = ADMIN(STACK, .method = "PATCH", .path = item, .body = "{\"total\":1}",
                       .content_type = types[i]);
        expect_unsupported(types[i], &answer, PATCH_TAKEN);
        answer = ADMIN(STACK, .method = "PUT", .path = item, .body = "{\"total\":1}",
                       .content_type = types[i]);
        expect_unsupported(types[i], &answer, JSON_TAKEN);
    }
    web_answer_t two = WEB(.base = STACK->url, .path = "/v1/orders", .body = body,
                           .headers = {"Content-Type: text/plain"});
    expect_unsupported("a second one", &two, JSON_TAKEN);
    static const char *const fine[] = {"application/json",       "application/json; charset=utf-8",
                                       "Application/JSON",       "application/json;charset=UTF-8",
                                       "application/json\t;a=b", "application/json ; a=\"b;c\""};
    const char *mine = sale_item(STACK, "types", "\"total\":100,\"strategy\":\"lua\"");
    body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", mine);
    for (size_t i = 0; i < TEST_COUNT(fine); ++i) {
        web_answer_t answer =
            WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .content_type = fine[i]);
        EXPECT(answer.status == 201, "%s: %s", fine[i], web_show(&answer));
    }
}

/* RFC 7386 for PATCH, and for nothing else. */
static void a_merge_patch_is_a_patch(void **state)
{
    (void)state;
    const char *mine =
        sale_item(STACK, "merge", "\"total\":100,\"starts_at\":\"%s\"", sale_time(3600));
    const char *path = test_text("/v1/items/%s", mine);
    web_answer_t patched =
        ADMIN(STACK, .method = "PATCH", .path = path, .body = "{\"total\":7,\"starts_at\":null}",
              .content_type = "application/merge-patch+json; charset=utf-8");
    EXPECT_STATUS(patched, 200);
    EXPECT_NUMBER(web_number(&patched, "total"), 7);
    EXPECT(web_string(&patched, "starts_at") == NULL, "%s", web_show(&patched));
    web_answer_t put = ADMIN(STACK, .method = "PUT", .path = path, .body = "{\"total\":8}",
                             .content_type = "application/merge-patch+json");
    expect_unsupported("a PUT", &put, JSON_TAKEN);
    web_answer_t order = WEB(.base = STACK->url, .path = "/v1/orders", .body = "{}",
                             .content_type = "application/merge-patch+json");
    expect_unsupported("an order", &order, JSON_TAKEN);
}

static void a_body_that_is_encoded_is_415(void **state)
{
    (void)state;
    static const char *const codings[] = {"gzip", "GZIP", "br", "identity, gzip", "gzip, identity"};
    const char *body = test_text("{\"sku\":\"%s\",\"buyer_id\":\"b\",\"quantity\":1}", sku);
    for (size_t i = 0; i < TEST_COUNT(codings); ++i) {
        const char *header = test_text("Content-Encoding: %s", codings[i]);
        web_answer_t answer =
            WEB(.base = STACK->url, .path = "/v1/orders", .body = body, .headers = {header});
        expect_unsupported(header, &answer, "identity");
        answer = ADMIN(STACK, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
                       .body = "{\"total\":1}", .headers = {header});
        expect_unsupported(header, &answer, "identity");
    }
    web_answer_t two = WEB(.base = STACK->url, .path = "/v1/orders", .body = body,
                           .headers = {"Content-Encoding: identity", "Content-Encoding: gzip"});
    expect_unsupported("a second one", &two, "identity");
    web_answer_t plain = WEB(.base = STACK->url, .path = "/v1/orders", .body = "{}",
                             .headers = {"Content-Encoding: identity"});
    expect_refused("identity", &plain, 400, "invalid_request");
}

/* --- admin --- */

static void a_bad_token_is_401(void **state)
{
    (void)state;
    const char *const headers[] = {
        NULL,
        "Authorization: Bearer",
        "Authorization: Bearer x",
        "Authorization: Basic dXNlcjpwYXNz",
        test_text("Authorization: Bearer %sx", STACK->token),
        test_text("Authorization: Bearer %.*s", (int)strlen(STACK->token) - 1, STACK->token),
        test_text("Authorization: %s", STACK->token),
        test_text("Authorization: Bearer %s", test_repeat("y", 5000)),
    };
    static const struct {
        const char *method, *path;
    } calls[] = {
        {"GET", "/v1/status"},  {"GET", "/metrics"},        {"GET", "/v1/audit"},
        {"PUT", "/v1/items/x"}, {"PATCH", "/v1/items/x"},   {"PUT", "/v1/strategy"},
        {"GET", "/nowhere"},    {"DELETE", "/v1/strategy"}, {"POST", "/v1/items/x/reconcile"}};
    for (size_t h = 0; h < TEST_COUNT(headers); ++h) {
        for (size_t c = 0; c < TEST_COUNT(calls); ++c) {
            web_answer_t answer = WEB(.base = STACK->admin_url, .method = calls[c].method,
                                      .path = calls[c].path, .headers = {headers[h]});
            expect_refused(test_text("%s %s, %s", calls[c].method, calls[c].path,
                                     headers[h] == NULL ? "no header" : headers[h]),
                           &answer, 401, "unauthorized");
        }
    }
    web_answer_t lower = WEB(.base = STACK->admin_url, .path = "/v1/status",
                             .headers = {test_text("Authorization: bearer %s", STACK->token)});
    EXPECT_STATUS(lower, 200); /* RFC 9110: the scheme's case does not matter */
}

static void expect_invalid_item(const char *terms, const char *member)
{
    const char *body = test_text("{%s}", terms);
    web_answer_t answer = admin_call("PUT", test_text("/v1/items/%s", sale_sku("bad")), body);
    expect_refused(body, &answer, 400, "invalid_request");
    EXPECT(strstr(answer.body, member) != NULL, "%s\n  does not name %s: %s", body, member,
           web_show(&answer));
    answer = admin_call("PATCH", test_text("/v1/items/%s", sku), body);
    if (strstr(body, "\"total\"") != NULL || strcmp(member, "total") != 0)
        expect_refused(body, &answer, 400, "invalid_request");
}

static void every_term_of_an_item_is_checked(void **state)
{
    static const char *const numbers[] = {
        "-1",   "1.5",  "1e30", "1e999", "9223372036854775808", "18446744073709551617", "\"5\"",
        "null", "true", "[]",   "{}"};
    static const char *const members[] = {"total", "per_buyer_limit", "hold_seconds"};
    (void)state;
    for (size_t m = 0; m < TEST_COUNT(members); ++m)
        for (size_t n = 0; n < TEST_COUNT(numbers); ++n)
            expect_invalid_item(
                test_text("%s\"%s\":%s", m == 0 ? "" : "\"total\":5,", members[m], numbers[n]),
                members[m]);
    web_answer_t missing = admin_call("PUT", test_text("/v1/items/%s", sale_sku("bad")), "{}");
    expect_refused("no total", &missing, 400, "invalid_request");
    static const char *const dates[] = {
        "\"\"",
        "\"tomorrow\"",
        "17",
        "true",
        "\"2026-13-01T00:00:00Z\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-01\"",
        "\"2026-01-01T25:00:00Z\"",
        "\"2026-01-01T00:61:00Z\"",
        "\"2026-01-01T00:00:00\"",
        "\"2026-01-01 00:00:00Z x\"",
        "\"99999-01-01T00:00:00Z\"",
        "\"2026-01-01T00:00:00Z\\n\"",
        "[]",
    };
    for (size_t i = 0; i < TEST_COUNT(dates); ++i) {
        expect_invalid_item(test_text("\"total\":5,\"starts_at\":%s", dates[i]), "starts_at");
        expect_invalid_item(test_text("\"total\":5,\"ends_at\":%s", dates[i]), "ends_at");
    }
    static const char *const words[] = {"\"\"",
                                        "\"Lua\"",
                                        "\"fastest\"",
                                        "null",
                                        "1",
                                        "[\"lua\"]",
                                        "\"lua \"",
                                        "\"lua\\u0020\"",
                                        "\"'; DROP TABLE orders; --\""};
    for (size_t i = 0; i < TEST_COUNT(words); ++i) {
        expect_invalid_item(test_text("\"total\":5,\"strategy\":%s", words[i]), "strategy");
        expect_invalid_item(test_text("\"total\":5,\"acknowledge\":%s", words[i]), "acknowledge");
        web_answer_t answer =
            admin_call("PUT", "/v1/strategy", test_text("{\"strategy\":%s}", words[i]));
        expect_refused(words[i], &answer, 400, "invalid_request");
    }
    expect_invalid_item("\"total\":5,\"colour\":\"red\"", "colour");
    expect_invalid_item("\"total\":5,\"sku\":\"x\"", "sku");
    web_answer_t none = admin_call("PUT", "/v1/strategy", "{}");
    expect_refused("no strategy", &none, 400, "invalid_request");
}

static void a_sale_that_ends_before_it_starts_is_invalid(void **state)
{
    (void)state;
    expect_invalid_item(
        "\"total\":5,\"starts_at\":\"2030-01-02T00:00:00Z\",\"ends_at\":\"2030-01-01T"
        "00:00:00Z\"",
        "ends_at");
    expect_invalid_item(
        "\"total\":5,\"starts_at\":\"2030-01-01T00:00:00Z\",\"ends_at\":\"2030-01-01T"
        "00:00:00Z\"",
        "ends_at");
    const char *mine =
        sale_item(STACK, "window", "\"total\":5,\"starts_at\":\"2030-01-02T00:00:00Z\"");
    web_answer_t answer = sale_patch(STACK, mine, "\"ends_at\":\"2030-01-01T00:00:00Z\"");
    expect_refused("with what stays", &answer, 400, "invalid_request");
}

static void a_new_sku_is_checked_too(void **state)
{
    (void)state;
    const char *const names[] = {"%20",
                                 "a%20b",
                                 "a%2Fb",
                                 "a%27b",
                                 "%00",
                                 "%ff",
                                 "-a",
                                 "caf%C3%A9",
                                 "%",
                                 test_repeat("a", 65),
                                 test_repeat("a", 10000)};
    for (size_t i = 0; i < TEST_COUNT(names); ++i) {
        web_answer_t answer =
            admin_call("PUT", test_text("/v1/items/%s", names[i]), "{\"total\":1}");
        expect_refused(names[i], &answer, 400, "invalid_request");
    }
    const char *longest = test_text("%s%.20s", test_repeat("z", 44), sale_sku("") + 2);
    longest = test_text("%.64s", longest);
    web_answer_t put = admin_call("PUT", test_text("/v1/items/%s", longest), "{\"total\":1}");
    EXPECT(put.status == 200 || put.status == 201, "%s", web_show(&put));
    web_answer_t order = sale_buy(STACK, longest, test_repeat("b", 128), 1, test_repeat("k", 255));
    EXPECT_STATUS(order, 201);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(broken_json_is_malformed),
        TEST(a_name_twice_is_malformed),
        TEST(nul_and_bad_utf8_are_malformed),
        TEST(deep_nesting_is_refused),
        TEST(a_quantity_is_a_whole_number_of_units),
        TEST(every_member_of_an_order_is_checked),
        TEST(a_sku_is_short_and_plain),
        TEST(a_buyer_id_is_bounded_text),
        TEST(odd_buyers_are_buyers),
        TEST(an_idempotency_key_is_short_and_visible),
        TEST(odd_paths_are_404),
        TEST(bad_queries_are_invalid),
        TEST(wrong_methods_are_405_with_allow),
        TEST(other_media_types_are_415),
        TEST(a_merge_patch_is_a_patch),
        TEST(a_body_that_is_encoded_is_415),
        TEST(a_bad_token_is_401),
        TEST(every_term_of_an_item_is_checked),
        TEST(a_sale_that_ends_before_it_starts_is_invalid),
        TEST(a_new_sku_is_checked_too),
        TEST(no_input_has_earned_a_500),
        TEST(the_service_still_sells),
    };
    return test_run("bad input", tests, TEST_COUNT(tests), start, NULL);
}
