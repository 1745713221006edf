/*
 * What a call does not read, it refuses: bodies of calls that take none, parameters that are none.
 * Whoever sends it means something by it. Nothing is done then.
 */
#include "harness/sale.h"

static const test_stack_t *stack;

static int start(void **state)
{
    (void)state;
    stack = stack_shared();
    return 0;
}

typedef struct {
    bool admin;
    const char *method, *path;
} call_t;

static web_answer_t ask(const call_t *call, const char *query, const char *body, const char *type)
{
    return WEB(.base = call->admin ? stack->admin_url : stack->url,
               .token = call->admin ? stack->token : NULL, .method = call->method,
               .path = test_text("%s%s", call->path, query), .body = body, .content_type = type);
}

static void expect_refused(const call_t *call, const char *query, const char *body,
                           const char *type, long status, const char *code, const char *names)
{
    web_answer_t answer = ask(call, query, body, type);
    const char *detail = web_string(&answer, "detail");
    EXPECT(answer.status == status && web_problem_fault(&answer) == NULL &&
               web_has_code(&answer, code) && detail != NULL && strstr(detail, names) != NULL,
           "%s %s%s %s: %s", call->method, call->path, query, body == NULL ? "" : body,
           web_show(&answer));
}

static const char *held_order(const char **sku)
{
    *sku = sale_item(stack, "unread", "\"total\":5,\"hold_seconds\":600");
    web_answer_t order = sale_buy(stack, *sku, "a", 3, NULL);
    EXPECT_STATUS(order, 201);
    return sale_id(&order);
}

static void expect_untouched(const char *sku, const char *id, const char *order_state)
{
    web_answer_t order = sale_get(stack, id);
    EXPECT(strcmp(sale_state(&order), order_state) == 0, "%s", web_show(&order));
    WAIT_UNTIL(sale_available(stack, sku) == 2);
}

static void bodies_of_calls_that_take_none(void **state)
{
    (void)state;
    const char *sku, *id = held_order(&sku);
    const call_t calls[] = {
        {false, "POST", test_text("/v1/orders/%s/extend", id)},
        {true, "POST", test_text("/v1/items/%s/reconcile", sku)},
        {false, "POST", test_text("/v1/orders/%s/confirm", id)},
        {true, "DELETE", test_text("/v1/items/%s", sku)},
    };
    for (size_t i = 0; i < TEST_COUNT(calls); ++i) {
        const call_t *call = &calls[i];
        expect_refused(call, "", "{\"seconds\":1}", NULL, 400, "invalid_request", "seconds");
        expect_refused(call, "", "{\"quantity\":1}", NULL, 400, "invalid_request", "quantity");
        expect_refused(call, "", "{", NULL, 400, "malformed_json", "JSON");
        expect_refused(call, "", "[]", NULL, 400, "malformed_json", "JSON");
        expect_refused(call, "", "null", NULL, 400, "malformed_json", "JSON");
        expect_refused(call, "", " ", NULL, 400, "malformed_json", "JSON");
        expect_refused(call, "", "{}{}", NULL, 400, "malformed_json", "JSON");
        expect_refused(call, "", "{}", "text/plain", 415, "unsupported_media_type",
                       "application/json");
        expect_untouched(sku, id, "held");
    }
    for (size_t i = 0; i < 3; ++i) {
        web_answer_t empty = ask(&calls[i], "", "{}", NULL);
        EXPECT_STATUS(empty, 200);
        empty = ask(&calls[i], "", "", "application/x-www-form-urlencoded"); /* as curl -d '' */
        EXPECT_STATUS(empty, 200);
    }
    expect_untouched(sku, id, "confirmed");
}

static void parameters_that_are_none(void **state)
{
    (void)state;
    const char *sku, *id = held_order(&sku);
    const char *item = test_text("/v1/items/%s", sku);
    const call_t calls[] = {
        {false, "POST", "/v1/orders"},
        {false, "GET", test_text("/v1/orders/%s", id)},
        {false, "POST", test_text("/v1/orders/%s/confirm", id)},
        {false, "POST", test_text("/v1/orders/%s/cancel", id)},
        {false, "POST", test_text("/v1/orders/%s/extend", id)},
        {false, "GET", item},
        {false, "GET", "/v1/buyers/a/orders"},
        {true, "PUT", item},
        {true, "PATCH", item},
        {true, "DELETE", item},
        {true, "POST", test_text("%s/reconcile", item)},
        {true, "PUT", "/v1/strategy"},
        {true, "GET", "/v1/status"},
        {true, "GET", "/v1/audit"},
        {true, "GET", "/v1/items"},
        {true, "GET", item},
        {true, "GET", test_text("%s/orders", item)},
        {true, "GET", "/v1/live"},
    };
    static const char *const queries[][2] = {
        {"?quantity=1", "quantity"},
        {"?limit", "limit"},
        {"?a&b=1", "a: there is"},
        {"?=1", "no such parameter"},
        {"?l%69mit=1", "l%69mit"},
        {"?%ff", "%ff"},
        {"?0123456789012345678901234567890123456789x", "has a parameter"},
    };
    for (size_t i = 0; i < TEST_COUNT(calls); ++i)
        for (size_t j = 0; j < TEST_COUNT(queries); ++j) {
            bool takes = strstr(calls[i].path, "/v1/buyers") != NULL && j == 1;
            if (!takes)
                expect_refused(&calls[i], queries[j][0], NULL, NULL, 400, "invalid_request",
                               queries[j][1]);
        }
    expect_untouched(sku, id, "held");
    web_answer_t answer = ask(&calls[1], "?", NULL, NULL);
    EXPECT_STATUS(answer, 200);
    answer = ask(&calls[6], "?limit=1&", NULL, NULL);
    EXPECT_STATUS(answer, 200);
    answer = ask(&(call_t){true, "GET", "/v1/status"}, "?&", NULL, NULL);
    EXPECT_STATUS(answer, 200);
}

/* Whoever probes may be configured to send what it likes. */
static void probes_may_send_any(void **state)
{
    (void)state;
    static const call_t calls[] = {
        {false, "GET", "/healthz"}, {false, "GET", "/readyz"}, {true, "GET", "/metrics"}};
    for (size_t i = 0; i < TEST_COUNT(calls); ++i) {
        web_answer_t answer = ask(&calls[i], "?from=probe&x=1", NULL, NULL);
        EXPECT_STATUS(answer, 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bodies_of_calls_that_take_none),
        TEST(parameters_that_are_none),
        TEST(probes_may_send_any),
    };
    return test_run("unread", tests, TEST_COUNT(tests), start, NULL);
}
