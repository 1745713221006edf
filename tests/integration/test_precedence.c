/*
 * Which refusal a buyer hears where several apply: a key that has an order, then the sale's window,
 * then the units, then the buyer's limit. It is the same under all four strategies, at once and
 * when the service knows that an item is sold out, after a start and after a rebuild of the gates.
 */
#include <pthread.h>

#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

/* --- the table --- */

typedef enum { OPEN, NOT_STARTED, ENDED, WINDOWS } window_t;
typedef enum { ENOUGH, TOO_FEW, NONE, LEFTS } left_t;

/* What an order of ASKED units by somebody else finds. The owner has one unit. */
#define ASKED 2
static const int total_of[LEFTS] = {[ENOUGH] = 10, [TOO_FEW] = ASKED, [NONE] = 1};

typedef struct {
    const char *strategy;
    window_t window;
    left_t left;
    bool limited; /* the owner may have ASKED units in all */
    char sku[80], first_id[SALE_ID_SIZE];
    unsigned keys; /* that were sent */
} situation_t;

static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};
enum { SITUATIONS = TEST_COUNT(strategies) * WINDOWS * LEFTS * 2 };
static situation_t situations[SITUATIONS];

static const char *window_terms(window_t window)
{
    return window == OPEN          ? "\"starts_at\":null"
           : window == NOT_STARTED ? test_text("\"starts_at\":\"%s\"", sale_time(3600))
                                   : test_text("\"ends_at\":\"%s\"", sale_time(-60));
}

/* The owner buys while the sale is open; then the window is as it is to be. */
static void set_up(situation_t *s)
{
    const char *sku =
        sale_item(stack, s->strategy, "\"strategy\":\"%s\",\"total\":%d%s", s->strategy,
                  total_of[s->left], s->limited ? ",\"per_buyer_limit\":2" : "");
    web_answer_t first = sale_buy(stack, sku, "owner", 1, "first");
    EXPECT_STATUS(first, 201);
    snprintf(s->sku, sizeof(s->sku), "%s", sku);
    snprintf(s->first_id, sizeof(s->first_id), "%s", sale_id(&first));
    web_answer_t patched = sale_patch(stack, sku, "%s", window_terms(s->window));
    EXPECT_STATUS(patched, 200);
}

static void set_up_all(void)
{
    situation_t *s = situations;
    for (size_t i = 0; i < TEST_COUNT(strategies); ++i)
        for (int window = 0; window < WINDOWS; ++window)
            for (int left = 0; left < LEFTS; ++left)
                for (int limited = 0; limited < 2; ++limited) {
                    *s = (situation_t){strategies[i], (window_t)window, (left_t)left, limited};
                    set_up(s++);
                }
}

/* NULL: nothing forbids it. */
static const char *refusal_of(const situation_t *s, const char *buyer)
{
    return s->window == NOT_STARTED                    ? "sale_not_started"
           : s->window == ENDED                        ? "sale_ended"
           : s->left != ENOUGH                         ? "sold_out"
           : s->limited && strcmp(buyer, "owner") == 0 ? "buyer_limit_exceeded"
                                                       : NULL;
}

static void expect_refused(situation_t *s, const char *buyer, const char *key)
{
    const char *code = refusal_of(s, buyer);
    if (code == NULL)
        return; /* it would be an order, and change the situation */
    web_answer_t answer = sale_buy(stack, s->sku, buyer, ASKED, key);
    EXPECT(web_has_code(&answer, code), "%s, key %s, not %s: %s", buyer, key, code,
           web_show(&answer));
    EXPECT_PROBLEM(answer, 409, code);
    if (strcmp(code, "sale_not_started") == 0)
        EXPECT(web_string(&answer, "starts_at") != NULL, "%s", web_show(&answer));
    if (strcmp(code, "buyer_limit_exceeded") == 0)
        EXPECT_NUMBER(web_number(&answer, "limit"), 2);
}

static void expect_repeat_of_first(const situation_t *s)
{
    web_answer_t repeat = sale_buy(stack, s->sku, "owner", 1, "first");
    EXPECT_STATUS(repeat, 201);
    EXPECT(strcmp(sale_id(&repeat), s->first_id) == 0 && strcmp(repeat.replayed, "true") == 0,
           "not %s: %s", s->first_id, web_show(&repeat));
    web_answer_t other = sale_buy(stack, s->sku, "owner", ASKED, "first");
    EXPECT_PROBLEM(other, 422, "idempotency_key_reused");
}

static void buy_all_of(situation_t *s)
{
    static const char *const buyers[] = {"owner", "stranger"};
    for (size_t i = 0; i < TEST_COUNT(buyers); ++i) {
        expect_refused(s, buyers[i], NULL);
        expect_refused(s, buyers[i], test_text("new-%u", s->keys++));
    }
    expect_repeat_of_first(s);
}

/* Twice: what the first round told the service is known to it in the second. */
static void buy_all(void)
{
    for (int round = 0; round < 2; ++round)
        for (size_t i = 0; i < SITUATIONS; ++i) {
            situation_t *s = &situations[i];
            print_message("%s: window %d, left %d, limit %d, round %d\n", s->strategy, s->window,
                          s->left, s->limited, round);
            buy_all_of(s);
            test_forget();
        }
}

static void at_once_and_when_it_is_known(void **state)
{
    (void)state;
    set_up_all();
    double before = fault_metric(stack, "gate_local_refusals_total");
    buy_all();
    EXPECT(fault_metric(stack, "gate_local_refusals_total") > before, "nothing was remembered");
}

static void after_a_start(void **state)
{
    (void)state;
    pid_t before = stack->pid;
    STACK_AGAIN(stack, "http.threads=3");
    EXPECT(stack->pid != before, "the service did not start again");
    buy_all();
}

static void after_a_rebuild_of_the_gates(void **state)
{
    (void)state;
    redis_run(stack, "FLUSHALL");
    buy_all();
    EXPECT(fault_metric(stack, "gate_rebuilds_total") > 0, "no gate was rebuilt");
}

/* --- what becomes of a refusal --- */

static bool hears(const char *sku, const char *key, const char *code)
{
    web_answer_t answer = sale_buy(stack, sku, "stranger", 1, key);
    EXPECT(answer.status == 409, "%s", web_show(&answer));
    return web_has_code(&answer, code);
}

static void a_sale_that_is_sold_out_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(strategies); ++i) {
        const char *sku =
            sale_item(stack, "ends", "\"strategy\":\"%s\",\"total\":1,\"ends_at\":\"%s\"",
                      strategies[i], sale_time(4));
        web_answer_t order = sale_buy(stack, sku, "owner", 1, NULL);
        EXPECT_STATUS(order, 201);
        hears(sku, NULL, "sold_out"); /* so that it is remembered */
        WAIT_UNTIL(hears(sku, NULL, "sale_ended"));
        EXPECT(hears(sku, "k", "sale_ended"), "with a key it has not ended");
    }
}

/* --- a gate that is of an epoch that is over --- */

typedef struct {
    const test_stack_t *at;
    char sku[80];
    web_answer_t answer;
    pthread_t thread;
} change_t;
static change_t change; /* not on the stack of a case, which a failure leaves at once */

static void *run_change(void *context)
{
    change_t *c = context;
    c->answer = sale_patch(c->at, c->sku, "\"total\":2,\"strategy\":\"optimistic\"");
    return NULL;
}

static void begin_change(const test_stack_t *at, const char *sku)
{
    change.at = at;
    snprintf(change.sku, sizeof(change.sku), "%s", sku);
    EXPECT_NUMBER(pthread_create(&change.thread, NULL, run_change, &change), 0);
}

/* The row says that a unit came and another strategy rules; the gate does not know it yet. An order
   of that time is repeated at a service that still asks the gate, which knows neither its buyer nor
   its unit. */
static void a_repeat_is_known_before_the_gate_knows(void **state)
{
    const char *strategy = *state;
    test_stack_t *other = stack_second_start(stack);
    const char *sku = sale_item(stack, "late", "\"strategy\":\"%s\",\"total\":1", strategy);
    web_answer_t last = sale_buy(stack, sku, "early", 1, NULL);
    EXPECT_STATUS(last, 201);
    fault_arm(other, "rebuild_row_raised pause=6000 times=1\n");
    begin_change(other, sku);
    EXPECT_FAULT(other, "rebuild_row_raised");
    web_answer_t first = sale_buy(other, sku, "late", 1, "k");
    web_answer_t repeat = sale_buy(stack, sku, "late", 1, "k");
    web_answer_t new = sale_buy(stack, sku, "late", 1, "new");
    pthread_join(change.thread, NULL);
    stack_second_stop(other);
    EXPECT_STATUS(change.answer, 200);
    EXPECT_STATUS(first, 201);
    EXPECT_STATUS(repeat, 201);
    EXPECT(strcmp(sale_id(&repeat), sale_id(&first)) == 0, "%s", web_show(&repeat));
    EXPECT_PROBLEM(new, 409, "sold_out");
    EXPECT_SOUND(stack, sku, 0);
}

/* What the service remembers of an item's units, and of its epoch, is not corrected by time. */
static const suite_t suite = {.name = "precedence",
                              .settings = {"http.threads=2", "orders.sold_out_cache_ms=60000",
                                           "reconcile.epoch_poll_ms=3600000"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_once_and_when_it_is_known),
        TEST(after_a_start),
        TEST(after_a_rebuild_of_the_gates),
        TEST(a_sale_that_is_sold_out_ends),
        {"a_repeat_is_known_before_the_gate_knows: lua", a_repeat_is_known_before_the_gate_knows,
         NULL, NULL, "lua"},
        {"a_repeat_is_known_before_the_gate_knows: watch", a_repeat_is_known_before_the_gate_knows,
         NULL, NULL, "watch"},
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
