#include "stack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness/web.h"

/* --- what an env file, or our environment, says --- */

typedef const char *(*lookup_t)(const void *context, const char *name);

static char *copy(const char *text)
{
    char *out = strdup(text);
    if (out == NULL)
        abort();
    return out;
}

static void fill_sockets(test_stack_t *stack, const char *sockets)
{
    char *words = copy(sockets), *rest = words, *word;
    stack->shards = 0;
    while ((word = strsep(&rest, " ")) != NULL) {
        if (*word == '\0')
            continue;
        EXPECT(stack->shards < STACK_SHARDS_MAX, "too many shards: %s", sockets);
        stack->mysql_sockets[stack->shards++] = copy(word);
    }
    free(words);
}

static void fill_pids(test_stack_t *stack, const char *pids)
{
    char *at = (char *)pids;
    for (unsigned i = 0; i < stack->shards; i++)
        stack->mysql_pids[i] = (pid_t)strtol(at, &at, 10);
}

static void fill(test_stack_t *stack, lookup_t look, const void *context)
{
    stack->url = copy(look(context, "HOLDFAST_URL"));
    stack->admin_url = copy(look(context, "HOLDFAST_ADMIN_URL"));
    stack->token = copy(look(context, "HOLDFAST_ADMIN_TOKEN"));
    stack->config = copy(look(context, "HOLDFAST_CONFIG"));
    stack->redis_socket = copy(look(context, "HOLDFAST_REDIS_SOCKET"));
    stack->mysql_user = copy(look(context, "HOLDFAST_MYSQL_USER"));
    stack->pid = (pid_t)atoi(look(context, "HOLDFAST_PID"));
    stack->redis_pid = (pid_t)atoi(look(context, "HOLDFAST_REDIS_PID"));
    fill_sockets(stack, look(context, "HOLDFAST_MYSQL_SOCKETS"));
    fill_pids(stack, look(context, "HOLDFAST_MYSQL_PIDS"));
}

static void unfill(test_stack_t *stack)
{
    char *texts[] = {stack->url,    stack->admin_url,    stack->token,
                     stack->config, stack->redis_socket, stack->mysql_user};
    for (size_t i = 0; i < TEST_COUNT(texts); i++)
        free(texts[i]);
    for (unsigned i = 0; i < stack->shards; i++)
        free(stack->mysql_sockets[i]);
}

static const char *from_environment(const void *context, const char *name)
{
    (void)context;
    return test_environment(name);
}

/* Lives as long as the process. */
const test_stack_t *stack_shared(void)
{
    static test_stack_t shared;
    if (shared.url == NULL)
        fill(&shared, from_environment, NULL);
    return &shared;
}

/* One line of an env file: export NAME='value', with no quote inside in a test's directory. */
static const char *from_text(const void *context, const char *name)
{
    char *start = test_text("export %s='", name);
    const char *at = strstr(context, start);
    if (at == NULL)
        FAIL("no %s in env:\n%s", name, (const char *)context);
    at += strlen(start);
    return test_text("%.*s", (int)strcspn(at, "'"), at);
}

static char *read_file(const char *path)
{
    FILE *in = fopen(path, "re");
    if (in == NULL)
        FAIL("cannot read %s: %s", path, strerror(errno));
    struct stat about;
    fstat(fileno(in), &about);
    char *text = test_bytes((size_t)about.st_size + 1);
    size_t n = fread(text, 1, (size_t)about.st_size, in);
    text[n] = '\0';
    fclose(in);
    return text;
}

/* --- running programs --- */

static pid_t spawn(const char *const *arguments, const char *log)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execvp(arguments[0], (char *const *)arguments);
    _exit(127);
}

static void run(const char *const *arguments, const char *log)
{
    int status = 0;
    pid_t pid = spawn(arguments, log);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        FAIL("%s failed (status %d):\n%s", arguments[0], status, read_file(log));
}

/* --- stacks of a test's own --- */

#define SETTINGS_MAX 16

static void up(const test_stack_t *stack, const char *const *settings, unsigned settings_count)
{
    const char *arguments[10 + 2 * SETTINGS_MAX];
    unsigned n = 0;
    EXPECT(settings_count <= SETTINGS_MAX, "%u settings", settings_count);
    arguments[n++] = test_text("%s/deploy/up", test_environment("HOLDFAST_REPO"));
    arguments[n++] = "--dir";
    arguments[n++] = stack->dir;
    arguments[n++] = "--port";
    arguments[n++] = "0";
    arguments[n++] = "--no-build";
    arguments[n++] = "--build-dir";
    arguments[n++] = test_environment("HOLDFAST_TEST_BUILD");
    for (unsigned i = 0; i < settings_count; i++) {
        arguments[n++] = "--set";
        arguments[n++] = settings[i];
    }
    arguments[n] = NULL;
    run(arguments, test_text("%s.up.log", stack->dir));
}

test_stack_t *stack_start(const char *name, const char *const *settings, unsigned settings_count)
{
    test_stack_t *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        abort();
    stack->dir = copy(test_text("%s/%s-%d", test_environment("HOLDFAST_TEST_TMP"), name, getpid()));
    up(stack, settings, settings_count);
    fill(stack, from_text, read_file(test_text("%s/env", stack->dir)));
    return stack;
}

void stack_again(test_stack_t *stack, const char *const *settings, unsigned settings_count)
{
    up(stack, settings, settings_count);
    unfill(stack);
    fill(stack, from_text, read_file(test_text("%s/env", stack->dir)));
}

static bool log_is_clean(const test_stack_t *stack)
{
    const char *const words[] = {"AddressSanitizer", "LeakSanitizer", "runtime error:"};
    const char *log = read_file(test_text("%s/log/holdfast.log", stack->dir));
    for (size_t i = 0; i < TEST_COUNT(words); i++) {
        const char *at = strstr(log, words[i]);
        if (at != NULL) {
            print_error("in %s/log/holdfast.log:\n%.3000s\n", stack->dir, at);
            return false;
        }
    }
    return true;
}

/* The second service that is running, 0: none. A case that fails does not come to its stop. */
static pid_t second_pid;

static void end_forgotten_second(void)
{
    if (second_pid == 0)
        return;
    kill(second_pid, SIGKILL);
    waitpid(second_pid, NULL, 0);
    second_pid = 0;
}

bool stack_stop(test_stack_t *stack)
{
    end_forgotten_second();
    const char *down = test_text("%s/deploy/down", test_environment("HOLDFAST_REPO"));
    run((const char *const[]){down, "--dir", stack->dir, NULL}, test_text("%s.up.log", stack->dir));
    bool clean = log_is_clean(stack);
    /* The data is big, and nobody will read it; the logs are for tests/run. */
    run((const char *const[]){"rm", "-rf", test_text("%s/mysql", stack->dir),
                              test_text("%s/redis", stack->dir), NULL},
        test_text("%s.up.log", stack->dir));
    unfill(stack);
    free(stack->dir);
    free(stack);
    return clean;
}

/* --- a second service --- */

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, n) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        FAIL("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(at.sin_port);
}

/* Writes `from` with each `old` replaced by its `new`. */
static void write_derived(const char *path, const char *from, const char *const (*pairs)[2],
                          size_t count)
{
    FILE *out = fopen(path, "we");
    if (out == NULL)
        FAIL("cannot write %s: %s", path, strerror(errno));
    while (*from != '\0') {
        size_t i = 0;
        while (i < count && strncmp(from, pairs[i][0], strlen(pairs[i][0])) != 0)
            i++;
        if (i < count) {
            fputs(pairs[i][1], out);
            from += strlen(pairs[i][0]);
        } else {
            fputc(*from++, out);
        }
    }
    fclose(out);
}

static bool answers_ready(const char *url)
{
    return WEB(.base = url, .path = "/readyz").status == 200;
}

test_stack_t *stack_second_start(const test_stack_t *stack)
{
    test_stack_t *second = calloc(1, sizeof(*second));
    if (second == NULL)
        abort();
    const char *config = test_text("%s/second.yaml", stack->dir);
    const char *http = test_text("127.0.0.1:%u", free_port());
    const char *admin = test_text("127.0.0.1:%u", free_port());
    const char *const pairs[][2] = {{stack->url + strlen("http://"), http},
                                    {stack->admin_url + strlen("http://"), admin},
                                    {"name: n1\n", "name: n2\n"}};
    write_derived(config, read_file(stack->config), pairs, TEST_COUNT(pairs));
    *second = *stack;
    second->url = copy(test_text("http://%s", http));
    second->admin_url = copy(test_text("http://%s", admin));
    const char *program = test_text("%s/holdfast", test_environment("HOLDFAST_TEST_BUILD"));
    end_forgotten_second();
    second->pid = second_pid = spawn((const char *const[]){program, "serve", "-c", config, NULL},
                                     test_text("%s/log/holdfast-second.log", stack->dir));
    WAIT_UNTIL(answers_ready(second->url), 20000);
    return second;
}

void stack_second_stop(test_stack_t *second)
{
    int status = 0;
    process_signal(second->pid, SIGTERM);
    WAIT_UNTIL(process_is_gone(second->pid), 25000);
    waitpid(second->pid, &status, 0);
    second_pid = 0;
    free(second->url);
    free(second->admin_url);
    free(second);
    EXPECT(status == 0, "the second service ended with status %d", status);
}

/* --- processes --- */

void process_signal(pid_t pid, int signal)
{
    EXPECT(pid > 1, "no process: %d", (int)pid);
    if (kill(pid, signal) != 0)
        FAIL("cannot send signal %d to %d: %s", signal, (int)pid, strerror(errno));
}

bool process_is_gone(pid_t pid)
{
    char line[512] = "", path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return true;
    bool read = fgets(line, sizeof(line), in) != NULL;
    fclose(in);
    const char *name_end = strrchr(line, ')');
    return !read || name_end == NULL || name_end[2] == 'Z' || name_end[2] == 'X';
}
