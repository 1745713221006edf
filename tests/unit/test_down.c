/*
 * deploy/down ends what deploy/up has started, and nothing else: a pid may have gone to another
 * process since, and what is written beside it says so. The processes here are of this test; no
 * server is needed.
 */
#include <signal.h>
#include <sys/wait.h>

#include "harness/deployed.h"

static test_stack_t stack;

static const char *const names[] = {"holdfast", "redis", "shard-0-a", "shard-0-b"};
#define NAMES TEST_COUNT(names)
static pid_t pids[NAMES];

/* A directory as deploy/up leaves it, with a process for each name. */
static int set_up(void **state)
{
    static unsigned number;
    (void)state;
    stack.dir =
        test_text("%s/down-%d-%u", test_environment("HOLDFAST_TEST_TMP"), getpid(), ++number);
    deployed_must(&stack, "", "", "mkdir -p \"$DIR\"; stack_claim");
    for (size_t i = 0; i < NAMES; ++i) {
        pids[i] = process_spawn((const char *const[]){"sleep", "600", NULL}, "/dev/null", NULL);
        deployed_must(&stack, names[i], test_text("%d", pids[i]),
                      "printf '%s\\n' \"$extra\" >\"$RUN_DIR/$name.pid\"\n"
                      "process_identity \"$extra\" >\"$RUN_DIR/$name.id\"");
    }
    return 0;
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < NAMES; ++i) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    deployed_run(&stack, "", "", "stack_wipe; rm -f \"$DIR.up.log\"");
    return test_teardown(state);
}

static void down(void)
{
    deployed_must(&stack, "", "", "\"$HOLDFAST_REPO/deploy/down\" --dir \"$DIR\"");
    for (size_t i = 0; i < NAMES; ++i)
        EXPECT(access(test_text("%s/run/%s.pid", stack.dir, names[i]), F_OK) != 0,
               "%s is still written down", names[i]);
}

static void what_was_started_is_ended(void **state)
{
    (void)state;
    down();
    for (size_t i = 0; i < NAMES; ++i)
        EXPECT(process_is_gone(pids[i]), "%s still runs", names[i]);
}

/* What is done to an identity by another boot, another process of that pid, or somebody's hand. */
static const char *const others[] = {
    "sed -i 's/^[0-9a-f]/z/' \"$RUN_DIR/$name.id\"",
    "process_identity $$ >\"$RUN_DIR/$name.id\"",
    "rm \"$RUN_DIR/$name.id\"",
    ": >\"$RUN_DIR/$name.id\"",
};

static void another_process_of_that_pid_is_spared(void **state)
{
    (void)state;
    _Static_assert(TEST_COUNT(others) == NAMES, "one for each");
    for (size_t i = 0; i < NAMES; ++i)
        deployed_must(&stack, names[i], "", others[i]);
    down();
    for (size_t i = 0; i < NAMES; ++i)
        EXPECT(!process_is_gone(pids[i]), "%s was ended: %s", names[i], others[i]);
}

/* Also by deploy/up, which starts another beside it. */
static void another_process_of_that_pid_is_not_taken_for_ours(void **state)
{
    (void)state;
    for (size_t i = 0; i < NAMES; ++i) {
        EXPECT_NUMBER(deployed_run(&stack, names[i], "", "process_alive \"$name\""), 0);
        deployed_must(&stack, names[i], "", others[i]);
        EXPECT(deployed_run(&stack, names[i], "", "process_alive \"$name\"") != 0, "%s: %s",
               names[i], others[i]);
    }
}

int main(void)
{
#define CASE(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(what_was_started_is_ended),
        CASE(another_process_of_that_pid_is_spared),
        CASE(another_process_of_that_pid_is_not_taken_for_ours),
    };
#undef CASE
    return test_run("down", tests, TEST_COUNT(tests), NULL, NULL);
}
