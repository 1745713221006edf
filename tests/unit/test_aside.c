/* What is set aside: how long it waits, and in which order it is tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/aside.h"

static void waits_double_up_to_a_cap(void **state)
{
    (void)state;
    aside_t *aside = aside_new(100, 350);
    static const unsigned waits[] = {100, 200, 350, 350, 350};
    assert_false(aside_has(aside, STR("x")));
    for (unsigned i = 0; i < 5; ++i) {
        assert_int_equal(aside_put(aside, STR("x"), NULL, 0, 1000), i + 1);
        assert_int_equal(aside_wait_ms(aside, STR("x"), 1000), waits[i]);
    }
    for (unsigned i = 0; i < 100; ++i)
        aside_put(aside, STR("x"), NULL, 0, 1000);
    assert_int_equal(aside_wait_ms(aside, STR("x"), 1000), 350);
    assert_true(aside_waits(aside, STR("x"), 1349));
    assert_false(aside_waits(aside, STR("x"), 1350));
    assert_true(aside_has(aside, STR("x")));
    assert_true(aside_drop(aside, STR("x")));
    assert_false(aside_drop(aside, STR("x")));
    assert_int_equal(aside_put(aside, STR("x"), NULL, 0, 1000), 1);
    aside_free(aside);
}

static void the_longest_due_comes_first(void **state)
{
    (void)state;
    aside_t *aside = aside_new(100, 1000);
    char key[ASIDE_KEY_MAX], note[ASIDE_NOTE_MAX];
    size_t length;
    aside_put(aside, STR("late"), "l", 2, 50);
    aside_put(aside, STR("early"), "e", 2, 20);
    aside_put(aside, STR("early"), "other", 6, 0); /* waits until 200 now */
    assert_false(aside_next(aside, 149, key, &length, note));
    assert_true(aside_next(aside, 150, key, &length, note));
    assert_int_equal(length, 4);
    assert_memory_equal(key, "late", 4);
    assert_string_equal(note, "l");
    aside_put(aside, STR("late"), NULL, 0, 150);
    assert_true(aside_next(aside, 900, key, &length, note));
    assert_memory_equal(key, "early", 5);
    assert_string_equal(note, "e"); /* of the first failure */
    assert_int_equal(aside_count(aside), 2);
    assert_int_equal(aside_forget_untried(aside, 1200, 1000), 1);
    assert_true(aside_has(aside, STR("late")));
    aside_free(aside);
}

static void no_more_than_so_many_are_remembered(void **state)
{
    (void)state;
    aside_t *aside = aside_new(1, 1);
    char key[16];
    for (unsigned i = 0; i < ASIDE_MAX; ++i) {
        snprintf(key, sizeof(key), "%u", i);
        assert_int_equal(aside_put(aside, str_of(key), NULL, 0, 0), 1);
    }
    assert_int_equal(aside_put(aside, STR("another"), NULL, 0, 0), 0);
    assert_false(aside_has(aside, STR("another")));
    assert_int_equal(aside_put(aside, STR("0"), NULL, 0, 0), 2);
    assert_int_equal(aside_count(aside), ASIDE_MAX);
    aside_free(aside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_a_cap),
        cmocka_unit_test(the_longest_due_comes_first),
        cmocka_unit_test(no_more_than_so_many_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
