/* Bodies and paths: what is refused, by which code, and that the member is named. What is no JSON:
   test_json_kinds. */
#include <unistr.h>

#include "harness/test.h"
#include "http/fast_order.h"

/* Names are compared each with each: so many, and no more. */
static void test_members(void **state)
{
    (void)state;
    for (unsigned count = 32; count <= 33; ++count) {
        char body[33 * sizeof("\"00\":1,")] = "{";
        size_t n = 1;
        for (unsigned i = 0; i < count; ++i)
            n += (size_t)sprintf(body + n, "\"%02u\":1%c", i, i + 1 < count ? ',' : '}');
        mistake_t mistake;
        cJSON *json = body_parse((str_t){test_exact(body, n), n}, &mistake);
        assert_true(count <= 32 ? json != NULL
                                : json == NULL && mistake.problem == PROBLEM_MALFORMED_JSON);
        cJSON_Delete(json);
    }
}

/* Parses an order body; returns the member that the refusal names, or "" when it was taken. */
static const char *order_mistake(const char *body)
{
    static char named[64];
    mistake_t mistake = {PROBLEM_NONE, ""};
    order_body_t order;
    cJSON *json = body_parse(str_of(body), &mistake);
    assert_non_null(json);
    bool ok = body_read_order(json, 1000, false, &order, &mistake);
    cJSON_Delete(json);
    if (ok)
        return "";
    assert_int_equal(mistake.problem, PROBLEM_INVALID_REQUEST);
    snprintf(named, sizeof(named), "%.*s", (int)strcspn(mistake.detail, ":"), mistake.detail);
    return named;
}

/* What is read in one pass, and what is left to the parser. */
static void test_plain_orders(void **state)
{
    (void)state;
#define REST "\"buyer_id\":\"b\",\"quantity\":7}"
    static const struct {
        const char *body;
        bool plain;
    } cases[] = {
        {"{\"sku\":\"s\"," REST, true},
        {" \t{ \"sku\" : \"s\" ,\r\n" REST " \n", true},
        {"{\"quantity\":7,\"buyer_id\":\"b\",\"sku\":\"s\"}", true},
        {"{\"sku\":\"s\"," REST "x", false},
        {"{\"sku\":\"s\"," REST "}", false},
        {"[\"sku\":\"s\"," REST, false},
        {"{\"sku\":\"\"," REST, false},
        {"{\"sku\":\"-s\"," REST, false},
        {"{\"sku\":\"\\u0073\"," REST, false},
        {"{\"sku\":\"s\xc3\xa9\"," REST, false},
        {"{\"sku\":\"s\x7f\"," REST, false},
        {"{\"sku\":\"s\",\"sku\":\"s\"," REST, false},
        {"{\"sku\":\"s\",\"other\":1," REST, false},
        {"{\"sku\":\"s\",\"sku\":\"s\",\"quantity\":7}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"\",\"quantity\":7}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":0}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":07}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":7.0}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":7e0}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":-7}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":1001}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":4294967303}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":\"7\"}", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b\",\"quantity\":7", false},
        {"{\"sku\":\"s\",\"buyer_id\":\"b", false},
        {"", false},
    };
#undef REST
    order_body_t none;
    assert_false(fast_order_read(STR_NONE, 1000, &none));
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        order_body_t order;
        bool plain = fast_order_read(str_of(cases[i].body), 1000, &order);
        if (plain != cases[i].plain)
            print_error("%s: %d\n", cases[i].body, plain);
        assert_int_equal(plain, cases[i].plain);
        if (!plain)
            continue;
        assert_true(str_eq(order.sku, STR("s")) && str_eq(order.buyer_id, STR("b")));
        assert_int_equal(order.quantity, 7);
    }
}

static void test_orders(void **state)
{
    (void)state;
#define ORDER(sku_, buyer_, quantity_)                                                             \
    "{\"sku\":" sku_ ",\"buyer_id\":" buyer_ ",\"quantity\":" quantity_ "}"
    static const struct {
        const char *body, *named;
    } cases[] = {
        {ORDER("\"a\"", "\"b\"", "1"), ""},
        {ORDER("\"a\"", "\"o'brien/\\\"x\\\" %2f\"", "1000"), ""},
        {ORDER("\"a\"", "\"b\"", "1.0"), ""},
        {ORDER("\"\"", "\"b\"", "1"), "sku"},
        {ORDER("\"a b\"", "\"b\"", "1"), "sku"},
        {ORDER("\"-a\"", "\"b\"", "1"), "sku"},
        {ORDER("\"a/b\"", "\"b\"", "1"), "sku"},
        {ORDER("\"a'--\"", "\"b\"", "1"), "sku"},
        {ORDER("7", "\"b\"", "1"), "sku"},
        {ORDER("null", "\"b\"", "1"), "sku"},
        {ORDER("\"a\"", "\"\"", "1"), "buyer_id"},
        {ORDER("\"a\"", "\"b\\n\"", "1"), "buyer_id"},
        {ORDER("\"a\"", "\"b\\u007f\"", "1"), "buyer_id"},
        {ORDER("\"a\"", "{\"b\":1}", "1"), "buyer_id"},
        {ORDER("\"a\"", "\"b\"", "0"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "-1"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "1.5"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "1001"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "18446744073709551617"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "1e999"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "-1e999"), "quantity"},
        {ORDER("\"a\"", "\"b\"", "\"1\""), "quantity"},
        {ORDER("\"a\"", "\"b\"", "true"), "quantity"},
        {"{\"sku\":\"a\",\"buyer_id\":\"b\"}", "quantity"},
        {"{\"buyer_id\":\"b\",\"quantity\":1}", "sku"},
        {"{\"sku\":\"a\",\"buyer_id\":\"b\",\"quantity\":1,\"SKU\":\"c\"}", "SKU"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i)
        assert_string_equal(order_mistake(cases[i].body), cases[i].named);
}

/* The name of an unknown member is shown in part: whole characters, wherever it is cut. */
static void test_a_long_unknown_name_is_cut_between_characters(void **state)
{
    (void)state;
    for (unsigned offset = 0; offset < 4; ++offset) {
        mistake_t mistake = {PROBLEM_NONE, ""};
        order_body_t order;
        char body[256] = "{\"", *at = body + 2;
        for (unsigned i = 0; i < offset; ++i)
            *at++ = 'x';
        for (unsigned i = 0; i < 20; ++i, at += 4)
            memcpy(at, "\xf0\x9f\x98\x80", 4);
        memcpy(at, "\":1}", 5);
        cJSON *json = body_parse(str_of(body), &mistake);
        assert_non_null(json);
        assert_false(body_read_order(json, 1000, false, &order, &mistake));
        cJSON_Delete(json);
        assert_null(u8_check((const uint8_t *)mistake.detail, strlen(mistake.detail)));
        assert_int_equal(strcspn(mistake.detail, ":"), offset + (40 - offset) / 4 * 4);
    }
}

static void test_lengths_of_names(void **state)
{
    (void)state;
    char name[300];
    memset(name, 'x', sizeof(name));
    assert_true(is_sku((str_t){name, SKU_BYTES_MAX}));
    assert_false(is_sku((str_t){name, SKU_BYTES_MAX + 1}));
    assert_true(is_buyer_id((str_t){name, BUYER_BYTES_MAX}));
    assert_false(is_buyer_id((str_t){name, BUYER_BYTES_MAX + 1}));
    assert_true(is_idempotency_key((str_t){name, KEY_BYTES_MAX}));
    assert_false(is_idempotency_key((str_t){name, KEY_BYTES_MAX + 1}));
    assert_false(is_idempotency_key(STR("a b")));
    assert_false(is_sku((str_t){"a\0b", 3}));
}

/* As it is or as a quoted string, what is named is the same key. */
static void test_keys_of_headers(void **state)
{
    (void)state;
    static const struct {
        const char *value, *key; /* NULL: none */
    } cases[] = {
        {"k1", "k1"},
        {"\"k1\"", "k1"},
        {"8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"},
        {"\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"},
        {"k\"1\"", "k\"1\""},
        {"k\\1", "k\\1"},
        {"\"k\\\\1\"", "k\\1"},
        {"\"k\\\"1\"", "k\"1"},
        {"\"\\\\\"", "\\"},
        {"\"\\\\\\\"\"", "\\\""},
        {"", NULL},
        {"\"", NULL},
        {"\"\"", NULL},
        {"\"k1", NULL},
        {"\"k\"1\"", NULL},
        {"\"k1\\\"", NULL},
        {"\"k\\1\"", NULL},
        {"\"\\\\\"\"", NULL},
        {"\"k1\";a=b", NULL},
        {"\"k1\", \"k2\"", NULL},
        {"k 1", NULL},
        {"\"k 1\"", NULL},
        {"\"k\t1\"", NULL},
        {"\"k\xc3\xa9\"", NULL},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        char bytes[KEY_BYTES_MAX];
        str_t key;
        bool ok = idempotency_key_read(str_of(cases[i].value), bytes, &key);
        if (ok != (cases[i].key != NULL) || (ok && !str_eq(key, str_of(cases[i].key))))
            fail_msg("%s: %d, %.*s", cases[i].value, ok, ok ? (int)key.n : 0, key.p);
    }
}

/* What counts are the characters of the key. */
static void test_lengths_of_keys(void **state)
{
    (void)state;
    char value[2 * KEY_BYTES_MAX + 4], bytes[KEY_BYTES_MAX];
    str_t key;
    memset(value, 'k', sizeof(value));
    assert_true(idempotency_key_read((str_t){value, 255}, bytes, &key));
    assert_false(idempotency_key_read((str_t){value, 256}, bytes, &key));
    value[0] = value[256] = value[257] = '"';
    assert_true(idempotency_key_read((str_t){value, 257}, bytes, &key));
    assert_int_equal(key.n, 255);
    value[256] = 'k';
    assert_false(idempotency_key_read((str_t){value, 258}, bytes, &key));
    memset(value + 1, '\\', 2 * KEY_BYTES_MAX);
    value[2 * KEY_BYTES_MAX + 1] = '"';
    assert_true(idempotency_key_read((str_t){value, 2 * KEY_BYTES_MAX + 2}, bytes, &key));
    assert_int_equal(key.n, 255);
    memset(value + 1, '\\', 2 * KEY_BYTES_MAX + 2);
    value[2 * KEY_BYTES_MAX + 3] = '"';
    assert_false(idempotency_key_read((str_t){value, sizeof(value)}, bytes, &key));
}

static void test_media_types(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"utf-8\"",
        "application/json\t;a=b",
        "application/json ; a=b ; c=\"d;\\\"e\" ",
        "application/json;",
        "application/json; ;a=b",
        "application/json ",
    };
    static const char *const other[] = {
        "",
        "application",
        "application/jso",
        "application/jsonp",
        "application/json charset=utf-8",
        "application/json, text/plain",
        "application/json;charset",
        "application/json;charset=",
        "application/json;=utf-8",
        "application/json;charset=utf-8 x",
        "application/json;charset=\"utf-8",
        "application/json;charset=\"utf-8\\\"",
        "application/json;a=\"b\"c",
        "application/json/x",
        "text/plain; application/json",
        "application /json",
    };
    for (size_t i = 0; i < TEST_COUNT(fine); ++i)
        if (!is_media_type(str_of(fine[i]), "application/json"))
            fail_msg("%s", fine[i]);
    for (size_t i = 0; i < TEST_COUNT(other); ++i)
        if (is_media_type(str_of(other[i]), "application/json"))
            fail_msg("%s", other[i]);
}

static void test_control_characters_of_buyers(void **state)
{
    (void)state;
    static const char *const controls[] = {"\x01",
                                           "a\x1f",
                                           "\x7f",
                                           "\xc2\x80",
                                           "a\xc2\x85",
                                           "\xc2\x9f"
                                           "a"};
    for (size_t i = 0; i < TEST_COUNT(controls); ++i)
        assert_false(is_buyer_id(str_of(controls[i])));
    assert_true(is_buyer_id(STR("\xc2\xa0"))); /* a space that does not break */
    assert_true(is_buyer_id(STR("\xc3\x80")));
    assert_true(is_buyer_id(STR("\xe2\x82\x80")));
}

static const char *change_mistake(const char *body, bool create, item_change_t *change)
{
    static char named[64];
    mistake_t mistake = {PROBLEM_NONE, ""};
    cJSON *json = body_parse(str_of(body), &mistake);
    assert_non_null(json);
    change->create = create;
    bool ok = body_read_change(json, STRATEGY_WATCH, change, &mistake);
    cJSON_Delete(json);
    snprintf(named, sizeof(named), "%.*s", (int)strcspn(mistake.detail, ":"), mistake.detail);
    return ok ? "" : named;
}

static void test_changes(void **state)
{
    (void)state;
    item_change_t c;
    assert_string_equal(change_mistake("{}", true, &c), "total");
    assert_string_equal(change_mistake("{\"total\":-1}", true, &c), "total");
    assert_string_equal(change_mistake("{\"total\":1e10}", true, &c), "total");
    assert_string_equal(change_mistake("{\"total\":null}", false, &c), "total");
    assert_string_equal(change_mistake("{\"strategy\":\"hope\"}", false, &c), "strategy");
    assert_string_equal(change_mistake("{\"strategy\":3}", false, &c), "strategy");
    assert_string_equal(change_mistake("{\"acknowledge\":\"\"}", false, &c), "acknowledge");
    assert_string_equal(change_mistake("{\"starts_at\":\"noon\"}", false, &c), "starts_at");
    assert_string_equal(change_mistake("{\"ends_at\":12}", false, &c), "ends_at");
    assert_string_equal(change_mistake("{\"hold\":12}", false, &c), "hold");
    assert_string_equal(change_mistake("{\"per_buyer_limit\":0.5}", false, &c), "per_buyer_limit");

    assert_string_equal(change_mistake("{\"total\":7}", true, &c), "");
    assert_true(c.has_strategy && c.has_limit && c.has_starts);
    assert_int_equal(c.terms.strategy, STRATEGY_WATCH);
    assert_int_equal(c.terms.total, 7);

    assert_string_equal(
        change_mistake("{\"starts_at\":\"2026-01-31T12:00:00+02:00\",\"ends_at\":null}", false, &c),
        "");
    assert_true(c.has_starts && c.has_ends && !c.has_total && !c.has_strategy);
    assert_int_equal(c.terms.starts_at_ms, 1769853600000);
    assert_int_equal(c.terms.ends_at_ms, 0);
}

static bool read_cancel(const char *text, uint32_t *units, mistake_t *mistake)
{
    cJSON *json = body_parse(str_of(text), mistake);
    assert_non_null(json);
    bool ok = body_read_cancel(json, units, mistake);
    cJSON_Delete(json);
    return ok;
}

static void test_cancels(void **state)
{
    static const struct {
        const char *body, *names;
    } wrong[] = {
        {"{\"quantity\":0}", "quantity"},      {"{\"quantity\":-1}", "quantity"},
        {"{\"quantity\":0.5}", "quantity"},    {"{\"quantity\":\"1\"}", "quantity"},
        {"{\"quantity\":null}", "quantity"},   {"{\"Quantity\":1}", "Quantity"},
        {"{\"quantity\":0}", "the order"},     {"{\"quantity\":1,\"sku\":\"x\"}", "sku"},
        {"{\"quantity\":\"1\"}", "the order"},
    };
    uint32_t units = 7;
    mistake_t mistake;
    (void)state;
    assert_true(read_cancel("{}", &units, &mistake));
    assert_int_equal(units, 0);
    assert_true(read_cancel(" { \"quantity\" : 1000000 } ", &units, &mistake));
    assert_int_equal(units, 1000000);
    assert_true(read_cancel("{\"quantity\":1e0}", &units, &mistake));
    assert_int_equal(units, 1);
    /* The row has the bound: no number is too large before it is read. */
    assert_true(read_cancel("{\"quantity\":4294967297}", &units, &mistake));
    assert_int_equal(units, UINT32_MAX);
    assert_true(read_cancel("{\"quantity\":1e300}", &units, &mistake));
    assert_int_equal(units, UINT32_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); ++i) {
        assert_false(read_cancel(wrong[i].body, &units, &mistake));
        assert_int_equal(mistake.problem, PROBLEM_INVALID_REQUEST);
        assert_non_null(strstr(mistake.detail, wrong[i].names));
    }
}

static void test_nothing(void **state)
{
    mistake_t mistake;
    (void)state;
    cJSON *json = body_parse(STR("{}"), &mistake);
    assert_true(body_read_nothing(json, &mistake));
    cJSON_Delete(json);
    json = body_parse(STR("{\"seconds\":1}"), &mistake);
    assert_false(body_read_nothing(json, &mistake));
    assert_int_equal(mistake.problem, PROBLEM_INVALID_REQUEST);
    assert_non_null(strstr(mistake.detail, "seconds"));
    cJSON_Delete(json);
}

static void test_percent_decoding(void **state)
{
    (void)state;
    char out[16];
    size_t n;
    assert_true(percent_decode(STR("a%2Fb%20c"), out, &n));
    assert_int_equal(n, 5);
    assert_memory_equal(out, "a/b c", 5);
    assert_false(percent_decode(STR("a%2"), out, &n));
    assert_false(percent_decode(STR("a%zz"), out, &n));
    assert_true(percent_decode(STR("%00"), out, &n));
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_members),
        TEST(test_orders),
        TEST(test_plain_orders),
        TEST(test_a_long_unknown_name_is_cut_between_characters),
        TEST(test_lengths_of_names),
        TEST(test_keys_of_headers),
        TEST(test_lengths_of_keys),
        TEST(test_media_types),
        TEST(test_control_characters_of_buyers),
        TEST(test_changes),
        TEST(test_cancels),
        TEST(test_nothing),
        TEST(test_percent_decoding),
    };
    return test_run("body", tests, TEST_COUNT(tests), NULL, NULL);
}
