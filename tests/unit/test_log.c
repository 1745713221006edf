/* The log: what a line looks like, and how many of a kind are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* --- what is written --- */

static int real_stderr = -1;
static FILE *captured;

static void capture_start(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    real_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

/* What was logged since, to be freed. */
static char *capture_end(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    long n = lseek(fileno(captured), 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(pread(fileno(captured), text, (size_t)n, 0), n);
    fclose(captured);
    return text;
}

static cJSON *parse_line(const char *text)
{
    assert_non_null(strchr(text, '\n'));
    assert_string_equal(strchr(text, '\n'), "\n");
    cJSON *line = cJSON_Parse(text);
    assert_non_null(line);
    return line;
}

static const char *member(const cJSON *line, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, name));
}

static void test_log_line(void **state)
{
    (void)state;
    capture_start();
    errno = ENOENT;
    LOG_WARN("it \"broke\"", LOG_STR("text", "a\\b\n\x01\xc3\xa9\xff"), LOG_INT("n", INT64_MIN),
             LOG_STR("absent", NULL), LOG_BYTES("part", ((str_t){"abcdef", 3})));
    assert_int_equal(errno, ENOENT);
    char *text = capture_end();
    cJSON *line = parse_line(text);
    uint64_t ms;
    assert_int_equal(time_parse_rfc3339(member(line, "ts"), strlen(member(line, "ts")), &ms), 0);
    assert_string_equal(member(line, "level"), "warn");
    assert_memory_equal(member(line, "at"), "unit/test_log.c:", 16);
    assert_string_equal(member(line, "msg"), "it \"broke\"");
    assert_string_equal(member(line, "text"), "a\\b\n\x01\xc3\xa9\xef\xbf\xbd");
    assert_string_equal(member(line, "part"), "abc");
    assert_non_null(strstr(text, "\"n\":-9223372036854775808"));
    assert_non_null(strstr(text, "\"absent\":null"));
    cJSON_Delete(line);
    free(text);
}

static void test_log_levels(void **state)
{
    (void)state;
    capture_start();
    LOG_DEBUG("hidden");
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("hidden");
    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("shown");
    log_set_level(LOG_LEVEL_INFO);
    char *text = capture_end();
    cJSON *line = parse_line(text);
    assert_string_equal(member(line, "msg"), "shown");
    cJSON_Delete(line);
    free(text);
}

/* Whatever the length and wherever the cut falls: one line, valid JSON, at most 4 KiB. */
static void test_log_cuts(void **state)
{
    (void)state;
    static char huge[6000];
    for (size_t i = 0; i < sizeof(huge) - 1; ++i)
        huge[i] = "a\n\xc3\xa9"[i % 4];
    for (size_t n = 3600; n < 4100; ++n) {
        capture_start();
        LOG_ALWAYS(LOG_LEVEL_INFO, "cut", LOG_BYTES("big", ((str_t){huge, n})),
                   LOG_STR("next", "0123456789"));
        char *text = capture_end();
        assert_true(strlen(text) <= 4096);
        cJSON *line = parse_line(text);
        assert_true(cJSON_IsTrue(cJSON_GetObjectItem(line, "truncated")));
        cJSON_Delete(line);
        free(text);
    }
}

/* --- how many are written: the rule --- */

static void expect_line(log_limiter_t *state, uint64_t now_ms, log_verdict_t verdict)
{
    uint32_t held_back = 0;
    assert_int_equal(log_limiter_line(state, now_ms, &held_back), verdict);
    assert_int_equal(held_back, 0);
}

static void expect_flush(log_limiter_t *state, uint64_t now_ms, uint32_t others)
{
    uint32_t held_back = UINT32_MAX;
    assert_true(log_limiter_flush(state, now_ms, &held_back));
    assert_int_equal(held_back, others);
}

static void test_limiter_burst(void **state)
{
    log_limiter_t limiter = {0};
    uint32_t held_back;
    (void)state;
    expect_line(&limiter, 5000, LOG_LINE_WRITE);
    assert_false(log_limiter_flush(&limiter, 7000, &held_back)); /* nothing was held back */
    expect_line(&limiter, 5001, LOG_LINE_KEEP);
    for (int i = 0; i < 41; ++i)
        expect_line(&limiter, 5999, LOG_LINE_COUNT);
    assert_false(log_limiter_flush(&limiter, 5999, &held_back));
    expect_flush(&limiter, 6000, 41);
    /* The kept line was written at 6000: the next second starts there. */
    expect_line(&limiter, 6999, LOG_LINE_KEEP);
    expect_flush(&limiter, 7000, 0);
    expect_line(&limiter, 8000, LOG_LINE_WRITE);
}

static void test_limiter_next_line_says_what_was_held_back(void **state)
{
    log_limiter_t limiter = {0};
    uint32_t held_back = 0;
    (void)state;
    expect_line(&limiter, 0, LOG_LINE_WRITE);
    expect_line(&limiter, 0, LOG_LINE_KEEP);
    expect_line(&limiter, 999, LOG_LINE_COUNT);
    assert_int_equal(log_limiter_line(&limiter, 1000, &held_back), LOG_LINE_WRITE);
    assert_int_equal(held_back, 2);
    assert_false(log_limiter_flush(&limiter, 9000, &held_back));
}

/* One a second, however many come, and none is unaccounted for; more than the state can count are
   counted as the most that it can. */
static void test_limiter_flood(void **state)
{
    log_limiter_t limiter = {0};
    uint64_t written = 0, held_back_sum = 0, lines = 0;
    uint32_t held_back;
    (void)state;
    for (uint64_t ms = 77; ms < 10077; ++ms)
        for (int i = 0; i < 20; ++i, ++lines) {
            held_back = 0;
            written += log_limiter_line(&limiter, ms, &held_back) == LOG_LINE_WRITE;
            held_back_sum += held_back;
        }
    assert_true(log_limiter_flush(&limiter, 20000, &held_back));
    assert_int_equal(written, 10);
    assert_int_equal(written + 1 + held_back_sum + held_back, lines);
    limiter = (log_limiter_t){0};
    for (uint32_t i = 0; i < (1u << 24) + 10; ++i)
        log_limiter_line(&limiter, 5, &held_back);
    expect_flush(&limiter, 5000, (1u << 24) - 2);
}

/* --- how many are written: the log --- */

#define LINES 500

static void log_something(int i)
{
    LOG_WARN("something", LOG_INT("i", i));
}

/* Counts the lines with this text, and sums up the number after it. */
static unsigned count_of(const char *log, const char *text, long long *sum)
{
    unsigned count = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text), ++count)
        if (sum != NULL)
            *sum += strtoll(at + strlen(text), NULL, 10);
    return count;
}

static void test_log_burst(void **state)
{
    (void)state;
    uint64_t before = log_lines_held_back();
    long long held_back = 0;
    capture_start();
    for (int i = 0; i < LINES; ++i)
        log_something(i);
    LOG_INFO("another kind");
    log_flush();
    char *log = capture_end();
    assert_in_range(count_of(log, "\"msg\":\"something\"", NULL), 2, 4); /* a slow machine's */
    unsigned written = count_of(log, "\"msg\":\"something\"", NULL);
    count_of(log, "\"held_back\":", &held_back);
    assert_int_equal(written + held_back, LINES);
    assert_int_equal(log_lines_held_back() - before, held_back);
    assert_int_equal(count_of(log, "another kind", NULL), 1);
    assert_non_null(strstr(log, "\"i\":0"));
    free(log);
}

/* The kind stops, and nothing else is logged: the thread writes what was kept. */
static void test_log_thread(void **state)
{
    (void)state;
    uint64_t begun = clock_mono_ms(), before = log_lines_held_back();
    log_start();
    capture_start();
    for (int i = 0; i < 3; ++i)
        LOG_WARN("few");
    long long held_back = 0;
    /* log_stop() would write it too, so that must come after the thread did. */
    while (held_back == 0 && clock_mono_ms() - begun < 30000) {
        usleep(10000);
        held_back = (long long)log_lines_held_back() - (long long)before;
    }
    assert_int_equal(held_back, 1);
    log_stop();
    char *log = capture_end();
    assert_int_equal(count_of(log, "\"few\"", NULL), 2);
    assert_non_null(strstr(log, "\"held_back\":1}"));
    free(log);
}

static void *log_much(void *unused)
{
    for (int i = 0; i < 20 * LINES; ++i)
        LOG_ERROR("much", LOG_STR("more", "of it"));
    return unused;
}

/* Many at once: no line is lost to the count, and each is whole. */
static void test_log_threads(void **state)
{
    pthread_t threads[4];
    long long held_back = 0;
    (void)state;
    log_start();
    capture_start();
    for (int i = 0; i < 4; ++i)
        assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
    for (int i = 0; i < 4; ++i)
        pthread_join(threads[i], NULL);
    log_stop();
    char *log = capture_end(), *rest = log, *line;
    unsigned written = count_of(log, "\"msg\":\"much\"", NULL);
    count_of(log, "\"held_back\":", &held_back);
    assert_int_equal(written + held_back, 4 * 20 * LINES);
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        cJSON_Delete(json);
    }
    free(log);
}

/* --- a reader that has stopped --- */

#define MANY 30000

static int reader = -1;
static atomic_bool reading;

/* Standard error is a pipe that nobody reads. */
static void capture_nothing(void)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    real_stderr = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    reader = pipes[0];
}

/* Reads all there is and will be, until a line with `last` was read. Returns how many lines. */
static unsigned read_until(const char *last, long long *dropped)
{
    FILE *in = fdopen(reader, "r");
    char line[8192];
    unsigned lines = 0;
    bool ended = false;
    while (!ended && fgets(line, sizeof(line), in) != NULL) {
        ended = strstr(line, last) != NULL;
        lines += strstr(line, "\"msg\":\"many\"") != NULL;
        count_of(line, "\"dropped\":", dropped);
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        cJSON_Delete(json);
    }
    assert_true(ended);
    fclose(in);
    return lines;
}

static void *log_the_end(void *unused)
{
    /* It is dropped, too, while there is no room. */
    while (atomic_load(&reading)) {
        LOG_ALWAYS(LOG_LEVEL_INFO, "the end");
        usleep(1000);
    }
    return unused;
}

/* All calls return; what had no room is counted and said when there is room again. */
static void test_log_reader_stops(void **state)
{
    (void)state;
    uint64_t before = log_lines_dropped();
    long long said = 0;
    pthread_t ender;
    capture_nothing();
    log_start();
    for (int i = 0; i < MANY; ++i)
        LOG_ALWAYS(LOG_LEVEL_INFO, "many", LOG_INT("i", i));
    long long dropped = (long long)(log_lines_dropped() - before);
    assert_true(dropped > 0);
    atomic_store(&reading, true);
    assert_int_equal(pthread_create(&ender, NULL, log_the_end, NULL), 0);
    unsigned lines = read_until("the end", &said);
    atomic_store(&reading, false);
    pthread_join(ender, NULL);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    log_stop();
    assert_true(said >= dropped); /* with some of those at the end */
    assert_int_equal(lines + dropped, MANY);
}

/* It ends all the same. */
static void test_log_stops_without_a_reader(void **state)
{
    (void)state;
    capture_nothing();
    log_start();
    for (int i = 0; i < MANY; ++i)
        LOG_ALWAYS(LOG_LEVEL_INFO, "many", LOG_INT("i", i));
    log_flush();
    log_stop();
    close(reader);
    for (int i = 0; i < 20; ++i)
        log_flush(); /* what is left is written to nobody, not to the real one */
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
}

/* What an operator has asked for is written, each line. */
static void test_log_not_limited(void **state)
{
    (void)state;
    capture_start();
    log_set_level(LOG_LEVEL_DEBUG);
    for (int i = 0; i < LINES; ++i) {
        LOG_ALWAYS(LOG_LEVEL_INFO, "item changed", LOG_INT("i", i));
        LOG_DEBUG("detail", LOG_INT("i", i));
    }
    log_set_level(LOG_LEVEL_INFO);
    char *log = capture_end();
    assert_int_equal(count_of(log, "item changed", NULL), LINES);
    assert_int_equal(count_of(log, "detail", NULL), LINES);
    free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_line),
        cmocka_unit_test(test_log_levels),
        cmocka_unit_test(test_log_cuts),
        cmocka_unit_test(test_limiter_burst),
        cmocka_unit_test(test_limiter_next_line_says_what_was_held_back),
        cmocka_unit_test(test_limiter_flood),
        cmocka_unit_test(test_log_burst),
        cmocka_unit_test(test_log_thread),
        cmocka_unit_test(test_log_threads),
        cmocka_unit_test(test_log_not_limited),
        cmocka_unit_test(test_log_reader_stops),
        cmocka_unit_test(test_log_stops_without_a_reader), /* the last: its thread goes on */
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
