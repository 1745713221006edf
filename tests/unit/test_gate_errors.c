/* What an error of Redis proves about the call that it answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gate/gate.h"

typedef struct {
    const char *text;
    result_t means;
} error_t_;

/* As Redis 7.0.15 words them. */
static const error_t_ errors[] = {
    {"OOM command not allowed when used memory > 'maxmemory'.", RESULT_AWAY},
    {"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
     RESULT_AWAY},
    {"NOREPLICAS Not enough good replicas to write.", RESULT_AWAY},
    {"READONLY You can't write against a read only replica.", RESULT_AWAY},
    {"READONLY You can not run script with write flag on readonly replica.", RESULT_AWAY},
    {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
     "disk. Commands that may modify the data set are disabled, because this instance is "
     "configured to report errors during writes if RDB snapshotting fails "
     "(stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB "
     "error.",
     RESULT_AWAY},
    {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
     "disk. Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
     RESULT_AWAY},
    {"MISCONF Errors writing to the AOF file: No space left on device", RESULT_AWAY},
    {"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
     RESULT_AWAY},
    {"LOADING Redis is loading the dataset in memory", RESULT_AWAY},
    {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
     RESULT_AWAY},
    {"NOAUTH Authentication required.", RESULT_AWAY},
    {"WRONGPASS invalid username-password pair or user is disabled.", RESULT_AWAY},
    {"DENIED Redis is running in protected mode because protected mode is enabled", RESULT_AWAY},
    {"ERR max number of clients reached", RESULT_AWAY},
    {"CLUSTERDOWN The cluster is down", RESULT_AWAY},
    {"MOVED 3999 127.0.0.1:6381", RESULT_AWAY},
    {"ASK 3999 127.0.0.1:6381", RESULT_AWAY},
    {"TRYAGAIN Multiple keys request during rehashing of slot", RESULT_AWAY},
    {"CROSSSLOT Keys in request don't hash to the same slot", RESULT_AWAY},
    {"NOPERM this user has no permissions to run the 'fcall' command", RESULT_REFUSED},
    {"ERR unknown command 'FCALL', with args beginning with: 'holdfast_hello' '0' ",
     RESULT_REFUSED},
    {"ERR Function not found", RESULT_REFUSED},
    {"EXECABORT Transaction discarded because of previous errors.", RESULT_REFUSED},
    {"EXECABORT Transaction discarded because of: -OOM command not allowed", RESULT_REFUSED},
    /* The function ran, and may have written before it failed. */
    {"OOM command not allowed when used memory > 'maxmemory'. script: holdfast_reserve, on "
     "@user_function:361.",
     RESULT_UNKNOWN},
    {"READONLY You can't write against a read only replica. script: holdfast_settle, on "
     "@user_function:300.",
     RESULT_UNKNOWN},
    {"NOREPLICAS Not enough good replicas to write. script: holdfast_reserve, on "
     "@user_function:361.",
     RESULT_UNKNOWN},
    {"MISCONF Errors writing to the AOF file: No space left on device script: holdfast_reserve, on "
     "@user_function:361.",
     RESULT_UNKNOWN},
    {"ERR user_function:12: attempt to index a nil value script: holdfast_reserve, on "
     "@user_function:12.",
     RESULT_UNKNOWN},
    {"ERR Error running script holdfast_reserve, execution failure", RESULT_UNKNOWN},
    {"ERR Script killed by user with FUNCTION KILL. script: holdfast_reserve, on "
     "@user_function:361.",
     RESULT_UNKNOWN},
    {"ERR holdfast: malformed orders", RESULT_UNKNOWN},
    {"ERR EXEC without MULTI", RESULT_UNKNOWN},
    {"WRONGTYPE Operation against a key holding the wrong kind of value", RESULT_UNKNOWN},
    {"ERR Protocol error: invalid bulk length", RESULT_UNKNOWN},
    {"ERR", RESULT_UNKNOWN},
    {"OOM", RESULT_UNKNOWN}, /* a word alone is none that Redis says */
    {"OOMPH", RESULT_UNKNOWN},
    {"BUSYKEY Target key name already exists.", RESULT_UNKNOWN},
    {"BUSYGROUP Consumer Group name already exists", RESULT_UNKNOWN},
    {"UNBLOCKED force unblock", RESULT_UNKNOWN},
    {"anything that is not listed", RESULT_UNKNOWN},
    {"", RESULT_UNKNOWN},
};

static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); ++i)
        if (gate_classify(str_of(errors[i].text)) != errors[i].means)
            fail_msg("%s", errors[i].text);
}

static redisReply reply_of(int type, char *text)
{
    redisReply reply = {.type = type, .str = text};
    reply.len = (int)strlen(text);
    return reply;
}

static void test_replies(void **state)
{
    (void)state;
    redisReply error = reply_of(REDIS_REPLY_ERROR, "OOM command not allowed");
    redisReply text = reply_of(REDIS_REPLY_STRING, "OOM command not allowed");
    assert_true(gate_reply_is_refusal(&error));
    assert_false(gate_reply_is_refusal(&text)); /* no error, whatever it says */
    assert_false(gate_reply_is_refusal(NULL));  /* no answer proves nothing */
}

static void test_the_library_is_wanted(void **state)
{
    (void)state;
    char why[GATE_WHY_SIZE];
    redisReply none = reply_of(REDIS_REPLY_ERROR, "ERR Function not found");
    redisReply forbidden = reply_of(REDIS_REPLY_ERROR, "NOPERM this user has no permissions");
    redisReply loading = reply_of(REDIS_REPLY_ERROR, "LOADING Redis is loading the dataset");
    assert_int_equal(gate_greeting_read(&none, NULL, why), GATE_GREETING_LOAD);
    assert_int_equal(gate_greeting_read(&forbidden, NULL, why), GATE_GREETING_AWAY);
    assert_int_equal(gate_greeting_read(&loading, NULL, why), GATE_GREETING_AWAY);
    assert_string_equal(why, loading.str);
}

/* What a Redis says of its deployment comes before all else; an older library may say nothing. */
static void test_a_stamp_is_compared(void **state)
{
    (void)state;
    static const struct {
        char *stamp; /* NULL: the library is older than stamps */
        int version;
        gate_greeting_t ours, unknown;
    } cases[] = {
        {"ours", GATE_LIBRARY_VERSION, GATE_GREETING_OK, GATE_GREETING_AWAY},
        {"", GATE_LIBRARY_VERSION, GATE_GREETING_STAMP, GATE_GREETING_AWAY},
        {"other", GATE_LIBRARY_VERSION, GATE_GREETING_AWAY, GATE_GREETING_AWAY},
        {"other", GATE_LIBRARY_VERSION - 1, GATE_GREETING_AWAY, GATE_GREETING_LOAD},
        {"ours", GATE_LIBRARY_VERSION - 1, GATE_GREETING_LOAD, GATE_GREETING_LOAD},
        {NULL, 13, GATE_GREETING_LOAD, GATE_GREETING_LOAD},
    };
    deployment_t *ours = deployment_new("ours"), *unknown = deployment_new(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        char why[GATE_WHY_SIZE];
        redisReply version = {.type = REDIS_REPLY_INTEGER, .integer = cases[i].version};
        redisReply now = {.type = REDIS_REPLY_INTEGER, .integer = 1};
        redisReply identity = reply_of(REDIS_REPLY_STRING, "run:repl");
        redisReply stamp =
            reply_of(REDIS_REPLY_STRING, cases[i].stamp == NULL ? "" : cases[i].stamp);
        redisReply *elements[] = {&version, &identity, &now, &stamp};
        redisReply hello = {.type = REDIS_REPLY_ARRAY,
                            .elements = cases[i].stamp == NULL ? 3 : 4,
                            .element = elements};
        assert_int_equal(gate_greeting_read(&hello, ours, why), cases[i].ours);
        assert_int_equal(gate_greeting_read(&hello, unknown, why), cases[i].unknown);
    }
    assert_null(deployment_name(unknown)); /* Redis teaches nobody */
    deployment_free(ours);
    deployment_free(unknown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_the_library_is_wanted),
        cmocka_unit_test(test_a_stamp_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
