/* The sums of an audit: what is past its bound is reported once, however little memory there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "reconcile/audit_sums.h"

static sum_name_t buyer(const sums_t *sums, unsigned number)
{
    char text[16];
    snprintf(text, sizeof(text), "buyer-%u", number);
    return sums_name(sums, STR("poster"), str_of(text), STR_NONE);
}

static void a_name_is_all_of_its_parts(void **state)
{
    (void)state;
    sums_t sums;
    sums_init(&sums, 1 << 10);
    const sum_name_t names[] = {
        sums_name(&sums, STR("a"), STR("b"), STR_NONE),
        sums_name(&sums, STR("ab"), STR(""), STR_NONE),
        sums_name(&sums, STR(""), STR("ab"), STR_NONE),
        sums_name(&sums, STR("a"), STR("b"), STR("")),
        sums_name(&sums, STR("a"), STR(""), STR("b")),
        sums_name(&sums, STR("a"), STR("b"), STR("c")),
        sums_name(&sums, STR("a"), STR("bc"), STR_NONE),
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); ++i)
        for (unsigned j = 0; j < i; ++j)
            assert_true(names[i].hash != names[j].hash);
    sum_name_t again = sums_name(&sums, STR("a"), STR("b"), STR("c"));
    assert_true(again.hash == names[5].hash && again.check == names[5].check);
    sums_free(&sums);
}

/* Half of a hash is not enough: neither part alone makes two names one. */
static void both_parts_of_a_hash_count(void **state)
{
    (void)state;
    sums_t sums;
    sums_init(&sums, 1 << 10);
    assert_int_equal(sums_add(&sums, (sum_name_t){5, 1}, 1, 1, true), 0);
    assert_int_equal(sums_add(&sums, (sum_name_t){5, 2}, 1, 1, true), 0);
    assert_int_equal(sums_add(&sums, (sum_name_t){5 + (UINT64_C(1) << 40), 1}, 1, 1, true), 0);
    assert_int_equal(sums_add(&sums, (sum_name_t){5, 2}, 1, 1, true), SUM_PASSED | SUM_SUSPECT);
    sums_free(&sums);
}

static void it_is_past_its_bound_once_and_suspect_once(void **state)
{
    (void)state;
    sums_t sums;
    sums_init(&sums, 1 << 10);
    sum_name_t old = buyer(&sums, 1), fresh_first = buyer(&sums, 2), greedy = buyer(&sums, 3);
    assert_int_equal(sums_add(&sums, old, 2, 2, false), 0);
    assert_int_equal(sums_add(&sums, old, 1, 2, false), SUM_PASSED);
    assert_int_equal(sums_add(&sums, old, 1, 2, false), 0);
    assert_int_equal(sums_add(&sums, old, 1, 2, true), SUM_SUSPECT);
    assert_int_equal(sums_add(&sums, old, 1, 2, true), 0);
    assert_int_equal(sums_add(&sums, fresh_first, 1, 2, true), 0);
    assert_int_equal(sums_add(&sums, fresh_first, 2, 2, false), SUM_PASSED | SUM_SUSPECT);
    assert_int_equal(sums_add(&sums, greedy, 3, 2, true), SUM_PASSED | SUM_SUSPECT);
    sums_free(&sums);
}

static void a_sum_does_not_wrap(void **state)
{
    (void)state;
    sums_t sums;
    sums_init(&sums, 1 << 10);
    sum_name_t name = buyer(&sums, 1);
    assert_int_equal(sums_add(&sums, name, SUM_UNITS_MAX - 1, 2000000000, true), 0);
    assert_int_equal(sums_add(&sums, name, UINT32_MAX, 2000000000, true), SUM_PASSED | SUM_SUSPECT);
    sums_free(&sums);
}

/* --- little memory --- */

typedef struct {
    unsigned scans, passed, suspect;
    size_t slots_most;
} scanned_t;

/* Buyer n of `count` has three orders of one unit, one of them fresh if n is even. A limit of 3 is
   kept; those with n % nth == 0 have another unit. */
static scanned_t scan_all(size_t bytes, unsigned count, unsigned nth)
{
    sums_t sums;
    scanned_t out = {0};
    sums_init(&sums, bytes);
    do {
        for (unsigned order = 0; order < 4; ++order)
            for (unsigned n = 0; n < count; ++n) {
                if (order == 3 && n % nth != 0)
                    continue;
                unsigned found = sums_add(&sums, buyer(&sums, n), 1, 3, order == 2 && n % 2 == 0);
                out.passed += (found & SUM_PASSED) != 0;
                out.suspect += (found & SUM_SUSPECT) != 0;
                out.slots_most = sums.count > out.slots_most ? sums.count : out.slots_most;
            }
        ++out.scans;
    } while (sums_next(&sums));
    sums_free(&sums);
    return out;
}

static void with_room_for_all_one_scan_is_enough(void **state)
{
    (void)state;
    scanned_t out = scan_all(1 << 20, 10000, 10);
    assert_int_equal(out.scans, 1);
    assert_int_equal(out.passed, 1000);
    assert_int_equal(out.suspect, 1000);
    out = scan_all(1 << 20, 10000, 5);
    assert_int_equal(out.passed, 2000);
    assert_int_equal(out.suspect, 1000); /* the others have no fresh unit */
}

static void with_little_room_all_are_found_in_more_scans(void **state)
{
    (void)state;
    for (size_t bytes = 1 << 11; bytes <= 1 << 14; bytes *= 2) {
        scanned_t out = scan_all(bytes, 3000, 1000);
        assert_true(out.scans > 1);
        assert_true(out.slots_most * sizeof(sum_t) <= bytes);
        assert_int_equal(out.passed, 3);
        assert_int_equal(out.suspect, 3);
    }
    assert_true(scan_all(1 << 14, 3000, 1000).scans < 10);
    scanned_t out = scan_all(1 << 12, 3000, 15);
    assert_int_equal(out.passed, 200);
    assert_int_equal(out.suspect, 100);
}

/* Those past their bounds are kept, so that none is reported twice; the memory grows for them. */
static void all_may_be_past_their_bounds(void **state)
{
    (void)state;
    scanned_t out = scan_all(1 << 10, 3000, 1);
    assert_int_equal(out.passed, 3000);
    assert_int_equal(out.suspect, 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_all_of_its_parts),
        cmocka_unit_test(both_parts_of_a_hash_count),
        cmocka_unit_test(it_is_past_its_bound_once_and_suspect_once),
        cmocka_unit_test(a_sum_does_not_wrap),
        cmocka_unit_test(with_room_for_all_one_scan_is_enough),
        cmocka_unit_test(with_little_room_all_are_found_in_more_scans),
        cmocka_unit_test(all_may_be_past_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
