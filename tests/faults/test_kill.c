/*
 * A service dies in the middle of a sale: at every named place of its path, and at any moment. The
 * node that dies serves alone in some cases, and beside another in the rest.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/promises.h"

static test_stack_t *stack, *node;

static int start(void **state)
{
    (void)state;
    stack = STACK_START("kill", "orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=4000");
    node = stack_node_start(stack, 2, NULL, 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    stack_node_stop(node);
    bool clean = stack_stop(stack);
    test_forget();
    return clean ? 0 : -1;
}

/* A place where it dies, and the item that leads there. */
typedef struct {
    const char *point, *terms;
    unsigned after_max; /* so many hits at most are let pass */
    bool alone;         /* nobody else serves the crowd */
} place_t;

static void dies_at(void **state)
{
    const place_t *place = *state;
    chance_t chance = chance_of(place->point);
    const char *sku = sale_item(stack, "dies", "%s", place->terms);
    const test_stack_t *nodes[] = {node, stack};
    crowd_t *crowd = crowd_start(&(crowd_plan_t){
        .nodes = nodes, .nodes_count = place->alone ? 1 : 2, .skus = &sku, .skus_count = 1});
    crowd_await(crowd, CROWD_CREATED, 50);
    fault_arm(node, "%s kill after=%u\n", place->point, chance_below(&chance, place->after_max));
    EXPECT_FAULT(node, place->point, 20000);
    stack_node_again(node);
    fault_disarm(node);
    crowd_await(crowd, CROWD_CREATED, 50);
    EXPECT_PROMISES(stack, crowd, "killed at %s", place->point);
}

#define HOLDS "\"total\":3000,\"per_buyer_limit\":20,\"hold_seconds\":4,"
#define PLACE(point_, strategy_, after_max_, alone_)                                               \
    {                                                                                              \
        strategy_ ": dies at " point_, dies_at, NULL, test_teardown, &(place_t)                    \
        {                                                                                          \
            point_, HOLDS "\"strategy\":\"" strategy_ "\"", after_max_, alone_                     \
        }                                                                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE("reserve_answered", "lua", 20, true),
        PLACE("writer_after_commit", "watch", 20, false),
    };
    return chance_run("kill", tests, TEST_COUNT(tests), start, stop);
}
