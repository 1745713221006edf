/* The loop: who is served already goes before who comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "loop/loop.h"

/* Connections that all have something to read at any time, of which the kernel tells at most 256 in
   one turn (libh2o's evloop); handling one takes so long that a turn takes milliseconds. */
#define CROWD 900
#define A_TURN 256
#define HANDLING_US 20

static struct {
    loop_t loop;
    unsigned handled, until; /* of the crowd: how many; when to set off what is tested */
    void (*set_off)(void);
    unsigned seen_after; /* so many of the crowd were handled in between; 0: not yet */
} world;

static void on_crowd(h2o_socket_t *socket, const char *err)
{
    (void)socket;
    assert_null(err);
    for (uint64_t begun = clock_mono_us(); clock_mono_us() - begun < HANDLING_US;)
        ;
    if (++world.handled == world.until)
        world.set_off();
    if (world.handled > 20 * CROWD)
        world.loop.stop = true;
}

static void seen(void)
{
    world.seen_after = world.handled - world.until + 1;
    world.loop.stop = true;
}

/* Runs the loop with the crowd until `seen`; returns how many of the crowd went before. */
static unsigned crowd_before(void (*set_off)(void))
{
    static h2o_socket_t *crowd[CROWD];
    world.handled = world.seen_after = 0;
    world.until = 3 * CROWD;
    world.set_off = set_off;
    world.loop.stop = false;
    for (unsigned i = 0; i < CROWD; ++i) {
        int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_true(fd >= 0);
        crowd[i] = h2o_evloop_socket_create(world.loop.h2o, fd, H2O_SOCKET_FLAG_DONT_READ);
        h2o_socket_read_start(crowd[i], on_crowd);
    }
    loop_run(&world.loop);
    for (unsigned i = 0; i < CROWD; ++i)
        h2o_socket_close(crowd[i]);
    assert_int_not_equal(world.seen_after, 0);
    return world.seen_after - 1;
}

/* --- a message --- */

static loop_message_t message;

static void on_message(loop_message_t *got)
{
    assert_ptr_equal(got, &message);
    seen();
}

static void post(void)
{
    message.run = on_message;
    loop_post(&world.loop, &message);
}

static void test_messages_go_before_the_crowd(void **state)
{
    (void)state;
    assert_true(crowd_before(post) <= A_TURN);
}

/* --- an answer of a server --- */

static loop_watch_t watch;
static int ends[2];

static void on_answer(loop_watch_t *got)
{
    char byte;
    assert_ptr_equal(got, &watch);
    if (read(ends[0], &byte, 1) == 1)
        seen();
}

static void on_room(loop_watch_t *got)
{
    assert_ptr_equal(got, &watch);
    seen();
}

static void answer(void)
{
    assert_int_equal(write(ends[1], "x", 1), 1);
}

static void ask(void)
{
    loop_watch_write(&watch);
}

static void start_watch(int end)
{
    assert_int_equal(pipe(ends), 0);
    loop_watch_start(&world.loop, &watch, ends[end], on_answer, on_room);
}

static void stop_watch(void)
{
    loop_watch_stop(&watch);
    loop_watch_stop(&watch); /* of one that is not watched: nothing */
    close(ends[0]);
    close(ends[1]);
}

static void test_answers_go_before_the_crowd(void **state)
{
    (void)state;
    start_watch(0);
    loop_watch_reads(&watch, true);
    assert_true(crowd_before(answer) <= A_TURN);
    stop_watch();
}

static void test_calls_go_before_the_crowd(void **state)
{
    (void)state;
    start_watch(1);
    assert_true(crowd_before(ask) <= A_TURN);
    stop_watch();
}

/* Without a crowd: each is told of all the same, by libh2o. */
static void test_it_wakes(void **state)
{
    (void)state;
    world.loop.stop = false;
    world.handled = world.until = 0;
    post();
    loop_run(&world.loop);
    start_watch(0);
    loop_watch_reads(&watch, true);
    answer();
    world.loop.stop = false;
    loop_run(&world.loop);
    stop_watch();
}

static int start_loop(void **state)
{
    (void)state;
    loop_init(&world.loop, 0);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_wakes),
        cmocka_unit_test(test_messages_go_before_the_crowd),
        cmocka_unit_test(test_answers_go_before_the_crowd),
        cmocka_unit_test(test_calls_go_before_the_crowd),
    };
    return cmocka_run_group_tests(tests, start_loop, NULL);
}
