/* The gate's words: keys, calls, records of `unsettled`, answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate/gate.h"

#define US "\x1f"

static void expect_str(str_t found, const char *expected)
{
    assert_int_equal(found.n, strlen(expected));
    if (found.n != 0)
        assert_memory_equal(found.p, expected, found.n);
}

/* --- keys --- */

/* Until the next call. */
static const item_ref_t *ref(uint16_t slot, str_t sku, uint16_t bucket)
{
    static item_ref_t item;
    item = (item_ref_t){.slot = slot, .bucket = bucket, .sku = sku_of(sku)};
    return &item;
}

/* What is in Redis was written under these names: they may not change. */
static void test_keys(void **state)
{
    (void)state;
    char out[GATE_KEY_SIZE];
    expect_str(gate_key(out, GATE_KEY_GATE, ref(7, STR("sku-1"), 0)), "hf:{7}:gate:sku-1:0");
    expect_str(gate_key(out, GATE_KEY_BUYERS, ref(1023, STR("sku-1"), 3)),
               "hf:{1023}:buyers:sku-1:3");
    expect_str(gate_key(out, GATE_KEY_UNSETTLED, ref(0, STR("sku-1"), 3)), "hf:{0}:unsettled");
    expect_str(gate_key(out, GATE_KEY_KEYS, ref(12, STR_NONE, 0)), "hf:{12}:keys");
}

/* A sku is not cut at a colon or a brace: no two items share a key. */
static void test_keys_of_odd_skus(void **state)
{
    (void)state;
    char a[GATE_KEY_SIZE], b[GATE_KEY_SIZE];
    expect_str(gate_key(a, GATE_KEY_GATE, ref(7, STR("a:1"), 0)), "hf:{7}:gate:a:1:0");
    expect_str(gate_key(a, GATE_KEY_GATE, ref(7, STR("{8}%s"), 0)), "hf:{7}:gate:{8}%s:0");
    str_t first = gate_key(a, GATE_KEY_GATE, ref(7, STR("a:1"), 0));
    assert_false(str_eq(first, gate_key(b, GATE_KEY_GATE, ref(7, STR("a"), 1))));
}

static void test_key_of_the_longest_sku(void **state)
{
    (void)state;
    char sku[SKU_BYTES_MAX], out[GATE_KEY_SIZE];
    memset(sku, 'x', sizeof(sku));
    str_t key = gate_key(out, GATE_KEY_BUYERS, ref(65535, (str_t){sku, sizeof(sku)}, 65535));
    assert_int_equal(key.n, strlen("hf:{65535}:buyers:") + SKU_BYTES_MAX + strlen(":65535"));
    assert_true(key.n < GATE_KEY_SIZE);
    assert_memory_equal(key.p + key.n - 8, "xx:65535", 8);
}

static void test_call(void **state)
{
    (void)state;
    redis_args_t args = {0};
    for (int again = 0; again < 2; ++again) {
        gate_call(&args, "holdfast_settle", 2);
        gate_add_key(&args, GATE_KEY_GATE, ref(5, STR("s"), 0));
        gate_add_key(&args, GATE_KEY_UNSETTLED, ref(5, STR("s"), 0));
        redis_args_add(&args, STR("\0id"));
        redis_args_add(&args, STR(""));
        redis_args_add_u64(&args, UINT64_MAX);
        redis_args_add_i64(&args, INT64_MIN);
        assert_true(str_eq(redis_args_command(&args),
                           STR("*9\r\n$5\r\nFCALL\r\n$15\r\nholdfast_settle\r\n$1\r\n2\r\n"
                               "$15\r\nhf:{5}:gate:s:0\r\n$16\r\nhf:{5}:unsettled\r\n"
                               "$3\r\n\0id\r\n$0\r\n\r\n$20\r\n18446744073709551615\r\n"
                               "$20\r\n-9223372036854775808\r\n")));
    }
    redis_args_free(&args);
    assert_null(args.bytes);
    assert_true(str_eq(redis_args_command(&args), STR("*0\r\n")));
    redis_args_free(&args);
}

/* Thousands of words, so that words already there move with the memory. */
static void test_call_grows(void **state)
{
    (void)state;
    redis_args_t args = {0};
    gate_call(&args, "f", 0);
    for (uint64_t i = 0; i < 10000; ++i)
        redis_args_add_u64(&args, i);
    str_t command = redis_args_command(&args);
    str_t head = STR("*10003\r\n$5\r\nFCALL\r\n$1\r\nf\r\n$1\r\n0\r\n");
    assert_memory_equal(command.p, head.p, head.n);
    const char *at = command.p + head.n;
    for (int i = 0; i < 10000; ++i) {
        char digits[24], text[48];
        int n = snprintf(digits, sizeof(digits), "%d", i);
        n = snprintf(text, sizeof(text), "$%d\r\n%s\r\n", n, digits);
        assert_memory_equal(at, text, n);
        at += n;
    }
    assert_ptr_equal(at, command.p + command.n);
    redis_args_free(&args);
}

/* --- records --- */

static void test_record(void **state)
{
    (void)state;
    gate_record_t r;
    assert_true(
        gate_record_parse(STR("1769860800123" US "sku-1" US "3" US "buyer" US "2" US "key" US
                              "1769860805123" US "owner-7" US "18446744073709551615"),
                          &r));
    assert_int_equal(r.epoch, 1769860800123);
    expect_str(r.sku, "sku-1");
    assert_int_equal(r.bucket, 3);
    expect_str(r.buyer, "buyer");
    assert_int_equal(r.quantity, 2);
    expect_str(r.key, "key");
    assert_int_equal(r.deadline_ms, 1769860805123);
    expect_str(r.owner, "owner-7");
    assert_true(r.digest == UINT64_MAX);
}

static void test_record_without_key(void **state)
{
    (void)state;
    gate_record_t r;
    assert_true(gate_record_parse(STR("5" US "s" US "0" US "b" US "1" US US "9" US US "0"), &r));
    expect_str(r.key, "");
    assert_int_equal(r.deadline_ms, 9);
    expect_str(r.owner, "");
    assert_int_equal(r.digest, 0);
}

/* Any other byte is part of a value, whatever it means elsewhere. */
static void test_record_with_the_longest_key(void **state)
{
    (void)state;
    char key[KEY_BYTES_MAX + 2], text[GATE_RECORD_SIZE + 1], *at = text;
    gate_record_t r;
    memset(key, 'k', sizeof(key));
    const gate_record_t longest = {.epoch = UINT64_MAX,
                                   .sku = {key, SKU_BYTES_MAX},
                                   .bucket = UINT16_MAX,
                                   .buyer = {key, BUYER_BYTES_MAX},
                                   .quantity = UINT32_MAX,
                                   .key = {key, 255},
                                   .deadline_ms = UINT64_MAX,
                                   .owner = {key, GATE_OWNER_MAX},
                                   .digest = UINT64_MAX};
    str_t put = gate_record_put(&at, &longest);
    assert_in_range(put.n, 1, GATE_RECORD_SIZE);
    assert_true(gate_record_parse(put, &r));
    assert_int_equal(r.key.n, 255);
    at = text;
    const gate_record_t longer = {
        .sku = {key, 1}, .buyer = {key, 1}, .quantity = 1, .key = {key, 256}};
    assert_false(gate_record_parse(gate_record_put(&at, &longer), &r));
}

static void test_record_with_odd_bytes(void **state)
{
    (void)state;
    gate_record_t r;
    assert_true(gate_record_parse(STR("5" US "a:{b} \xc3\xa9" US "0" US "'\"\\%s\n" US "1000" US
                                      "\x1e\x7f" US "9" US "o" US "1"),
                                  &r));
    expect_str(r.sku, "a:{b} \xc3\xa9");
    expect_str(r.buyer, "'\"\\%s\n");
    expect_str(r.key, "\x1e\x7f");
    assert_int_equal(r.quantity, 1000);
}

/* The text is not terminated: what lies behind it is not read. */
static void test_record_ends_where_it_ends(void **state)
{
    (void)state;
    static const char text[] = "5" US "s" US "0" US "b" US "1" US "k" US "9" US "o" US "12";
    size_t n = sizeof(text) - 1;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memcpy(bytes, text, n);
    gate_record_t r;
    assert_true(gate_record_parse((str_t){bytes, n}, &r));
    assert_int_equal(r.digest, 12);
    assert_true(gate_record_parse((str_t){bytes, n - 1}, &r));
    assert_int_equal(r.digest, 1);
    free(bytes);
}

/* Cut anywhere, filled with anything: refused or read, but never read past its end. */
static void test_record_cut(void **state)
{
    (void)state;
    static const char text[] = "5" US "s" US "0" US "b" US "1" US "k" US "9" US "o" US "12";
    for (size_t n = 0; n < sizeof(text); ++n) {
        char *bytes = malloc(n == 0 ? 1 : n);
        assert_non_null(bytes);
        memcpy(bytes, text, n);
        gate_record_t r;
        bool ok = gate_record_parse((str_t){bytes, n}, &r);
        if (n < strlen("5" US "s" US "0" US "b" US "1"))
            assert_false(ok);
        free(bytes);
    }
}

static void test_records_refused(void **state)
{
    (void)state;
    gate_record_t r;
    char text[512];
    char longest[BUYER_BYTES_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    assert_false(gate_record_parse(STR(""), &r));
    assert_false(gate_record_parse(STR("nonsense"), &r));
    assert_false(gate_record_parse(STR(US US US US US US US US), &r));
    /* no sku; no units; units that are no number */
    assert_false(gate_record_parse(STR("5" US US "0" US "b" US "1" US US "9" US "o" US "1"), &r));
    assert_false(
        gate_record_parse(STR("5" US "s" US "0" US "b" US "0" US US "9" US "o" US "1"), &r));
    assert_false(
        gate_record_parse(STR("5" US "s" US "0" US "b" US "many" US US "9" US "o" US "1"), &r));
    /* What would not fit where it is copied to. */
    for (int more = 0; more < 2; ++more) {
        int n = snprintf(text, sizeof(text), "5" US "%.*s" US "0" US "b" US "1" US US "9" US US "1",
                         SKU_BYTES_MAX + more, longest);
        assert_int_equal(gate_record_parse((str_t){text, (size_t)n}, &r), more == 0);
        n = snprintf(text, sizeof(text), "5" US "s" US "0" US "%.*s" US "1" US US "9" US US "1",
                     BUYER_BYTES_MAX + more, longest);
        assert_int_equal(gate_record_parse((str_t){text, (size_t)n}, &r), more == 0);
        n = snprintf(text, sizeof(text), "5" US "s" US "0" US "b" US "1" US US "9" US "%.*s" US "1",
                     GATE_OWNER_MAX + more, longest);
        assert_int_equal(gate_record_parse((str_t){text, (size_t)n}, &r), more == 0);
    }
}

/* --- answers --- */

static void test_answers_are_problems(void **state)
{
    (void)state;
    assert_int_equal(gate_answer_problem(GATE_SOLD_OUT), PROBLEM_SOLD_OUT);
    assert_int_equal(gate_answer_problem(GATE_BUYER_LIMIT), PROBLEM_BUYER_LIMIT_EXCEEDED);
    assert_int_equal(gate_answer_problem(GATE_NOT_STARTED), PROBLEM_SALE_NOT_STARTED);
    assert_int_equal(gate_answer_problem(GATE_ENDED), PROBLEM_SALE_ENDED);
    assert_int_equal(gate_answer_problem(GATE_LATE), PROBLEM_UNAVAILABLE);
}

/* As lua/holdfast.lua writes them. */
static void test_numbers_of_the_library(void **state)
{
    (void)state;
    assert_int_equal(GATE_ITEM_OK, 0);
    assert_int_equal(GATE_ITEM_MISSING, 1);
    assert_int_equal(GATE_ITEM_STALE, 2);
    assert_int_equal(GATE_ITEM_FOREIGN, 3);
    assert_int_equal(GATE_ITEM_CLOSED, 4);
    assert_int_equal(GATE_ITEM_FROZEN, 5);
    assert_int_equal(GATE_ADMITTED, 0);
    assert_int_equal(GATE_SOLD_OUT, 1);
    assert_int_equal(GATE_BUYER_LIMIT, 2);
    assert_int_equal(GATE_NOT_STARTED, 3);
    assert_int_equal(GATE_ENDED, 4);
    assert_int_equal(GATE_LATE, 5);
    assert_int_equal(GATE_CHECK_KEY, 6);
    assert_int_equal(GATE_FIRST, 7);
    assert_int_equal(GATE_SEEN, 8);
    assert_int_equal(GATE_NOT_LOADED, 16);
    assert_int_equal(GATE_MARK_NO_KEY, 0);
    assert_int_equal(GATE_MARK_KEY, 1);
    assert_int_equal(GATE_MARK_KEY_FREE, 2);
}

static void test_replies(void **state)
{
    (void)state;
    redisReply number = {.type = REDIS_REPLY_INTEGER, .integer = -3};
    redisReply text = {.type = REDIS_REPLY_STRING, .str = (char *)"1769860800123", .len = 13};
    redisReply word = {.type = REDIS_REPLY_STRING, .str = (char *)"done", .len = 4};
    redisReply nil = {.type = REDIS_REPLY_NIL};
    redisReply *elements[] = {&number, &text, &word, &nil};
    redisReply array = {.type = REDIS_REPLY_ARRAY, .elements = 4, .element = elements};
    assert_int_equal(gate_reply_i64(&array, 0), -3);
    /* No sum of what is read overflows. */
    redisReply huge = {.type = REDIS_REPLY_INTEGER, .integer = INT64_MAX};
    assert_int_equal(gate_reply_number(&huge), GATE_NUMBER_MAX);
    huge.integer = INT64_MIN;
    assert_int_equal(gate_reply_number(&huge), -GATE_NUMBER_MAX);
    assert_int_equal(gate_reply_i64(&array, 1), 1769860800123);
    assert_int_equal(gate_reply_i64(&array, 2), 0);
    assert_int_equal(gate_reply_i64(&array, 3), 0);
    assert_int_equal(gate_reply_i64(&array, 4), 0);
    assert_true(gate_reply_is_array(&array, 4));
    assert_false(gate_reply_is_array(&array, 5));
    assert_false(gate_reply_is_array(&number, 0));
    assert_false(gate_reply_is_array(NULL, 0));
}

/* One character an order, and nothing but what the library can say. */
static void test_looks(void **state)
{
    (void)state;
    redisReply answer = {.type = REDIS_REPLY_INTEGER, .integer = GATE_ITEM_FROZEN};
    redisReply epoch = {.type = REDIS_REPLY_STRING, .str = (char *)"1769860800123", .len = 13};
    redisReply units = {.type = REDIS_REPLY_INTEGER, .integer = 7};
    redisReply odd = {.type = REDIS_REPLY_INTEGER, .integer = GATE_ITEM_FROZEN + 1};
    redisReply below = {.type = REDIS_REPLY_INTEGER, .integer = -1};
    redisReply *elements[] = {&answer, &epoch,  &units, &odd,  &epoch,
                              &units,  &answer, &below, &units};
    redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = 9, .element = elements};
    gate_seen_t seen;
    assert_true(gate_look_read(&reply, 0, &seen));
    assert_int_equal(seen.answer, GATE_ITEM_FROZEN);
    assert_int_equal(seen.epoch, UINT64_C(1769860800123));
    assert_int_equal(seen.available, 7);
    assert_false(gate_look_read(&reply, 1, &seen));
    assert_false(gate_look_read(&reply, 2, &seen));
    assert_false(gate_look_read(&reply, 3, &seen));
    reply.elements = 2;
    assert_false(gate_look_read(&reply, 0, &seen));
    assert_false(gate_look_read(&units, 0, &seen));
    assert_false(gate_look_read(NULL, 0, &seen));
}

static void test_answers_of_reserve(void **state)
{
    (void)state;
    redisReply number = {.type = REDIS_REPLY_INTEGER};
    redisReply text = {.type = REDIS_REPLY_STRING, .str = (char *)"07?@/A", .len = 6};
    redisReply *elements[] = {&number, &number, &number, &text};
    redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = 4, .element = elements};
    assert_int_equal(gate_reply_answer(&reply, 0, 0), GATE_ADMITTED);
    assert_int_equal(gate_reply_answer(&reply, 0, 1), GATE_FIRST);
    assert_int_equal(gate_reply_answer(&reply, 0, 2), GATE_SEEN + GATE_FIRST);
    assert_int_equal(gate_reply_answer(&reply, 0, 3), GATE_NOT_LOADED);
    assert_int_equal(gate_answer_plain(GATE_NOT_LOADED), GATE_NOT_LOADED);
    assert_int_equal(gate_answer_plain(GATE_SEEN + GATE_FIRST), GATE_FIRST);
    for (size_t i = 4; i < 8; ++i)
        assert_int_equal(gate_reply_answer(&reply, 0, i), -1);
    elements[3] = &number;
    assert_int_equal(gate_reply_answer(&reply, 0, 0), -1);
    reply.elements = 3;
    assert_int_equal(gate_reply_answer(&reply, 0, 0), -1);
    assert_int_equal(gate_reply_answer(NULL, 0, 0), -1);
}

/* Each part ends where its answers say. */
static void test_parts_of_a_reply(void **state)
{
    (void)state;
    redisReply number = {.type = REDIS_REPLY_INTEGER};
    redisReply id = {.type = REDIS_REPLY_STRING, .str = (char *)"1000000000000001", .len = 16};
    redisReply none = {.type = REDIS_REPLY_STRING, .str = (char *)"", .len = 0};
    redisReply repeats = {.type = REDIS_REPLY_STRING, .str = (char *)"70?", .len = 3};
    redisReply one = {.type = REDIS_REPLY_STRING, .str = (char *)"1", .len = 1};
    redisReply *elements[] = {&number,  &number, &number, &none,   &number, &number, &number,
                              &repeats, &id,     &id,     &number, &number, &number, &one};
    redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = 14, .element = elements};
    assert_int_equal(gate_reply_next(&reply, 0), 4);
    assert_int_equal(gate_reply_answer(&reply, 4, 2), GATE_SEEN + GATE_FIRST);
    assert_int_equal(gate_reply_next(&reply, 4), 10);
    assert_int_equal(gate_reply_answer(&reply, 10, 0), GATE_SOLD_OUT);
    assert_int_equal(gate_reply_next(&reply, 10), 14);
    assert_int_equal(gate_reply_answer(&reply, 14, 0), -1);
    reply.elements = 9; /* cut off */
    assert_true(gate_reply_next(&reply, 4) > reply.elements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_of_odd_skus),
        cmocka_unit_test(test_key_of_the_longest_sku),
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_call_grows),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_record_without_key),
        cmocka_unit_test(test_record_with_the_longest_key),
        cmocka_unit_test(test_record_with_odd_bytes),
        cmocka_unit_test(test_record_ends_where_it_ends),
        cmocka_unit_test(test_record_cut),
        cmocka_unit_test(test_records_refused),
        cmocka_unit_test(test_answers_are_problems),
        cmocka_unit_test(test_numbers_of_the_library),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_looks),
        cmocka_unit_test(test_answers_of_reserve),
        cmocka_unit_test(test_parts_of_a_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
