/*
 * A token is compared in constant time. No clock is asked: each comparison of equal lengths has to
 * go through CRYPTO_memcmp, once and for the whole length, wherever the first wrong byte is. The
 * linker puts this file's function in its place (CMakeLists.txt).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/secret.h"

#define LENGTH_MAX 100

static unsigned calls;
static size_t compared; /* bytes of the last call */

int __real_CRYPTO_memcmp(const void *a, const void *b, size_t n);
int __wrap_CRYPTO_memcmp(const void *a, const void *b, size_t n);
int __wrap_CRYPTO_memcmp(const void *a, const void *b, size_t n)
{
    ++calls;
    compared = n;
    return __real_CRYPTO_memcmp(a, b, n);
}

static void all_of_it_is_compared_whatever_is_wrong(void **state)
{
    (void)state;
    char secret[LENGTH_MAX], given[LENGTH_MAX];
    memset(secret, 's', sizeof(secret));
    for (size_t n = 1; n <= LENGTH_MAX; ++n)
        for (size_t wrong = 0; wrong <= n; ++wrong) { /* n: none is */
            memcpy(given, secret, sizeof(given));
            if (wrong < n)
                given[wrong] = 'x';
            calls = 0;
            assert_int_equal(secret_eq((str_t){given, n}, (str_t){secret, n}), wrong == n);
            assert_int_equal(calls, 1);
            assert_int_equal(compared, n);
        }
}

static void another_length_is_another_text(void **state)
{
    (void)state;
    assert_false(secret_eq(STR("secre"), STR("secret")));
    assert_false(secret_eq(STR("secret"), STR("secre")));
    assert_false(secret_eq(STR_NONE, STR("secret")));
    assert_true(secret_eq(STR("secret"), STR("secret")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_is_compared_whatever_is_wrong),
        cmocka_unit_test(another_length_is_another_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
