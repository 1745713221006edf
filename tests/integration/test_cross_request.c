/*
 * An item's home: with many loops, and the buyers' connections spread over them, those who want the
 * same item still share one reserve call, hear on their own connections, and know on every loop
 * when it is sold out and when no more.
 */
#include <pthread.h>
#include <signal.h>

#include "harness/attack.h"
#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

enum { BUYERS = 48, LOOPS = 6 }; /* LOOPS: as start() has it */

typedef struct {
    const char *sku;
    sale_tally_t tally;
} crowd_here_t;

static void *rush(void *arg)
{
    crowd_here_t *here = arg;
    here->tally = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = here->sku, .buyers = BUYERS, .connections = BUYERS});
    return NULL;
}

static long long calls(void)
{
    return attack_metric(stack, "gate_batch_orders_count{}");
}

static bool all_wait(void)
{
    return attack_metric(stack, "purchases_in_flight") == BUYERS;
}

/* Whoever comes first is in a call by himself, with those of the same turn of the loop; all others
   have come before its answer. */
static void buyers_of_all_loops_share_a_call(void **state)
{
    (void)state;
    crowd_here_t here = {.sku = sale_item(stack, "shared", "\"total\":%d", BUYERS - 5)};
    pthread_t thread;
    sale_order(stack, here.sku, "first", 1, NULL); /* the item is known now */
    long long before = calls();
    process_signal(stack->redis_pid, SIGSTOP);
    EXPECT_NUMBER(pthread_create(&thread, NULL, rush, &here), 0);
    WAIT_UNTIL(all_wait());
    process_signal(stack->redis_pid, SIGCONT);
    pthread_join(thread, NULL);
    EXPECT(here.tally.sold_out <= 6 && here.tally.created <= BUYERS - 6 &&
               here.tally.created + here.tally.sold_out + here.tally.unavailable == BUYERS,
           "%s", sale_show(&here.tally));
    EXPECT(calls() - before <= 2, "%lld calls for one item", calls() - before);
    EXPECT_SOUND(stack, here.sku, 0);
}

static const char *skus[BUYERS];

static web_request_t buy_one_each(void *context, unsigned i)
{
    (void)context;
    return sale_request(stack, skus[i], "second", 1, NULL);
}

static bool is_sold(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context, (void)i;
    EXPECT(answer->status == 201 || answer->status == 202 || answer->status == 503, "%s",
           web_show(answer));
    return true;
}

static void *one_each(void *arg)
{
    web_crowd(&(web_crowd_t){.connections = BUYERS,
                             .count = BUYERS,
                             .request = buy_one_each,
                             .answered = is_sold,
                             .context = arg});
    return NULL;
}

/* Again the first of each loop, and then all others. */
static void items_of_a_loop_share_a_call(void **state)
{
    (void)state;
    pthread_t thread;
    for (unsigned i = 0; i < BUYERS; ++i) {
        skus[i] = sale_item(stack, test_text("of-many-%u", i), "\"total\":2");
        sale_order(stack, skus[i], "first", 1, NULL);
    }
    long long before = calls();
    process_signal(stack->redis_pid, SIGSTOP);
    EXPECT_NUMBER(pthread_create(&thread, NULL, one_each, NULL), 0);
    WAIT_UNTIL(all_wait());
    process_signal(stack->redis_pid, SIGCONT);
    pthread_join(thread, NULL);
    EXPECT(calls() - before <= 2 * LOOPS, "%lld calls for %d items", calls() - before, BUYERS);
    for (unsigned i = 0; i < BUYERS; ++i)
        EXPECT_SOUND(stack, skus[i], 0);
}

/* Each connection is some loop's: with this many, each loop has one. */
static web_request_t ask(void *context, unsigned i)
{
    return sale_request(stack, context, test_text("late%u", i), 1, NULL);
}

static bool is_refused(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context, (void)i;
    EXPECT_PROBLEM(*answer, 409, "sold_out");
    return true;
}

static void every_loop_learns_that_it_is_sold_out_and_that_it_is_not(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "gone", "\"total\":1");
    const char *order = sale_order(stack, sku, "first", 1, NULL);
    long long asked = calls(), refused = attack_metric(stack, "gate_local_refusals_total");
    enum { REQUESTS = 4000 };
    web_crowd(&(web_crowd_t){.connections = BUYERS,
                             .count = REQUESTS,
                             .request = ask,
                             .answered = is_refused,
                             .context = (void *)sku});
    asked = calls() - asked;
    refused = attack_metric(stack, "gate_local_refusals_total") - refused;
    EXPECT(refused + asked * BUYERS >= REQUESTS && asked < REQUESTS / 10,
           "%lld refused at once, %lld calls", refused, asked);
    EXPECT_STATUS(*(web_answer_t[]){sale_move(stack, order, "cancel")}, 200);
    /* Units that returned are had by whoever asks next, on whichever loop. */
    WAIT_UNTIL(sale_available(stack, sku) == 1);
    long long end = test_clock_ms() + 40000;
    while (web_has_code(&(web_answer_t[]){sale_buy(stack, sku, "next", 1, NULL)}[0], "sold_out"))
        EXPECT(test_clock_ms() < end, "a loop was not told of units that returned");
    EXPECT_SOUND(stack, sku, 0);
}

static bool is_cancelled_or_was(void *context, unsigned i, const web_answer_t *answer)
{
    (void)context, (void)i;
    EXPECT(answer->status == 200 || web_has_code(answer, "wrong_state"), "%s", web_show(answer));
    return true;
}

static web_request_t ask_to_cancel(void *context, unsigned i)
{
    (void)i;
    return (web_request_t){.base = stack->url,
                           .method = "POST",
                           .path = test_text("/v1/orders/%s/cancel", (const char *)context)};
}

/* The owner's loop has heard "sold out" from the gate and stands still; meanwhile the units come
   back, and the other loops hear of it before they hear the owner's answers, which are older. */
static void an_answer_that_is_older_than_the_units_hides_none(void **state)
{
    (void)state;
    enum { UNITS = 2 * BUYERS };
    crowd_here_t late = {.sku = sale_item(stack, "older", "\"total\":%d", UNITS)};
    pthread_t thread;
    const char *all = sale_order(stack, late.sku, "all", UNITS, NULL);
    fault_arm(stack, "reserve_answered pause=4000 times=1\n");
    EXPECT_NUMBER(pthread_create(&thread, NULL, rush, &late), 0);
    EXPECT_FAULT(stack, "reserve_answered");
    /* Over several connections, since some belong to the loop that stands still. */
    web_crowd(&(web_crowd_t){.connections = LOOPS,
                             .count = LOOPS,
                             .request = ask_to_cancel,
                             .answered = is_cancelled_or_was,
                             .context = (void *)all});
    pthread_join(thread, NULL);
    fault_disarm(stack);
    EXPECT(late.tally.sold_out != 0, "nobody was told that it is sold out: %s",
           sale_show(&late.tally));
    /* With a key the owner's loop is asked in any case: when it answers, it has heard too. */
    sale_order(stack, late.sku, "keyed", 1, "k");
    sale_tally_t now = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = late.sku, .buyers = BUYERS, .connections = BUYERS});
    EXPECT(now.sold_out == 0, "a loop believes what is no longer true: %s", sale_show(&now));
    EXPECT_SOUND(stack, late.sku, 0);
}

static void a_buyer_who_leaves_another_loop_cancels_nothing(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "left", "\"total\":%d", 100 * BUYERS);
    sale_order(stack, sku, "first", 1, NULL);
    process_signal(stack->redis_pid, SIGSTOP);
    /* On a slow machine some leave before they have asked. */
    for (unsigned i = 1;
         i < 100 * BUYERS && attack_metric(stack, "purchases_in_flight") < BUYERS / 2; ++i) {
        web_request_t request = sale_request(stack, sku, test_text("b%u", i), 1, NULL);
        request.sent_once = true;
        request.timeout_ms = 20;
        (void)web_call(&request);
    }
    WAIT_UNTIL(attack_metric(stack, "purchases_in_flight") >= BUYERS / 2);
    long long waiting = attack_metric(stack, "purchases_in_flight");
    process_signal(stack->redis_pid, SIGCONT);
    WAIT_UNTIL(sale_live_orders(stack, sku) >= waiting + 1);
    WAIT_UNTIL(attack_metric(stack, "purchases_in_flight") == 0);
    EXPECT_SOUND(stack, sku, 0);
}

/* Redis is stopped for as long as it takes until all have come: its time-out must not end that.
   What a loop believes to be sold out it believes for longer than a test waits, unless it is told.
 */
static const suite_t suite = {
    .name = "visit",
    .settings = {"http.threads=6", "redis.timeout_ms=60000", "orders.answer_deadline_ms=16000",
                 "orders.commit_deadline_ms=60000", "orders.sold_out_cache_ms=60000"}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(buyers_of_all_loops_share_a_call),
        TEST(items_of_a_loop_share_a_call),
        TEST(every_loop_learns_that_it_is_sold_out_and_that_it_is_not),
        TEST(an_answer_that_is_older_than_the_units_hides_none),
        TEST(a_buyer_who_leaves_another_loop_cancels_nothing),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
