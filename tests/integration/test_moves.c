/*
 * Moves of orders that many clients ask for at once: what is allowed is refused to nobody, however
 * many fall into one millisecond.
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
    for (unsigned i = 0; i < HOLDS; i++) {
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
    for (unsigned i = 0; i < HOLDS; i++) {
        web_answer_t order = sale_get(stack, holds.ids[i]);
        EXPECT_STATUS(order, 200);
        EXPECT(strcmp(sale_state(&order), "held") == 0, "%s", web_show(&order));
    }
    EXPECT_SOUND(stack, sku, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(extended_by_many_at_once, test_teardown),
    };
    return test_run("moves", tests, TEST_COUNT(tests), start, NULL);
}
