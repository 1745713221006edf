#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

void test_fail(const char *file, int line, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    print_error("%s\n", text);
    _fail(file, line);
    abort(); /* _fail() jumps back to cmocka */
}

void test_expect_number(const char *file, int line, const char *what, long long found,
                        long long expected)
{
    if (found != expected)
        test_fail(file, line, "%s is %lld, expected %lld", what, found, expected);
}

long long test_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* --- memory --- */

typedef struct kept {
    struct kept *next;
    void *thing;
    void (*free_it)(void *);
} kept_t;

static kept_t *all_kept;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

void test_keep(void *thing, void (*free_it)(void *))
{
    kept_t *kept = malloc(sizeof(*kept));
    if (kept == NULL)
        abort();
    pthread_mutex_lock(&kept_lock);
    *kept = (kept_t){all_kept, thing, free_it};
    all_kept = kept;
    pthread_mutex_unlock(&kept_lock);
}

void test_forget(void)
{
    pthread_mutex_lock(&kept_lock);
    while (all_kept != NULL) {
        kept_t *kept = all_kept;
        all_kept = kept->next;
        kept->free_it(kept->thing);
        free(kept);
    }
    pthread_mutex_unlock(&kept_lock);
}

int test_teardown(void **state)
{
    (void)state;
    test_forget();
    return 0;
}

char *test_text(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    test_keep(text, free);
    return text;
}

void *test_bytes(size_t size)
{
    void *bytes = calloc(1, size == 0 ? 1 : size);
    if (bytes == NULL)
        abort();
    test_keep(bytes, free);
    return bytes;
}

char *test_exact(const void *bytes, size_t size)
{
    char *copy = test_bytes(size);
    if (size != 0)
        memcpy(copy, bytes, size);
    return copy;
}

char *test_repeat(const char *unit, size_t times)
{
    size_t n = strlen(unit);
    char *text = test_bytes(n * times + 1);
    for (size_t i = 0; i < times; ++i)
        memcpy(text + i * n, unit, n);
    return text;
}

/* --- the run --- */

const char *test_environment(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL || *value == '\0') {
        print_error("%s is not set: run tests/run, or source DIR/env of a stack and export "
                    "HOLDFAST_REPO, HOLDFAST_TEST_BUILD and HOLDFAST_TEST_TMP\n",
                    name);
        exit(2);
    }
    return value;
}

int test_run(const char *group, const struct CMUnitTest *tests, size_t count,
             CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const char *filter = getenv("HOLDFAST_TEST_FILTER");
    if (filter != NULL)
        cmocka_set_test_filter(filter);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    struct CMUnitTest *all = calloc(count, sizeof(*all));
    if (all == NULL)
        abort();
    for (size_t i = 0; i < count; ++i) {
        all[i] = tests[i];
        if (all[i].teardown_func == NULL)
            all[i].teardown_func = test_teardown;
    }
    int failed = _cmocka_run_group_tests(group, all, count, setup, teardown);
    free(all);
    return failed;
}
