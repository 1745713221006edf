/* The pace of background threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/pacer.h"

static void *wake_soon(void *arg)
{
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    pacer_wake(arg);
    return NULL;
}

static void *stop_soon(void *arg)
{
    nanosleep(&(struct timespec){0, 50000000}, NULL);
    pacer_stop(arg);
    return NULL;
}

static void test_it_waits_for_its_time(void **state)
{
    (void)state;
    pacer_t pacer;
    pacer_init(&pacer);
    uint64_t begun = clock_mono_ms();
    assert_true(pacer_wait(&pacer, 30));
    assert_true(clock_mono_ms() - begun >= 29);
    pacer_dispose(&pacer);
}

/* An hour: only a wake, or a stop, can end it. */
static void test_it_is_woken_and_stopped(void **state)
{
    (void)state;
    pacer_t pacer;
    pthread_t thread;
    pacer_init(&pacer);
    pacer_wake(&pacer); /* before it waits: not lost */
    assert_true(pacer_wait(&pacer, 3600000));
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, &pacer), 0);
    assert_true(pacer_wait(&pacer, 3600000));
    pthread_join(thread, NULL);
    assert_false(pacer_is_stopping(&pacer));
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &pacer), 0);
    assert_false(pacer_wait(&pacer, 3600000));
    pthread_join(thread, NULL);
    assert_false(pacer_wait(&pacer, 3600000));
    pacer_dispose(&pacer);
}

/* Its deadline is of the monotonic clock: no step of the wall clock can move it. */
static void test_it_goes_by_the_monotonic_clock(void **state)
{
    (void)state;
    pacer_t pacer;
    pacer_init(&pacer);
    pthread_mutex_lock(&pacer.mutex);
    struct timespec soon;
    clock_gettime(CLOCK_MONOTONIC, &soon);
    uint64_t begun = clock_mono_ms();
    soon.tv_sec += 1;
    /* For a condition of the wall clock that moment is decades ago: it returns at once. */
    while (clock_mono_ms() - begun < 900 &&
           pthread_cond_timedwait(&pacer.wake, &pacer.mutex, &soon) == 0)
        ;
    uint64_t took = clock_mono_ms() - begun;
    pthread_mutex_unlock(&pacer.mutex);
    assert_true(took >= 900);
    pacer_dispose(&pacer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_waits_for_its_time),
        cmocka_unit_test(test_it_is_woken_and_stopped),
        cmocka_unit_test(test_it_goes_by_the_monotonic_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
