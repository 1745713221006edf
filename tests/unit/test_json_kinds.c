/*
 * Every kind of JSON, right, wrong, and left open by RFC 8259, as the body of an order: which are
 * taken, which are `malformed_json`, and which are JSON but no order (`invalid_request`).
 *
 * Names begin with y_ (well-formed), n_ (not) and i_ (the RFC leaves it open).
 */
#include "harness/test.h"
#include "http/body.h"

typedef enum { TAKEN, MALFORMED, INVALID } verdict_t;
static const char *const verdict_names[] = {"taken", "malformed_json", "invalid_request"};

typedef struct {
    const char *name;
    verdict_t verdict;
    const char *bytes;
    size_t length;
} kind_t;

#define KIND(name_, verdict_, bytes_)                                                              \
    {                                                                                              \
        name_, verdict_, bytes_, sizeof(bytes_) - 1                                                \
    }

static verdict_t verdict_of(const char *body, size_t length)
{
    mistake_t mistake = {PROBLEM_NONE, ""};
    order_body_t order;
    cJSON *json = body_parse((str_t){test_exact(body, length), length}, &mistake);
    bool taken = json != NULL && body_read_order(json, 1000, false, &order, &mistake);
    cJSON_Delete(json);
    if (taken)
        return TAKEN;
    assert_true(mistake.problem == PROBLEM_MALFORMED_JSON ||
                mistake.problem == PROBLEM_INVALID_REQUEST);
    return mistake.problem == PROBLEM_MALFORMED_JSON ? MALFORMED : INVALID;
}

/* Each kind between `before` and `after`; all that are wrong are named, not only the first. */
static void check(const kind_t *kinds, size_t count, const char *before, const char *after)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < count; ++i) {
        size_t head = strlen(before), tail = strlen(after), n = head + kinds[i].length + tail;
        char *body = test_bytes(n);
        memcpy(body, before, head);
        memcpy(body + head, kinds[i].bytes, kinds[i].length);
        memcpy(body + head + kinds[i].length, after, tail);
        verdict_t found = verdict_of(body, n);
        if (found != kinds[i].verdict) {
            print_error("%s: %s, and should be %s\n", kinds[i].name, verdict_names[found],
                        verdict_names[kinds[i].verdict]);
            ++wrong;
        }
    }
    assert_int_equal(wrong, 0);
}

/* An order whose quantity, buyer or end is the text between the two. */
#define QUANTITY_BEGIN "{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":"
#define QUANTITY_END "}"
#define BUYER_BEGIN "{\"sku\":\"a\",\"buyer_id\":\""
#define BUYER_END "\",\"quantity\":1}"

static void test_numbers(void **state)
{
    static const kind_t kinds[] = {
        KIND("y_one", TAKEN, "1"),
        KIND("y_thousand", TAKEN, "1000"),
        KIND("y_fraction_of_zeros", TAKEN, "1.000"),
        KIND("y_exponent", TAKEN, "1e2"),
        KIND("y_exponent_capital_plus", TAKEN, "1E+2"),
        KIND("y_exponent_zero", TAKEN, "7e0"),
        KIND("y_exponent_negative_whole", TAKEN, "500e-1"),
        KIND("y_exponent_leading_zeros", TAKEN, "1e002"),
        KIND("y_tenth_times_ten", TAKEN, "0.1e1"),
        KIND("y_zero", INVALID, "0"),
        KIND("y_minus_zero", INVALID, "-0"),
        KIND("y_minus_zero_fraction", INVALID, "-0.0e-0"),
        KIND("y_negative", INVALID, "-1"),
        KIND("y_half", INVALID, "0.5"),
        KIND("y_beyond_the_bound", INVALID, "1001"),
        KIND("y_above_2_to_53", INVALID, "9007199254740993"),
        KIND("y_above_2_to_64", INVALID, "18446744073709551617"),
        KIND("i_huge_exponent", INVALID, "1e400"),
        KIND("i_huge_negative_number", INVALID, "-1e400"),
        KIND("i_exponent_beyond_int", INVALID, "1e99999999999999999999"),
        KIND("i_tiny", INVALID, "1e-400"),
        KIND("i_tiny_exponent_beyond_int", INVALID, "1e-99999999999999999999"),
        KIND("i_zero_with_huge_exponent", INVALID, "0e99999999"),
        KIND("i_nearly_one", TAKEN, "0.99999999999999999999999999"),
        KIND("i_seventy_digits", INVALID,
             "1000000000000000000000000000000000000000000000000000000000000000000000"),
        KIND("n_hexadecimal", MALFORMED, "0x1"),
        KIND("n_octal", MALFORMED, "01"),
        KIND("n_minus_octal", MALFORMED, "-01"),
        KIND("n_double_zero", MALFORMED, "00"),
        KIND("n_plus", MALFORMED, "+1"),
        KIND("n_double_plus", MALFORMED, "++1"),
        KIND("n_minus_alone", MALFORMED, "-"),
        KIND("n_double_minus", MALFORMED, "--1"),
        KIND("n_plus_minus", MALFORMED, "-+1"),
        KIND("n_point_without_fraction", MALFORMED, "1."),
        KIND("n_point_then_exponent", MALFORMED, "1.e1"),
        KIND("n_point_first", MALFORMED, ".5"),
        KIND("n_minus_point", MALFORMED, "-.5"),
        KIND("n_two_points", MALFORMED, "1.0.0"),
        KIND("n_exponent_without_digits", MALFORMED, "1e"),
        KIND("n_exponent_sign_only", MALFORMED, "1e+"),
        KIND("n_exponent_twice", MALFORMED, "1e1e1"),
        KIND("n_exponent_double_sign", MALFORMED, "1e+-1"),
        KIND("n_exponent_fraction", MALFORMED, "1e1.0"),
        KIND("n_exponent_only", MALFORMED, "e1"),
        KIND("n_space_within", MALFORMED, "1 000"),
        KIND("n_minus_space", MALFORMED, "- 1"),
        KIND("n_comma_as_point", MALFORMED, "1,5"),
        KIND("n_underscore", MALFORMED, "1_000"),
        KIND("n_letter_after", MALFORMED, "1a"),
        KIND("n_suffix", MALFORMED, "1L"),
        KIND("n_nan", MALFORMED, "NaN"),
        KIND("n_nan_lower", MALFORMED, "nan"),
        KIND("n_infinity", MALFORMED, "Infinity"),
        KIND("n_minus_infinity", MALFORMED, "-Infinity"),
        KIND("n_inf", MALFORMED, "inf"),
        KIND("n_fullwidth_digit", MALFORMED, "\xef\xbc\x91"),
        KIND("n_expression", MALFORMED, "1+1"),
    };
    (void)state;
    check(kinds, TEST_COUNT(kinds), QUANTITY_BEGIN, QUANTITY_END);
}

/* What stands for a value where a number is wanted. */
static void test_values(void **state)
{
    static const kind_t kinds[] = {
        KIND("y_string", INVALID, "\"1\""),
        KIND("y_true", INVALID, "true"),
        KIND("y_false", INVALID, "false"),
        KIND("y_null", INVALID, "null"),
        KIND("y_array", INVALID, "[1]"),
        KIND("y_empty_array", INVALID, "[]"),
        KIND("y_object", INVALID, "{\"a\":1}"),
        KIND("y_empty_object", INVALID, "{}"),
        KIND("y_object_of_an_empty_name", INVALID, "{\"\":0}"),
        KIND("y_nested", INVALID, "[[[[{\"a\":[null,1,\"x\"]}]]]]"),
        KIND("n_nothing", MALFORMED, ""),
        KIND("n_truncated_true", MALFORMED, "tru"),
        KIND("n_truncated_false", MALFORMED, "fals"),
        KIND("n_truncated_null", MALFORMED, "nul"),
        KIND("n_capitalised_true", MALFORMED, "True"),
        KIND("n_upper_null", MALFORMED, "NULL"),
        KIND("n_longer_true", MALFORMED, "truee"),
        KIND("n_undefined", MALFORMED, "undefined"),
        KIND("n_array_trailing_comma", MALFORMED, "[1,]"),
        KIND("n_array_leading_comma", MALFORMED, "[,1]"),
        KIND("n_array_double_comma", MALFORMED, "[1,,2]"),
        KIND("n_array_only_comma", MALFORMED, "[,]"),
        KIND("n_array_without_comma", MALFORMED, "[1 2]"),
        KIND("n_array_colon", MALFORMED, "[1:2]"),
        KIND("n_array_open", MALFORMED, "[1"),
        KIND("n_array_closed_twice", MALFORMED, "[1]]"),
        KIND("n_array_closed_by_brace", MALFORMED, "[1}"),
        KIND("n_array_open_string", MALFORMED, "[\"a]"),
        KIND("n_object_trailing_comma", MALFORMED, "{\"a\":1,}"),
        KIND("n_object_without_colon", MALFORMED, "{\"a\" 1}"),
        KIND("n_object_without_value", MALFORMED, "{\"a\":}"),
        KIND("n_object_equals", MALFORMED, "{\"a\"=1}"),
        KIND("n_object_number_as_name", MALFORMED, "{1:1}"),
        KIND("n_object_double_colon", MALFORMED, "{\"a\"::1}"),
        KIND("n_ellipsis", MALFORMED, "[1,...]"),
    };
    (void)state;
    check(kinds, TEST_COUNT(kinds), QUANTITY_BEGIN, QUANTITY_END);
}

static void test_strings(void **state)
{
    static const kind_t kinds[] = {
        KIND("y_ascii", TAKEN, "alice"),
        KIND("y_two_bytes", TAKEN, "\xc3\xa9"),
        KIND("y_three_bytes", TAKEN, "\xe2\x82\xac"),
        KIND("y_four_bytes", TAKEN, "\xf0\x9f\x98\x80"),
        KIND("y_last_code_point", TAKEN, "\xf4\x8f\xbf\xbf"),
        KIND("y_noncharacter", TAKEN, "\xef\xbf\xbf"),
        KIND("y_byte_order_mark_inside", TAKEN, "\xef\xbb\xbfx"),
        KIND("y_line_separator", TAKEN, "\xe2\x80\xa8"),
        KIND("y_escaped_quote", TAKEN, "a\\\"b"),
        KIND("y_escaped_backslash", TAKEN, "a\\\\b"),
        KIND("y_escaped_backslash_then_u", TAKEN, "a\\\\u0000b"),
        KIND("y_escaped_slash", TAKEN, "a\\/b"),
        KIND("y_escape_hex", TAKEN, "\\u0041\\u00e9\\u20AC"),
        KIND("y_escape_surrogate_pair", TAKEN, "\\ud83d\\ude00"),
        KIND("y_escape_surrogate_pair_capital", TAKEN, "\\uD83D\\uDE00"),
        KIND("y_escape_last_code_point", TAKEN, "\\udbff\\udfff"),
        KIND("y_comment_in_string", TAKEN, "/* no */ // comment"),
        KIND("y_single_quotes_in_string", TAKEN, "'a'"),
        /* JSON, and no buyer_id. */
        KIND("y_empty", INVALID, ""),
        KIND("y_escaped_newline", INVALID, "a\\nb"),
        KIND("y_escaped_control", INVALID, "a\\u0001b"),
        KIND("y_escaped_backspace", INVALID, "a\\bb"),
        KIND("y_delete", INVALID,
             "a\x7f"
             "b"),
        KIND("i_escaped_nul", MALFORMED, "a\\u0000b"),
        KIND("i_lone_high_surrogate", MALFORMED, "\\ud800"),
        KIND("i_lone_high_surrogate_then_text", MALFORMED, "\\ud800abcdefgh"),
        KIND("i_lone_low_surrogate", MALFORMED, "\\udc00"),
        KIND("i_two_high_surrogates", MALFORMED, "\\ud800\\ud800"),
        KIND("i_surrogates_swapped", MALFORMED, "\\udc00\\ud800"),
        KIND("i_high_surrogate_then_letter_escape", MALFORMED, "\\ud800\\u0041"),
        KIND("i_high_surrogate_then_newline", MALFORMED, "\\ud800\\nabcde"),
        KIND("n_control_nul", MALFORMED, "a\0b"),
        KIND("n_control_newline", MALFORMED, "a\nb"),
        KIND("n_control_tab", MALFORMED, "a\tb"),
        KIND("n_control_return", MALFORMED, "a\rb"),
        KIND("n_control_unit_separator", MALFORMED,
             "a\x1f"
             "b"),
        KIND("n_escape_unknown", MALFORMED, "\\x41"),
        KIND("n_escape_single_quote", MALFORMED, "\\'"),
        KIND("n_escape_octal", MALFORMED, "\\101"),
        KIND("n_escape_alert", MALFORMED, "\\a"),
        KIND("n_escape_vertical_tab", MALFORMED, "\\v"),
        KIND("n_escape_nul_byte", MALFORMED, "\\\0"),
        KIND("n_escape_newline", MALFORMED, "\\\n"),
        KIND("n_escape_utf8", MALFORMED, "\\\xc3\xa9"),
        KIND("n_escape_capital_u", MALFORMED, "\\U0041"),
        KIND("n_escape_no_digits", MALFORMED, "\\uZZZZ"),
        KIND("n_escape_no_digits_after_text", MALFORMED, "alice\\uZZZZ"),
        KIND("n_escape_some_digits", MALFORMED, "\\u004g"),
        KIND("n_escape_first_digit_wrong", MALFORMED, "\\ug041"),
        KIND("n_escape_three_digits", MALFORMED, "\\u004"),
        KIND("n_escape_no_digits_at_the_end", MALFORMED, "\\u"),
        KIND("n_escape_signed", MALFORMED, "\\u-041"),
        KIND("n_escape_spaces", MALFORMED, "\\u  41"),
        KIND("n_escape_hex_prefix", MALFORMED, "\\u0x41"),
        KIND("n_escape_braces", MALFORMED, "\\u{41}"),
        KIND("n_escape_second_surrogate_wrong", MALFORMED, "\\ud83d\\uZZZZ"),
        KIND("n_escape_backslash_at_the_end", MALFORMED, "\\"),
        KIND("n_quote_within", MALFORMED, "a\"b"),
        KIND("n_utf8_continuation_alone", MALFORMED, "\x80"),
        KIND("n_utf8_lead_alone", MALFORMED, "\xc3"),
        KIND("n_utf8_truncated_three", MALFORMED, "\xe2\x82"),
        KIND("n_utf8_truncated_four", MALFORMED, "\xf0\x9f\x98"),
        KIND("n_utf8_overlong_slash", MALFORMED, "\xc0\xaf"),
        KIND("n_utf8_overlong_nul", MALFORMED, "\xc0\x80"),
        KIND("n_utf8_overlong_three", MALFORMED, "\xe0\x80\xaf"),
        KIND("n_utf8_overlong_four", MALFORMED, "\xf0\x80\x80\xaf"),
        KIND("n_utf8_surrogate", MALFORMED, "\xed\xa0\x80"),
        KIND("n_utf8_surrogate_pair", MALFORMED, "\xed\xa0\xbd\xed\xb8\x80"),
        KIND("n_utf8_above_the_last", MALFORMED, "\xf4\x90\x80\x80"),
        KIND("n_utf8_five_bytes", MALFORMED, "\xf8\x88\x80\x80\x80"),
        KIND("n_latin_1", MALFORMED, "\xe9"),
        KIND("n_byte_ff", MALFORMED, "\xff"),
        KIND("n_byte_fe", MALFORMED, "\xfe"),
    };
    (void)state;
    check(kinds, TEST_COUNT(kinds), BUYER_BEGIN, BUYER_END);
}

#define ORDER "{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1}"
#define MEMBERS "\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1"

static void test_documents(void **state)
{
    static const kind_t kinds[] = {
        KIND("y_order", TAKEN, ORDER),
        KIND("y_all_whitespace_kinds", TAKEN, " \t\r\n" ORDER "\n\r\t "),
        KIND("y_whitespace_within", TAKEN,
             "{ \"sku\"\t:\n\"a\" ,\r\"buyer_id\" : \"b\" , \"quantity\" : 1 }"),
        KIND("y_escaped_names", TAKEN,
             "{\"\\u0073ku\":\"a\",\"buyer_i\\u0064\":\"b\",\"quantity\":1}"),
        KIND("y_other_order", TAKEN, "{\"quantity\":1,\"buyer_id\":\"b\",\"sku\":\"a\"}"),
        KIND("y_empty_object", INVALID, "{}"),
        KIND("y_unknown_member", INVALID, "{" MEMBERS ",\"x\":1}"),
        KIND("y_empty_name", INVALID, "{" MEMBERS ",\"\":1}"),
        KIND("y_name_of_other_case", INVALID, "{" MEMBERS ",\"Sku\":\"a\"}"),
        KIND("y_prototype", INVALID, "{" MEMBERS ",\"__proto__\":{}}"),
        KIND("y_array", MALFORMED, "[" ORDER "]"),
        KIND("y_empty_array", MALFORMED, "[]"),
        KIND("y_scalar_number", MALFORMED, "1"),
        KIND("y_scalar_string", MALFORMED, "\"a\""),
        KIND("y_scalar_true", MALFORMED, "true"),
        KIND("y_scalar_null", MALFORMED, "null"),
        KIND("i_duplicate_member", MALFORMED, "{" MEMBERS ",\"quantity\":2}"),
        KIND("i_duplicate_member_same_value", MALFORMED, "{" MEMBERS ",\"quantity\":1}"),
        KIND("i_duplicate_member_escaped", MALFORMED, "{" MEMBERS ",\"quantit\\u0079\":1}"),
        KIND("i_duplicate_unknown_member", MALFORMED, "{" MEMBERS ",\"x\":1,\"x\":1}"),
        KIND("i_byte_order_mark", MALFORMED, "\xef\xbb\xbf" ORDER),
        KIND("i_utf_16_little_endian", MALFORMED, "\xff\xfe{\0}\0"),
        KIND("i_utf_16_big_endian", MALFORMED, "\xfe\xff\0{\0}"),
        KIND("n_utf_16_without_mark", MALFORMED, "{\0}\0"),
        KIND("n_empty", MALFORMED, ""),
        KIND("n_only_space", MALFORMED, " \t\r\n"),
        KIND("n_only_nul", MALFORMED, "\0"),
        KIND("n_nul_after", MALFORMED, ORDER "\0"),
        KIND("n_nul_before", MALFORMED, "\0" ORDER),
        KIND("n_nul_between", MALFORMED, "{\0" MEMBERS "}"),
        KIND("n_form_feed", MALFORMED, "\f" ORDER),
        KIND("n_vertical_tab", MALFORMED, ORDER "\v"),
        KIND("n_no_break_space", MALFORMED, "\xc2\xa0" ORDER),
        KIND("n_no_break_space_within", MALFORMED, "{\xc2\xa0" MEMBERS "}"),
        KIND("n_line_separator", MALFORMED, ORDER "\xe2\x80\xa8"),
        KIND("n_word_joiner", MALFORMED, "\xe2\x81\xa0" ORDER),
        KIND("n_delete_character", MALFORMED, ORDER "\x7f"),
        KIND("n_trailing_comma", MALFORMED, "{" MEMBERS ",}"),
        KIND("n_two_trailing_commas", MALFORMED, "{" MEMBERS ",,}"),
        KIND("n_leading_comma", MALFORMED, "{," MEMBERS "}"),
        KIND("n_missing_comma", MALFORMED, "{" MEMBERS " \"x\":1}"),
        KIND("n_semicolon", MALFORMED, "{\"sku\":\"a\";\"buyer_id\":\"b\",\"quantity\":1}"),
        KIND("n_block_comment", MALFORMED, "/* */" ORDER),
        KIND("n_block_comment_within", MALFORMED, "{/**/" MEMBERS "}"),
        KIND("n_line_comment", MALFORMED, ORDER "// x\n"),
        KIND("n_hash_comment", MALFORMED, ORDER "# x"),
        KIND("n_single_quotes", MALFORMED, "{'sku':'a','buyer_id':'b','quantity':1}"),
        KIND("n_names_without_quotes", MALFORMED, "{sku:\"a\",buyer_id:\"b\",quantity:1}"),
        KIND("n_values_without_quotes", MALFORMED, "{\"sku\":a,\"buyer_id\":\"b\",\"quantity\":1}"),
        KIND("n_not_closed", MALFORMED, "{" MEMBERS),
        KIND("n_not_opened", MALFORMED, MEMBERS "}"),
        KIND("n_only_open", MALFORMED, "{"),
        KIND("n_only_close", MALFORMED, "}"),
        KIND("n_open_string", MALFORMED, "{\"sku"),
        KIND("n_name_only", MALFORMED, "{\"sku\""),
        KIND("n_name_and_colon", MALFORMED, "{\"sku\":"),
        KIND("n_closed_twice", MALFORMED, ORDER "}"),
        KIND("n_two_documents", MALFORMED, ORDER ORDER),
        KIND("n_two_lines", MALFORMED, ORDER "\n" ORDER),
        KIND("n_comma_after", MALFORMED, ORDER ","),
        KIND("n_text_after", MALFORMED, ORDER " x"),
        KIND("n_text_before", MALFORMED, "x" ORDER),
        KIND("n_guard_before", MALFORMED, ")]}',\n" ORDER),
        KIND("n_nul_in_a_name", MALFORMED, "{" MEMBERS ",\"x\\u0000\":1}"),
        KIND("n_bad_escape_in_a_name", MALFORMED, "{" MEMBERS ",\"\\uZZZZ\":1}"),
        KIND("n_backslash_outside", MALFORMED, "{\\u0022sku\":1}"),
        KIND("n_form", MALFORMED, "sku=a&buyer_id=b&quantity=1"),
        KIND("n_xml", MALFORMED, "<order sku=\"a\"/>"),
    };
    (void)state;
    check(kinds, TEST_COUNT(kinds), "", "");
}

/* `unit` so many times between `before` and `after`. */
static void expect_of_many(verdict_t verdict, const char *before, const char *unit, size_t times,
                           const char *after)
{
    const char *body = test_text("%s%s%s", before, test_repeat(unit, times), after);
    verdict_t found = verdict_of(body, strlen(body));
    EXPECT(found == verdict, "%zu times %s: %s, and should be %s", times, unit,
           verdict_names[found], verdict_names[verdict]);
}

static void test_depth(void **state)
{
    (void)state;
    expect_of_many(INVALID, QUANTITY_BEGIN, "[", 100, test_text("%s}", test_repeat("]", 100)));
    expect_of_many(MALFORMED, QUANTITY_BEGIN, "[", 100000,
                   test_text("%s}", test_repeat("]", 100000)));
    expect_of_many(MALFORMED, QUANTITY_BEGIN, "[", 100000, QUANTITY_END);
    expect_of_many(MALFORMED, QUANTITY_BEGIN, "]", 100000, QUANTITY_END);
    expect_of_many(MALFORMED, QUANTITY_BEGIN, "{\"a\":", 100000, QUANTITY_END);
    expect_of_many(MALFORMED, QUANTITY_BEGIN, "[{\"a\":", 50000, QUANTITY_END);
    expect_of_many(MALFORMED, "", "[", 100000, "");
}

static void test_sizes(void **state)
{
    (void)state;
    expect_of_many(TAKEN, BUYER_BEGIN, "x", 128, BUYER_END);
    expect_of_many(INVALID, BUYER_BEGIN, "x", 129, BUYER_END);
    expect_of_many(TAKEN, BUYER_BEGIN, "\xc3\xa9", 64, BUYER_END);
    expect_of_many(TAKEN, BUYER_BEGIN, "\\u00e9", 64, BUYER_END);
    expect_of_many(INVALID, BUYER_BEGIN, "\\u00e9", 65, BUYER_END);
    expect_of_many(INVALID, BUYER_BEGIN, "x", 1000000, BUYER_END);
    expect_of_many(INVALID, BUYER_BEGIN, "\\u0041", 200000, BUYER_END);
    expect_of_many(MALFORMED, BUYER_BEGIN, "\\", 1000001, BUYER_END);
    expect_of_many(INVALID, QUANTITY_BEGIN "1", "0", 1000000, QUANTITY_END);
    expect_of_many(MALFORMED, QUANTITY_BEGIN "1", "e", 100000, QUANTITY_END);
    expect_of_many(INVALID, QUANTITY_BEGIN "1,\"", "n", 1000000, "\":1}");
    expect_of_many(MALFORMED, QUANTITY_BEGIN "1", ",", 100000, QUANTITY_END);
    expect_of_many(MALFORMED, QUANTITY_BEGIN "1", ",\"x\":1", 100000, QUANTITY_END);
    expect_of_many(TAKEN, QUANTITY_BEGIN "1", " ", 1000000, QUANTITY_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers),   TEST(test_values), TEST(test_strings),
        TEST(test_documents), TEST(test_depth),  TEST(test_sizes),
    };
    return test_run("json_kinds", tests, TEST_COUNT(tests), NULL, NULL);
}
