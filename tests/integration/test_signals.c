/*
 * What other programs do to a process: signals of supervisors and log collectors, and a command
 * line that asks what this is. On a stack of its own.
 */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness/sale.h"
#include "harness/suite.h"

static char *log_path;

static test_stack_t *start_with_log(void)
{
    log_path = strdup(
        test_text("%s/signals-%d.log", test_environment("HOLDFAST_TEST_TMP"), (int)getpid()));
    return STACK_START("signals", test_text("log.file=%s", log_path), "log.access=true");
}

static bool contains(const char *path, const char *words)
{
    char line[5000];
    bool found = false;
    FILE *in = fopen(path, "re");
    while (in != NULL && !found && fgets(line, sizeof(line), in) != NULL)
        found = strstr(line, words) != NULL;
    if (in != NULL)
        fclose(in);
    return found;
}

/* --- signals --- */

static void others_are_ignored(void **state)
{
    (void)state;
    const int signals[] = {SIGUSR1, SIGUSR2, SIGALRM,   SIGVTALRM, SIGPROF,  SIGIO,
                           SIGPWR,  SIGPIPE, SIGSTKFLT, SIGXFSZ,   SIGRTMIN, SIGRTMAX};
    const char *sku = sale_item(stack, "ignored", "\"total\":99,\"strategy\":\"lua\"");
    for (size_t i = 0; i < TEST_COUNT(signals); ++i) {
        process_signal(stack->pid, signals[i]);
        web_answer_t order = sale_buy(stack, sku, test_text("b%zu", i), 1, NULL);
        EXPECT(order.status == 201, "after signal %d: %s", signals[i], web_show(&order));
    }
    EXPECT_NUMBER(sale_live_orders(stack, sku), TEST_COUNT(signals));
}

static void hangup(void)
{
    process_signal(stack->pid, SIGHUP);
}

/* As logrotate does it. */
static void hup_reopens_the_log(void **state)
{
    (void)state;
    const char *moved = test_text("%s.1", log_path);
    WAIT_UNTIL(contains(log_path, "\"serving\""));
    EXPECT(rename(log_path, moved) == 0, "cannot move %s", log_path);
    WEB(.base = stack->url, .path = "/before");
    WAIT_UNTIL(contains(moved, "before")); /* nothing is lost before the signal */
    hangup();
    WAIT_UNTIL(contains(log_path, "SIGHUP"));
    WEB(.base = stack->url, .path = "/after");
    WAIT_UNTIL(contains(log_path, "after"));
    EXPECT(!contains(moved, "after"), "written to the old file");
}

static void a_log_that_cannot_be_opened_is_no_end(void **state)
{
    (void)state;
    const char *moved = test_text("%s.2", log_path);
    EXPECT(rename(log_path, moved) == 0 && mkdir(log_path, 0700) == 0, "no directory");
    hangup();
    WAIT_UNTIL(contains(moved, "cannot be opened again"));
    EXPECT(rmdir(log_path) == 0 && mkfifo(log_path, 0600) == 0, "no pipe");
    hangup();
    WAIT_UNTIL(contains(moved, "no regular file"));
    EXPECT(unlink(log_path) == 0, "no pipe");
    hangup();
    WAIT_UNTIL(contains(log_path, "SIGHUP"));
    web_answer_t healthy = WEB(.base = stack->url, .path = "/healthz");
    EXPECT_STATUS(healthy, 200);
}

/* --- the command line --- */

/* The exit status; what it said on standard output is in `out`. */
/* `out`: what it prints there, which is STDOUT_FILENO or STDERR_FILENO. */
static int run_to(int where, char out[4096], const char *first, const char *second)
{
    int ends[2], status = -1;
    const char *program = test_text("%s/holdfast", test_environment("HOLDFAST_TEST_BUILD"));
    EXPECT(pipe(ends) == 0, "no pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], where);
        close(ends[0]);
        close(ends[1]);
        execl(program, "holdfast", first, second, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t part; n < 4095 && (part = read(ends[0], out + n, 4095 - n)) > 0;)
        n += (size_t)part;
    out[n] = '\0';
    close(ends[0]);
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "status %d", status);
    return WEXITSTATUS(status);
}

static int run(char out[4096], const char *first, const char *second)
{
    return run_to(STDOUT_FILENO, out, first, second);
}

static void it_says_its_version(void **state)
{
    (void)state;
    char out[4096];
    EXPECT_NUMBER(run(out, "--version", NULL), 0);
    int major, minor, patch, n = 0;
    sscanf(out, "holdfast %d.%d.%d\n%n", &major, &minor, &patch, &n);
    EXPECT(n > 0 && out[n] == '\0', "%s", out);
}

static void each_command_helps(void **state)
{
    (void)state;
    const char *const commands[] = {"serve", "check", "migrate", "audit", "settings"};
    char out[4096];
    for (size_t i = 0; i < TEST_COUNT(commands); ++i) {
        EXPECT_NUMBER(run(out, commands[i], "--help"), 0);
        EXPECT(strstr(out, test_text("usage: holdfast %s", commands[i])) == out, "%s", out);
        EXPECT_NUMBER(run(out, commands[i], "-h"), 0);
    }
    EXPECT_NUMBER(run(out, "--help", NULL), 0);
    EXPECT_NUMBER(run(out, "-h", NULL), 0);
    EXPECT_NUMBER(run(out, "nothing", "--help"), 2);
    EXPECT(out[0] == '\0', "%s", out);
    EXPECT_NUMBER(run(out, "serve", NULL), 2);
}

static void expect_mistake(const char *first, const char *second, const char *line)
{
    char out[4096];
    EXPECT_NUMBER(run_to(STDERR_FILENO, out, first, second), 2);
    EXPECT(strncmp(out, line, strlen(line)) == 0, "%s", out);
    EXPECT(strstr(out, "\n\nusage: holdfast COMMAND -c FILE\n") != NULL, "%s", out);
}

static void a_mistake_is_named_before_the_usage(void **state)
{
    (void)state;
    const char *const commands[] = {"serve", "check", "migrate", "audit"};
    for (size_t i = 0; i < TEST_COUNT(commands); ++i) {
        const char *line = test_text("holdfast %s: -c FILE is missing\n", commands[i]);
        expect_mistake(commands[i], NULL, line);
        expect_mistake(commands[i], "-c", line);
        expect_mistake(commands[i], "config.yaml", line);
    }
    expect_mistake("settings", "-c", "holdfast settings: too many arguments\n");
    expect_mistake("odit", "-c", "holdfast: unknown command: odit\n");
}

static const suite_t suite = {.name = "signals", .start = start_with_log};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(others_are_ignored),
        TEST(hup_reopens_the_log),
        TEST(a_log_that_cannot_be_opened_is_no_end),
        TEST(it_says_its_version),
        TEST(each_command_helps),
        TEST(a_mistake_is_named_before_the_usage),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
