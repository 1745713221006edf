/* The reconciler's decisions: from snapshots to findings and actions, each rule broken once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reconcile/decide.h"

/* An item in mid-sale: epoch 7 began with 10 allocated; since then 5 were reserved, of which 3
   are committed and settled, 2 unsettled; 1 was released. */
static gate_state_t a_gate(void)
{
    return (gate_state_t){.answer = GATE_ITEM_OK,
                          .epoch = 7,
                          .capacity = 90,
                          .reserved = 5,
                          .settled = 3,
                          .released = 1,
                          .unsettled_units = 2,
                          .held_orders = 2,
                          .known_buyers = 9,
                          .buyers = 9};
}

static item_t a_row(void)
{
    return (item_t){.terms = {.total = 100, .strategy = STRATEGY_LUA},
                    .epoch = 7,
                    .allocated_total = 13,
                    .released_total = 1,
                    .epoch_allocated_total = 10,
                    .epoch_released_total = 0};
}

static decision_t decide(memory_t *memory, gate_state_t before, item_t row, gate_state_t after,
                         uint64_t now_ms)
{
    return reconcile_decide(memory, &(snapshot_t){before, row, after, now_ms});
}

static finding_t compare_gate(const gate_state_t *before, const item_t *row,
                              const gate_state_t *after)
{
    memory_t memory = {0};
    return decide(&memory, *before, *row, *after, 1000).finding;
}

static finding_t compare_at_rest(gate_state_t gate, item_t row)
{
    return compare_gate(&gate, &row, &gate);
}

static void test_agreement(void **state)
{
    (void)state;
    assert_int_equal(compare_at_rest(a_gate(), a_row()), FINDING_AGREE);
}

/* Whose time is over after two seconds: a look after that finds what it has left undone. */
static void test_a_gate_that_somebody_is_building(void **state)
{
    (void)state;
    gate_state_t gate = a_gate();
    item_t row = a_row();
    gate.epoch = 6;
    row.rebuilding = true;
    assert_int_equal(compare_at_rest(gate, row), FINDING_AGREE);
    row.rebuilding = false;
    assert_int_equal(compare_at_rest(gate, row), FINDING_NOT_BUILT);
}

static void test_a_gate_that_is_not_of_this_row(void **state)
{
    (void)state;
    gate_state_t gate = a_gate();
    gate.answer = GATE_ITEM_MISSING;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_NOT_BUILT);
    gate = a_gate();
    gate.answer = GATE_ITEM_FOREIGN;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_NOT_BUILT);
    gate = a_gate();
    gate.epoch = 6;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_NOT_BUILT);
    gate.epoch = 8; /* a restored MySQL under a living Redis */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_NOT_BUILT);
    gate = a_gate();
    gate.closed = true;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_NOT_BUILT);
    item_t row = a_row();
    row.terms.strategy = STRATEGY_OPTIMISTIC;
    assert_int_equal(compare_at_rest(a_gate(), row), FINDING_NOT_BUILT);
}

/* The first buyer who comes has it built; a released unit shows that somebody came before. */
static void test_an_item_that_was_never_sold_needs_no_gate(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t none = {.answer = GATE_ITEM_MISSING};
    item_t row = a_row();
    row.allocated_total = row.released_total = row.epoch_allocated_total = 0;
    decision_t decision = decide(&memory, none, row, none, 1000);
    assert_int_equal(decision.finding, FINDING_AGREE);
    assert_false(decision.open);
    snapshot_t asked = {.before = none, .row = row, .after = none, .now_ms = 1, .by_hand = true};
    memory = (memory_t){0};
    assert_int_equal(reconcile_decide(&memory, &asked).finding, FINDING_NOT_BUILT);
    gate_state_t foreign = {.answer = GATE_ITEM_FOREIGN};
    assert_int_equal(compare_at_rest(foreign, row), FINDING_NOT_BUILT);
    row.allocated_total = row.released_total = 1;
    assert_int_equal(compare_at_rest(none, row), FINDING_NOT_BUILT);
}

/* Whoever asks for a gate that is not there reads the row. One that has only lost its buyers may be
   open. */
static void test_a_sql_strategy_needs_no_gate(void **state)
{
    (void)state;
    gate_state_t none = {.answer = GATE_ITEM_MISSING}, torn = a_gate();
    item_t row = a_row();
    row.terms.strategy = STRATEGY_SERIALIZABLE;
    assert_int_equal(compare_at_rest(none, row), FINDING_AGREE);
    snapshot_t asked = {.before = none, .row = row, .after = none, .now_ms = 1, .by_hand = true};
    memory_t memory = {0};
    assert_int_equal(reconcile_decide(&memory, &asked).finding, FINDING_AGREE);
    torn.answer = GATE_ITEM_MISSING;
    assert_int_equal(compare_at_rest(torn, row), FINDING_NOT_BUILT);
}

/* The reconciler keeps the memory of an item, and compares it again soon, only if it must. */
static void test_what_is_open_needs_another_comparison(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t gate = a_gate();
    item_t row = a_row();
    assert_false(decide(&memory, gate, row, gate, 1000).open);
    row.rebuilding = true; /* by whom may die */
    assert_true(decide(&memory, gate, row, gate, 1000).open);
    row = a_row();
    memory = (memory_t){0};
    row.released_total = 4; /* of which the gate has been told one */
    assert_true(decide(&memory, gate, row, gate, 1000).open);
    gate.released = 4;
    assert_false(decide(&memory, gate, row, gate, 1500).open);
    row.released_total = 6; /* after the count that the memory has */
    assert_true(decide(&memory, gate, row, gate, 1600).open);
    gate.closed = true;
    row.terms.strategy = STRATEGY_OPTIMISTIC;
    assert_false(decide(&memory, gate, row, gate, 1700).open);
    gate = a_gate();
    gate.per_buyer_limit = 1;
    memory = (memory_t){0};
    assert_true(decide(&memory, gate, a_row(), gate, 1000).open);
}

static void test_terms_that_are_not_the_rows(void **state)
{
    (void)state;
    gate_state_t gate = a_gate();
    gate.per_buyer_limit = 1;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_TERMS);
    gate = a_gate();
    gate.ends_at_ms = 5;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_TERMS);
    gate = a_gate();
    gate.starts_at_ms = 5;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_TERMS);
    gate = a_gate();
    gate.now_ms = 1000000;
    gate.frozen_until_ms = gate.now_ms + 1000; /* as a lowered total does */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_AGREE);
    gate.frozen_until_ms = gate.now_ms + 3600000;
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_TERMS);
}

static void test_closed_gates_are_not_compared(void **state)
{
    (void)state;
    gate_state_t gate = a_gate();
    item_t row = a_row();
    gate.closed = true;
    gate.unsettled_units = 55;
    row.terms.strategy = STRATEGY_SERIALIZABLE;
    assert_int_equal(compare_at_rest(gate, row), FINDING_AGREE);
}

static void test_each_broken_rule(void **state)
{
    (void)state;
    gate_state_t gate = a_gate();
    item_t row = a_row();
    gate.reserved += 1000; /* a lying counter */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_COUNTERS);
    gate = a_gate();
    gate.unsettled_units = 1; /* a hold that vanished from `unsettled` */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_COUNTERS);
    row.allocated_total = 12; /* settled what MySQL never had */
    assert_int_equal(compare_at_rest(a_gate(), row), FINDING_UNDERSOLD);
    row = a_row();
    row.allocated_total = 16; /* committed more than was reserved */
    assert_int_equal(compare_at_rest(a_gate(), row), FINDING_OVERSOLD);
    row = a_row();
    row.released_total = 0;
    assert_int_equal(compare_at_rest(a_gate(), row), FINDING_RELEASES);
    gate = a_gate();
    gate.capacity += 1000; /* a gate that promises what is not there */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_CAPACITY);
    gate = a_gate();
    gate.buyers = 0; /* their table vanished, and with it the limit */
    assert_int_equal(compare_at_rest(gate, a_row()), FINDING_BUYERS);
}

/* A release takes its time; what is still missing after some seconds of quiet is lost. */
static void test_units_that_leaked_show_in_quiet(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t gate = a_gate(), later;
    item_t row = a_row();
    gate.reserved = 3; /* all settled */
    gate.unsettled_units = 0;
    row.released_total = 4; /* three releases never reached the gate */
    assert_int_equal(decide(&memory, gate, row, gate, 1000).finding, FINDING_AGREE);
    assert_int_equal(decide(&memory, gate, row, gate, 2999).finding, FINDING_AGREE);
    assert_int_equal(decide(&memory, gate, row, gate, 3000).finding, FINDING_LEAKED);
    assert_int_equal(decide(&memory, gate, row, gate, 3050).action, ACTION_REBUILD);
    memory = (memory_t){0};
    decide(&memory, gate, row, gate, 1000);
    later = gate;
    later.released = 4; /* they arrived */
    assert_int_equal(decide(&memory, later, row, later, 2000).finding, FINDING_AGREE);
    assert_int_equal(decide(&memory, gate, row, gate, 3000).finding, FINDING_LEAKED);
}

/* In traffic no look is quiet; but what MySQL had freed seconds ago the gate must know by now. */
static void test_units_that_leaked_show_in_traffic_after_a_while(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t gate = a_gate(), later = a_gate();
    item_t row = a_row();
    row.released_total = 4;
    later.reserved += 1;
    later.unsettled_units += 1;
    assert_int_equal(decide(&memory, gate, row, later, 1000).finding, FINDING_AGREE);
    assert_int_equal(decide(&memory, gate, row, later, 2900).finding, FINDING_AGREE);
    decision_t first = decide(&memory, gate, row, later, 3000);
    assert_int_equal(first.finding, FINDING_LEAKED);
    assert_int_equal(first.action, ACTION_COMPARE_AGAIN);
    decision_t second = decide(&memory, gate, row, later, 3050);
    assert_int_equal(second.finding, FINDING_LEAKED);
    assert_int_equal(second.action, ACTION_REBUILD);
    gate.released = later.released = 4; /* had it only been slow */
    memory = (memory_t){0};
    decide(&memory, gate, row, later, 1000);
    assert_int_equal(decide(&memory, gate, row, later, 3000).finding, FINDING_AGREE);
}

static void test_one_miss_is_a_moment_two_are_drift(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t wrong = a_gate();
    wrong.unsettled_units = 1;
    assert_int_equal(decide(&memory, wrong, a_row(), wrong, 1).action, ACTION_COMPARE_AGAIN);
    assert_int_equal(decide(&memory, a_gate(), a_row(), a_gate(), 2).action, ACTION_NONE);
    assert_int_equal(decide(&memory, wrong, a_row(), wrong, 3).action, ACTION_COMPARE_AGAIN);
    assert_int_equal(decide(&memory, wrong, a_row(), wrong, 4).action, ACTION_REBUILD);
}

static void test_a_miss_of_another_epoch_does_not_count(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t wrong = a_gate();
    item_t row = a_row();
    wrong.unsettled_units = 1;
    assert_int_equal(decide(&memory, wrong, row, wrong, 1).action, ACTION_COMPARE_AGAIN);
    wrong.epoch = row.epoch = 8;
    assert_int_equal(decide(&memory, wrong, row, wrong, 2).action, ACTION_COMPARE_AGAIN);
    assert_int_equal(decide(&memory, wrong, row, wrong, 3).action, ACTION_REBUILD);
}

static void test_a_gate_of_another_epoch_is_synchronised_not_rebuilt(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t old = a_gate();
    old.epoch = 6;
    assert_int_equal(decide(&memory, old, a_row(), old, 1).action, ACTION_COMPARE_AGAIN);
    assert_int_equal(decide(&memory, old, a_row(), old, 2).action, ACTION_SYNC);
}

static void test_a_gate_that_is_back_is_trusted_after_a_while(void **state)
{
    (void)state;
    memory_t memory = {0};
    gate_state_t gate = a_gate();
    item_t row = a_row();
    row.gate_down = true;
    row.epoch = 9;
    decision_t first = decide(&memory, gate, row, gate, 1000);
    assert_int_equal(first.finding, FINDING_GATE_BACK);
    assert_int_equal(first.action, ACTION_NONE);
    assert_int_equal(decide(&memory, gate, row, gate, 2400).action, ACTION_NONE);
    assert_int_equal(decide(&memory, gate, row, gate, 2500).action, ACTION_RESTORE);
    memory = (memory_t){0};
    snapshot_t asked = {.before = gate, .row = row, .after = gate, .now_ms = 1000, .by_hand = true};
    assert_int_equal(reconcile_decide(&memory, &asked).action, ACTION_RESTORE);
}

static void test_traffic_between_the_reads_is_not_drift(void **state)
{
    (void)state;
    gate_state_t before = a_gate(), after = a_gate();
    item_t row = a_row();
    row.allocated_total += 2; /* the two unsettled were committed */
    after.settled += 2;
    after.unsettled_units = 0;
    assert_int_equal(compare_gate(&before, &row, &after), FINDING_AGREE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agreement),
        cmocka_unit_test(test_a_gate_that_somebody_is_building),
        cmocka_unit_test(test_a_gate_that_is_not_of_this_row),
        cmocka_unit_test(test_an_item_that_was_never_sold_needs_no_gate),
        cmocka_unit_test(test_a_sql_strategy_needs_no_gate),
        cmocka_unit_test(test_what_is_open_needs_another_comparison),
        cmocka_unit_test(test_terms_that_are_not_the_rows),
        cmocka_unit_test(test_closed_gates_are_not_compared),
        cmocka_unit_test(test_each_broken_rule),
        cmocka_unit_test(test_units_that_leaked_show_in_quiet),
        cmocka_unit_test(test_units_that_leaked_show_in_traffic_after_a_while),
        cmocka_unit_test(test_one_miss_is_a_moment_two_are_drift),
        cmocka_unit_test(test_a_miss_of_another_epoch_does_not_count),
        cmocka_unit_test(test_a_gate_of_another_epoch_is_synchronised_not_rebuilt),
        cmocka_unit_test(test_a_gate_that_is_back_is_trusted_after_a_while),
        cmocka_unit_test(test_traffic_between_the_reads_is_not_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
