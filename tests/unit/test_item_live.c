/* What the buyers of an item hear in a second: whole seconds, and nothing of older ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/item_live.h"

static void expect_rates(const item_live_t *live, uint64_t now_ms, uint32_t held, uint32_t sold_out)
{
    uint32_t rates[HEARD_KINDS];
    assert_int_equal(item_live_rates(live, now_ms, rates), held + sold_out);
    assert_int_equal(rates[HEARD_HELD], held);
    assert_int_equal(rates[HEARD_SOLD_OUT], sold_out);
}

static void the_last_whole_second_counts(void **state)
{
    (void)state;
    item_live_t live = {0};
    expect_rates(&live, 5000, 0, 0);
    assert_true(item_live_count(&live, HEARD_HELD, 5000));
    assert_false(item_live_count(&live, HEARD_HELD, 5999));
    assert_false(item_live_count(&live, HEARD_SOLD_OUT, 5999));
    expect_rates(&live, 5999, 0, 0); /* of a second that is not over */
    expect_rates(&live, 6000, 2, 1); /* nobody has counted since */
    assert_true(item_live_count(&live, HEARD_SOLD_OUT, 6001));
    expect_rates(&live, 6999, 2, 1);
    expect_rates(&live, 7000, 0, 1);
    expect_rates(&live, 8000, 0, 0);
    assert_true(item_live_count(&live, HEARD_HELD, 9000)); /* after a pause */
    expect_rates(&live, 9500, 0, 0);
    expect_rates(&live, 10000, 1, 0);
}

static void each_kind_has_a_word(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HEARD_KINDS; ++i)
        for (unsigned j = 0; j < i; ++j)
            assert_string_not_equal(heard_name((heard_t)i), heard_name((heard_t)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_whole_second_counts),
        cmocka_unit_test(each_kind_has_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
