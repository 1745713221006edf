/* The file of failpoints: what is armed, counted, noted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"

static char path[64], hits[80];

static void arm(const char *text)
{
    char fresh[80];
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    FILE *out = fopen(fresh, "we");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
    assert_int_equal(rename(fresh, path), 0);
}

static unsigned count_hits(void)
{
    char line[160];
    unsigned count = 0;
    FILE *in = fopen(hits, "re");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        ++count;
    if (in != NULL)
        fclose(in);
    return count;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/holdfast-failpoints.%d", (int)getpid());
    snprintf(hits, sizeof(hits), "%s.hits", path);
    return setenv("HOLDFAST_FAILPOINTS", path, 1);
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(hits);
    return 0;
}

static void nothing_happens_without_a_file(void **state)
{
    (void)state;
    assert_false(FAILPOINT_FAILS("here"));
    assert_int_equal(count_hits(), 0);
}

static void it_fails_after_some_and_so_many_times(void **state)
{
    (void)state;
    arm("here fail after=1 times=2\n");
    assert_false(FAILPOINT_FAILS("here"));
    assert_false(FAILPOINT_FAILS("there"));
    assert_true(FAILPOINT_FAILS("here"));
    assert_true(FAILPOINT_FAILS("here"));
    assert_false(FAILPOINT_FAILS("here"));
    assert_int_equal(count_hits(), 2);
}

static void numbers_are_walked(void **state)
{
    (void)state;
    arm("here error=7\nthere error=3-5 every=2\n");
    assert_int_equal(FAILPOINT_NUMBER("here"), 7);
    assert_int_equal(FAILPOINT_NUMBER("here"), 7);
    assert_false(FAILPOINT_FAILS("here"));
    assert_int_equal(FAILPOINT_NUMBER("elsewhere"), 0);
    const unsigned walked[] = {3, 0, 4, 0, 5, 0, 0};
    for (size_t i = 0; i < sizeof(walked) / sizeof(walked[0]); ++i)
        assert_int_equal(FAILPOINT_NUMBER("there"), walked[i]);
}

static void a_new_file_counts_anew(void **state)
{
    (void)state;
    arm("here fail times=1\n");
    assert_true(FAILPOINT_FAILS("here"));
    assert_false(FAILPOINT_FAILS("here"));
    arm("here fail times=1\nthere pause=1\n");
    assert_true(FAILPOINT_FAILS("here"));
    assert_false(FAILPOINT_FAILS("there"));
    assert_int_equal(count_hits(), 3);
}

static void what_is_not_understood_is_not_done(void **state)
{
    (void)state;
    arm("here explode\nhere fail often=3\nhere\nhere fail every=0\nhere error=5-4\n");
    assert_false(FAILPOINT_FAILS("here"));
    assert_int_equal(count_hits(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_happens_without_a_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_fails_after_some_and_so_many_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_are_walked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_file_counts_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_understood_is_not_done, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
