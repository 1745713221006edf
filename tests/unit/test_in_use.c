/* The set of items whose gates were called since the reconciler last took them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "work/in_use.h"

static void expect_taken(in_use_t *set, const char *const *skus, unsigned count)
{
    used_item_t *all = in_use_take(set), *item, *next;
    unsigned taken = 0;
    assert_int_equal(HASH_COUNT(all), count);
    HASH_ITER(hh, all, item, next)
    {
        assert_true(str_eq(sku_str(&item->sku), str_of(skus[taken++])));
        HASH_DEL(all, item);
        free(item);
    }
}

static void an_item_is_in_it_once_in_the_order_of_use(void **state)
{
    (void)state;
    in_use_t set;
    in_use_init(&set);
    expect_taken(&set, NULL, 0);
    in_use_add(&set, STR("b"));
    in_use_add(&set, STR("a"));
    in_use_add(&set, STR("b"));
    expect_taken(&set, (const char *const[]){"b", "a"}, 2);
    expect_taken(&set, NULL, 0);
    in_use_add(&set, STR("b")); /* it comes again after it was taken */
    expect_taken(&set, (const char *const[]){"b"}, 1);
    in_use_add(&set, STR("left"));
    in_use_dispose(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_is_in_it_once_in_the_order_of_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
