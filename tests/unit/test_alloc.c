/* What a process says that has no memory left, or cannot go on for another reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/fatal.h"
#include "base/log.h"

/* AddressSanitizer ends the process at a size that cannot be had, unless it is told. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* What a process writes that calls `end` and ends by SIGABRT; into `said`. */
static void expect_abort(void (*end)(void), char *said, size_t size)
{
    int pipe_ends[2], status;
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGABRT, SIG_DFL);
        dup2(pipe_ends[1], STDERR_FILENO);
        log_start();
        end();
        _exit(0);
    }
    close(pipe_ends[1]);
    size_t n = 0;
    for (ssize_t more; n < size - 1 && (more = read(pipe_ends[0], said + n, size - 1 - n)) > 0;)
        n += (size_t)more;
    said[n] = '\0';
    close(pipe_ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void too_many_bytes(void)
{
    free(alloc_bytes(PTRDIFF_MAX));
}

static void product_that_does_not_fit(void)
{
    free(alloc_zero(SIZE_MAX / 2, 4));
}

static void room_that_does_not_fit(void)
{
    free(alloc_resize(alloc_bytes(4), SIZE_MAX / 8 + 2, 8));
}

static void library_without_memory(void)
{
    alloc_check(NULL);
}

static void test_no_memory_is_logged(void **state)
{
    (void)state;
    static void (*const ends[])(void) = {too_many_bytes, product_that_does_not_fit,
                                         room_that_does_not_fit, library_without_memory};
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); ++i) {
        char said[8192];
        expect_abort(ends[i], said, sizeof(said));
        assert_non_null(strstr(said, "\"level\":\"error\",\"at\":\"unit/test_alloc.c:"));
        assert_non_null(strstr(said, "out of memory"));
    }
}

static void no_thread(void)
{
    FATAL("a thread of the test", EAGAIN);
}

static void test_the_end_is_logged(void **state)
{
    (void)state;
    char said[8192];
    expect_abort(no_thread, said, sizeof(said));
    assert_non_null(strstr(said, "\"at\":\"unit/test_alloc.c:"));
    assert_non_null(strstr(said, "\"failed\":\"a thread of the test\""));
    assert_non_null(strstr(said, strerror(EAGAIN)));
}

static void test_what_is_had(void **state)
{
    (void)state;
    unsigned char *zero = alloc_zero(3, 5), *aligned = alloc_aligned(64, 128);
    for (unsigned i = 0; i < 15; ++i)
        assert_int_equal(zero[i], 0);
    for (unsigned i = 0; i < 128; ++i)
        assert_int_equal(aligned[i], 0);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    char *copy = alloc_copy("abc", 2), *text = alloc_text("text"), *empty = alloc_copy(NULL, 0);
    assert_string_equal(copy, "ab");
    assert_string_equal(text, "text");
    assert_string_equal(empty, "");
    text = alloc_resize(text, 100, 1);
    assert_string_equal(text, "text");
    void *none = alloc_zero(0, 8);
    assert_non_null(none);
    free(zero), free(aligned), free(copy), free(text), free(empty), free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_is_logged),
        cmocka_unit_test(test_the_end_is_logged),
        cmocka_unit_test(test_what_is_had),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
