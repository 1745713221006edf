/*
 * The blocking calls to the gate against a Redis that says what a test wants: what they make of an
 * error, of no answer, and of an answer that makes no sense.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "gate/gate_sync.h"
#include "metrics/metrics.h"

static const item_ref_t item = {.slot = 7, .sku = {3, "sku"}}; /* that the calls are about */
static const char hello[] = "*3\r\n:1000000\r\n$3\r\nrun\r\n:1\r\n";

/* What the server answers to all but hello; NULL: it closes the connection. */
static const char *answer;
static char path[64];
static int listening = -1;
static pthread_t thread;

static void serve(int fd)
{
    char request[4096];
    for (ssize_t n; (n = read(fd, request, sizeof(request))) > 0;) {
        bool greets = memmem(request, (size_t)n, "holdfast_hello", 14) != NULL;
        const char *text = greets ? hello : answer;
        if (text == NULL || write(fd, text, strlen(text)) < 0)
            return;
    }
}

static void *server(void *unused)
{
    (void)unused;
    for (int fd; (fd = accept(listening, NULL, NULL)) >= 0; close(fd))
        serve(fd);
    return NULL;
}

static int start(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;
    snprintf(path, sizeof(path), "/tmp/holdfast-gate-sync.%d", (int)getpid());
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    log_set_level(LOG_LEVEL_ERROR);
    return bind(listening, (struct sockaddr *)&address, sizeof(address)) != 0 ||
           listen(listening, 8) != 0 || pthread_create(&thread, NULL, server, NULL) != 0;
}

static int stop(void **state)
{
    (void)state;
    pthread_detach(thread); /* it ends with the process: a test that failed keeps its connection */
    return unlink(path);
}

/* Each of the calls whose answer somebody relies on. */
static result_t peek(gate_sync_t *gate)
{
    gate_item_t answered;
    uint64_t epoch;
    return gate_sync_peek(gate, &item, 5, &answered, &epoch);
}

static result_t inspect(gate_sync_t *gate)
{
    gate_state_t state;
    return gate_sync_inspect(gate, &item, &state);
}

static result_t unsettled_ids(gate_sync_t *gate)
{
    order_id_t *ids;
    size_t count;
    result_t result = gate_sync_unsettled_ids(gate, &item, &ids, &count);
    free(ids);
    return result;
}

static result_t unsettled_get(gate_sync_t *gate)
{
    order_id_t id = {{1, 2, 3, 4, 5, 6, 0x70, 7, 0x80}};
    gate_record_t record;
    char *text;
    bool found;
    result_t result = gate_sync_unsettled_get(gate, &id, &record, &text, &found);
    free(text);
    return result;
}

static result_t owners(gate_sync_t *gate)
{
    gate_owner_t found[4];
    unsigned count;
    return gate_sync_owners(gate, 7, found, 4, &count);
}

static result_t is_alive(gate_sync_t *gate)
{
    bool alive;
    return gate_sync_is_alive(gate, &(gate_owner_t){"owner", 5}, &alive);
}

static result_t freeze(gate_sync_t *gate)
{
    int64_t unsettled;
    uint64_t epoch, until_ms;
    return gate_sync_freeze(gate, &item, 100, &unsettled, &epoch, &until_ms);
}

static result_t forget(gate_sync_t *gate)
{
    return gate_sync_forget(gate, &item);
}

static const struct {
    result_t (*call)(gate_sync_t *gate);
    const char *nonsense; /* an answer that is none to this call */
} calls[] = {
    {peek, "+OK\r\n"},         {peek, "*1\r\n:0\r\n"},     {inspect, "*2\r\n:0\r\n:0\r\n"},
    {unsettled_ids, ":0\r\n"}, {unsettled_ids, "$-1\r\n"}, {unsettled_get, ":0\r\n"},
    {owners, "+OK\r\n"},       {is_alive, "$1\r\n1\r\n"},  {freeze, "*0\r\n"},
    {forget, "*0\r\n"},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* The kind, and that the cause was kept and counted. */
static void expect(size_t i, const char *says, result_t result, const char *words, bool is_reply)
{
    const config_t config = {.redis = {.socket = path, .timeout_ms = 30000}};
    gate_sync_t *gate = gate_sync_new(&config);
    int64_t refusals = METRIC_GET(redis_refusals_total), lost = METRIC_GET(redis_lost_total);
    assert_int_equal(gate_sync_connect(gate), RESULT_DONE);
    answer = says;
    result_t got = calls[i].call(gate);
    if (got != result)
        fail_msg("call %zu, answered with \"%s\": %s", i, says == NULL ? "" : says,
                 result_name(got));
    assert_non_null(strstr(gate_sync_error(gate), words));
    assert_int_equal(gate_sync_error_is_reply(gate), is_reply);
    assert_int_equal(METRIC_GET(redis_refusals_total) - refusals, is_reply ? 1 : 0);
    assert_int_equal(METRIC_GET(redis_lost_total) - lost, is_reply ? 0 : 1);
    gate_sync_free(gate);
}

static void an_error_says_what_became_of_its_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; ++i) {
        expect(i, "-OOM command not allowed\r\n", RESULT_AWAY, "OOM command", true);
        expect(i, "-NOPERM this user may not\r\n", RESULT_REFUSED, "NOPERM this", true);
        expect(i, "-WRONGTYPE Operation against a key\r\n", RESULT_UNKNOWN, "WRONGTYPE", true);
    }
}

static void no_answer_is_unknown(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; ++i)
        expect(i, NULL, RESULT_UNKNOWN, "", false);
}

/* Not an empty list, no gate, or nothing there. */
static void an_answer_without_sense_is_unknown(void **state)
{
    (void)state;
    for (size_t i = 0; i < CALLS; ++i)
        expect(i, calls[i].nonsense, RESULT_UNKNOWN, "an odd reply", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_says_what_became_of_its_call),
        cmocka_unit_test(no_answer_is_unknown),
        cmocka_unit_test(an_answer_without_sense_is_unknown),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
