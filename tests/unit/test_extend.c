/* How far an extend moves a deadline: up to its bound, never back, and what a repeat is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/extend.h"

/* Seconds, from the order's creation on. */
#define CREATED_MS UINT64_C(1700000000000)
#define AT(seconds_) (CREATED_MS + (uint64_t)(seconds_)*1000)

static extend_t extend(unsigned deadline, unsigned hold, unsigned ends_at, unsigned hold_max,
                       unsigned now)
{
    const order_t order = {
        .state = ORDER_HELD, .created_at_ms = CREATED_MS, .expires_at_ms = AT(deadline)};
    const item_terms_t terms = {.hold_seconds = hold, .ends_at_ms = ends_at ? AT(ends_at) : 0};
    return extend_decide(&order, &terms, hold_max, AT(now));
}

static void expect_moves(extend_t extend, unsigned to)
{
    assert_int_equal(extend.result, EXTEND_MOVES);
    assert_int_equal(extend.deadline_ms, AT(to));
}

static void expect_at_bound(extend_t extend, unsigned bound, bool by_sale)
{
    assert_int_equal(extend.result, EXTEND_AT_BOUND);
    assert_int_equal(extend.bound_ms, AT(bound));
    assert_int_equal(extend.by_sale, by_sale);
}

static void it_asks_for_the_items_hold_from_now_on(void **state)
{
    (void)state;
    expect_moves(extend(60, 60, 0, 0, 1), 61);
    expect_moves(extend(60, 60, 0, 0, 59), 119);
    expect_moves(extend(60, 600, 0, 0, 59), 659);
}

static void it_stops_at_four_times_the_hold_or_at_the_setting(void **state)
{
    (void)state;
    expect_moves(extend(239, 60, 0, 0, 180), 240);
    expect_moves(extend(239, 60, 0, 0, 238), 240);
    expect_moves(extend(60, 60, 0, 90, 31), 90);
    expect_moves(extend(400, 60, 0, 3600, 399), 459);
}

static void it_stops_at_the_end_of_the_sale(void **state)
{
    (void)state;
    expect_moves(extend(60, 60, 100, 0, 50), 100);
    expect_moves(extend(60, 60, 100, 3600, 50), 100);
    expect_moves(extend(60, 60, 1000, 70, 50), 70);
}

/* Many at once, or a client that has not heard the answer: they ask for what is there. */
static void a_repeat_has_happened(void **state)
{
    (void)state;
    assert_int_equal(extend(61, 60, 0, 0, 1).result, EXTEND_HAPPENED);
    assert_int_equal(extend(240, 60, 0, 0, 239).result, EXTEND_HAPPENED);
    assert_int_equal(extend(90, 60, 0, 90, 89).result, EXTEND_HAPPENED);
    assert_int_equal(extend(100, 60, 100, 0, 99).result, EXTEND_HAPPENED);
}

static void it_takes_nothing_away(void **state)
{
    (void)state;
    assert_int_equal(extend(600, 1, 0, 0, 10).result, EXTEND_HAPPENED);
    assert_int_equal(extend(600, 0, 0, 0, 10).result, EXTEND_HAPPENED);
    assert_int_equal(extend(600, 1, 20, 5, 10).result, EXTEND_HAPPENED);
}

/* No extend has moved it there, and none can move it on. */
static void an_order_that_was_born_at_its_bound_cannot_move(void **state)
{
    (void)state;
    expect_at_bound(extend(60, 60, 0, 60, 1), 60, false);
    expect_at_bound(extend(60, 60, 0, 30, 1), 30, false);
    expect_at_bound(extend(60, 60, 20, 0, 10), 20, true);
    expect_at_bound(extend(60, 60, 60, 0, 10), 60, true);
    expect_at_bound(extend(300, 60, 0, 0, 299), 240, false);
}

static void a_hold_whose_time_is_over_is_late(void **state)
{
    (void)state;
    assert_int_equal(extend(60, 60, 0, 0, 60).result, EXTEND_LATE);
    assert_int_equal(extend(60, 60, 0, 30, 61).result, EXTEND_LATE);
}

static void without_an_item_nothing_changes(void **state)
{
    (void)state;
    const order_t order = {
        .state = ORDER_HELD, .created_at_ms = CREATED_MS, .expires_at_ms = AT(60)};
    assert_int_equal(extend_decide(&order, NULL, 0, AT(1)).result, EXTEND_HAPPENED);
    assert_int_equal(extend_decide(&order, NULL, 0, AT(60)).result, EXTEND_LATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_asks_for_the_items_hold_from_now_on),
        cmocka_unit_test(it_stops_at_four_times_the_hold_or_at_the_setting),
        cmocka_unit_test(it_stops_at_the_end_of_the_sale),
        cmocka_unit_test(a_repeat_has_happened),
        cmocka_unit_test(it_takes_nothing_away),
        cmocka_unit_test(an_order_that_was_born_at_its_bound_cannot_move),
        cmocka_unit_test(a_hold_whose_time_is_over_is_late),
        cmocka_unit_test(without_an_item_nothing_changes),
    };
    return cmocka_run_group_tests_name("extend", tests, NULL, NULL);
}
