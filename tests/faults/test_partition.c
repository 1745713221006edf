/*
 * A network that loses packets one way: what a service sends to Redis or MySQL arrives and is
 * done, and no answer comes back. Another service, which does not use that network, sells on.
 */
#include "harness/fault.h"
#include "harness/network.h"
#include "harness/promises.h"
#include "harness/suite.h"

static test_stack_t *start_behind_a_network(void)
{
    if (!network_is_allowed())
        return NULL;
    test_stack_t *behind = STACK_START("partition", SUITE_SHORT_DEADLINES, "redis.timeout_ms=500",
                                       "mysql.timeout_ms=1500");
    network_start(behind);
    return behind;
}

static void start_second(void)
{
    if (stack == NULL)
        return;
    stack_await_ready(stack);
    test_stack_t behind = *stack;
    behind.config = (char *)network_config(stack);
    node = stack_second_start(&behind);
}

static void stop_network(void)
{
    if (node != NULL)
        stack_node_stop(node);
    node = NULL;
    network_end();
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
    unsigned sold = crowd_received(there, CROWD_CREATED);
    network_lose_answers(loss->first_port, loss->last_port);
    usleep(loss->seconds * 1000000);
    sold = crowd_received(there, CROWD_CREATED) - sold;
    long long lost = network_heal();
    EXPECT(lost > 0, "no packet was lost");
    EXPECT(sold > 0, "the other service sold nothing meanwhile");
    crowd_await(here, CROWD_CREATED, 30);
    crowd_stop(there);
    crowd_stop(here);
    WAIT_UNTIL(sale_patch(stack, sku, "\"hold_seconds\":60").status == 200);
    EXPECT_PROMISES(stack, here,
                    "%s, %lld packets of %s lost in %u s, in which the other one sold %u times",
                    loss->strategy, lost, loss->name, loss->seconds, sold);
    EXPECT_PROMISES(stack, there, "as seen from the other");
}

#define REDIS "Redis", NETWORK_REDIS_PORT, NETWORK_REDIS_PORT
#define MYSQL "MySQL", NETWORK_MYSQL_PORT, NETWORK_MYSQL_PORT + STACK_SHARDS_MAX
#define LOSS(strategy_, name_, ports_)                                                             \
    {                                                                                              \
        strategy_ ": answers of " name_ " are lost", answers_are_lost, NULL, NULL, &(loss_t)       \
        {                                                                                          \
            strategy_, ports_, 4                                                                   \
        }                                                                                          \
    }

static const suite_t suite = {.name = "partition",
                              .start = start_behind_a_network,
                              .prepare = start_second,
                              .before_stop = stop_network,
                              .repeats = true};

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
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
