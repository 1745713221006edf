/*
 * Tokens for buyers: what a shop signs is read, and nothing else is, whatever its header says;
 * times are checked to the second; a set of keys is read strictly.
 */
#include <openssl/pem.h>

#include "harness/jwt.h"
#include "http/buyer_token.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"
#define HS "{\"alg\":\"HS256\",\"kid\":\"shop\",\"typ\":\"JWT\"}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"curve\"}"
#define NOW_S 1800000000
#define EXP "\"exp\":1800000060"
#define ALICE "{\"sub\":\"alice\"," EXP "}"

static buyer_keys_t *keys;
static EVP_PKEY *curve;

static const char *oct(const char *kid, const char *secret)
{
    return test_text("{\"kid\":\"%s\",\"kty\":\"oct\",\"k\":\"%s\"}", kid,
                     test_base64url(secret, strlen(secret)));
}

static buyer_keys_t *parse(const char *text)
{
    char reason[BUYER_KEYS_REASON_SIZE] = "";
    buyer_keys_t *set = buyer_keys_parse(str_of(text), reason);
    if (set == NULL)
        FAIL("%s: %s", text, reason);
    return set;
}

static int set_up(void **state)
{
    (void)state;
    curve = test_jwt_key();
    EVP_PKEY_up_ref(curve);
    keys = parse(test_text("{\"keys\":[%s,{\"kid\":\"curve\",%s,\"use\":\"sig\"}]}",
                           oct("shop", SECRET), test_jwt_public(curve)));
    test_forget();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buyer_keys_free(keys);
    EVP_PKEY_free(curve);
    return 0;
}

static const char *examine_at(const char *token, uint64_t now_ms, uint32_t skew_s,
                              buyer_claims_t *claims)
{
    char *exact = test_exact(token, strlen(token));
    memset(claims, 'x', sizeof(*claims));
    return buyer_token_read(keys, (str_t){exact, strlen(token)}, now_ms, skew_s, claims);
}

static const char *examine(const char *token, buyer_claims_t *claims)
{
    return examine_at(token, NOW_S * UINT64_C(1000), 0, claims);
}

static char *hs(const char *header, const char *payload)
{
    return test_jwt(header, payload, SECRET, strlen(SECRET));
}

static void expect_buyer(const char *token, const char *buyer, const char *sku, unsigned most)
{
    buyer_claims_t claims;
    const char *fault = examine(token, &claims);
    EXPECT(fault == NULL, "%s: %s", token, fault);
    EXPECT(str_eq(buyer_str(&claims.buyer), str_of(buyer)), "%.*s", claims.buyer.length,
           claims.buyer.bytes);
    EXPECT(str_eq(sku_str(&claims.sku), str_of(sku)), "%.*s", claims.sku.length, claims.sku.bytes);
    EXPECT_NUMBER(claims.quantity_max, most);
}

static void expect_fault(const char *token, const char *words)
{
    buyer_claims_t claims;
    const char *fault = examine(token, &claims);
    EXPECT(fault != NULL && strstr(fault, words) != NULL, "%s: %s, not %s", token,
           fault == NULL ? "taken" : fault, words);
}

static void what_the_shop_signs_is_read(void **state)
{
    (void)state;
    expect_buyer(hs(HS, ALICE), "alice", "", 0);
    expect_buyer(test_jwt_es256(ES, ALICE, curve), "alice", "", 0);
    expect_buyer(hs(HS, "{" EXP ",\"sub\":\"J\xc3\xb6rg \\\"x\\\"\",\"sku\":\"poster-1\","
                        "\"quantity_max\":3,\"iat\":5,\"name\":{\"a\":[1]}}"),
                 "J\xc3\xb6rg \"x\"", "poster-1", 3);
    expect_buyer(hs(HS, "{\"sub\":\"a\",\"exp\":1800000000.5,\"nbf\":1800000000}"), "a", "", 0);
}

static void no_other_signature_will_do(void **state)
{
    (void)state;
    char *good = hs(HS, ALICE), *bad = test_text("%s", good);
    bad[strlen(bad) - 2] ^= 1;
    expect_fault(bad, "");
    expect_fault(test_jwt(HS, ALICE, OTHER, strlen(OTHER)), "signature");
    expect_fault(test_jwt(HS, ALICE, "", 0), "signature");
    expect_fault(test_text("%.*s", (int)(strrchr(good, '.') - good) + 1, good), "signature");
    static const char *const ends[] = {"AA", "AAAAAAAAAAAAAAAAAAAAAA"};
    char *es = test_jwt_es256(ES, ALICE, curve);
    int body = (int)(strrchr(es, '.') - es) + 1;
    expect_fault(test_text("%.*s", body, es), "signature");
    expect_fault(test_text("%.*s%s", body, es, test_repeat("A", 86)), "signature"); /* zeros */
    for (size_t i = 0; i < TEST_COUNT(ends); ++i) { /* too short; too long */
        expect_fault(test_text("%.*s%s", body, es, ends[i]), "signature");
        expect_fault(test_text("%s%s", es, ends[i]), "signature");
    }
    EVP_PKEY *stranger = test_jwt_key();
    expect_fault(test_jwt_es256(ES, ALICE, stranger), "signature");
    /* The payload of one under the signature of another. */
    char *other = hs(HS, "{\"sub\":\"bob\"," EXP "}");
    expect_fault(test_text("%.*s%s", (int)(strrchr(other, '.') - other), other, strrchr(good, '.')),
                 "signature");
    for (size_t i = 0; i < strlen(good); i += 3) { /* any character */
        buyer_claims_t claims;
        char *changed = test_text("%s", good);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        EXPECT(examine(changed, &claims) != NULL, "%zu: %s", i, changed);
    }
}

/* The key decides: a public key is no secret that HS256 could use. */
static void the_header_does_not_choose_the_algorithm(void **state)
{
    (void)state;
    char *pem = NULL;
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(out, curve);
    long n = BIO_get_mem_data(out, &pem);
    expect_fault(test_jwt("{\"alg\":\"HS256\",\"kid\":\"curve\"}", ALICE, pem, (size_t)n),
                 "alg is not that");
    BIO_free(out);
    static const char *const algs[] = {"none",  "None",  "NONE",  "HS384", "HS512", "RS256",
                                       "ES256", "ES384", "hs256", "",      "HS256 "};
    for (size_t i = 0; i < TEST_COUNT(algs); ++i) {
        char *token = hs(test_text("{\"alg\":\"%s\",\"kid\":\"shop\"}", algs[i]), ALICE);
        expect_fault(token, "");
        expect_fault(test_text("%.*s.", (int)(strrchr(token, '.') - token), token), "");
    }
    expect_fault(hs("{\"kid\":\"shop\"}", ALICE), "");
    expect_fault(hs("{\"alg\":256,\"kid\":\"shop\"}", ALICE), "");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"curve\"}", ALICE), "alg is not that");
}

static void a_key_has_to_be_named(void **state)
{
    (void)state;
    expect_fault(hs("{\"alg\":\"HS256\"}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"\"}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"shop2\"}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"sho\"}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":[\"shop\"]}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"../../etc/passwd\"}", ALICE), "kid");
    expect_fault(hs("{\"alg\":\"HS256\",\"kid\":\"shop\",\"crit\":[\"b64\"]}", ALICE), "crit");
}

static void times_are_checked(void **state)
{
    (void)state;
    buyer_claims_t claims;
    const char *token = hs(HS, "{\"sub\":\"a\",\"exp\":2000,\"nbf\":1000}");
    static const struct {
        uint64_t now_ms;
        uint32_t skew_s;
        const char *fault; /* NULL: it is valid */
    } cases[] = {
        {999999, 0, "not valid yet"}, {1000000, 0, NULL},        {1999999, 0, NULL},
        {2000000, 0, "expired"},      {969999, 30, "not valid"}, {970000, 30, NULL},
        {2029999, 30, NULL},          {2030000, 30, "expired"},  {0, 0, "not valid yet"},
        {UINT64_MAX, 600, "expired"}, {0, 600, "not valid yet"},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        const char *fault = examine_at(token, cases[i].now_ms, cases[i].skew_s, &claims);
        bool as_expected = cases[i].fault == NULL
                               ? fault == NULL
                               : fault != NULL && strstr(fault, cases[i].fault) != NULL;
        EXPECT(as_expected, "%zu: %s", i, fault == NULL ? "valid" : fault);
    }
    static const char *const wrong[] = {"",
                                        ",\"exp\":\"1800000060\"",
                                        ",\"exp\":null",
                                        ",\"exp\":true",
                                        ",\"exp\":[1800000060]",
                                        ",\"exp\":-1",
                                        ",\"exp\":1e300",
                                        ",\"Exp\":1800000060",
                                        ",\"exp\":1800000060,\"nbf\":\"1\"",
                                        ",\"exp\":1800000060,\"nbf\":null",
                                        ",\"exp\":1800000060,\"nbf\":1e300"};
    for (size_t i = 0; i < TEST_COUNT(wrong); ++i)
        expect_fault(hs(HS, test_text("{\"sub\":\"a\"%s}", wrong[i])), "");
}

static void claims_are_read_strictly(void **state)
{
    (void)state;
    const char *const wrong[] = {
        "",
        ",\"sub\":\"\"",
        ",\"sub\":5",
        ",\"sub\":null",
        ",\"sub\":[\"a\"]",
        ",\"sub\":\"a\\nb\"",
        ",\"sub\":\"a\\u0000b\"",
        test_text(",\"sub\":\"%s\"", test_repeat("a", BUYER_BYTES_MAX + 1)),
        ",\"sub\":\"a\",\"sku\":\"\"",
        ",\"sub\":\"a\",\"sku\":null",
        ",\"sub\":\"a\",\"sku\":\"a b\"",
        ",\"sub\":\"a\",\"sku\":[\"x\"]",
        test_text(",\"sub\":\"a\",\"sku\":\"%s\"", test_repeat("a", SKU_BYTES_MAX + 1)),
        ",\"sub\":\"a\",\"quantity_max\":0",
        ",\"sub\":\"a\",\"quantity_max\":-1",
        ",\"sub\":\"a\",\"quantity_max\":1.5",
        ",\"sub\":\"a\",\"quantity_max\":\"5\"",
        ",\"sub\":\"a\",\"quantity_max\":null",
        ",\"sub\":\"a\",\"quantity_max\":1e30",
    };
    for (size_t i = 0; i < TEST_COUNT(wrong); ++i)
        expect_fault(hs(HS, test_text("{" EXP "%s}", wrong[i])), "");
    static const char *const no_objects[] = {"", "[]", "5", "\"a\"", "null", "{", "{}{}", "\xff"};
    for (size_t i = 0; i < TEST_COUNT(no_objects); ++i) {
        expect_fault(hs(HS, no_objects[i]), "");
        expect_fault(hs(no_objects[i], ALICE), "");
    }
}

static void texts_that_are_no_tokens(void **state)
{
    (void)state;
    const char *good = hs(HS, ALICE);
    const char *const texts[] = {
        ".",
        "..",
        "...",
        "a",
        "a.b.c",
        test_text("%s ", good),
        test_text("%s.", good),
        test_text(".%s", good),
        test_text("%s=", good),
        test_text("%s\n", good),
        test_text("x%s", good),
        test_repeat("a", 100000),
        test_repeat(".", 100000),
        hs(HS, test_text("{\"sub\":\"a\"," EXP ",\"x\":%s}", test_repeat("[", 2500))),
        hs(test_repeat("[", 2900), ALICE),
    };
    for (size_t i = 0; i < TEST_COUNT(texts); ++i)
        expect_fault(texts[i], "");
    for (size_t n = 0; n < strlen(good); ++n)
        expect_fault(test_text("%.*s", (int)n, good), "");
    const char *pad = test_repeat("y", 3100); /* beside this it has its usual members */
    const char *longest = hs(HS, test_text("{\"sub\":\"a\"," EXP ",\"x\":\"%.*s\"}", 2860, pad));
    EXPECT(strlen(longest) <= BUYER_TOKEN_BYTES_MAX && strlen(longest) > 3900, "%zu",
           strlen(longest));
    expect_buyer(longest, "a", "", 0);
    expect_fault(hs(HS, test_text("{\"sub\":\"a\"," EXP ",\"x\":\"%s\"}", pad)), "longer");
}

/* --- keys --- */

static void a_set_of_keys_is_read_strictly(void **state)
{
    (void)state;
    EVP_PKEY *key = test_jwt_key();
    const char *public = test_jwt_public(key);
    const char *secret = test_base64url(SECRET, 32);
    const char *const wrong[][2] = {
        {"", "is not a JSON object"},
        {"[]", "is not a JSON object"},
        {"{\"keys\":{}}", "is not a JSON object"},
        {"{\"keys\":[]} x", "is not a JSON object"},
        {"{\"keys\":[]}", "has no key"},
        {"{\"keys\":[5]}", "keys[0]: kid"},
        {"{\"keys\":[{\"kty\":\"oct\"}]}", "keys[0]: kid"},
        {"{\"keys\":[{\"kid\":\"a b\",\"kty\":\"oct\"}]}", "keys[0]: kid"},
        {"{\"keys\":[{\"kid\":\"a\",\"kty\":\"RSA\"}]}", "keys[0]: kty"},
        {"{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\"}]}", "keys[0]: k is not"},
        {"{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}", "keys[0]: k is not"},
        {test_text("{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\",\"k\":\"%s=\"}]}", secret),
         "keys[0]: k is not"},
        {test_text("{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\",\"k\":\"%s\"}]}",
                   test_repeat("A", 5000)),
         "keys[0]: k is not"},
        {test_text("{\"keys\":[{\"kid\":\"a\",\"kty\":\"oct\",\"alg\":\"HS512\",\"k\":\"%s\"}]}",
                   secret),
         "keys[0]: alg"},
        {test_text("{\"keys\":[{\"kid\":\"a\",\"alg\":\"HS256\",%s}]}", public), "keys[0]: alg"},
        {test_text("{\"keys\":[%s,%s]}", oct("a", SECRET), oct("a", OTHER)),
         "keys[1]: kid is that"},
        {"{\"keys\":[{\"kid\":\"a\",\"kty\":\"EC\",\"crv\":\"P-384\"}]}", "keys[0]: crv"},
        {"{\"keys\":[{\"kid\":\"a\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\"}]}",
         "keys[0]: x"},
        {test_text("{\"keys\":[{\"kid\":\"a\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\","
                   "\"y\":\"%s\"}]}",
                   secret, secret),
         "keys[0]: x and y are no point"},
    };
    for (size_t i = 0; i < TEST_COUNT(wrong); ++i) {
        char reason[BUYER_KEYS_REASON_SIZE] = "";
        buyer_keys_t *set = buyer_keys_parse(str_of(wrong[i][0]), reason);
        EXPECT(set == NULL && strncmp(reason, wrong[i][1], strlen(wrong[i][1])) == 0, "%s: %s",
               wrong[i][0], reason);
        EXPECT(strstr(reason, secret) == NULL, "%s", reason);
    }
    buyer_keys_t *set =
        parse(test_text(" {\"keys\":[%s,{\"kid\":\"b\",\"alg\":\"ES256\",%s}],\"x\":1}\n",
                        oct("a", SECRET OTHER), public));
    EXPECT_NUMBER(set->count, 2);
    EXPECT_NUMBER(set->all[0].secret_bytes, 64);
    assert_memory_equal(set->all[0].secret, SECRET OTHER, 64);
    buyer_keys_free(set);
}

static void any_damage_to_a_set_is_survived(void **state)
{
    (void)state;
    char reason[BUYER_KEYS_REASON_SIZE];
    const char *whole = test_text("{\"keys\":[%s,{\"kid\":\"b\",%s}]}", oct("a", SECRET),
                                  test_jwt_public(test_jwt_key()));
    for (size_t n = 0; n < strlen(whole); ++n) {
        buyer_keys_free(buyer_keys_parse((str_t){test_exact(whole, n), n}, reason));
        char *changed = test_text("%s", whole);
        changed[n] = (char)(changed[n] + 1);
        buyer_keys_free(buyer_keys_parse(str_of(changed), reason));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_shop_signs_is_read),
        TEST(no_other_signature_will_do),
        TEST(the_header_does_not_choose_the_algorithm),
        TEST(a_key_has_to_be_named),
        TEST(times_are_checked),
        TEST(claims_are_read_strictly),
        TEST(texts_that_are_no_tokens),
        TEST(a_set_of_keys_is_read_strictly),
        TEST(any_damage_to_a_set_is_survived),
    };
    return test_run("buyer_token", tests, TEST_COUNT(tests), set_up, tear_down);
}
