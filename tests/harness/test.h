/*
 * What every integration test includes first: cmocka with what it needs, failing with words,
 * waiting with a deadline, and memory that needs no free().
 *
 * The harness is linked together with all objects of the service but main.c; so its names begin
 * with test_, web_, rows_, redis_, stack_, sale_, received_, chance_, fault_, crowd_, promises_ or
 * suite_ (but for `stack` and `node` of suite.h), and it uses none of the service's code.
 * Asserting is for the main thread only.
 */
#ifndef HOLDFAST_HARNESS_TEST_H
#define HOLDFAST_HARNESS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#define TEST_COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))

/* Says what was found and fails the case that runs. */
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
/* As assert_true(), with words that tell what was found. */
#define EXPECT(condition_, ...)                                                                    \
    do {                                                                                           \
        if (!(condition_)) {                                                                       \
            print_error("not so: %s\n", #condition_);                                              \
            test_fail(__FILE__, __LINE__, __VA_ARGS__);                                            \
        }                                                                                          \
    } while (0)
#define EXPECT_NUMBER(found_, expected_)                                                           \
    test_expect_number(__FILE__, __LINE__, #found_, (long long)(found_), (long long)(expected_))
void test_expect_number(const char *file, int line, const char *what, long long found,
                        long long expected);

/* Monotonic. */
long long test_clock_ms(void);
/* So long a test waits for a state that comes by itself. It says nothing of how fast the service
   is: machines are slow or busy, and only a test that fails waits to the end. */
#define TEST_WAIT_MS 120000
/* Looks every 10 ms until the condition holds; fails after TEST_WAIT_MS. */
#define WAIT_UNTIL(condition_)                                                                     \
    do {                                                                                           \
        long long wait_end_ = test_clock_ms() + TEST_WAIT_MS;                                      \
        while (!(condition_)) {                                                                    \
            if (test_clock_ms() > wait_end_)                                                       \
                test_fail(__FILE__, __LINE__, "not within %d ms: %s", TEST_WAIT_MS, #condition_);  \
            usleep(10000);                                                                         \
        }                                                                                          \
    } while (0)

/* --- memory that lasts until test_forget(), which a teardown calls; for any thread --- */
char *test_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *test_bytes(size_t size); /* zeroed */
void test_keep(void *thing, void (*free_it)(void *));
void test_forget(void);
/* A copy in a block of exactly its size: a sanitizer sees who reads past its end. */
char *test_exact(const void *bytes, size_t size);
/* `unit` written `times` times. */
char *test_repeat(const char *unit, size_t times);
/* For cmocka: test_forget(). */
int test_teardown(void **state);

/* A variable of the environment; fails, and says what to do, if there is none. */
const char *test_environment(const char *name);

/* --- cases --- */

/* One, and one that is given a text: a strategy, or something else that its name tells. */
#define TEST(function_)                                                                            \
    {                                                                                              \
#function_, function_                                                                      \
    }
#define UNDER(text_, function_)                                                                    \
    {                                                                                              \
        text_ ": " #function_, function_, NULL, NULL, (void *)text_                                \
    }
#define UNDER_ALL(function_)                                                                       \
    UNDER("lua", function_), UNDER("watch", function_), UNDER("optimistic", function_),            \
        UNDER("serializable", function_)

/* Runs `count` cases as a group, as cmocka_run_group_tests() does, for a table made at run time. A
   case without a teardown has test_teardown(). A connection that is closed is no SIGPIPE.
   HOLDFAST_TEST_FILTER, with * and ?, picks some by name. */
int test_run(const char *group, const struct CMUnitTest *tests, size_t count,
             CMFixtureFunction setup, CMFixtureFunction teardown);

#endif
