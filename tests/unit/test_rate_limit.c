/* Rate limits: the rule against a bucket that is counted in another way, and the tables. */
#include "http/rate_limit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/un.h>

#include "harness/chance.h"
#include "metrics/metrics.h"

#define SECOND UINT64_C(1000000000)
#define RATE_MAX 1000000
/* The last moment that the rule speaks of: some 292 years after the machine was started. */
#define LAST_NS ((UINT64_C(1) << 63) - 1)

/* How many of `asked` requests at one moment conform. */
static unsigned taken_at(const rate_rule_t *rule, uint64_t now_ns, uint64_t *tat_ns, unsigned asked)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < asked; ++i)
        taken += rate_take(rule, now_ns, tat_ns);
    return taken;
}

/* --- the rule --- */

static void a_burst_and_not_one_more(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 3, 7, 1000, RATE_MAX - 1, RATE_MAX};
    static const uint32_t bursts[] = {1, 2, 10, 1000, RATE_MAX};
    static const uint64_t moments[] = {0, 1, SECOND, 1000000 * SECOND, LAST_NS};
    for (size_t r = 0; r < TEST_COUNT(rates); ++r)
        for (size_t b = 0; b < TEST_COUNT(bursts); ++b)
            for (size_t m = 0; m < TEST_COUNT(moments); ++m) {
                rate_rule_t rule = rate_rule(rates[r], bursts[b]);
                uint64_t tat_ns = 0;
                EXPECT_NUMBER(taken_at(&rule, moments[m], &tat_ns, bursts[b] + 3), bursts[b]);
            }
}

static void a_token_comes_back_at_its_moment(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 3, 1000, RATE_MAX};
    for (size_t r = 0; r < TEST_COUNT(rates); ++r) {
        rate_rule_t rule = rate_rule(rates[r], 5);
        uint64_t tat_ns = 0, now_ns = 7 * SECOND;
        EXPECT_NUMBER(taken_at(&rule, now_ns, &tat_ns, 9), 5);
        for (unsigned i = 1; i < 20; ++i) {
            now_ns += rule.interval_ns;
            assert_false(rate_take(&rule, now_ns - 1, &tat_ns));
            EXPECT_NUMBER(taken_at(&rule, now_ns, &tat_ns, 2), 1);
        }
        now_ns += 3 * rule.interval_ns;
        EXPECT_NUMBER(taken_at(&rule, now_ns, &tat_ns, 9), 3);
        now_ns += 500 * rule.interval_ns; /* a rest gives a burst, and no more */
        EXPECT_NUMBER(taken_at(&rule, now_ns, &tat_ns, 9), 5);
    }
}

static void a_refusal_changes_nothing(void **state)
{
    (void)state;
    rate_rule_t rule = rate_rule(1, 2);
    uint64_t tat_ns = 0;
    taken_at(&rule, SECOND, &tat_ns, 2);
    uint64_t before_ns = tat_ns;
    EXPECT_NUMBER(taken_at(&rule, SECOND + SECOND / 2, &tat_ns, 1000), 0);
    assert_true(tat_ns == before_ns);
}

/* Retry-After is a whole second for all: it is never too short for the one who hears it. */
static void a_second_is_enough_for_each(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 2, 999, RATE_MAX};
    for (size_t r = 0; r < TEST_COUNT(rates); ++r) {
        rate_rule_t rule = rate_rule(rates[r], 100);
        uint64_t tat_ns = 0;
        taken_at(&rule, 5 * SECOND, &tat_ns, 200);
        assert_true(rate_take(&rule, 6 * SECOND, &tat_ns));
    }
}

/* Rounded, an interval is too long by less than a nanosecond, and never too short. */
static void the_rate_is_met_and_not_exceeded(void **state)
{
    (void)state;
    chance_t chance = chance_of("rates");
    for (unsigned i = 0; i < 10000; ++i) {
        uint32_t rate = 1 + chance_below(&chance, RATE_MAX);
        rate_rule_t rule = rate_rule(rate, 1);
        assert_true(rule.interval_ns * rate >= SECOND);
        assert_true((rule.interval_ns - 1) * rate < SECOND);
    }
    assert_true(rate_rule(1, 1).interval_ns == SECOND);
    assert_true(rate_rule(RATE_MAX, 1).interval_ns == 1000);
    assert_true(rate_rule(1, RATE_MAX).tolerance_ns == (RATE_MAX - 1) * SECOND);
}

/* A thread whose clock is behind gives no more than one that is not. */
static void a_clock_that_steps_back_gives_nothing(void **state)
{
    (void)state;
    rate_rule_t rule = rate_rule(10, 3);
    uint64_t tat_ns = 0;
    EXPECT_NUMBER(taken_at(&rule, 9 * SECOND, &tat_ns, 5), 3);
    EXPECT_NUMBER(taken_at(&rule, 0, &tat_ns, 5), 0);
    EXPECT_NUMBER(taken_at(&rule, 9 * SECOND + rule.interval_ns, &tat_ns, 5), 1);
}

/* A bucket as one would draw it: it holds time, gets more with time, and a request takes some. */
typedef struct {
    uint64_t level_ns, full_ns, seen_ns;
} bucket_t;

static bool bucket_take(bucket_t *bucket, uint64_t interval_ns, uint64_t now_ns)
{
    uint64_t more_ns = now_ns - bucket->seen_ns, room_ns = bucket->full_ns - bucket->level_ns;
    bucket->level_ns += more_ns < room_ns ? more_ns : room_ns;
    bucket->seen_ns = now_ns;
    if (bucket->level_ns < interval_ns)
        return false;
    bucket->level_ns -= interval_ns;
    return true;
}

static void it_decides_as_a_token_bucket(void **state)
{
    (void)state;
    chance_t chance = chance_of("buckets");
    unsigned taken = 0, refused = 0;
    for (unsigned round = 0; round < 300; ++round) {
        uint32_t burst = 1 + chance_below(&chance, 20);
        rate_rule_t rule = rate_rule(1 + chance_below(&chance, RATE_MAX), burst);
        uint64_t full_ns = burst * rule.interval_ns, now_ns = chance_below(&chance, 1000000);
        uint64_t tat_ns = 0;
        bucket_t bucket = {full_ns, full_ns, now_ns};
        for (unsigned i = 0; i < 300; ++i) {
            unsigned pace = chance_percent(&chance, 5) ? 40 : 2; /* a rest now and then */
            now_ns += chance_below(&chance, (unsigned)(pace * rule.interval_ns % UINT32_MAX));
            bool expected = bucket_take(&bucket, rule.interval_ns, now_ns);
            EXPECT(rate_take(&rule, now_ns, &tat_ns) == expected, "request %u of round %u", i,
                   round);
            taken += expected;
            refused += !expected;
        }
    }
    EXPECT(taken > 1000 && refused > 1000, "%u taken, %u refused", taken, refused);
}

/* --- tables --- */

static bool take(rate_table_t *table, unsigned key, uint64_t now_ns)
{
    return rate_table_take(table, (str_t){(const char *)&key, sizeof(key)}, now_ns);
}

static unsigned taken_by(rate_table_t *table, unsigned key, uint64_t now_ns, unsigned asked)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < asked; ++i)
        taken += take(table, key, now_ns);
    return taken;
}

static void keys_do_not_share(void **state)
{
    (void)state;
    enum { KEYS = 1000 };
    rate_table_t *table = rate_table_new(rate_rule(10, 4), 64 * KEYS);
    int64_t forgotten = METRIC_GET(rate_limit_forgotten_total);
    for (unsigned key = 0; key < KEYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, 9), 4);
    for (unsigned key = 0; key < KEYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, 9), 0);
    for (unsigned key = 0; key < KEYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND + SECOND / 5, 9), 2);
    EXPECT_NUMBER(METRIC_GET(rate_limit_forgotten_total) - forgotten, 0);
    rate_table_free(table);
}

static void names_differ_by_each_byte_and_by_length(void **state)
{
    (void)state;
    static const char zeros[128];
    rate_table_t *table = rate_table_new(rate_rule(1, 1), 4096);
    for (size_t n = 1; n <= sizeof(zeros); ++n) {
        assert_true(rate_table_take(table, (str_t){zeros, n}, SECOND));
        assert_false(rate_table_take(table, (str_t){zeros, n}, SECOND));
    }
    assert_true(rate_table_take(table, STR("alice"), SECOND));
    assert_true(rate_table_take(table, STR("Alice"), SECOND));
    assert_false(rate_table_take(table, STR("alice"), SECOND));
    rate_table_free(table);
}

static void at_clock_0_too(void **state)
{
    (void)state;
    rate_table_t *table = rate_table_new(rate_rule(1, 2), 64);
    EXPECT_NUMBER(taken_by(table, 1, 0, 5), 2);
    EXPECT_NUMBER(taken_by(table, 1, LAST_NS, 5), 2);
    rate_table_free(table);
}

/* One set: whoever has recovered makes room, and nothing is lost by it. */
static void who_has_recovered_is_forgotten_first(void **state)
{
    (void)state;
    rate_table_t *table = rate_table_new(rate_rule(1, 10), RATE_WAYS);
    int64_t forgotten = METRIC_GET(rate_limit_forgotten_total);
    uint64_t later_ns = 4 * SECOND;
    for (unsigned key = 0; key < RATE_WAYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, key == 0 ? 3 : 10), key == 0 ? 3 : 10);
    assert_true(take(table, 100, later_ns)); /* 0 owes nothing any more */
    EXPECT_NUMBER(METRIC_GET(rate_limit_forgotten_total) - forgotten, 0);
    for (unsigned key = 1; key < RATE_WAYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, later_ns, 20), 3);
    rate_table_free(table);
}

/* One set, and a crowd of others that would like its entries: they push out one another. */
static void no_crowd_pushes_out_who_owes_most(void **state)
{
    (void)state;
    rate_table_t *table = rate_table_new(rate_rule(1, 5), RATE_WAYS);
    int64_t forgotten = METRIC_GET(rate_limit_forgotten_total);
    for (unsigned key = 0; key < RATE_WAYS - 1; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, 5), 5);
    for (unsigned other = 1000; other < 3000; ++other)
        assert_true(take(table, other, SECOND));
    for (unsigned key = 0; key < RATE_WAYS - 1; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, 5), 0);
    EXPECT_NUMBER(METRIC_GET(rate_limit_forgotten_total) - forgotten, 2000 - 1);
    rate_table_free(table);
}

/* All entries owe, and this key least: it starts afresh when it comes again. */
static void who_is_forgotten_starts_afresh(void **state)
{
    (void)state;
    rate_table_t *table = rate_table_new(rate_rule(1, 5), RATE_WAYS);
    EXPECT_NUMBER(taken_by(table, 0, SECOND, 4), 4);
    for (unsigned key = 1; key < RATE_WAYS; ++key)
        EXPECT_NUMBER(taken_by(table, key, SECOND, 5), 5);
    assert_true(take(table, 100, SECOND));
    EXPECT_NUMBER(taken_by(table, 0, SECOND, 9), 5);
    rate_table_free(table);
}

/* --- threads --- */

#define THREADS 4

typedef struct {
    rate_table_t *table;
    unsigned keys, asked, crowd;
    _Atomic unsigned *taken; /* of each key */
    pthread_barrier_t *start;
} contest_t;

/* At one moment for all, so that a burst is all there is. */
static void *take_all(void *arg)
{
    const contest_t *contest = arg;
    pthread_barrier_wait(contest->start);
    for (unsigned i = 0; i < contest->asked; ++i)
        for (unsigned key = 0; key < contest->keys; ++key) {
            if (take(contest->table, key, SECOND))
                atomic_fetch_add(&contest->taken[key], 1);
            if (contest->crowd != 0)
                take(contest->table, 1000 + i % contest->crowd, SECOND);
        }
    return NULL;
}

static void run_contest(contest_t contest)
{
    pthread_t threads[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    contest.start = &start;
    for (unsigned i = 0; i < THREADS; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &contest), 0);
    for (unsigned i = 0; i < THREADS; ++i)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}

/* Each set holds all that come to it, and entries are made by all threads at once. */
static void threads_share_one_burst(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 200; ++round) {
        _Atomic unsigned taken[RATE_WAYS] = {0};
        rate_table_t *table = rate_table_new(rate_rule(1, 20), RATE_WAYS);
        run_contest((contest_t){.table = table, .keys = RATE_WAYS, .asked = 30, .taken = taken});
        for (unsigned key = 0; key < RATE_WAYS; ++key)
            EXPECT_NUMBER(taken[key], 20);
        rate_table_free(table);
    }
}

/* One set, whose other entries change hands all the time. */
static void threads_share_one_burst_among_a_crowd(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; ++round) {
        _Atomic unsigned taken[1] = {0};
        rate_table_t *table = rate_table_new(rate_rule(1, 50), RATE_WAYS);
        /* It owes more than any of the crowd can: each of those starts with 1, and asks for no more
           than 30 in all. */
        taken[0] = taken_by(table, 0, SECOND, 40);
        run_contest(
            (contest_t){.table = table, .keys = 1, .asked = 300, .crowd = 40, .taken = taken});
        EXPECT_NUMBER(taken[0], 50);
        rate_table_free(table);
    }
}

/* --- addresses --- */

/* As hex; "" for none. */
static const char *key_of(int family, const char *text)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    void *at = family == AF_INET ? (void *)&((struct sockaddr_in *)&address)->sin_addr
                                 : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
    EXPECT(inet_pton(family, text, at) == 1, "%s", text);
    str_t key = rate_address_key((const struct sockaddr *)&address);
    char *hex = test_bytes(2 * key.n + 1);
    for (size_t i = 0; i < key.n; ++i)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)key.p[i]);
    return hex;
}

static void an_address_is_whole_or_its_network(void **state)
{
    (void)state;
    assert_string_equal(key_of(AF_INET, "192.0.2.7"), "c0000207");
    assert_string_equal(key_of(AF_INET6, "::ffff:192.0.2.7"), "c0000207");
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:2::1"), "20010db800010002");
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:2:ffff::9"), "20010db800010002");
    assert_string_equal(key_of(AF_INET6, "2001:db8:1:3::1"), "20010db800010003");
    assert_string_equal(key_of(AF_INET6, "::1"), "0000000000000000");
    struct sockaddr_un other = {.sun_family = AF_UNIX};
    assert_true(rate_address_key((const struct sockaddr *)&other).n == 0);
}

/* --- what the configuration asks for --- */

static void nothing_is_limited_unless_it_is_configured(void **state)
{
    (void)state;
    config_t config = {
        .limits = {.buyer_burst = 2, .address_burst = 3, .entries_max = 1024},
    };
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_un other = {.sun_family = AF_UNIX};
    assert_null(rate_limits_new(&config));
    rate_limits_free(NULL);
    config.limits.address_per_second = 1;
    rate_limits_t *limits = rate_limits_new(&config);
    int64_t counted = METRIC_GET(rate_limited_by_address_total);
    for (unsigned i = 0; i < 10; ++i) {
        assert_true(rate_limits_take_buyer(limits, STR("alice"), 0));
        assert_true(rate_limits_take_address(limits, (const struct sockaddr *)&other, 0));
        assert_true(rate_limits_take_address(limits, (const struct sockaddr *)&v4, 0) == (i < 3));
    }
    EXPECT_NUMBER(METRIC_GET(rate_limited_by_address_total) - counted, 7);
    rate_limits_free(limits);
    config.limits.address_per_second = 0;
    config.limits.buyer_per_second = 1;
    limits = rate_limits_new(&config);
    counted = METRIC_GET(rate_limited_by_buyer_total);
    for (unsigned i = 0; i < 10; ++i) {
        assert_true(rate_limits_take_address(limits, (const struct sockaddr *)&v4, 0));
        assert_true(rate_limits_take_buyer(limits, STR("alice"), 0) == (i < 2));
    }
    EXPECT_NUMBER(METRIC_GET(rate_limited_by_buyer_total) - counted, 8);
    rate_limits_free(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_burst_and_not_one_more),
        TEST(a_token_comes_back_at_its_moment),
        TEST(a_refusal_changes_nothing),
        TEST(a_second_is_enough_for_each),
        TEST(the_rate_is_met_and_not_exceeded),
        TEST(a_clock_that_steps_back_gives_nothing),
        TEST(it_decides_as_a_token_bucket),
        TEST(keys_do_not_share),
        TEST(names_differ_by_each_byte_and_by_length),
        TEST(at_clock_0_too),
        TEST(who_has_recovered_is_forgotten_first),
        TEST(no_crowd_pushes_out_who_owes_most),
        TEST(who_is_forgotten_starts_afresh),
        TEST(threads_share_one_burst),
        TEST(threads_share_one_burst_among_a_crowd),
        TEST(an_address_is_whole_or_its_network),
        TEST(nothing_is_limited_unless_it_is_configured),
    };
    return test_run("rate_limit", tests, TEST_COUNT(tests), NULL, NULL);
}
