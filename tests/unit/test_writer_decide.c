/* What the writer decides on rows and after failures, each rule a few lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "work/writer_decide.h"

/* --- on rows --- */

#define ORDERS 3

static writer_order_t orders[ORDERS];
static writer_order_t *batch[ORDERS];
static writer_group_t group;

/* One group under epoch 7: three live orders of 1, 2 and 3 units. */
static int setup(void **state)
{
    (void)state;
    memset(orders, 0, sizeof(orders));
    group = (writer_group_t){.orders = batch, .count = ORDERS, .units = 6};
    for (unsigned i = 0; i < ORDERS; ++i) {
        orders[i] = (writer_order_t){.epoch = 7, .arrival = i};
        orders[i].order =
            (order_t){.id = {{(uint8_t)(i + 1)}}, .quantity = i + 1, .state = ORDER_CONFIRMED};
        order_set_sku(&orders[i].order, STR("sku"));
        order_set_buyer(&orders[i].order, STR("ann"));
        batch[i] = &orders[i];
    }
    return 0;
}

static item_t a_row(int64_t left)
{
    return (item_t){
        .terms = {.total = 100}, .allocated_total = 110 - left, .released_total = 10, .epoch = 7};
}

static void test_what_fits_is_written(void **state)
{
    (void)state;
    item_t row = a_row(6);
    assert_false(writer_check_group(&group, &row));
    assert_int_equal(writer_drop_marked(batch, ORDERS), ORDERS);
}

/* Two of the three fit: the second is too large for what the first has left. */
static void test_what_does_not_fit_is_rejected_and_the_gate_is_wrong(void **state)
{
    (void)state;
    item_t row = a_row(4);
    orders[1].order.quantity = 4;
    assert_true(writer_check_group(&group, &row));
    assert_int_equal(orders[0].order.state, ORDER_CONFIRMED);
    assert_int_equal(orders[1].order.state, ORDER_REJECTED);
    assert_int_equal(orders[1].order.reject_code, PROBLEM_SOLD_OUT);
    assert_true(orders[1].drift);
    assert_int_equal(orders[2].order.state, ORDER_CONFIRMED);
    assert_false(orders[2].drift);
    assert_int_equal(writer_drop_marked(batch, ORDERS), ORDERS); /* its row is still to come */
}

static void test_live_orders_of_another_epoch_are_stale(void **state)
{
    (void)state;
    item_t row = a_row(6);
    row.epoch = 8;
    orders[1].order.state = ORDER_REJECTED;
    assert_true(writer_check_group(&group, &row));
    assert_int_equal(orders[0].result, WRITER_STALE);
    assert_int_equal(writer_drop_marked(batch, ORDERS), 1);
    assert_ptr_equal(batch[0], &orders[1]); /* rejected is rejected under any epoch */
}

static void test_so_are_those_of_an_item_that_is_gone(void **state)
{
    (void)state;
    assert_true(writer_check_group(&group, NULL));
    assert_int_equal(writer_drop_marked(batch, ORDERS), 0);
}

static void test_the_row_of_an_id_is_the_result(void **state)
{
    (void)state;
    order_t row = orders[0].order;
    row.state = ORDER_CANCELLED;
    orders[0].drift = true;
    writer_take_row(&orders[0], &row);
    assert_int_equal(orders[0].result, WRITER_ROW);
    assert_int_equal(orders[0].order.state, ORDER_CANCELLED);
    assert_false(orders[0].inserted || orders[0].drift || orders[0].nameless);
    assert_int_equal(writer_drop_marked(batch, ORDERS), ORDERS - 1);
}

static void test_a_row_without_names_keeps_those_of_its_owner(void **state)
{
    (void)state;
    const order_t row = {.id = orders[1].order.id, .state = ORDER_REJECTED};
    writer_take_row(&orders[1], &row);
    assert_true(orders[1].nameless);
    assert_true(str_eq(order_sku(&orders[1].order), STR("sku")));
    assert_true(str_eq(order_buyer(&orders[1].order), STR("ann")));
    assert_int_equal(orders[1].order.quantity, 2);
    assert_int_equal(orders[1].order.state, ORDER_REJECTED);
}

static void test_an_order_that_lost_its_key_is_a_duplicate(void **state)
{
    (void)state;
    orders[0].key = STR("k");
    orders[0].drift = true;
    writer_lose_key(&orders[0], &orders[1].order);
    assert_int_equal(orders[0].order.state, ORDER_REJECTED);
    assert_false(orders[0].drift);
    assert_int_equal(orders[0].order.reject_code, PROBLEM_DUPLICATE_REQUEST);
    assert_true(order_id_eq(&orders[0].order.original_id, &orders[1].order.id));
    assert_true(orders[0].has_first);
    assert_null(orders[0].key.p);
    assert_int_equal(writer_drop_marked(batch, ORDERS), ORDERS); /* its own row is to come */
}

/* But not that of a lost key: it holds whatever room there is. */
static void test_refusals_for_want_of_room_are_forgotten(void **state)
{
    (void)state;
    item_t row = a_row(0);
    assert_true(writer_check_group(&group, &row));
    writer_lose_key(&orders[2], &orders[1].order);
    writer_forget_refusals(batch, ORDERS);
    for (unsigned i = 0; i < 2; ++i) {
        assert_int_equal(orders[i].order.state, ORDER_CONFIRMED);
        assert_int_equal(orders[i].order.reject_code, PROBLEM_NONE);
        assert_false(orders[i].drift);
    }
    assert_int_equal(orders[2].order.state, ORDER_REJECTED);
}

/* --- after failures --- */

/* After a failure of one order, and of nine. */
#define NEXT(kind_, ...)                                                                           \
    writer_next(&(writer_failure_t){                                                               \
        .kind = FAILURE_##kind_, .orders = 1, .is_one_item = true, __VA_ARGS__})
#define NEXT_OF_NINE(kind_, ...)                                                                   \
    writer_next(&(writer_failure_t){.kind = FAILURE_##kind_, .orders = 9, __VA_ARGS__})
#define PASSED .canary = CANARY_PASSED
#define FAILED .canary = CANARY_FAILED

static void test_a_conflict_is_tried_again_often(void **state)
{
    (void)state;
    assert_int_equal(NEXT(CONFLICT), NEXT_SAME);
    assert_int_equal(NEXT(CONFLICT, .repeats = 47), NEXT_SAME);
    assert_int_equal(NEXT(CONFLICT, .repeats = 48), NEXT_ASIDE); /* then as a lock wait */
    assert_int_equal(NEXT(CONFLICT, .repeats = 48, .lock_waits = 3), NEXT_CANARY);
}

static void test_a_locked_item_is_set_aside(void **state)
{
    (void)state;
    assert_int_equal(NEXT(LOCK, .lock_waits = 1), NEXT_ASIDE);
    assert_int_equal(NEXT_OF_NINE(LOCK, .is_one_item = true, .lock_waits = 1), NEXT_ASIDE);
    assert_int_equal(NEXT_OF_NINE(LOCK, .lock_waits = 1), NEXT_ITEMS);
}

static void test_locks_again_and_again_may_be_the_shard(void **state)
{
    (void)state;
    assert_int_equal(NEXT(LOCK, .lock_waits = 2), NEXT_ASIDE);
    assert_int_equal(NEXT(LOCK, .lock_waits = 3), NEXT_CANARY);
    assert_int_equal(NEXT(LOCK, .lock_waits = 3, FAILED), NEXT_AWAY);
    assert_int_equal(NEXT(LOCK, .lock_waits = 3, PASSED), NEXT_ASIDE);
    assert_int_equal(NEXT(LOCK, .lock_waits = 3, .is_side = true), NEXT_ASIDE);
}

static void test_a_lost_connection_is_tried_again_some_times(void **state)
{
    (void)state;
    assert_int_equal(NEXT(LOST), NEXT_SAME);
    assert_int_equal(NEXT(LOST, .repeats = 3), NEXT_SAME);
    assert_int_equal(NEXT(LOST, .repeats = 4), NEXT_CANARY);
    assert_int_equal(NEXT(LOST, .repeats = 4, PASSED), NEXT_ASIDE);
}

static void test_an_error_runs_the_canary_first(void **state)
{
    (void)state;
    assert_int_equal(NEXT_OF_NINE(OTHER), NEXT_CANARY);
    assert_int_equal(NEXT_OF_NINE(OTHER, FAILED), NEXT_AWAY);
    assert_int_equal(NEXT_OF_NINE(OTHER, PASSED), NEXT_HALVES);
    assert_int_equal(NEXT(OTHER, PASSED), NEXT_ASIDE);
    assert_int_equal(NEXT(OTHER, .repeats = 100, PASSED), NEXT_ASIDE); /* never a verdict */
}

/* The verdict, a canary that passes, the verdict again, and the canary once more. */
static void test_a_verdict_is_met_twice_before_it_rejects(void **state)
{
    (void)state;
    assert_int_equal(NEXT(OF_VALUES), NEXT_CANARY);
    assert_int_equal(NEXT(OF_VALUES, PASSED), NEXT_SAME);
    assert_int_equal(NEXT(OF_VALUES, .repeats = 1), NEXT_CANARY);
    assert_int_equal(NEXT(OF_VALUES, .repeats = 1, FAILED), NEXT_AWAY);
    assert_int_equal(NEXT(OF_VALUES, .repeats = 1, PASSED), NEXT_REJECT);
    assert_int_equal(NEXT_OF_NINE(OF_VALUES, .repeats = 1, PASSED), NEXT_HALVES);
    /* Its item was set aside for a lock: it may be that, not the order. */
    assert_int_equal(NEXT(OF_VALUES, .repeats = 1, .is_aside = true, PASSED), NEXT_ASIDE);
}

/* An attempt may drop orders from the array that its caller counts with the old number. */
static void test_an_order_that_stays_is_there_once(void **state)
{
    (void)state;
    writer_order_t stale = {.arrival = 0}, live = {.arrival = 1};
    writer_order_t *two[] = {&stale, &live};
    writer_mark(&stale, WRITER_STALE, false);
    assert_int_equal(writer_drop_marked(two, 2), 1);
    assert_int_equal(writer_drop_marked(two, 2), 1);
    assert_ptr_equal(two[0], &live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_fits_is_written, setup),
        cmocka_unit_test_setup(test_what_does_not_fit_is_rejected_and_the_gate_is_wrong, setup),
        cmocka_unit_test_setup(test_live_orders_of_another_epoch_are_stale, setup),
        cmocka_unit_test_setup(test_so_are_those_of_an_item_that_is_gone, setup),
        cmocka_unit_test_setup(test_the_row_of_an_id_is_the_result, setup),
        cmocka_unit_test_setup(test_a_row_without_names_keeps_those_of_its_owner, setup),
        cmocka_unit_test_setup(test_an_order_that_lost_its_key_is_a_duplicate, setup),
        cmocka_unit_test_setup(test_refusals_for_want_of_room_are_forgotten, setup),
        cmocka_unit_test(test_an_order_that_stays_is_there_once),
        cmocka_unit_test(test_a_conflict_is_tried_again_often),
        cmocka_unit_test(test_a_locked_item_is_set_aside),
        cmocka_unit_test(test_locks_again_and_again_may_be_the_shard),
        cmocka_unit_test(test_a_lost_connection_is_tried_again_some_times),
        cmocka_unit_test(test_an_error_runs_the_canary_first),
        cmocka_unit_test(test_a_verdict_is_met_twice_before_it_rejects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
