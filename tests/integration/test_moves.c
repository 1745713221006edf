/*
 * Moves of orders: what is allowed is refused to nobody, however many clients ask for it in one
 * millisecond; and an extend stops at its bound.
 */
#include "harness/sale.h"

/* Each hold is extended by so many clients at a time. */
#define CLIENTS 16
#define HOLDS 30

static const test_stack_t *stack;

static int start(void **state)
{
    (void)state;
    stack = stack_shared();
    return 0;
}

typedef struct {
    char ids[HOLDS][SALE_ID_SIZE];
    unsigned refused;
    const char *first; /* refusal */
} holds_t;

static web_request_t extend_one(void *context, unsigned i)
{
    const holds_t *holds = context;
    return (web_request_t){.base = stack->url,
                           .method = "POST",
                           .path = test_text("/v1/orders/%s/extend", holds->ids[i / CLIENTS])};
}

static bool note_answer(void *context, unsigned i, const web_answer_t *answer)
{
    holds_t *holds = context;
    (void)i;
    if (answer->status != 200 && holds->refused++ == 0)
        holds->first = test_text("%s", web_show(answer));
    return true;
}

/* The deadline that a hold has may be the one that it is extended to. */
static void extended_by_many_at_once(void **state)
{
    (void)state;
    holds_t holds = {.refused = 0};
    const char *sku = sale_item(stack, "extended", "\"total\":%d,\"hold_seconds\":600", HOLDS);
    for (unsigned i = 0; i < HOLDS; ++i) {
        web_answer_t bought = sale_buy(stack, sku, test_text("holder-%u", i), 1, NULL);
        EXPECT_STATUS(bought, 201);
        snprintf(holds.ids[i], sizeof(holds.ids[i]), "%s", sale_id(&bought));
    }
    web_crowd(&(web_crowd_t){.connections = CLIENTS,
                             .count = HOLDS * CLIENTS,
                             .request = extend_one,
                             .answered = note_answer,
                             .context = &holds});
    EXPECT(holds.refused == 0, "%u of %d refused, the first: %s", holds.refused, HOLDS * CLIENTS,
           holds.first);
    for (unsigned i = 0; i < HOLDS; ++i) {
        web_answer_t order = sale_get(stack, holds.ids[i]);
        EXPECT_STATUS(order, 200);
        EXPECT(strcmp(sale_state(&order), "held") == 0, "%s", web_show(&order));
    }
    EXPECT_SOUND(stack, sku, 0);
}

/* --- the bound of extends --- */

static web_answer_t extend(const test_stack_t *to, const web_answer_t *order)
{
    return sale_move(to, sale_id(order), "extend");
}

static long long time_of(const web_answer_t *order, const char *member)
{
    return sale_parse_time(web_string(order, member));
}

/* Now is so many seconds later in the life of the order. */
static void age(const web_answer_t *order, unsigned seconds)
{
    unsigned error = rows_change(stack,
                                 "UPDATE orders SET created_at = created_at - INTERVAL %u SECOND "
                                 "WHERE order_id = %s",
                                 seconds, rows_order_id(sale_id(order)));
    EXPECT_NUMBER(error, 0);
}

static void change_terms(const char *sku, const char *terms)
{
    web_answer_t changed = sale_patch(stack, sku, "%s", terms);
    EXPECT_STATUS(changed, 200);
}

/* The answer says the deadline; it is the bound, and a repeat hears the same. */
static void expect_clamped(const web_answer_t *order, long long bound)
{
    for (unsigned i = 0; i < 2; ++i) {
        web_answer_t extended = extend(stack, order);
        EXPECT_STATUS(extended, 200);
        EXPECT_NUMBER(time_of(&extended, "expires_at"), bound);
    }
    web_answer_t stored = sale_get(stack, sale_id(order));
    EXPECT_NUMBER(time_of(&stored, "expires_at"), bound);
}

/* The refusal says why, and changes nothing. */
static void expect_at_bound(const web_answer_t *order, const char *why)
{
    web_answer_t before = sale_get(stack, sale_id(order));
    web_answer_t refused = extend(stack, order);
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    EXPECT(strstr(web_string(&refused, "detail"), why) != NULL, "%s", web_show(&refused));
    web_answer_t after = sale_get(stack, sale_id(order));
    EXPECT(strcmp(before.body, after.body) == 0, "%s, was %s", after.body, before.body);
}

static void an_extend_stops_at_four_times_the_hold(void **state)
{
    const char *sku = sale_item(stack, "bound",
                                "\"total\":9,\"hold_seconds\":100,"
                                "\"strategy\":\"%s\"",
                                (const char *)*state);
    web_answer_t order = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_STATUS(order, 201);
    age(&order, 1900);
    change_terms(sku, "\"hold_seconds\":600");
    expect_clamped(&order, time_of(&order, "created_at") + (4 * 600 - 1900) * 1000);
    age(&order, 400);
    expect_at_bound(&order, "orders.hold_max_seconds");
    EXPECT_SOUND(stack, sku, 0);
}

static void an_extend_stops_at_the_end_of_the_sale(void **state)
{
    const char *sku = sale_item(stack, "end",
                                "\"total\":9,\"hold_seconds\":100,"
                                "\"strategy\":\"%s\"",
                                (const char *)*state);
    web_answer_t order = sale_buy(stack, sku, "a", 1, NULL);
    EXPECT_STATUS(order, 201);
    age(&order, 500);
    const char *ends_at = sale_time(300);
    change_terms(sku, test_text("\"hold_seconds\":600,\"ends_at\":\"%s\"", ends_at));
    expect_clamped(&order, sale_parse_time(ends_at));
    web_answer_t longer = sale_buy(stack, sku, "b", 1, NULL); /* than the sale */
    EXPECT_STATUS(longer, 201);
    expect_at_bound(&longer, "when the sale ends");
    EXPECT_SOUND(stack, sku, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(extended_by_many_at_once),
        UNDER("lua", an_extend_stops_at_four_times_the_hold),
        UNDER("serializable", an_extend_stops_at_four_times_the_hold),
        UNDER("watch", an_extend_stops_at_the_end_of_the_sale),
        UNDER("optimistic", an_extend_stops_at_the_end_of_the_sale),
    };
    return test_run("moves", tests, TEST_COUNT(tests), start, NULL);
}
