/* What a process tells the others of itself through Redis: it is read as it was written, and no
   other bytes are taken for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/node_record.h"

static node_record_t largest(void)
{
    node_record_t record = {.at_ms = 9999999999999999, .epochs_count = NODE_EPOCHS_MAX};
    memset(record.version, 'v', NODE_VERSION_MAX);
    memset(record.name, 'n', NODE_NAME_MAX);
    for (unsigned i = 0; i < NODE_EPOCHS_MAX; ++i)
        record.epochs[i] = 9999999999999990 + i;
    return record;
}

static void a_record_is_read_as_it_was_written(void **state)
{
    (void)state;
    const node_record_t records[] = {
        {.at_ms = 1796000000000},
        {.at_ms = 1,
         .version = "0.1.0",
         .name = "shop-1.local",
         .epochs_count = 2,
         .epochs = {0, 1796000000123}},
        largest(),
    };
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); ++i) {
        char *text = malloc(NODE_RECORD_SIZE); /* a sanitizer watches its end */
        node_record_t read;
        str_t written = node_record_write(text, &records[i]);
        assert_true(written.n <= NODE_RECORD_SIZE);
        assert_true(node_record_read(written, &read));
        assert_memory_equal(&read, &records[i], sizeof(read));
        free(text);
    }
}

static bool is_read(const char *text)
{
    node_record_t read;
    return node_record_read(str_of(text), &read);
}

static void other_texts_are_no_records(void **state)
{
    (void)state;
    assert_true(is_read("1\x1f"
                        "0.1\x1f"
                        "a\x1f"
                        "5 6"));
    assert_true(is_read("1\x1f"
                        "0.1\x1f"
                        "a"));
    assert_true(is_read("1\x1f"
                        "0.1\x1f"
                        "a\x1f"
                        "5\x1f"
                        "of a newer binary"));
    static const char *const others[] = {
        "",
        "x\x1f"
        "0.1\x1f"
        "a\x1f"
        "5",
        "-1\x1f"
        "0.1\x1f"
        "a\x1f"
        "5",
        "99999999999999999999\x1f"
        "0.1\x1f"
        "a\x1f"
        "5",
        "1\x1f"
        "0.1\x1f"
        "a\"b\x1f"
        "5",
        "1\x1f"
        "0.1\x1f"
        "a b\x1f"
        "5",
        "1\x1f"
        "0.1\x1f"
        "a\xff\x1f"
        "5",
        "1\x1f"
        "0.1\x1f"
        "a\x1f"
        "5 x",
        "1\x1f"
        "0.1\x1f"
        "a\x1f"
        "5  6",
        "1\x1f"
        "123456789012345678901234567890123\x1f"
        "a\x1f"
        "5",
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); ++i)
        assert_false(is_read(others[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_read_as_it_was_written),
        cmocka_unit_test(other_texts_are_no_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
