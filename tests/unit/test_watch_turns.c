/*
 * Turns of the watch strategy: how many attempts of an item run at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "strategies/watch_turns.h"

#define MAX 4
#define ATTEMPTS 8

static watch_turns_t *turns;
static attempt_t attempts[ATTEMPTS];

static int set_up(void **state)
{
    (void)state;
    memset(attempts, 0, sizeof(attempts));
    turns = watch_turns_new(MAX);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watch_turns_free(turns);
    return 0;
}

/* Runs attempts, one after the other, until so many could run at once. Returns how many it took. */
static unsigned run_until(unsigned at_once)
{
    for (unsigned ended = 0; ended < 10000; ++ended) {
        unsigned running = 0;
        for (unsigned i = 0; i < ATTEMPTS; ++i)
            watch_turns_wait(turns, &attempts[i]);
        while (watch_turns_next(turns) != NULL)
            ++running;
        for (unsigned i = 0; i < ATTEMPTS; ++i)
            if (h2o_linklist_is_linked(&attempts[i].link))
                h2o_linklist_unlink(&attempts[i].link);
        for (unsigned i = 0; i < running; ++i)
            watch_turns_end(turns);
        if (running >= at_once)
            return ended;
    }
    return 10000;
}

static void attempts_of_an_item_run_one_after_the_other(void **state)
{
    (void)state;
    watch_turns_wait(turns, &attempts[0]);
    watch_turns_wait(turns, &attempts[1]);
    assert_ptr_equal(watch_turns_next(turns), &attempts[0]);
    assert_null(watch_turns_next(turns));
    watch_turns_end(turns);
    assert_ptr_equal(watch_turns_next(turns), &attempts[1]);
    assert_null(watch_turns_next(turns));
    watch_turns_end(turns);
    assert_null(watch_turns_next(turns));
}

static void one_that_was_withdrawn_has_no_turn(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; ++i)
        watch_turns_wait(turns, &attempts[i]);
    assert_ptr_equal(watch_turns_next(turns), &attempts[0]);
    h2o_linklist_unlink(&attempts[1].link);
    watch_turns_end(turns);
    assert_ptr_equal(watch_turns_next(turns), &attempts[2]);
    watch_turns_end(turns);
}

static void without_aborts_there_are_more_up_to_a_bound(void **state)
{
    (void)state;
    unsigned two = run_until(2), all = run_until(MAX);
    assert_in_range(two, 8, 1000);
    assert_in_range(all, 8, 1000);
    run_until(MAX + 1);
    assert_int_equal(run_until(MAX), 0);
}

static void an_abort_halves_them(void **state)
{
    (void)state;
    run_until(MAX);
    watch_turns_wait(turns, &attempts[0]);
    assert_non_null(watch_turns_next(turns));
    watch_turns_aborted(turns);
    for (unsigned i = 1; i < ATTEMPTS; ++i)
        watch_turns_wait(turns, &attempts[i]);
    assert_ptr_equal(watch_turns_next(turns), &attempts[1]); /* the first has kept its turn */
    assert_null(watch_turns_next(turns));
    watch_turns_aborted(turns);
    watch_turns_aborted(turns);
    watch_turns_end(turns);
    assert_null(watch_turns_next(turns)); /* one turn is left, and is taken */
    watch_turns_end(turns);
    for (unsigned i = 2; i < ATTEMPTS; ++i) {
        assert_ptr_equal(watch_turns_next(turns), &attempts[i]);
        watch_turns_end(turns);
    }
}

int main(void)
{
#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(attempts_of_an_item_run_one_after_the_other),
        CASE(one_that_was_withdrawn_has_no_turn),
        CASE(without_aborts_there_are_more_up_to_a_bound),
        CASE(an_abort_halves_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
