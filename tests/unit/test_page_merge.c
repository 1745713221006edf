/* A page of the items of all shards: nothing is left out, nothing comes twice, and the order is
   that of the names, whatever each shard has read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admin/page_merge.h"

#define NAMES_MAX 16

/* Names are of one letter. */
typedef struct {
    sku_t skus[NAMES_MAX];
    page_part_t part;
} shard_t;

static page_part_t part_of(shard_t *shard, const char *names, const char *up_to)
{
    shard->part = (page_part_t){.skus = shard->skus, .up_to = sku_of(str_of(up_to))};
    for (; *names != '\0'; ++names)
        shard->skus[shard->part.count++] = sku_of((str_t){names, 1});
    return shard->part;
}

static void expect_page(const page_part_t *parts, unsigned count, unsigned most, const char *names,
                        const char *next)
{
    page_pick_t picks[NAMES_MAX];
    char found[NAMES_MAX + 1] = "";
    sku_t found_next;
    unsigned n = page_merge(parts, count, most, picks, &found_next);
    for (unsigned i = 0; i < n; ++i)
        found[i] = parts[picks[i].part].skus[picks[i].index].bytes[0];
    assert_string_equal(found, names);
    assert_true(str_eq(sku_str(&found_next), str_of(next)));
}

static void pages_are_in_the_order_of_the_names(void **state)
{
    (void)state;
    shard_t a, b, c;
    const page_part_t parts[] = {part_of(&a, "adf", ""), part_of(&b, "", ""),
                                 part_of(&c, "bceg", "")};
    expect_page(parts, 3, 16, "abcdefg", "");
    expect_page(parts, 3, 7, "abcdefg", "");
    expect_page(parts, 3, 6, "abcdef", "f");
    expect_page(parts, 3, 1, "a", "a");
    expect_page(parts + 1, 1, 4, "", "");
}

/* One shard has read up to d, and may have an e, the other up to h: nothing behind d is known. */
static void a_page_ends_where_a_shard_has_stopped(void **state)
{
    (void)state;
    shard_t a, b;
    const page_part_t parts[] = {part_of(&a, "ad", "d"), part_of(&b, "bcfh", "h")};
    expect_page(parts, 2, 16, "abcd", "d");
    expect_page(parts, 2, 3, "abc", "c");
    const page_part_t none[] = {part_of(&a, "", "d"), part_of(&b, "fh", "")};
    expect_page(none, 2, 16, "", "d");
}

static void a_cursor_is_read_as_it_was_written(void **state)
{
    (void)state;
    char text[PAGE_CURSOR_SIZE];
    sku_t sku = sku_of(STR("a.b~\xff")), read;
    page_cursor_write(text, &sku);
    assert_true(page_cursor_read(str_of(text), &read));
    assert_true(str_eq(sku_str(&read), sku_str(&sku)));
    char longest[SKU_BYTES_MAX];
    memset(longest, 'x', sizeof(longest));
    sku = sku_of((str_t){longest, sizeof(longest)});
    page_cursor_write(text, &sku);
    assert_true(page_cursor_read(str_of(text), &read) && read.length == SKU_BYTES_MAX);
    static const char *const others[] = {"", "6", "6g", "6A", "616", "  ", "6162 "};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); ++i)
        assert_false(page_cursor_read(str_of(others[i]), &read));
    char longer[2 * SKU_BYTES_MAX + 2];
    memset(longer, '6', sizeof(longer));
    assert_false(page_cursor_read((str_t){longer, sizeof(longer)}, &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_in_the_order_of_the_names),
        cmocka_unit_test(a_page_ends_where_a_shard_has_stopped),
        cmocka_unit_test(a_cursor_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
