/* The versions that If-Match and If-None-Match name, and when they let an item be changed. */
#include "harness/test.h"

#include "http/etag.h"

static named_versions_t named_by(const char *value, etag_comparison_t comparison)
{
    named_versions_t named = {.present = false};
    char *exact = test_exact(value, strlen(value));
    EXPECT(etag_add_versions((str_t){exact, strlen(value)}, comparison, &named), "%s", value);
    EXPECT(named.present, "%s", value);
    return named;
}

static void a_tag_leads_back_to_its_version(void **state)
{
    (void)state;
    static const uint64_t versions[] = {1, 7, 1764563224123, UINT64_MAX};
    char text[VERSION_ETAG_SIZE];
    for (size_t i = 0; i < TEST_COUNT(versions); ++i) {
        str_t tag = etag_of_version(text, versions[i]);
        EXPECT_NUMBER(tag.n, strlen(text));
        named_versions_t named = named_by(text, ETAG_STRONG);
        EXPECT(named.count == 1 && named.versions[0] == versions[i], "%s", text);
    }
    EXPECT(strcmp(etag_of_version(text, 7).p, "\"v7\"") == 0, "%s", text);
}

static void tags_that_name_version_7(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool strong, weak;
    } cases[] = {
        {"\"v7\"", true, true},
        {" \"v7\"\t", true, true},
        {"\"v6\", \"v7\"", true, true},
        {"\"v6\",,\"x\" ,\"v7\"", true, true},
        {"*", true, true},
        {" * ", true, true},
        {"W/\"v7\"", false, true},
        {"W/\"v6\", \"v7\"", true, true},
        {"", false, false},
        {"v7", false, false},
        {"\"v7", false, false},
        {"\"v07\"", false, false},
        {"\"v+7\"", false, false},
        {"\"7\"", false, false},
        {"\"V7\"", false, false},
        {"\"v7 \"", false, false},
        {"\"v\"", false, false},
        {"\"v0\"", false, false},
        {"\"v18446744073709551623\"", false, false}, /* 2^64 + 7 */
        {"\"v6\" *", false, false},
    };
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        const precondition_t match = {.match = named_by(cases[i].value, ETAG_STRONG)};
        const precondition_t none = {.none_match = named_by(cases[i].value, ETAG_WEAK)};
        EXPECT(precondition_holds(&match, 7) == cases[i].strong, "If-Match: %s", cases[i].value);
        EXPECT(precondition_holds(&none, 7) == !cases[i].weak, "If-None-Match: %s", cases[i].value);
        EXPECT(!precondition_holds(&match, 0), "If-Match: %s, without an item", cases[i].value);
        EXPECT(precondition_holds(&none, 0), "If-None-Match: %s, without an item", cases[i].value);
    }
}

static void without_the_headers_all_holds(void **state)
{
    (void)state;
    const precondition_t none = {.match = {.present = false}};
    EXPECT(precondition_holds(&none, 0) && precondition_holds(&none, 7), "it does not");
}

static void both_headers_must_hold(void **state)
{
    (void)state;
    precondition_t both = {.match = named_by("\"v7\"", ETAG_STRONG),
                           .none_match = named_by("\"v6\"", ETAG_WEAK)};
    EXPECT(precondition_holds(&both, 7), "it does not");
    both.none_match = named_by("\"v7\"", ETAG_WEAK);
    EXPECT(!precondition_holds(&both, 7), "it does");
}

static void many_versions_are_too_many(void **state)
{
    (void)state;
    named_versions_t named = {.present = false};
    char text[VERSION_ETAG_SIZE];
    for (uint64_t i = 1; i <= PRECONDITION_VERSIONS_MAX; ++i)
        EXPECT(etag_add_versions(etag_of_version(text, i), ETAG_STRONG, &named), "%s", text);
    EXPECT(etag_add_versions(STR("\"x\", \"y\""), ETAG_STRONG, &named), "others take no room");
    EXPECT(!etag_add_versions(STR("\"v99\""), ETAG_STRONG, &named), "it had room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tag_leads_back_to_its_version), TEST(tags_that_name_version_7),
        TEST(without_the_headers_all_holds),   TEST(both_headers_must_hold),
        TEST(many_versions_are_too_many),
    };
    return test_run("preconditions", tests, TEST_COUNT(tests), NULL, NULL);
}
