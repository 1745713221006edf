/* Orders in hand, and the reads that wait for their end: one loop, without a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"

static config_t config;
static node_t node;
static loop_t loop;
static engine_loop_t engine;
static engine_loop_t *engines[] = {&engine};
static struct order_in_hand *entry;
static order_t order, row;

static int set_up(void **state)
{
    (void)state;
    memset(&node, 0, sizeof(node));
    memset(&engine, 0, sizeof(engine));
    config.orders.waiters_max = 2;
    node.config = &config;
    node.map.shards_count = 1;
    node.loops = engines;
    node.loops_count = 1;
    orders_in_hand_init(&node.in_hand);
    engine.loop = &loop;
    engine.node = &node;
    order_waits_open(&engine);
    engine.polls = order_polls_new(&engine);
    entry = NULL;
    order = (order_t){.id = order_id_issue(7, 1000), .quantity = 1};
    row = order;
    row.state = ORDER_HELD;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    loop_timer_stop(&engine.waits.look_timer);
    order_polls_free(engine.polls, 1);
    return 0;
}

/* --- what a wait was told --- */

typedef struct {
    unsigned times;
    bool ended;
    order_state_t state;
} told_t;

static void on_told(void *waiter, const order_id_t *id, const order_t *ended)
{
    told_t *told = waiter;
    assert_true(order_id_eq(id, &order.id));
    ++told->times;
    told->ended = ended != NULL;
    if (told->ended)
        told->state = ended->state;
}

static order_wait_t *start(told_t *told)
{
    *told = (told_t){0};
    return order_wait_start(&engine, &order.id, 60000, -1, on_told, told);
}

static void expect_held(const told_t *told)
{
    assert_int_equal(told->times, 1);
    assert_true(told->ended);
    assert_int_equal(told->state, ORDER_HELD);
}

/* --- cases --- */

static void it_is_in_hand_from_its_202_to_its_end(void **state)
{
    order_t found;
    (void)state;
    assert_false(orders_in_hand_look(&node, &order.id, &found));
    orders_in_hand_end(&engine, &entry, &row); /* it was answered 201 */
    orders_in_hand_add(&engine, &entry, &order);
    orders_in_hand_add(&engine, &entry, &order);
    assert_true(orders_in_hand_look(&node, &order.id, &found));
    assert_int_equal(found.state, ORDER_RESERVED);
    orders_in_hand_end(&engine, &entry, &row);
    assert_null(entry);
    assert_false(orders_in_hand_look(&node, &order.id, &found));
}

static void all_who_wait_are_told_its_row(void **state)
{
    told_t told[2];
    (void)state;
    orders_in_hand_add(&engine, &entry, &order);
    assert_non_null(start(&told[0]));
    assert_non_null(start(&told[1]));
    orders_in_hand_end(&engine, &entry, &row);
    expect_held(&told[0]);
    expect_held(&told[1]);
    assert_int_equal(node.order_waits, 0);
    assert_null(engine.waits.orders);
}

static void a_row_that_was_seen_ends_it(void **state)
{
    told_t told;
    order_t found;
    (void)state;
    orders_in_hand_add(&engine, &entry, &order);
    assert_non_null(start(&told));
    orders_in_hand_seen(&engine, &row);
    expect_held(&told);
    assert_false(orders_in_hand_look(&node, &order.id, &found));
    orders_in_hand_end(&engine, &entry, &row);
    assert_int_equal(told.times, 1);
}

static void without_a_row_it_is_polled(void **state)
{
    told_t told;
    (void)state;
    orders_in_hand_add(&engine, &entry, &order);
    order_wait_t *wait = start(&told);
    assert_null(engine.polls[0].orders);
    orders_in_hand_end(&engine, &entry, NULL);
    assert_non_null(engine.polls[0].orders);
    order_wait_forget(wait);
    assert_null(engine.polls[0].orders);
    assert_int_equal(told.times, 0);
}

static void an_order_of_another_node_is_polled_until_nobody_waits(void **state)
{
    told_t told[2];
    (void)state;
    order_wait_t *first = start(&told[0]), *second = start(&told[1]);
    assert_non_null(engine.polls[0].orders);
    order_wait_forget(first);
    assert_non_null(engine.polls[0].orders);
    order_wait_forget(second);
    assert_null(engine.polls[0].orders);
    assert_int_equal(node.order_waits, 0);
}

static void no_more_wait_than_may(void **state)
{
    told_t told[3];
    (void)state;
    order_wait_t *first = start(&told[0]), *second = start(&told[1]);
    assert_null(start(&told[2]));
    order_wait_forget(first);
    assert_non_null(first = start(&told[2]));
    order_wait_forget(first);
    order_wait_forget(second);
}

static void the_end_of_the_process_ends_all(void **state)
{
    told_t told[2];
    (void)state;
    orders_in_hand_add(&engine, &entry, &order);
    start(&told[0]);
    order_waits_close(&engine);
    assert_int_equal(told[0].times, 1);
    assert_false(told[0].ended);
    assert_null(start(&told[1]));
    assert_int_equal(node.order_waits, 0);
    orders_in_hand_end(&engine, &entry, &row);
    assert_int_equal(told[0].times, 1);
}

/* A client of HTTP/1 that has closed its connection. */
static void a_wait_whose_client_hangs_up_is_over(void **state)
{
    told_t told = {0};
    int ends[2];
    (void)state;
    orders_in_hand_add(&engine, &entry, &order);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_non_null(order_wait_start(&engine, &order.id, 60000, ends[0], on_told, &told));
    engine.waits.look_timer.expired(&engine.waits.look_timer);
    assert_int_equal(told.times, 0);
    close(ends[1]);
    engine.waits.look_timer.expired(&engine.waits.look_timer);
    assert_int_equal(told.times, 1);
    close(ends[0]);
    orders_in_hand_end(&engine, &entry, &row);
}

/* The timers of a wait add up to it: never past its end, but for the last ms. */
static void timers_end_in_time(void **state)
{
    static const uint32_t waits[] = {1, 2, 7, 8, 9, 50, 100, 999, 1000, 5000, 9000, 30000, 60000};
    (void)state;
    for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); ++i) {
        uint64_t left = waits[i];
        unsigned timers = 0;
        for (; left > 8; ++timers) {
            uint32_t delay = order_wait_delay_ms(left);
            assert_true(delay != 0 && delay <= left && delay <= LOOP_DELAY_MAX_MS);
            left -= delay;
        }
        assert_true(timers <= 16);
        assert_true(left == 0 || order_wait_delay_ms(left) == left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_in_hand_from_its_202_to_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_who_wait_are_told_its_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_row_that_was_seen_ends_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_row_it_is_polled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_order_of_another_node_is_polled_until_nobody_waits,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_more_wait_than_may, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_of_the_process_ends_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_wait_whose_client_hangs_up_is_over, set_up, tear_down),
        cmocka_unit_test(timers_end_in_time),
    };
    order_id_set_key(STR("0123456789abcdef"));
    loop_init(&loop, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
