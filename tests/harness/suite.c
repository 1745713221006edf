#include "suite.h"

#include "harness/chance.h"
#include "harness/fault.h"

test_stack_t *stack, *node;

static const suite_t *suite;

static unsigned settings_count(void)
{
    unsigned count = 0;
    while (count < SUITE_SETTINGS_MAX && suite->settings[count] != NULL)
        ++count;
    return count;
}

static int start(void **state)
{
    (void)state;
    stack = suite->start != NULL ? suite->start()
                                 : stack_start(suite->name, suite->settings, settings_count());
    if (suite->pair)
        node = stack_second_start(stack);
    if (suite->prepare != NULL)
        suite->prepare();
    test_forget();
    return 0;
}

/* Also after a start that has failed half way. */
static int stop(void **state)
{
    bool clean = true;
    (void)state;
    if (stack != NULL && suite->before_stop != NULL)
        suite->before_stop();
    if (node != NULL)
        stack_node_stop(node);
    if (stack != NULL)
        clean = stack_stop(stack);
    stack = node = NULL;
    if (suite->after_stop != NULL)
        suite->after_stop();
    test_forget();
    return clean ? 0 : -1;
}

int suite_run(const suite_t *of, const struct CMUnitTest *tests, size_t count)
{
    suite = of;
    struct CMUnitTest *all = calloc(count, sizeof(*all));
    if (all == NULL)
        abort();
    memcpy(all, tests, count * sizeof(*all));
    for (size_t i = 0; i < count; ++i) {
        if (all[i].setup_func == NULL)
            all[i].setup_func = suite->setup;
        if (all[i].teardown_func == NULL)
            all[i].teardown_func = suite->teardown;
    }
    int failed = (suite->repeats ? chance_run : test_run)(suite->name, all, count, start, stop);
    free(all);
    return failed;
}

static bool has_died(void)
{
    bool died = process_is_gone(stack->pid) || process_is_gone(stack->redis_pid);
    for (unsigned i = 0; i < stack->shards; ++i)
        died = died || process_is_gone(stack->mysql_pids[i]);
    return died;
}

int suite_pair_up(void **state)
{
    (void)state;
    fault_disarm(stack);
    fault_disarm(node);
    if (has_died())
        stack_again(stack, NULL, 0);
    if (process_is_gone(node->pid))
        stack_node_again(node);
    stack_await_ready(stack);
    stack_await_ready(node);
    return 0;
}
