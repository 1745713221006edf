/*
 * Redis does not answer (SIGSTOP: connections open, no word). What a SQL strategy rules is sold,
 * changed, read, moved and expired as if nothing had happened; the rest is refused soon, or sold
 * by the stand-in; and when Redis goes on, everything sells as before.
 */
#include <signal.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

/* Longer than a test waits for an answer: what waits for Redis, instead of the second in which its
   silence is noticed, is not answered, or is told at its deadline that its outcome is unknown. */
#define SETTINGS                                                                                   \
    "redis.timeout_ms=60000", "mysql.pool_threads=4", "orders.answer_deadline_ms=14000",           \
        "orders.commit_deadline_ms=16000"

static int go_on(void **state)
{
    process_signal(stack->redis_pid, SIGCONT);
    return test_teardown(state);
}

static void hang(void)
{
    process_signal(stack->redis_pid, SIGSTOP);
}

static void expect_answer(const char *what, const web_answer_t *answer, long status)
{
    EXPECT(answer->status == status, "%s: after %.2f s %s", what, answer->seconds,
           web_show(answer));
}

static void buys(const char *sku, const char *buyer)
{
    web_answer_t answer = sale_buy(stack, sku, buyer, 1, NULL);
    expect_answer(sku, &answer, 201);
}

static bool is_sold(const char *sku, const char *buyer)
{
    return sale_buy(stack, sku, buyer, 1, NULL).status == 201;
}

/* --- what a buyer of a SQL strategy sees: nothing --- */

#define OTHERS 20

typedef struct {
    const char *skus[OTHERS];
    const char *sql;
    long statuses[OTHERS + 1];
} looks_t;

/* All gated ones first, so that they take every thread that they can get. */
static web_request_t look(void *context, unsigned i)
{
    looks_t *looks = context;
    return sale_request(stack, i < OTHERS ? looks->skus[i] : looks->sql, "looker", 1, NULL);
}

static bool looked(void *context, unsigned i, const web_answer_t *answer)
{
    looks_t *looks = context;
    looks->statuses[i] = answer->status;
    return true;
}

static const char *new_item(const char *strategy)
{
    return sale_item(stack, strategy, "\"total\":50,\"hold_seconds\":600,\"strategy\":\"%s\"",
                     strategy);
}

static void items_without_a_gate_do_not_notice(void **state)
{
    (void)state;
    static looks_t looks;
    const char *sold = new_item("optimistic"), *fresh = new_item("optimistic");
    const char *serial = new_item("serializable"), *lua = new_item("lua");
    looks.sql = new_item("optimistic");
    for (unsigned i = 0; i < OTHERS; ++i)
        looks.skus[i] = new_item("lua");
    buys(sold, "a");
    web_answer_t first = sale_buy(stack, sold, "b", 1, NULL);
    web_answer_t gated = sale_buy(stack, lua, "b", 1, NULL);
    EXPECT_STATUS(first, 201);
    EXPECT_STATUS(gated, 201);
    const char *gated_path = test_text("/v1/items/%s", lua);
    web_answer_t item = WEB(.base = stack->url, .path = gated_path);
    EXPECT_STATUS(item, 200);
    hang();
    web_crowd(&(web_crowd_t){.connections = OTHERS + 1,
                             .count = OTHERS + 1,
                             .request = look,
                             .answered = looked,
                             .context = &looks});
    EXPECT(looks.statuses[OTHERS] == 201, "behind %d looks at gates: %ld", OTHERS,
           looks.statuses[OTHERS]);
    for (unsigned i = 0; i < OTHERS; ++i)
        EXPECT(looks.statuses[i] == 503, "a gated item: %ld", looks.statuses[i]);
    buys(fresh, "a");
    buys(serial, "a");
    buys(sold, "c");
    item = WEB(.base = stack->url, .path = test_text("/v1/items/%s", fresh));
    expect_answer("GET of an item", &item, 200);
    item = WEB(.base = stack->url, .path = gated_path); /* its last value */
    expect_answer("GET of a gated item", &item, 200);
    WAIT_UNTIL(fault_metric(stack, "redis_connections") == 0);
    const char *ids[] = {sale_id(&first), sale_id(&gated)};
    for (unsigned i = 0; i < 2; ++i) {
        static const char *const moves[] = {"extend", "confirm", "cancel"};
        web_answer_t order = sale_get(stack, ids[i]);
        expect_answer("GET of an order", &order, 200);
        for (unsigned m = 0; m < 3; ++m) {
            web_answer_t moved = sale_move(stack, ids[i], moves[m]);
            expect_answer(moves[m], &moved, 200);
        }
    }
    process_signal(stack->redis_pid, SIGCONT);
    WAIT_UNTIL(is_sold(lua, "again"));
    for (unsigned i = 0; i < OTHERS; ++i)
        WAIT_UNTIL(is_sold(looks.skus[i], "again"));
    EXPECT_SOUND(stack, lua, 0);
    EXPECT_SOUND(stack, sold, 0);
    EXPECT_GATE_AGREES(stack, lua);
}

/* --- the operator's rescue --- */

static bool has_closed_gate(const char *sku)
{
    return redis_view(stack, sku).closed;
}

static void an_item_is_taken_off_its_gate(void **state)
{
    (void)state;
    const char *lua = new_item("lua"), *watch = new_item("watch"), *lowered = new_item("lua");
    const char *quiet = new_item("lua");
    EXPECT(is_sold(lua, "a") && is_sold(watch, "a") && is_sold(quiet, "a"), "no sale at all");
    hang();
    web_answer_t patch = sale_patch(stack, lua, "\"strategy\":\"optimistic\"");
    expect_answer("PATCH", &patch, 200);
    buys(lua, "b");
    patch = sale_patch(stack, quiet, "\"strategy\":\"optimistic\"");
    expect_answer("PATCH", &patch, 200);
    patch = sale_patch(stack, lowered, "\"total\":40"); /* nobody knows what the gate admitted */
    expect_answer("a lower total", &patch, 503);
    patch = sale_patch(stack, watch, "\"total\":60,\"strategy\":\"serializable\"");
    expect_answer("PATCH", &patch, 200);
    buys(watch, "b");
    const char *sku = sale_sku("new");
    web_answer_t put = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                             .body = "{\"total\":5,\"per_buyer_limit\":0,\"hold_seconds\":0,"
                                     "\"strategy\":\"optimistic\"}");
    expect_answer("PUT", &put, 201);
    buys(sku, "a");
    process_signal(stack->redis_pid, SIGCONT);
    /* The gates follow, also where nobody buys. */
    WAIT_UNTIL(has_closed_gate(quiet));
    WAIT_UNTIL(has_closed_gate(lua) && has_closed_gate(watch));
    EXPECT(!redis_view(stack, sku).exists, "a SQL strategy has got a gate");
    buys(lua, "c");
    WAIT_UNTIL(is_sold(lowered, "a"));
    EXPECT_SOUND(stack, lua, 0);
    EXPECT_SOUND(stack, watch, 0);
}

static void all_items_are_taken_off_their_gates(void **state)
{
    (void)state;
    const char *skus[6];
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        skus[i] = new_item(i % 2 == 0 ? "lua" : "watch");
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        EXPECT(is_sold(skus[i], "a"), "no sale at all");
    hang();
    web_answer_t toggle = ADMIN(stack, .method = "PUT", .path = "/v1/strategy",
                                .body = "{\"strategy\":\"optimistic\"}");
    EXPECT_STATUS(toggle, 200);
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        buys(skus[i], "b");
    process_signal(stack->redis_pid, SIGCONT);
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(has_closed_gate(skus[i]));
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        EXPECT_SOUND(stack, skus[i], 0);
}

/* --- holds --- */

static bool has_expired(const char *sku)
{
    return rows_sum(stack,
                    "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND "
                    "state = 'expired'",
                    sku) == 1;
}

/* The gates of those that expire first cannot be told; the last one must not wait for that. */
static void holds_expire(void **state)
{
    (void)state;
    const char *skus[5];
    const unsigned last = TEST_COUNT(skus) - 1;
    for (unsigned i = 0; i < last; ++i)
        skus[i] = sale_item(stack, test_text("hold-lua-%u", i),
                            "\"total\":5,\"hold_seconds\":3,\"strategy\":\"lua\"");
    skus[last] =
        sale_item(stack, "hold-sql", "\"total\":5,\"hold_seconds\":6,\"strategy\":\"optimistic\"");
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        EXPECT(is_sold(skus[i], "a"), "no sale at all");
    hang();
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(has_expired(skus[i]));
    process_signal(stack->redis_pid, SIGCONT);
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(is_sold(skus[i], "b"));
    for (unsigned i = 0; i < last; ++i) {
        EXPECT_SOUND(stack, skus[i], 0);
        EXPECT_GATE_AGREES(stack, skus[i]);
    }
}

/* --- the stand-in --- */

static bool has_fallback(const char *sku)
{
    return rows_sum(stack, "SELECT gate_down FROM inventory WHERE sku = '%s'", sku) != 0;
}

static void items_that_were_never_sold_get_the_fallback(void **state)
{
    (void)state;
    STACK_AGAIN(stack, "redis.on_gate_down=optimistic", SETTINGS);
    const char *skus[] = {new_item("lua"), new_item("watch"), new_item("lua"), new_item("watch")};
    EXPECT(is_sold(skus[0], "a") && is_sold(skus[1], "a"), "no sale at all");
    hang();
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(is_sold(skus[i], test_text("b%lld", test_clock_ms())) && has_fallback(skus[i]));
    process_signal(stack->redis_pid, SIGCONT);
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i)
        WAIT_UNTIL(!has_fallback(skus[i]));
    for (unsigned i = 0; i < TEST_COUNT(skus); ++i) {
        WAIT_UNTIL(is_sold(skus[i], test_text("c%lld", test_clock_ms())));
        EXPECT_SOUND(stack, skus[i], 0);
        EXPECT_GATE_AGREES(stack, skus[i]);
    }
}

static const suite_t suite = {.name = "gate_hangs",
                              .settings = {"redis.on_gate_down=refuse", SETTINGS},
                              .repeats = true,
                              .teardown = go_on};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(items_without_a_gate_do_not_notice),
        TEST(an_item_is_taken_off_its_gate),
        TEST(holds_expire),
        TEST(items_that_were_never_sold_get_the_fallback),
        TEST(all_items_are_taken_off_their_gates),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
