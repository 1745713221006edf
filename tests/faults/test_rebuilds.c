/*
 * Rebuilds of gates: two at once, stalled ones, many in full traffic, and of an item that has sold
 * a hundred thousand orders. Epochs only rise, nothing is lost, and none leads to another.
 */
#include <pthread.h>
#include <signal.h>

#include "harness/fault.h"
#include "harness/promises.h"

static test_stack_t *stack, *node;

static int start(void **state)
{
    (void)state;
    stack =
        STACK_START("rebuilds", "orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=4000");
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

static int all_up(void **state)
{
    (void)state;
    fault_disarm(stack);
    fault_disarm(node);
    if (process_is_gone(node->pid))
        stack_node_again(node);
    process_signal(node->pid, SIGCONT);
    return 0;
}

/* --- what is done beside the main thread --- */

typedef struct {
    const test_stack_t *at;
    const char *sku;
    int hold_seconds; /* not 0: the change; else a purchase */
    web_answer_t answer;
    pthread_t thread;
} errand_t;

static void *run_errand(void *context)
{
    errand_t *errand = context;
    errand->answer =
        errand->hold_seconds != 0
            ? sale_patch(errand->at, errand->sku, "\"hold_seconds\":%d", errand->hold_seconds)
            : sale_buy(errand->at, errand->sku, test_text("by-%p", context), 1, NULL);
    return NULL;
}

static void begin_errand(errand_t *errand)
{
    EXPECT_NUMBER(pthread_create(&errand->thread, NULL, run_errand, errand), 0);
}

static void end_errand(errand_t *errand)
{
    pthread_join(errand->thread, NULL);
}

/* --- the writer --- */

/* A batch holds orders of one item under its old epoch and under its new one, and meanwhile another
   node has sold: none of the batch's changes of the row fits any more. */
static void a_batch_of_two_epochs_is_written(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "two", "\"total\":50"), *other;
    do
        other = sale_item(stack, "other", "\"total\":50");
    while (rows_shard_of(stack, other) != rows_shard_of(stack, sku));
    web_answer_t warm = sale_buy(node, sku, "warm", 1, NULL);
    EXPECT_STATUS(warm, 201);
    warm = sale_buy(node, other, "warm", 1, NULL);
    EXPECT_STATUS(warm, 201);
    fault_arm(node, "writer_before_commit pause=800 times=1\n"
                    "writer_versions_found pause=800 after=1 times=1\n");
    errand_t orders[] = {{node, other}, {node, sku}, {node, sku}};
    begin_errand(&orders[0]); /* the writer is busy with it */
    EXPECT_FAULT(node, "writer_before_commit", 5000);
    begin_errand(&orders[1]);
    usleep(150000);
    web_answer_t patched = sale_patch(stack, sku, "\"hold_seconds\":60");
    EXPECT_STATUS(patched, 200);
    begin_errand(&orders[2]);
    EXPECT_FAULT(node, "writer_versions_found", 5000);
    web_answer_t sold = sale_buy(stack, sku, "elsewhere", 1, NULL);
    EXPECT_STATUS(sold, 201);
    for (size_t i = 0; i < TEST_COUNT(orders); i++) {
        end_errand(&orders[i]);
        EXPECT_STATUS(orders[i].answer, 201);
    }
    EXPECT(!process_is_gone(node->pid), "the service has died");
    EXPECT_NUMBER(sale_live_orders(stack, sku), 4);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

#define TEST(function_) cmocka_unit_test_setup_teardown(function_, all_up, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_batch_of_two_epochs_is_written),
    };
    return chance_run("rebuilds", tests, TEST_COUNT(tests), start, stop);
}
