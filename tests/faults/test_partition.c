/*
 * A network that loses packets one way: what a service sends to Redis or MySQL arrives and is
 * done, and no answer comes back. Another service, which does not use that network, sells on.
 */
#include "harness/fault.h"
#include "harness/network.h"
#include "harness/promises.h"

static test_stack_t *stack, *node; /* NULL: skipped */

static int start(void **state)
{
    (void)state;
    if (!network_is_allowed())
        return 0;
    stack =
        STACK_START("partition", "orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=4000",
                    "redis.timeout_ms=500", "mysql.timeout_ms=1500");
    network_start(stack);
    WAIT_UNTIL(WEB(.base = stack->url, .path = "/readyz").status == 200, 30000);
    test_stack_t behind = *stack;
    behind.config = (char *)network_config(stack);
    node = stack_node_start(&behind, 2, NULL, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (node != NULL)
        stack_node_stop(node);
    network_end();
    bool clean = stack == NULL || stack_stop(stack);
    test_forget();
    return clean ? 0 : -1;
}

typedef struct {
    const char *strategy, *name;
    unsigned first_port, last_port;
    unsigned seconds;
} loss_t;

static crowd_t *crowd_at(const test_stack_t *where, const char *const *sku, const char *strategy)
{
    crowd_t *crowd =
        crowd_start(&(crowd_plan_t){.nodes = &where,
                                    .nodes_count = 1,
                                    .skus = sku,
                                    .skus_count = 1,
                                    .connections = sale_uses_gate(strategy) ? 0 : SALE_FEW,
                                    .per_second = 120,
                                    .quantity_max = 1});
    crowd_await(crowd, CROWD_CREATED, 30);
    return crowd;
}

static void answers_are_lost(void **state)
{
    const loss_t *loss = *state;
    if (node == NULL)
        skip();
    const char *sku = sale_item(stack, "loss",
                                "\"total\":2500,\"per_buyer_limit\":30,\"hold_seconds\":5,"
                                "\"strategy\":\"%s\"",
                                loss->strategy);
    crowd_t *there = crowd_at(stack, &sku, loss->strategy),
            *here = crowd_at(node, &sku, loss->strategy);
    unsigned sold = crowd_told(there, CROWD_CREATED);
    network_lose_answers(loss->first_port, loss->last_port);
    usleep(loss->seconds * 1000000);
    sold = crowd_told(there, CROWD_CREATED) - sold;
    long long lost = network_heal();
    EXPECT(lost > 0, "no packet was lost");
    EXPECT(sold > 0, "the other service sold nothing meanwhile");
    crowd_await(here, CROWD_CREATED, 30);
    crowd_stop(there);
    crowd_stop(here);
    WAIT_UNTIL(sale_patch(stack, sku, "\"hold_seconds\":60").status == 200, 20000);
    EXPECT_PROMISES(stack, here,
                    "%s, %lld packets of %s lost in %u s, in which the other one sold %u times",
                    loss->strategy, lost, loss->name, loss->seconds, sold);
    EXPECT_PROMISES(stack, there, "as seen from the other");
}

#define REDIS "Redis", NETWORK_REDIS_PORT, NETWORK_REDIS_PORT
#define MYSQL "MySQL", NETWORK_MYSQL_PORT, NETWORK_MYSQL_PORT + STACK_SHARDS_MAX
#define LOSS(strategy_, name_, ports_)                                                             \
    {                                                                                              \
        strategy_ ": answers of " name_ " are lost", answers_are_lost, NULL, test_teardown,        \
            &(loss_t)                                                                              \
        {                                                                                          \
            strategy_, ports_, 4                                                                   \
        }                                                                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        LOSS("watch", "Redis", REDIS),
        LOSS("optimistic", "MySQL", MYSQL),
        /* Always: */
        LOSS("lua", "Redis", REDIS),
        LOSS("lua", "MySQL", MYSQL),
    };
    size_t from = chance_is_long() ? 0 : 2;
    return chance_run("partition", tests + from, TEST_COUNT(tests) - from, start, stop);
}
