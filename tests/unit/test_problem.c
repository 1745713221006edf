/* The table of refusals, as service/API.md promises it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sale/problem.h"

static void test_promised_codes(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code;
    } promised[] = {
        {400, "malformed_json"},      {400, "invalid_request"},
        {404, "unknown_item"},        {404, "unknown_order"},
        {401, "unauthorized"},        {403, "forbidden"},
        {404, "not_found"},           {409, "sold_out"},
        {409, "sale_not_started"},    {409, "buyer_limit_exceeded"},
        {409, "sale_ended"},          {409, "wrong_state"},
        {412, "precondition_failed"}, {428, "precondition_required"},
        {413, "body_too_large"},      {415, "unsupported_media_type"},
        {429, "rate_limited"},        {422, "idempotency_key_reused"},
        {503, "unavailable"},
    };
    for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); ++i) {
        problem_t problem = problem_of_code(str_of(promised[i].code));
        assert_string_equal(problem_code(problem), promised[i].code);
        assert_int_equal(problem_status(problem), promised[i].status);
    }
    assert_int_equal(problem_status(PROBLEM_METHOD_NOT_ALLOWED), 405);
}

static void test_codes_lead_back(void **state)
{
    (void)state;
    for (problem_t i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; ++i)
        assert_int_equal(problem_of_code(str_of(problem_code(i))), i);
}

/* They are written with %w of store/sql.h, into orders.reject_code, and into labels. */
static void test_codes_fit_everywhere(void **state)
{
    (void)state;
    for (problem_t i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; ++i) {
        const char *code = problem_code(i);
        assert_in_range(strlen(code), 1, 32);
        assert_int_equal(strspn(code, "abcdefghijklmnopqrstuvwxyz_"), strlen(code));
    }
}

static void test_every_problem_is_a_refusal(void **state)
{
    (void)state;
    for (problem_t i = PROBLEM_NONE + 1; i < PROBLEM_COUNT; ++i) {
        int status = problem_status(i);
        assert_in_range(status, 400, 599);
        assert_int_not_equal(status, 500);
        assert_true(strlen(problem_title(i)) > 0);
    }
    assert_int_equal(problem_status(PROBLEM_NONE), 200);
}

/* A row of a newer version: no crash, and nothing that says more than is known. */
static void test_unknown_codes(void **state)
{
    (void)state;
    assert_int_equal(problem_of_code(STR("of_tomorrow")), PROBLEM_UNAVAILABLE);
    assert_int_equal(problem_of_code(STR("")), PROBLEM_UNAVAILABLE);
    assert_int_equal(problem_of_code(STR_NONE), PROBLEM_UNAVAILABLE);
    assert_int_equal(problem_of_code(STR("SOLD_OUT")), PROBLEM_UNAVAILABLE);
    assert_int_equal(problem_of_code(STR("sold_out ")), PROBLEM_UNAVAILABLE);
    assert_int_equal(problem_of_code((str_t){"sold_out_now", 8}), PROBLEM_SOLD_OUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promised_codes),
        cmocka_unit_test(test_codes_lead_back),
        cmocka_unit_test(test_codes_fit_everywhere),
        cmocka_unit_test(test_every_problem_is_a_refusal),
        cmocka_unit_test(test_unknown_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
