/*
 * The writer's batches on real servers: orders that nobody waits for are kept together, one that
 * somebody waits for takes them along; many items of one batch are changed by one statement, and
 * one whose row has moved does not make another's order go wrong.
 */
#include <signal.h>

#include "harness/attack.h"
#include "harness/sale.h"
#include "harness/suite.h"

/* The longest that may be set: so that an order that was not kept back shows. */
#define LINGER_MS 500

static long long commits(void)
{
    return attack_metric(stack, "writer_commits_total");
}

static bool is_in_mysql(const char *id)
{
    web_answer_t answer = sale_get(stack, id);
    EXPECT_STATUS(answer, 200);
    return strcmp(sale_state(&answer), "confirmed") == 0;
}

/* The order's id. */
static const char *buy(const char *sku, const char *buyer, long status)
{
    web_answer_t answer = sale_buy(stack, sku, buyer, 1, NULL);
    EXPECT_STATUS(answer, status);
    return sale_id(&answer);
}

/* On a machine so slow that they take longer than the writer lingers there are more commits. */
static void accepted_orders_are_committed_together(void **state)
{
    (void)state;
    enum { ORDERS = 40 };
    const char *sku = sale_item(stack, "accepted", "\"total\":100,\"acknowledge\":\"accepted\"");
    const char *last = NULL;
    long long before = commits(), begun = test_clock_ms();
    for (unsigned i = 0; i < ORDERS; ++i)
        last = buy(sku, test_text("b%u", i), 202);
    WAIT_UNTIL(is_in_mysql(last));
    long long count = commits() - before, most = (test_clock_ms() - begun) / LINGER_MS + 2;
    EXPECT(count <= most, "%lld commits of %u orders, at most %lld", count, ORDERS, most);
    EXPECT_NUMBER(sale_live_orders(stack, sku), ORDERS);
}

/* An item on that shard. */
static const char *item_on_shard(unsigned shard, const char *name, const char *terms)
{
    for (;;) {
        const char *sku = sale_item(stack, name, "%s", terms);
        if (rows_shard_of(stack, sku) == shard)
            return sku;
    }
}

static void one_who_waits_takes_them_along(void **state)
{
    (void)state;
    const char *accepted = item_on_shard(0, "along", "\"total\":9,\"acknowledge\":\"accepted\"");
    const char *committed = item_on_shard(0, "waits", "\"total\":9");
    buy(committed, "first", 201); /* both items are known now */
    buy(accepted, "first", 202);
    const char *early = buy(accepted, "early", 202);
    buy(committed, "late", 201);
    EXPECT(is_in_mysql(early), "the earlier order is not in MySQL yet");
    EXPECT_SOUND(stack, accepted, 0);
}

/* How long it takes to buy so many, one after the other. */
static long long buy_one_by_one(const char *strategy, unsigned count)
{
    const char *sku =
        sale_item(stack, strategy, "\"total\":%u,\"strategy\":\"%s\"", count, strategy);
    long long begun = test_clock_ms();
    for (unsigned i = 0; i < count; ++i)
        buy(sku, test_text("b%u", i), 201);
    return test_clock_ms() - begun;
}

/* If each were kept back, that alone would take twice what is allowed beyond what orders take on
   this machine that no writer writes. */
static void one_who_waits_is_not_kept_back(void **state)
{
    (void)state;
    enum { ORDERS = 40 };
    long long unwritten = buy_one_by_one("optimistic", ORDERS),
              took = buy_one_by_one("lua", ORDERS);
    EXPECT(took < 3 * unwritten + ORDERS * LINGER_MS / 2,
           "%lld ms for %u orders, without a writer %lld", took, ORDERS, unwritten);
}

/* --- many items --- */

enum { ITEMS = 24, ROUNDS = 20 };

typedef struct {
    const char *skus[ITEMS];
    unsigned sold;
} fair_t;

static web_request_t ask(void *context, unsigned i)
{
    const fair_t *fair = context;
    return sale_request(stack, fair->skus[i % ITEMS], test_text("b%u", i), 1, NULL);
}

/* From time to time a row moves under the writer's feet, as another node's would: what the writer
   remembers of it is then old, and so is the whole batch that it is in. */
static bool count(void *context, unsigned i, const web_answer_t *answer)
{
    fair_t *fair = context;
    EXPECT_STATUS(*answer, 201);
    ++fair->sold;
    if (i % 37 == 0)
        rows_change(stack, "UPDATE inventory SET version = version + 1 WHERE sku = '%s'",
                    fair->skus[i % ITEMS]);
    return true;
}

static void items_of_one_batch_do_not_disturb_each_other(void **state)
{
    (void)state;
    fair_t fair = {.sold = 0};
    for (unsigned i = 0; i < ITEMS; ++i)
        fair.skus[i] = sale_item(stack, test_text("fair%u", i), "\"total\":1000");
    long long before = commits(), missed = attack_metric(stack, "writer_version_misses_total");
    web_crowd(&(web_crowd_t){.connections = ITEMS,
                             .count = ITEMS * ROUNDS,
                             .request = ask,
                             .answered = count,
                             .context = &fair});
    EXPECT_NUMBER(fair.sold, ITEMS * ROUNDS);
    for (unsigned i = 0; i < ITEMS; ++i) {
        EXPECT_NUMBER(sale_live_orders(stack, fair.skus[i]), ROUNDS);
        EXPECT_SOUND(stack, fair.skus[i], 0);
    }
    EXPECT(commits() - before < ITEMS * ROUNDS, "no two orders went together");
    EXPECT(attack_metric(stack, "writer_version_misses_total") > missed, "no row has moved");
}

static const suite_t suite = {.name = "writer",
                              .settings = {"mysql.writer_linger_ms=500", "http.threads=1"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepted_orders_are_committed_together),
        TEST(one_who_waits_takes_them_along),
        TEST(one_who_waits_is_not_kept_back),
        TEST(items_of_one_batch_do_not_disturb_each_other),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
