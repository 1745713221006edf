/* The last answer of /readyz is given again only for a moment, and under the same conditions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/readiness.h"

#define AT_US UINT64_C(7000000)
#define KEPT_US (READINESS_KEPT_MS * UINT64_C(1000))

static const readiness_stamp_t stamp = {.gate = GATE_OK, .probes = 5, .writers = 2};
static const readiness_t kept = {
    .status = 200, .rendered_us = AT_US, .stamp = {.gate = GATE_OK, .probes = 5, .writers = 2}};

static void it_is_kept_for_a_moment(void **state)
{
    (void)state;
    assert_true(readiness_is_fresh(&kept, &stamp, AT_US));
    assert_true(readiness_is_fresh(&kept, &stamp, AT_US + KEPT_US - 1));
    assert_false(readiness_is_fresh(&kept, &stamp, AT_US + KEPT_US));
}

static void nothing_is_kept_at_first(void **state)
{
    const readiness_t none = {.stamp = stamp};
    (void)state;
    assert_false(readiness_is_fresh(&none, &stamp, 1));
}

static void a_change_of_any_condition_ends_it(void **state)
{
    readiness_stamp_t now[] = {stamp, stamp, stamp, stamp};
    (void)state;
    now[0].draining = true;
    now[1].gate = GATE_UNKNOWN;
    ++now[2].probes;
    --now[3].writers;
    for (unsigned i = 0; i < sizeof(now) / sizeof(now[0]); ++i)
        assert_false(readiness_is_fresh(&kept, &now[i], AT_US));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_kept_for_a_moment),
        cmocka_unit_test(nothing_is_kept_at_first),
        cmocka_unit_test(a_change_of_any_condition_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
