/* Clocks, random numbers and order ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/order_id.h"
#include "base/random.h"

/* ---- clocks ---- */

static void test_a_clock_not_observed_takes_another(void **state)
{
    (void)state;
    remote_clock_t gate, shard;
    remote_clock_init(&gate);
    remote_clock_init(&shard);
    remote_clock_guess_by(&gate, &shard); /* which knows nothing itself */
    assert_true(remote_clock_now_ms(&gate) + 1000 > clock_wall_ms());
    remote_clock_observe(&shard, clock_mono_ms(), 5000000);
    remote_clock_guess_by(&gate, &shard);
    assert_in_range(remote_clock_now_ms(&gate), 5000000, 5060000);
    assert_false(remote_clock_is_observed(&gate));
    remote_clock_observe(&gate, clock_mono_ms(), 9000000);
    remote_clock_guess_by(&gate, &shard);
    assert_in_range(remote_clock_now_ms(&gate), 9000000, 9060000);
}

static void test_remote_clock_follows(void **state)
{
    (void)state;
    remote_clock_t clock;
    remote_clock_init(&clock);
    int64_t guess = (int64_t)remote_clock_now_ms(&clock) - (int64_t)clock_wall_ms();
    assert_in_range(guess + 100, 0, 200);

    uint64_t now = clock_mono_ms();
    remote_clock_observe(&clock, now, 5000000);
    assert_in_range(remote_clock_now_ms(&clock), 5000000, 5000200);

    /* An answer that took 900 ms agrees with the estimate, and so must not move it. */
    now = clock_mono_ms();
    uint64_t before = remote_clock_now_ms(&clock);
    remote_clock_observe(&clock, now - 900, before - 300);
    assert_in_range(remote_clock_now_ms(&clock) - before, 0, 100);

    /* The server's clock was set back. */
    remote_clock_observe(&clock, clock_mono_ms(), 1000);
    assert_in_range(remote_clock_now_ms(&clock), 1000, 1200);
}

static void test_time_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-31T12:00:00.000Z", UINT64_C(1769860800000)},
        {"2026-01-31t12:00:00.5z", UINT64_C(1769860800500)},
        {"2026-01-31T13:30:00.123456789+01:30", UINT64_C(1769860800123)},
        {"2026-01-31T09:00:00.001-03:00", UINT64_C(1769860800001)},
        {"2024-02-29T23:59:60-00:00", UINT64_C(1709251200000)},
        {"9999-12-31T23:59:59.999Z", UINT64_C(253402300799999)},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); ++i) {
        uint64_t ms = 1;
        assert_int_equal(time_parse_rfc3339(good[i].text, strlen(good[i].text), &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-02-29T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-01-00T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:00+1:00",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00Zx",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59-00:01",
        "+026-01-31T12:00:00Z",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        uint64_t ms;
        assert_int_equal(time_parse_rfc3339(bad[i], strlen(bad[i]), &ms), -1);
    }
    /* A shorter `n` ends the text, and a NUL is no terminator. */
    uint64_t ms;
    assert_int_equal(time_parse_rfc3339("2026-01-31T12:00:00Zgarbage", 20, &ms), 0);
    assert_int_equal(time_parse_rfc3339("2026-01-31T12:00:00\0", 20, &ms), -1);
}

static void test_time_sql(void **state)
{
    (void)state;
    uint64_t ms;
    char text[TIME_TEXT_SIZE];
    assert_int_equal(time_parse_sql("2026-01-31 12:00:00.007", 23, &ms), 0);
    assert_int_equal(ms, UINT64_C(1769860800007));
    time_format_sql(text, ms);
    assert_string_equal(text, "2026-01-31 12:00:00.007");
    time_format_rfc3339(text, ms);
    assert_string_equal(text, "2026-01-31T12:00:00.007Z");
    assert_int_equal(time_parse_sql("0000-00-00 00:00:00.000", 23, &ms), -1);
    assert_int_equal(time_parse_sql("2026-01-31T12:00:00.000", 23, &ms), -1);
    for (uint64_t at = 0; at < UINT64_C(253402300800000); at += UINT64_C(86399999) * 997) {
        time_format_sql(text, at);
        assert_int_equal(time_parse_sql(text, strlen(text), &ms), 0);
        assert_int_equal(ms, at);
    }
}

/* ---- random numbers ---- */

static void *thread_random(void *out)
{
    uint64_t *words = out;
    words[0] = random_u64();
    random_bytes(&words[1], 8);
    return NULL;
}

static void test_random_threads_differ(void **state)
{
    (void)state;
    uint64_t words[4][2];
    pthread_t threads[3];
    for (int i = 0; i < 3; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_random, words[i]), 0);
    for (int i = 0; i < 3; ++i)
        pthread_join(threads[i], NULL);
    thread_random(words[3]);
    uint64_t *all = &words[0][0];
    for (int i = 0; i < 8; ++i) {
        for (int j = 0; j < i; ++j)
            assert_int_not_equal(all[i], all[j]);
    }
}

static void test_random_after_fork(void **state)
{
    (void)state;
    uint64_t ours[2], theirs[2];
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    thread_random(ours); /* fill the buffer that the child inherits */
    pid_t child = fork();
    if (child == 0) {
        thread_random(theirs);
        _exit(write(pipe_fds[1], theirs, sizeof(theirs)) == sizeof(theirs) ? 0 : 1);
    }
    thread_random(ours);
    assert_int_equal(read(pipe_fds[0], theirs, sizeof(theirs)), sizeof(theirs));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_not_equal(ours[0], theirs[0]);
    assert_int_not_equal(ours[1], theirs[1]);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_random_bytes_long(void **state)
{
    (void)state;
    static unsigned char bytes[10000];
    unsigned seen[256] = {0};
    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); ++i)
        ++seen[bytes[i]];
    for (int i = 0; i < 256; ++i)
        assert_in_range(seen[i], 1, 200);
}

static void test_random_backoff(void **state)
{
    (void)state;
    uint32_t low = UINT32_MAX, high = 0;
    for (int i = 0; i < 2000; ++i) {
        uint32_t n = random_backoff(5, 1000, 1);
        low = n < low ? n : low;
        high = n > high ? n : high;
        assert_in_range(random_backoff(5, 12, 40), 1, 12);
    }
    assert_int_equal(low, 1);
    assert_int_equal(high, 10);
    assert_int_equal(random_backoff(1, 1, 0), 1);
    assert_int_equal(random_backoff(0, 10, 3), 1);
    assert_true(random_backoff(UINT32_MAX, UINT32_MAX, 31) >= 1);
}

/* ---- order ids ---- */

static int set_key(void **state)
{
    (void)state;
    order_id_set_key(STR("a key of order ids"));
    return 0;
}

static void test_order_id_parts(void **state)
{
    (void)state;
    for (uint16_t slot = 0; slot < 4096; ++slot) {
        uint64_t ms = UINT64_C(1769860800007) + slot;
        order_id_t id = order_id_issue(slot, ms), back;
        assert_int_equal(order_id_slot(&id), slot);
        assert_int_equal(order_id_time_ms(&id), ms);
        assert_true(order_id_issued_here(&id));
        char text[ORDER_ID_TEXT + 1];
        order_id_format(text, &id);
        assert_int_equal(text[14], '7');
        assert_true(order_id_parse(str_of(text), &back));
        assert_true(order_id_eq(&id, &back));
    }
    assert_true(order_id_is_none(&ORDER_ID_NONE));
    order_id_t id = order_id_issue(0, 0);
    assert_false(order_id_is_none(&id));
}

/* The layout is written down in the header: check it with another call. */
static void test_order_id_layout(void **state)
{
    (void)state;
    order_id_t id = order_id_issue(1023, UINT64_C(1769860800007));
    unsigned char message[14], key[32], tag[8];
    size_t n = 0, size = sizeof(tag);
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t("size", &size),
                                 OSSL_PARAM_construct_end()};
    memcpy(message, id.bytes, 8);
    message[8] = 0x80 | (id.bytes[10] & 0x3f);
    memcpy(message + 9, id.bytes + 11, 5);
    assert_int_equal(EVP_Digest("a key of order ids", 18, key, NULL, EVP_sha256(), NULL), 1);
    assert_non_null(
        EVP_Q_mac(NULL, "SIPHASH", NULL, NULL, params, key, 16, message, 14, tag, sizeof(tag), &n));
    assert_int_equal(n, sizeof(tag));
    assert_int_equal(id.bytes[8], 0x80 | tag[0] >> 2);
    assert_int_equal(id.bytes[9], (uint8_t)(tag[0] << 6 | tag[1] >> 2));
    assert_int_equal(id.bytes[10] >> 6, tag[1] & 3);
}

/* Any bit changed, or another key: the check fails, but for one chance in 65,536. */
static void test_order_id_check(void **state)
{
    (void)state;
    int passed = 0;
    for (int round = 0; round < 20; ++round) {
        order_id_t id = order_id_issue(7, UINT64_C(1769860800007));
        for (int bit = 0; bit < 128; ++bit) {
            id.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            passed += order_id_issued_here(&id);
            id.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(order_id_issued_here(&id));
    }
    assert_in_range(passed, 0, 3);
    order_id_t ids[3];
    for (int i = 0; i < 3; ++i)
        ids[i] = order_id_issue(7, 1);
    order_id_set_key(STR("quite another key"));
    assert_false(order_id_issued_here(&ids[0]) && order_id_issued_here(&ids[1]) &&
                 order_id_issued_here(&ids[2]));
    set_key(NULL);
    assert_true(order_id_issued_here(&ids[0]));
}

static void *thread_issue(void *out)
{
    *(order_id_t *)out = order_id_issue(3, 9);
    return NULL;
}

static void test_order_id_threads(void **state)
{
    (void)state;
    order_id_t ids[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_issue, &ids[i]), 0);
    for (int i = 0; i < 2; ++i) {
        pthread_join(threads[i], NULL);
        assert_true(order_id_issued_here(&ids[i]));
    }
    assert_false(order_id_eq(&ids[0], &ids[1]));
}

static void test_order_id_parse(void **state)
{
    (void)state;
    order_id_t id;
    assert_true(order_id_parse(STR("019C0123-abcd-7FFF-bfff-0123456789AB"), &id));
    assert_int_equal(order_id_slot(&id), 0xfff);
    static const char *const bad[] = {
        "",
        "019c0123-abcd-7fff-bfff-0123456789a",
        "019c0123-abcd-7fff-bfff-0123456789abc",
        "019c0123-abcd-4fff-bfff-0123456789ab",
        "019c0123-abcd-7fff-3fff-0123456789ab",
        "019c0123-abcd-7fff-ffff-0123456789ab",
        "019c0123abcd-7fff--bfff-0123456789ab",
        "019g0123-abcd-7fff-bfff-0123456789ab",
        "019c0123 abcd 7fff bfff 0123456789ab",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i)
        assert_false(order_id_parse(str_of(bad[i]), &id));
    assert_false(order_id_parse(STR_NONE, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remote_clock_follows),
        cmocka_unit_test(test_a_clock_not_observed_takes_another),
        cmocka_unit_test(test_time_texts),
        cmocka_unit_test(test_time_sql),
        cmocka_unit_test(test_random_threads_differ),
        cmocka_unit_test(test_random_after_fork),
        cmocka_unit_test(test_random_bytes_long),
        cmocka_unit_test(test_random_backoff),
        cmocka_unit_test_setup(test_order_id_parts, set_key),
        cmocka_unit_test_setup(test_order_id_layout, set_key),
        cmocka_unit_test_setup(test_order_id_check, set_key),
        cmocka_unit_test_setup(test_order_id_threads, set_key),
        cmocka_unit_test(test_order_id_parse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
