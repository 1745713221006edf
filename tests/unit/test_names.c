/* Names as values, and the reference of an item. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sale/item_ref.h"

static void order_is_by_bytes_and_then_by_length(void **state)
{
    (void)state;
    assert_true(str_compare(STR("a"), STR("b")) < 0);
    assert_true(str_compare(STR("b"), STR("ab")) > 0);
    assert_true(str_compare(STR("a"), STR("ab")) < 0);
    assert_true(str_compare(STR("ab"), STR("a")) > 0);
    assert_true(str_compare(STR("\xff"), STR("a")) > 0);
    assert_true(str_compare(STR("a\0b"), STR("a\0c")) < 0);
    assert_true(str_compare(STR_NONE, STR("")) == 0);
    assert_true(str_compare(STR_NONE, STR("a")) < 0);
    assert_true(str_compare(STR("same"), STR("same")) == 0);
}

static void names_keep_all_bytes_up_to_their_limit(void **state)
{
    (void)state;
    char bytes[BUYER_BYTES_MAX];
    memset(bytes, '\0', sizeof(bytes));
    bytes[0] = bytes[SKU_BYTES_MAX - 1] = bytes[BUYER_BYTES_MAX - 1] = 'x';
    sku_t sku = sku_of((str_t){bytes, SKU_BYTES_MAX});
    buyer_t buyer;
    buyer_set(&buyer, (str_t){bytes, BUYER_BYTES_MAX});
    assert_true(str_eq(sku_str(&sku), (str_t){bytes, SKU_BYTES_MAX}));
    assert_true(str_eq(buyer_str(&buyer), (str_t){bytes, BUYER_BYTES_MAX}));
    sku_set(&sku, STR_NONE);
    assert_int_equal(sku_str(&sku).n, 0);
}

static void reference_has_the_slot_of_its_name(void **state)
{
    (void)state;
    item_ref_t item = item_ref_of(STR("sku-1"));
    assert_int_equal(item.slot, 951);
    assert_int_equal(item.bucket, BUCKET_ONLY);
    assert_true(str_eq(sku_str(&item.sku), STR("sku-1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_by_bytes_and_then_by_length),
        cmocka_unit_test(names_keep_all_bytes_up_to_their_limit),
        cmocka_unit_test(reference_has_the_slot_of_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
