/*
 * A service is stopped (SIGSTOP) between its change of the hot row and its COMMIT: the server ends
 * that transaction, another service goes on, and when it is woken nothing is there twice.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

/* A case that fails may leave it stopped. */
static int wake(void **state)
{
    if (!process_is_gone(node->pid))
        process_signal(node->pid, SIGCONT);
    return test_teardown(state);
}

static bool is_stopped(pid_t pid)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *in = fopen(path, "re");
    EXPECT(in != NULL && fgets(line, sizeof(line), in) != NULL, "%s", path);
    fclose(in);
    const char *name_end = strrchr(line, ')');
    return name_end != NULL && name_end[2] == 'T';
}

typedef struct {
    const char *strategy, *point;
    bool taken_over; /* it stays stopped until the other one has adopted its orders */
} place_t;

static void stops_at(void **state)
{
    const place_t *place = *state;
    chance_t chance = chance_of(place->point);
    const char *sku = sale_item(stack, "stops",
                                "\"total\":1200,\"per_buyer_limit\":20,\"hold_seconds\":4,"
                                "\"strategy\":\"%s\"",
                                place->strategy);
    crowd_plan_t plan = {.nodes = (const test_stack_t *const[]){node},
                         .nodes_count = 1,
                         .skus = &sku,
                         .skus_count = 1,
                         .connections = sale_uses_gate(place->strategy) ? 0 : SALE_FEW,
                         .per_second = 120,
                         .quantity_max = 1};
    crowd_t *here = crowd_start(&plan);
    plan.nodes = (const test_stack_t *const[]){stack};
    crowd_t *there = crowd_start(&plan);
    crowd_await(here, CROWD_CREATED, 30);
    crowd_await(there, CROWD_CREATED, 30);
    double adopted = fault_metric(stack, "orphans_adopted_total");
    fault_arm(node, "%s stop after=%u times=1\n", place->point, chance_below(&chance, 20));
    EXPECT_FAULT(node, place->point);
    WAIT_UNTIL(is_stopped(node->pid));
    unsigned sold = crowd_received(there, CROWD_CREATED);
    long long stopped = test_clock_ms(), went_on;
    WAIT_UNTIL(crowd_received(there, CROWD_CREATED) >= sold + 10);
    went_on = test_clock_ms() - stopped;
    if (place->taken_over)
        WAIT_UNTIL(fault_metric(stack, "orphans_adopted_total") > adopted);
    EXPECT(is_stopped(node->pid), "it did not stay stopped");
    fault_disarm(node);
    process_signal(node->pid, SIGCONT);
    crowd_await(here, CROWD_CREATED, 30);
    crowd_stop(there);
    crowd_stop(here);
    /* So that the last units can be bought, and stay bought, while the promises are looked at. */
    WAIT_UNTIL(sale_patch(stack, sku, "\"hold_seconds\":60").status == 200);
    EXPECT_PROMISES(stack, here, "stopped at %s, the other went on after %lld ms, woken after %lld",
                    place->point, went_on, test_clock_ms() - stopped);
    EXPECT_PROMISES(stack, there, "as seen from the other");
}

#define PLACE(strategy_, point_, taken_over_)                                                      \
    {                                                                                              \
        strategy_ ": stops at " point_, stops_at, NULL, wake, &(place_t)                           \
        {                                                                                          \
            strategy_, point_, taken_over_                                                         \
        }                                                                                          \
    }

static const suite_t suite = {.name = "stop",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .teardown = wake};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        PLACE("watch", "writer_before_commit", false),
        /* Always: */
        PLACE("lua", "writer_before_commit", false),
        PLACE("optimistic", "sql_before_commit", false),
        PLACE("serializable", "sql_before_commit", false),
        PLACE("lua", "writer_before_commit", true),
    };
    size_t from = chance_is_long() ? 0 : 1;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
