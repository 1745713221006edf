/*
 * The live figures: while buyers come, the items that they want are there, with what they hear;
 * when none come any more, no item is.
 */

#include "harness/sale.h"

static const test_stack_t *stack;

static int start(void **state)
{
    (void)state;
    stack = stack_shared();
    return 0;
}

static web_answer_t live(const char *query)
{
    web_answer_t answer = ADMIN(stack, .path = test_text("/v1/live?%s", query));
    EXPECT_STATUS(answer, 200);
    return answer;
}

/* The figures of an item; NULL: it is not in it. */
static const cJSON *figure(const char *sku)
{
    web_answer_t answer = live("limit=100");
    const cJSON *each;
    cJSON_ArrayForEach(each, cJSON_GetObjectItem(answer.json, "items"))
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(each, "sku")), sku) == 0)
            return each;
    }
    return NULL;
}

static double heard(const char *sku, const char *kind)
{
    const cJSON *found = figure(sku);
    const cJSON *kinds = cJSON_GetObjectItem(found, "heard_per_second");
    return found == NULL ? 0 : cJSON_GetObjectItem(kinds, kind)->valuedouble;
}

/* A buyer, and then a look: some answers lie in a second that is over by then. */
static bool is_heard(const char *sku, const char *kind, int quantity)
{
    web_answer_t answer = sale_buy(stack, sku, "b", quantity, NULL);
    EXPECT(answer.status != 0, "%s", web_show(&answer));
    return heard(sku, kind) > 0;
}

static void what_buyers_hear_is_there_by_kind(void **state)
{
    (void)state;
    const char *held = sale_item(stack, "live", "\"total\":1000000,\"hold_seconds\":600");
    const char *confirmed = sale_item(stack, "live", "\"total\":1000000");
    const char *accepted =
        sale_item(stack, "live", "\"total\":1000000,\"acknowledge\":\"accepted\"");
    const char *sold_out = sale_item(stack, "live", "\"total\":0");
    const char *limited = sale_item(stack, "live", "\"total\":1000000,\"per_buyer_limit\":1");
    const char *closed =
        sale_item(stack, "live", "\"total\":9,\"ends_at\":\"2026-01-01T00:00:00Z\"");
    WAIT_UNTIL(is_heard(held, "held", 1));
    WAIT_UNTIL(is_heard(confirmed, "confirmed", 1));
    WAIT_UNTIL(is_heard(accepted, "reserved", 1));
    WAIT_UNTIL(is_heard(sold_out, "sold_out", 1));
    WAIT_UNTIL(is_heard(limited, "buyer_limit_exceeded", 2));
    WAIT_UNTIL(is_heard(closed, "closed", 1));
}

static void an_item_without_buyers_is_not_there(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "quiet", "\"total\":1000000,\"strategy\":\"watch\"");
    WAIT_UNTIL(is_heard(sku, "confirmed", 1));
    WAIT_UNTIL(figure(sku) == NULL);
}

static bool strategy_is(const char *sku, const char *strategy)
{
    sale_buy(stack, sku, "b", 1, NULL);
    const cJSON *found = figure(sku);
    const char *has = cJSON_GetStringValue(cJSON_GetObjectItem(found, "strategy"));
    return has != NULL && strcmp(has, strategy) == 0 &&
           cJSON_IsNumber(cJSON_GetObjectItem(found, "under_way")) &&
           cJSON_IsNumber(cJSON_GetObjectItem(found, "being_written"));
}

static bool has_one_of_two(const char *a, const char *b)
{
    sale_buy(stack, a, "b", 1, NULL);
    sale_buy(stack, b, "b", 1, NULL);
    web_answer_t one = live("limit=1");
    return cJSON_GetArraySize(cJSON_GetObjectItem(one.json, "items")) == 1 &&
           cJSON_IsFalse(cJSON_GetObjectItem(one.json, "complete"));
}

static void the_list_is_bounded(void **state)
{
    (void)state;
    const char *a = sale_item(stack, "bounded", "\"total\":1000000,\"strategy\":\"optimistic\"");
    const char *b = sale_item(stack, "bounded", "\"total\":1000000");
    WAIT_UNTIL(strategy_is(a, "optimistic"));
    WAIT_UNTIL(has_one_of_two(a, b));
    static const char *const mistakes[] = {"limit=0", "limit=101", "limit=x", "sku=a"};
    for (size_t i = 0; i < TEST_COUNT(mistakes); ++i) {
        web_answer_t answer = ADMIN(stack, .path = test_text("/v1/live?%s", mistakes[i]));
        EXPECT_PROBLEM(answer, 400, "invalid_request");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_buyers_hear_is_there_by_kind),
        TEST(an_item_without_buyers_is_not_there),
        TEST(the_list_is_bounded),
    };
    return test_run("live", tests, TEST_COUNT(tests), start, NULL);
}
