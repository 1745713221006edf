/*
 * Named tokens: the file is read strictly, each role may do what it may, tokens end in time, and no
 * mistake repeats what stands in the file. And the calls of both listeners: each declares the role
 * that this file expects of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/admin.h"
#include "http/api.h"
#include "http/tokens.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))
#define SINGLE "the-single-token"
#define OLD "an-old-token-of-the-shop"
#define NEW "a-new-token-of-the-shop"
#define WATCHER "a-token-that-only-reads"

static EVP_MD_CTX *hasher;

/* The hash of a token as it stands in the file. */
static const char *hash_of(const char *token)
{
    static char texts[4][2 * TOKEN_HASH_BYTES + 1];
    static unsigned next;
    unsigned char hash[TOKEN_HASH_BYTES];
    char *text = texts[next++ % COUNT(texts)];
    token_hash(hasher, str_of(token), hash);
    for (size_t i = 0; i < sizeof(hash); ++i)
        sprintf(text + 2 * i, "%02x", hash[i]);
    return text;
}

static tokens_t *parse(const char *text)
{
    char reason[TOKENS_REASON_SIZE] = "";
    tokens_t *tokens = tokens_parse(str_of(text), SINGLE, reason);
    if (tokens == NULL)
        fail_msg("%s", reason);
    return tokens;
}

static const token_t *find(const tokens_t *tokens, const char *given, uint64_t now_ms)
{
    const token_t *token = tokens_find(tokens, hasher, str_of(given));
    return token != NULL && token_is_valid(token, now_ms) ? token : NULL;
}

static void the_hash_is_that_of_sha256sum(void **state)
{
    (void)state;
    assert_string_equal(hash_of("abc"),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(hash_of(""),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void a_file_is_read(void **state)
{
    (void)state;
    char text[600];
    snprintf(text, sizeof(text),
             "# who may do what\n\n  \t\r\nshop.1 sell %s\r\n\tprom_2-x   read\t%s "
             "2027-01-31T12:00:00+01:00",
             hash_of(NEW), hash_of(WATCHER));
    tokens_t *tokens = parse(text);
    const token_t *shop = find(tokens, NEW, 0), *watcher = find(tokens, WATCHER, 0),
                  *single = find(tokens, SINGLE, 0);
    assert_string_equal(shop->name, "shop.1");
    assert_int_equal(shop->role, ROLE_SELL);
    assert_int_equal(shop->expires_ms, 0);
    assert_string_equal(watcher->name, "prom_2-x");
    assert_int_equal(watcher->role, ROLE_READ);
    assert_int_equal(watcher->expires_ms, 1801393200000);
    assert_string_equal(single->name, "admin");
    assert_int_equal(single->role, ROLE_OPERATE);
    static const char *const wrong[] = {"",    "a",        NEW "x", "x" NEW,  "-the-single-token",
                                        "the", SINGLE " ", OLD,     "shop.1", "read"};
    for (size_t i = 0; i < COUNT(wrong); ++i)
        assert_null(find(tokens, wrong[i], 0));
    assert_null(find(tokens, hash_of(NEW), 0)); /* the hash is no token */
    tokens_free(tokens);
}

static void a_token_ends_in_time(void **state)
{
    (void)state;
    char text[300];
    snprintf(text, sizeof(text), "shop sell %s 2027-01-31T12:00:00.500Z\n", hash_of(OLD));
    tokens_t *tokens = parse(text);
    uint64_t end = find(tokens, OLD, 0)->expires_ms;
    assert_int_equal(end, 1801396800500);
    assert_non_null(find(tokens, OLD, end - 1));
    assert_null(find(tokens, OLD, end));
    assert_null(find(tokens, OLD, UINT64_MAX));
    assert_non_null(find(tokens, SINGLE, UINT64_MAX));
    tokens_free(tokens);
}

static void two_of_a_name_are_valid_at_once(void **state)
{
    (void)state;
    char text[300];
    snprintf(text, sizeof(text), "shop sell %s 2027-01-31T12:00:00Z\nshop sell %s\n", hash_of(OLD),
             hash_of(NEW));
    tokens_t *tokens = parse(text);
    assert_string_equal(find(tokens, OLD, 1)->name, "shop");
    assert_string_equal(find(tokens, NEW, 1)->name, "shop");
    assert_null(find(tokens, OLD, 1801396800000));
    assert_non_null(find(tokens, NEW, 1801396800000));
    tokens_free(tokens);
}

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static void a_mistake_is_named_with_its_line(void **state)
{
    (void)state;
    const struct {
        const char *text, *reason;
    } cases[] = {
        {"shop", "line 1: give NAME ROLE HASH"},
        {"shop sell", "line 1: give NAME ROLE HASH"},
        {"shop sell " A64 " 2027-01-31T12:00:00Z more", "line 1: give NAME ROLE HASH"},
        {"#\n\nshop sell " A64 "a", "line 3: the hash is no SHA-256"},
        {"shop sell my-secret-token", "line 1: the hash is no SHA-256"},
        {"shop sell aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaag",
         "line 1: the hash is no SHA-256"},
        {"shop buy " A64, "line 1: the role is none of read, operate, sell"},
        {"shop SELL " A64, "line 1: the role is none"},
        {"shop everybody " A64, "line 1: the role is none"},
        {"shop undeclared " A64, "line 1: the role is none"},
        {"sh/op sell " A64, "line 1: the name has"},
        {"sh\xc3\xb6p sell " A64, "line 1: the name has"},
        {A64 "a sell " A64, "line 1: the name has"},
        {"admin operate " A64, "line 1: the name admin is that of admin.token"},
        {"shop sell " A64 " tomorrow", "line 1: the end is no time"},
        {"shop sell " A64 " 2027-01-31", "line 1: the end is no time"},
        {"shop sell " A64 " 1970-01-01T00:00:00Z", "line 1: the end is no time"},
        {"shop sell " A64 "\nother read " A64, "line 2: the hash stands on an earlier line"},
        {"shop sell " A64 "\nshop read " B64, "line 2: the name has another role"},
        {"shop sell " A64 "\nshop sell " B64 "\nshop sell " C64,
         "line 3: the name stands on two lines already"},
    };
    for (size_t i = 0; i < COUNT(cases); ++i) {
        char reason[TOKENS_REASON_SIZE] = "";
        tokens_t *tokens = tokens_parse(str_of(cases[i].text), SINGLE, reason);
        if (tokens != NULL || strncmp(reason, cases[i].reason, strlen(cases[i].reason)) != 0)
            fail_msg("%s: %s", cases[i].text, reason);
        assert_null(strstr(reason, "my-secret"));
    }
}

static void the_single_token_is_not_in_the_file_too(void **state)
{
    (void)state;
    char text[200], reason[TOKENS_REASON_SIZE];
    snprintf(text, sizeof(text), "prom read %s\n", hash_of(SINGLE));
    assert_null(tokens_parse(str_of(text), SINGLE, reason));
    assert_non_null(strstr(reason, "that of admin.token"));
}

static void there_are_no_more_than_so_many(void **state)
{
    (void)state;
    static char text[TOKENS_MAX * 100];
    char reason[TOKENS_REASON_SIZE];
    size_t n = 0;
    for (unsigned i = 0; i + 1 < TOKENS_MAX; ++i)
        n += (size_t)sprintf(text + n, "t%u read %064x\n", i, i + 1);
    tokens_free(parse(text));
    sprintf(text + n, "one-more read %064x\n", TOKENS_MAX);
    assert_null(tokens_parse(str_of(text), SINGLE, reason));
    assert_string_equal(reason, "line 256: there are more than 256 tokens");
}

/* Any bytes: a set, or a reason; never more than the text is read. */
static void damage_is_survived(void **state)
{
    (void)state;
    static const char whole[] = "# a\nshop sell " A64 " 2027-01-31T12:00:00Z\nprom read " B64 "\n";
    static const char bytes[] = "\n\r\t #\0\xff"
                                "az09";
    char reason[TOKENS_REASON_SIZE];
    for (size_t n = 0; n < sizeof(whole); ++n) {
        char *cut = malloc(n + 1);
        memcpy(cut, whole, n);
        tokens_free(tokens_parse((str_t){cut, n}, NULL, reason));
        for (size_t i = 0; i < sizeof(bytes) && n != 0; ++i) {
            memcpy(cut, whole, n);
            cut[i * 7919 % n] = bytes[i];
            char *exact = malloc(n);
            memcpy(exact, cut, n);
            tokens_free(tokens_parse((str_t){exact, n}, NULL, reason));
            free(exact);
        }
        free(cut);
    }
}

static void each_role_permits_this(void **state)
{
    (void)state;
    static const bool expected[ROLE_COUNT][ROLE_COUNT] = {
        /* by what a token has, then by what is demanded */
        [ROLE_READ] = {[ROLE_EVERYBODY] = true, [ROLE_READ] = true},
        [ROLE_OPERATE] = {[ROLE_EVERYBODY] = true, [ROLE_READ] = true, [ROLE_OPERATE] = true},
        [ROLE_SELL] = {[ROLE_EVERYBODY] = true, [ROLE_SELL] = true},
    };
    for (role_t has = ROLE_READ; has < ROLE_COUNT; ++has)
        for (role_t demanded = ROLE_UNDECLARED; demanded < ROLE_COUNT; ++demanded)
            assert_int_equal(role_permits(has, demanded), expected[has][demanded]);
}

/* --- the calls --- */

typedef struct {
    const char *method, *pattern;
    role_t role;
} call_t;

static const call_t public_calls[] = {
    {"POST", "/v1/orders", ROLE_SELL},           {"GET", "/v1/orders/*", ROLE_SELL},
    {"POST", "/v1/orders/*/confirm", ROLE_SELL}, {"POST", "/v1/orders/*/cancel", ROLE_SELL},
    {"POST", "/v1/orders/*/extend", ROLE_SELL},  {"GET", "/v1/buyers/*/orders", ROLE_SELL},
    {"GET", "/v1/items/*", ROLE_EVERYBODY},      {"GET", "/healthz", ROLE_EVERYBODY},
    {"GET", "/readyz", ROLE_EVERYBODY},
};

static const call_t admin_calls[] = {
    {"GET", "/v1/items", ROLE_READ},
    {"GET", "/v1/items/*", ROLE_READ},
    {"GET", "/v1/items/*/orders", ROLE_READ},
    {"PUT", "/v1/items/*", ROLE_OPERATE},
    {"PATCH", "/v1/items/*", ROLE_OPERATE},
    {"DELETE", "/v1/items/*", ROLE_OPERATE},
    {"POST", "/v1/items/*/reconcile", ROLE_OPERATE},
    {"PUT", "/v1/strategy", ROLE_OPERATE},
    {"GET", "/v1/changes", ROLE_READ},
    {"GET", "/v1/live", ROLE_READ},
    {"GET", "/v1/status", ROLE_READ},
    {"GET", "/v1/audit", ROLE_READ},
    {"GET", "/metrics", ROLE_READ},
};

static void assert_roles(const route_entry_t *table, const call_t *calls, size_t count)
{
    size_t declared = 0;
    for (const route_entry_t *e = table; e->method != NULL; ++e, ++declared) {
        size_t i = 0;
        while (i < count && (strcmp(calls[i].method, e->method) != 0 ||
                             strcmp(calls[i].pattern, e->pattern) != 0))
            ++i;
        if (i == count)
            fail_msg("%s %s: which role does it demand?", e->method, e->pattern);
        if (calls[i].role != e->role)
            fail_msg("%s %s: %s", e->method, e->pattern, role_name(e->role));
    }
    assert_int_equal(declared, count);
}

static void each_call_declares_its_role(void **state)
{
    (void)state;
    admin_t admin = {.incarnation = ""};
    routes_t routes = admin_routes(&admin);
    assert_roles(api_routes.table, public_calls, COUNT(public_calls));
    assert_roles(routes.table, admin_calls, COUNT(admin_calls));
    assert_true(routes.closed);
}

static int set_up(void **state)
{
    (void)state;
    hasher = token_hasher_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    EVP_MD_CTX_free(hasher);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_that_of_sha256sum),
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(a_token_ends_in_time),
        cmocka_unit_test(two_of_a_name_are_valid_at_once),
        cmocka_unit_test(a_mistake_is_named_with_its_line),
        cmocka_unit_test(the_single_token_is_not_in_the_file_too),
        cmocka_unit_test(there_are_no_more_than_so_many),
        cmocka_unit_test(damage_is_survived),
        cmocka_unit_test(each_role_permits_this),
        cmocka_unit_test(each_call_declares_its_role),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
