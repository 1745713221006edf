/*
 * The toggle: strategy, total and limit change while buyers buy, and nobody gets a wrong answer.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "harness/sale.h"

#define STACK stack_shared()

static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};

/* --- somebody who changes terms all the time, on a thread of his own --- */

typedef struct {
    const char *sku;
    unsigned pause_ms;
    /* The inside of the i-th PATCH. */
    const char *(*terms)(unsigned i);
    atomic_bool stop;
    unsigned changed, refused; /* 200, 409 wrong_state */
    unsigned put_off; /* 503 with Retry-After: somebody else was changing it all the time */
    char odd[512];    /* any other answer */
    pthread_t thread;
} changer_t;

static void change_once(changer_t *changer, unsigned i)
{
    web_answer_t answer = sale_patch(STACK, changer->sku, "%s", changer->terms(i));
    if (answer.status == 200)
        ++changer->changed;
    else if (answer.status == 409 && web_has_code(&answer, "wrong_state"))
        ++changer->refused;
    else if (answer.status == 503 && answer.retry_after[0] != '\0')
        ++changer->put_off;
    else if (changer->odd[0] == '\0')
        snprintf(changer->odd, sizeof(changer->odd), "%s", web_show(&answer));
}

static void *change_all_the_time(void *context)
{
    changer_t *changer = context;
    for (unsigned i = 0; !atomic_load(&changer->stop); ++i) {
        change_once(changer, i);
        for (unsigned ms = 0; ms < changer->pause_ms && !atomic_load(&changer->stop); ms += 10)
            usleep(10000);
    }
    return NULL;
}

static void changer_start(changer_t *changer)
{
    if (pthread_create(&changer->thread, NULL, change_all_the_time, changer) != 0)
        FAIL("no thread");
}

static void changer_end(changer_t *changer)
{
    atomic_store(&changer->stop, true);
    pthread_join(changer->thread, NULL);
    EXPECT(changer->odd[0] == '\0', "a PATCH under traffic was answered %s", changer->odd);
}

static const char *next_strategy(unsigned i)
{
    return test_text("\"strategy\":\"%s\"", strategies[(i + 1) % TEST_COUNT(strategies)]);
}

static void all_is_sold_while_the_strategy_changes(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "toggle", "\"total\":120,\"strategy\":\"lua\"");
    changer_t changer = {.sku = sku, .pause_ms = 300, .terms = next_strategy};
    changer_start(&changer);
    /* 16 at once, again and again for some seconds: the sale outlasts many toggles. */
    sale_tally_t tally = sale_rush(&(sale_rush_t){.stack = STACK,
                                                  .sku = sku,
                                                  .buyers = 600,
                                                  .connections = 16,
                                                  .burst = 16,
                                                  .burst_ms = 200});
    changer_end(&changer);
    EXPECT(changer.changed >= 3 && changer.put_off == 0, "%u toggles, %u put off", changer.changed,
           changer.put_off);
    EXPECT_TOLD_TRUE(STACK, sku, &tally);
    EXPECT(tally.unavailable == 0, "%s", sale_show(&tally));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 120);
    EXPECT_NUMBER(tally.sold_out, 480);
}

static void all_is_sold_while_the_strategy_never_rests(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "storm", "\"total\":400,\"strategy\":\"lua\"");
    changer_t changer = {.sku = sku, .pause_ms = 20, .terms = next_strategy};
    changer_start(&changer);
    sale_tally_t tally = sale_rush(&(sale_rush_t){
        .stack = STACK, .sku = sku, .buyers = 4000, .connections = 16, .until_sold_out = true});
    changer_end(&changer);
    EXPECT_TOLD_TRUE(STACK, sku, &tally);
    EXPECT(sale_live_orders(STACK, sku) == 400, "%lld live: %s", sale_live_orders(STACK, sku),
           sale_show(&tally));
}

static const char *strategy_of(const char *sku)
{
    web_answer_t item = WEB(.base = STACK->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(item, 200);
    return web_string(&item, "strategy");
}

static void put_strategy(const char *strategy)
{
    web_answer_t put = ADMIN(STACK, .method = "PUT", .path = "/v1/strategy",
                             .body = test_text("{\"strategy\":\"%s\"}", strategy));
    EXPECT_STATUS(put, 200);
}

static void one_call_toggles_every_item_and_the_default(void **state)
{
    (void)state;
    const char *skus[6]; /* on both shards, most probably */
    for (size_t i = 0; i < TEST_COUNT(skus); ++i)
        skus[i] = sale_item(STACK, "all", "\"total\":3,\"strategy\":\"%s\"", strategies[i % 4]);
    for (size_t s = 0; s < TEST_COUNT(strategies); ++s) {
        put_strategy(strategies[(s + 1) % 4]);
        for (size_t i = 0; i < TEST_COUNT(skus); ++i) {
            EXPECT(strcmp(strategy_of(skus[i]), strategies[(s + 1) % 4]) == 0, "%s is %s", skus[i],
                   strategy_of(skus[i]));
            if (s < 3) {
                sale_order(STACK, skus[i], test_text("b%zu", s), 1, NULL);
            }
        }
        const char *fresh = sale_item(STACK, "new", "\"total\":1");
        EXPECT(strcmp(strategy_of(fresh), strategies[(s + 1) % 4]) == 0, "a new item is %s, not %s",
               strategy_of(fresh), strategies[(s + 1) % 4]);
    }
    for (size_t i = 0; i < TEST_COUNT(skus); ++i) {
        EXPECT_NUMBER(sale_live_orders(STACK, skus[i]), 3);
        EXPECT_GATE_AGREES(STACK, skus[i]);
    }
}

static void a_change_raises_the_epoch(void **state)
{
    (void)state;
    const char *const changes[] = {"\"strategy\":\"watch\"", "\"total\":20", "\"total\":15",
                                   "\"per_buyer_limit\":4", "\"strategy\":\"optimistic\""};
    const char *sku = sale_item(STACK, "epoch", "\"total\":10,\"strategy\":\"lua\"");
    long long epoch = 0;
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        web_answer_t patched = sale_patch(STACK, sku, "%s", changes[i]);
        EXPECT_STATUS(patched, 200);
        long long now = rows_sum(STACK, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
        EXPECT(now > epoch, "%s: epoch %lld after %lld", changes[i], now, epoch);
        epoch = now;
    }
}

/* Lines of the service's log that have both texts. */
static unsigned count_lines(const char *what, const char *of)
{
    char line[4096];
    unsigned count = 0;
    size_t directory = (size_t)(strrchr(STACK->config, '/') - STACK->config);
    FILE *log = fopen(test_text("%.*s/log/holdfast.log", (int)directory, STACK->config), "r");
    EXPECT(log != NULL, "no log");
    while (fgets(line, sizeof(line), log) != NULL)
        count += strstr(line, what) != NULL && strstr(line, of) != NULL;
    fclose(log);
    return count;
}

static void expect_unchanged(const char *sku, const web_answer_t *answer, long long version)
{
    EXPECT_STATUS(*answer, 200);
    EXPECT_NUMBER(web_number(answer, "total"), 10);
    EXPECT_NUMBER(rows_sum(STACK, "SELECT version FROM inventory WHERE sku = '%s'", sku), version);
}

/* Nor does the log say that it did. */
static void a_change_of_nothing_changes_nothing(void **state)
{
    (void)state;
    const char *terms = "\"total\":10,\"strategy\":\"optimistic\"";
    const char *sku = sale_item(STACK, "same", "%s", terms);
    const char *path = test_text("/v1/items/%s", sku);
    long long version = rows_sum(STACK, "SELECT version FROM inventory WHERE sku = '%s'", sku);
    web_answer_t empty = ADMIN(STACK, .method = "PATCH", .path = path, .body = "{}");
    expect_unchanged(sku, &empty, version);
    web_answer_t same = sale_patch(STACK, sku, "\"total\":10");
    expect_unchanged(sku, &same, version);
    web_answer_t put =
        ADMIN(STACK, .method = "PUT", .path = path, .body = test_text("{%s}", terms));
    expect_unchanged(sku, &put, version);
    web_answer_t unknown = sale_patch(STACK, sale_sku("nowhere"), "%s", "");
    EXPECT_PROBLEM(unknown, 404, "unknown_item");
    web_answer_t changed = sale_patch(STACK, sku, "\"total\":11");
    EXPECT_STATUS(changed, 200);
    WAIT_UNTIL(count_lines("\"total\":11", sku) == 1);
    EXPECT_NUMBER(count_lines("item changed", sku), 2); /* when it was made, and this */
}

static void repeats_of_a_key_are_one_order_across_strategies(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "keys", "\"total\":50,\"strategy\":\"lua\"");
    changer_t changer = {.sku = sku, .pause_ms = 10, .terms = next_strategy};
    changer_start(&changer);
    sale_tally_t tally = sale_rush(
        &(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 200, .connections = 32, .key = "k"});
    changer_end(&changer);
    EXPECT(tally.one_id && tally.odd == NULL && tally.created <= 1, "%s", sale_show(&tally));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 1);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* --- totals --- */

static const char *next_total(unsigned i)
{
    static const int totals[] = {100, 60, 140, 80, 200, 120};
    return test_text("\"total\":%d", totals[i % TEST_COUNT(totals)]);
}

static void total_changes_under_traffic(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(STACK, "total", "\"total\":80,\"strategy\":\"%s\"", strategy);
    changer_t changer = {.sku = sku, .pause_ms = 50, .terms = next_total};
    changer_start(&changer);
    sale_tally_t tally = sale_rush(&(sale_rush_t){
        .stack = STACK, .sku = sku, .buyers = 900, .connections = 16, .burst = 16, .burst_ms = 60});
    changer_end(&changer);
    EXPECT(changer.changed >= 2, "%u changes, %u refused", changer.changed, changer.refused);
    EXPECT_TOLD_TRUE(STACK, sku, &tally);
    EXPECT(sale_live_orders(STACK, sku) <= 200, "%s", sale_show(&tally));
    web_answer_t up = sale_patch(STACK, sku, "\"total\":210");
    EXPECT_STATUS(up, 200);
    sale_tally_t rest = sale_rush(&(sale_rush_t){
        .stack = STACK, .sku = sku, .buyers = 250, .connections = 16, .until_sold_out = true});
    EXPECT(rest.odd == NULL, "%s", sale_show(&rest));
    EXPECT_NUMBER(sale_live_orders(STACK, sku), 210);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void total_cannot_go_below_what_is_allocated(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(STACK, "lower", "\"total\":10,\"strategy\":\"%s\"", strategy);
    sale_order(STACK, sku, "a", 6, NULL);
    web_answer_t below = sale_patch(STACK, sku, "\"total\":5");
    EXPECT_PROBLEM(below, 409, "wrong_state");
    WAIT_UNTIL(sale_available(STACK, sku) == 4);
    web_answer_t one = sale_buy(STACK, sku, "b", 1, NULL); /* and it sells on */
    EXPECT_STATUS(one, 201);
    web_answer_t exact = sale_patch(STACK, sku, "\"total\":7");
    EXPECT_STATUS(exact, 200);
    web_answer_t none = sale_buy(STACK, sku, "c", 1, NULL);
    EXPECT_PROBLEM(none, 409, "sold_out");
    web_answer_t put = ADMIN(STACK, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                             .headers = {"If-Match: *"},
                             .body = test_text("{\"total\":3,\"strategy\":\"%s\"}", strategy));
    EXPECT_PROBLEM(put, 409, "wrong_state");
    web_answer_t more = sale_patch(STACK, sku, "\"total\":8");
    EXPECT_STATUS(more, 200);
    sale_order(STACK, sku, "c", 1, NULL);
    EXPECT_SOUND(STACK, sku, 0);
    EXPECT_GATE_AGREES(STACK, sku);
}

static void a_lowered_limit_leaves_earlier_orders_alone(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(STACK, "limit",
                                "\"total\":50,\"per_buyer_limit\":5,\"strategy\":\"%s\"", strategy);
    const char *four = sale_order(STACK, sku, "alice", 4, NULL);
    web_answer_t lowered = sale_patch(STACK, sku, "\"per_buyer_limit\":2");
    EXPECT_STATUS(lowered, 200);
    web_answer_t still = sale_get(STACK, four);
    EXPECT(strcmp(sale_state(&still), "confirmed") == 0, "%s", web_show(&still));
    web_answer_t more = sale_buy(STACK, sku, "alice", 1, NULL);
    EXPECT_PROBLEM(more, 409, "buyer_limit_exceeded");
    web_answer_t bob = sale_buy(STACK, sku, "bob", 3, NULL);
    EXPECT_PROBLEM(bob, 409, "buyer_limit_exceeded");
    sale_order(STACK, sku, "bob", 2, NULL);
    web_answer_t raised = sale_patch(STACK, sku, "\"per_buyer_limit\":5");
    EXPECT_STATUS(raised, 200);
    sale_order(STACK, sku, "alice", 1, NULL);
    EXPECT_GATE_AGREES(STACK, sku);
}

static long long limit_epoch(const char *sku)
{
    return rows_sum(STACK, "SELECT limit_epoch FROM inventory WHERE sku = '%s'", sku);
}

/* The row says which change was the last to lower the limit: the audit leaves what was sold before
   alone, and nothing else. To have none is the highest limit there is. */
static void a_lowered_limit_says_since_when(void **state)
{
    (void)state;
    static const struct {
        int limit;
        bool lowers;
    } changes[] = {{5, true}, {5, false}, {7, false}, {2, true}, {3, false}, {0, false}, {9, true}};
    const char *sku = sale_item(STACK, "since", "\"total\":10");
    long long since = 0;
    EXPECT_NUMBER(limit_epoch(sku), 0);
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        web_answer_t changed = sale_patch(STACK, sku, "\"per_buyer_limit\":%d,\"hold_seconds\":%zu",
                                          changes[i].limit, i + 1);
        EXPECT_STATUS(changed, 200);
        if (changes[i].lowers)
            since = rows_sum(STACK, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
        EXPECT_NUMBER(limit_epoch(sku), since);
    }
}

static void a_window_can_be_moved(void **state)
{
    const char *strategy = *state;
    const char *sku = sale_item(STACK, "window", "\"total\":9,\"strategy\":\"%s\"", strategy);
    web_answer_t patched = sale_patch(STACK, sku, "\"ends_at\":\"%s\"", sale_time(-5));
    EXPECT_STATUS(patched, 200);
    web_answer_t order = sale_buy(STACK, sku, "a", 1, NULL);
    EXPECT_PROBLEM(order, 409, "sale_ended");
    patched = sale_patch(STACK, sku, "\"ends_at\":null");
    EXPECT_STATUS(patched, 200);
    sale_order(STACK, sku, "a", 1, NULL);
}

static void patch_leaves_what_it_does_not_name(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "patch",
                                "\"total\":9,\"per_buyer_limit\":3,\"hold_seconds\":40,"
                                "\"strategy\":\"watch\"");
    web_answer_t patched = sale_patch(STACK, sku, "\"total\":12");
    EXPECT_STATUS(patched, 200);
    web_answer_t item = WEB(.base = STACK->url, .path = test_text("/v1/items/%s", sku));
    EXPECT_NUMBER(web_number(&item, "total"), 12);
    EXPECT_NUMBER(web_number(&item, "per_buyer_limit"), 3);
    EXPECT_NUMBER(web_number(&item, "hold_seconds"), 40);
    EXPECT(strcmp(web_string(&item, "strategy"), "watch") == 0, "%s", web_show(&item));
}

static int back_to_lua(void **state)
{
    (void)state;
    put_strategy("lua");
    test_forget();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_is_sold_while_the_strategy_changes),
        TEST(all_is_sold_while_the_strategy_never_rests),
        TEST(one_call_toggles_every_item_and_the_default),
        TEST(a_change_raises_the_epoch),
        TEST(a_change_of_nothing_changes_nothing),
        TEST(repeats_of_a_key_are_one_order_across_strategies),
        UNDER_ALL(total_changes_under_traffic),
        UNDER_ALL(total_cannot_go_below_what_is_allocated),
        UNDER_ALL(a_lowered_limit_leaves_earlier_orders_alone),
        TEST(a_lowered_limit_says_since_when),
        UNDER_ALL(a_window_can_be_moved),
        TEST(patch_leaves_what_it_does_not_name),
    };
    return test_run("toggle", tests, TEST_COUNT(tests), NULL, back_to_lua);
}
