/* What bodies of HTTP/2 hold: which frames count, and where it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/http2_bodies.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS };
enum { END_STREAM = 1, PADDED = 8 };

#define STREAM_MAX 100
#define ALL_MAX 250

/* Input as libh2o has it: what it has not taken yet. */
static struct {
    char bytes[64 * 1024];
    size_t n;
    http2_bodies_t *bodies;
} world;

static int start(void **state)
{
    (void)state;
    world.bodies = http2_bodies_new(STREAM_MAX, ALL_MAX);
    world.n = 0;
    assert_true(http2_bodies_take(world.bodies, STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    http2_bodies_free(world.bodies);
    return 0;
}

static void put(int type, int flags, uint32_t stream, size_t n, unsigned padding)
{
    char *at = world.bytes + world.n;
    memset(at, 0, 9 + n);
    at[1] = (char)(n >> 8);
    at[2] = (char)n;
    at[3] = (char)type;
    at[4] = (char)flags;
    at[7] = (char)(stream >> 8);
    at[8] = (char)stream;
    if ((flags & PADDED) != 0 && n != 0)
        at[9] = (char)padding;
    world.n += 9 + n;
}

/* A copy of exactly its size: reading past the end is seen by the sanitizer. */
static bool take(void)
{
    char *copy = malloc(world.n);
    assert_non_null(copy);
    memcpy(copy, world.bytes, world.n);
    bool ok = http2_bodies_take(world.bodies, (str_t){copy, world.n});
    free(copy);
    world.n = 0;
    return ok;
}

static bool take_frame(int type, int flags, uint32_t stream, size_t n)
{
    put(type, flags, stream, n, 0);
    return take();
}

static void test_all_together(void **state)
{
    (void)state;
    assert_true(take_frame(DATA, 0, 1, 100));
    assert_true(take_frame(DATA, 0, 3, 100));
    assert_true(take_frame(DATA, 0, 5, 50));
    assert_true(take_frame(DATA, 0, 5, 0));
    assert_false(take_frame(DATA, 0, 7, 1));
}

static void test_what_has_ended_counts_no_more(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < 3000; i += 6) {
        assert_true(take_frame(DATA, 0, i, 100));
        assert_true(take_frame(DATA, 0, i + 2, 100));
        assert_true(take_frame(DATA, 0, i + 4, 50));
        put(DATA, END_STREAM, i, 100, 0);
        put(HEADERS, END_STREAM, i + 2, 10, 0);
        put(RST_STREAM, 0, i + 4, 4, 0);
        assert_true(take());
    }
    assert_true(take_frame(DATA, END_STREAM, 1, 200)); /* one frame is one body, and over */
}

/* libh2o resets it; what was on its way is ignored, and keeps nothing. */
static void test_a_body_over_its_limit_is_not_kept(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < 1001; i += 2) {
        assert_true(take_frame(DATA, 0, i, 60));
        assert_true(take_frame(DATA, 0, i, 60));
        assert_true(take_frame(DATA, 0, i, 1000));
    }
    assert_true(take_frame(DATA, 0, 1001, 100));
    assert_true(take_frame(DATA, 0, 1003, 100));
    assert_false(take_frame(DATA, 0, 1005, 51));
}

static void test_streams_have_a_limit(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HTTP2_STREAMS_MAX; ++i)
        assert_true(take_frame(DATA, 0, 2 * i + 1, 1));
    assert_false(take_frame(DATA, 0, 2 * HTTP2_STREAMS_MAX + 1, 1));
}

static void test_padding_does_not_count(void **state)
{
    (void)state;
    for (int i = 0; i < 100; ++i) {
        put(DATA, PADDED, 1, 51, 50);
        assert_true(take());
    }
    put(DATA, PADDED, 1, 151, 50); /* a hundred */
    put(DATA, PADDED, 3, 101, 0);
    put(DATA, PADDED, 5, 0, 0); /* broken, both */
    put(DATA, PADDED, 5, 5, 200);
    assert_true(take());
    assert_true(take_frame(DATA, 0, 7, 50));
    assert_false(take_frame(DATA, 0, 7, 1));
}

static void test_frames_in_pieces(void **state)
{
    (void)state;
    put(SETTINGS, END_STREAM, 0, 6, 0);
    put(DATA, 0, 1, 90, 0);
    size_t n = world.n;
    /* Until it is whole it is not counted, however often it is seen: libh2o does not take it. */
    for (int i = 0; i < 10; ++i)
        assert_true(http2_bodies_take(world.bodies, (str_t){world.bytes, n - 1}));
    assert_true(take());
    assert_true(take_frame(DATA, 0, 3, 100));
    assert_true(take_frame(DATA, 0, 5, 60));
    assert_false(take_frame(DATA, 0, 7, 1));
}

static void test_the_preface_comes_first(void **state)
{
    (void)state;
    http2_bodies_t *bodies = http2_bodies_new(STREAM_MAX, 0);
    str_t preface = STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\1\0\0\0\0\0\1x");
    for (size_t n = 0; n < preface.n; ++n)
        assert_true(http2_bodies_take(bodies, (str_t){preface.p, n < 24 ? n : 23}));
    assert_false(http2_bodies_take(bodies, preface));
    http2_bodies_free(bodies);
}

#define TEST(function_) cmocka_unit_test_setup_teardown(function_, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_together),
        TEST(test_what_has_ended_counts_no_more),
        TEST(test_a_body_over_its_limit_is_not_kept),
        TEST(test_streams_have_a_limit),
        TEST(test_padding_does_not_count),
        TEST(test_frames_in_pieces),
        TEST(test_the_preface_comes_first),
    };
    return cmocka_run_group_tests_name("http2 bodies", tests, NULL, NULL);
}
