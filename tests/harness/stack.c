#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
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
    for (unsigned i = 0; i < stack->shards; ++i)
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
    for (size_t i = 0; i < TEST_COUNT(texts); ++i)
        free(texts[i]);
    for (unsigned i = 0; i < stack->shards; ++i)
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

/* Our environment and one more variable. Made before the fork, since other threads may run. */
static char **environment_with(const char *variable)
{
    size_t count = 0;
    while (environ[count] != NULL)
        ++count;
    char **all = test_bytes((count + 2) * sizeof(*all));
    all[0] = (char *)variable;
    memcpy(all + 1, environ, count * sizeof(*all));
    return all;
}

pid_t process_spawn(const char *const *arguments, const char *log, const char *failpoints)
{
    char **environment = failpoints == NULL
                             ? environ
                             : environment_with(test_text("HOLDFAST_FAILPOINTS=%s", failpoints));
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL); /* test_run() ignores it, which a program would inherit */
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    execvpe(arguments[0], (char *const *)arguments, environment);
    _exit(127);
}

static void run(const char *const *arguments, const char *log, const char *failpoints)
{
    int status = 0;
    pid_t pid = process_spawn(arguments, log, failpoints);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        FAIL("%s failed (status %d):\n%s", arguments[0], status, read_file(log));
}

/* --- stacks of a test's own --- */

#define SETTINGS_MAX 16

static void up(const test_stack_t *stack, const char *const *settings, unsigned settings_count)
{
    const char *arguments[14 + 2 * SETTINGS_MAX];
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
    arguments[n++] = "--set"; /* on few cores there would be one loop, and nothing between loops */
    arguments[n++] = "http.threads=2";
    arguments[n++] = "--set"; /* a slow machine under a sanitizer is longer in ending */
    arguments[n++] = "shutdown.deadline_ms=60000";
    for (unsigned i = 0; i < settings_count; ++i) {
        arguments[n++] = "--set";
        arguments[n++] = settings[i];
    }
    arguments[n] = NULL;
    run(arguments, test_text("%s.up.log", stack->dir), stack->failpoints);
}

test_stack_t *stack_start(const char *name, const char *const *settings, unsigned settings_count)
{
    static unsigned started; /* a directory that was used keeps its settings */
    test_stack_t *stack = calloc(1, sizeof(*stack));
    if (stack == NULL)
        abort();
    stack->dir = copy(
        test_text("%s/%s-%d-%u", test_environment("HOLDFAST_TEST_TMP"), name, getpid(), ++started));
    stack->failpoints = copy(test_text("%s/failpoints", stack->dir));
    up(stack, settings, settings_count);
    fill(stack, from_text, read_file(test_text("%s/env", stack->dir)));
    return stack;
}

void stack_learn(test_stack_t *stack)
{
    unfill(stack);
    fill(stack, from_text, read_file(test_text("%s/env", stack->dir)));
}

void stack_again(test_stack_t *stack, const char *const *settings, unsigned settings_count)
{
    up(stack, settings, settings_count);
    stack_learn(stack);
}

static bool log_is_clean(const char *path)
{
    const char *const words[] = {"AddressSanitizer", "LeakSanitizer", "ThreadSanitizer",
                                 "runtime error:"};
    const char *log = access(path, R_OK) == 0 ? read_file(path) : "";
    for (size_t i = 0; i < TEST_COUNT(words); ++i) {
        const char *at = strstr(log, words[i]);
        if (at != NULL) {
            print_error("in %s:\n%.3000s\n", path, at);
            return false;
        }
    }
    return true;
}

static bool logs_are_clean(const test_stack_t *stack)
{
    bool clean = log_is_clean(test_text("%s/log/holdfast.log", stack->dir));
    for (unsigned n = 2; n <= STACK_NODES_MAX + 1; ++n)
        clean = log_is_clean(test_text("%s/log/holdfast-%u.log", stack->dir, n)) && clean;
    return clean;
}

/* Services that stack_node_start() has started and nobody has stopped: a case that fails does not
   come to its stop. */
static struct {
    pid_t pid; /* 0: none */
    char *config;
} nodes[STACK_NODES_MAX];

/* `config` NULL: all. */
static void forget_nodes(const char *config, bool kill_them)
{
    for (size_t i = 0; i < TEST_COUNT(nodes); ++i) {
        if (nodes[i].pid == 0 || (config != NULL && strcmp(config, nodes[i].config) != 0))
            continue;
        if (kill_them) {
            kill(nodes[i].pid, SIGKILL);
            waitpid(nodes[i].pid, NULL, 0);
        }
        free(nodes[i].config);
        nodes[i].pid = 0;
    }
}

bool stack_stop(test_stack_t *stack)
{
    forget_nodes(NULL, true);
    const char *down = test_text("%s/deploy/down", test_environment("HOLDFAST_REPO"));
    run((const char *const[]){down, "--dir", stack->dir, NULL}, test_text("%s.up.log", stack->dir),
        NULL);
    bool clean = logs_are_clean(stack);
    /* The data is big, and nobody will read it; the logs are for tests/run. */
    run((const char *const[]){"rm", "-rf", test_text("%s/mysql", stack->dir),
                              test_text("%s/redis", stack->dir), NULL},
        test_text("%s.up.log", stack->dir), NULL);
    unfill(stack);
    free(stack->failpoints);
    free(stack->dir);
    free(stack);
    return clean;
}

const char *stack_secret(const test_stack_t *stack, const char *name)
{
    char *secret = read_file(test_text("%s/secrets/%s", stack->dir, name));
    secret[strcspn(secret, "\r\n")] = '\0';
    return secret;
}

/* --- more services --- */

/* `text` with each `old` replaced by its `new`. */
static char *replaced(const char *text, const char *const (*pairs)[2], size_t count)
{
    char *out = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&out, &size);
    while (*text != '\0') {
        size_t i = 0;
        while (i < count && strncmp(text, pairs[i][0], strlen(pairs[i][0])) != 0)
            ++i;
        fputs(i < count ? pairs[i][1] : ((char[]){*text, '\0'}), to);
        text += i < count ? strlen(pairs[i][0]) : 1;
    }
    fclose(to);
    test_keep(out, free);
    return out;
}

/* A configuration as deploy/up writes it, with one "section.key=value" over it. */
static const char *with_setting(const char *yaml, const char *setting)
{
    const char *dot = strchr(setting, '.'), *is = strchr(setting, '=');
    EXPECT(dot != NULL && is != NULL, "no setting: %s", setting);
    const char *head = test_text("%.*s:\n", (int)(dot - setting), setting);
    const char *old = test_text("  %.*s: ", (int)(is - dot - 1), dot + 1);
    const char *at = strstr(yaml, test_text("\n%s", head));
    if (at == NULL)
        return test_text("%s%s%s\n%s", head, old, is + 1, yaml);
    at += 1 + strlen(head);
    const char *rest = at;
    while (strncmp(rest, "  ", 2) == 0 && strncmp(rest, old, strlen(old)) != 0)
        rest = strchr(rest, '\n') + 1;
    bool there = strncmp(rest, old, strlen(old)) == 0;
    return test_text("%.*s%s%s\n%.*s%s", (int)(at - yaml), yaml, old, is + 1, (int)(rest - at), at,
                     there ? strchr(rest, '\n') + 1 : rest);
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    if (out == NULL)
        FAIL("cannot write %s: %s", path, strerror(errno));
    fputs(text, out);
    fclose(out);
}

/* Of readyz: it lacks nothing; a service that lacks a shard is ready too, if it can sell. */
static bool answers(const char *url, const char *path)
{
    web_answer_t answer = WEB(.base = url, .path = path);
    return answer.status == 200 &&
           (strcmp(path, "/readyz") != 0 || strstr(answer.body, "\"missing\":[]") != NULL);
}

void stack_await_ready(const test_stack_t *stack)
{
    WAIT_UNTIL(answers(stack->url, "/readyz"));
}

static void serve(test_stack_t *node, const char *answers_at)
{
    const char *program = test_text("%s/holdfast", test_environment("HOLDFAST_TEST_BUILD"));
    size_t i = 0;
    while (i < TEST_COUNT(nodes) && nodes[i].pid != 0)
        ++i;
    EXPECT(i < TEST_COUNT(nodes), "more than %zu further services", TEST_COUNT(nodes));
    node->pid = process_spawn((const char *const[]){program, "serve", "-c", node->config, NULL},
                              stack_log(node), node->failpoints);
    nodes[i].pid = node->pid;
    nodes[i].config = copy(node->config);
    WAIT_UNTIL(answers(node->url, answers_at));
}

/* Its configuration as text, with addresses and a name of its own. */
static const char *node_yaml(const test_stack_t *stack, test_stack_t *node, unsigned n)
{
    EXPECT(n >= 2 && n <= STACK_NODES_MAX + 1, "no number for a further service: %u", n);
    unsigned port = web_free_port(), admin_port;
    do /* nobody listens at the first yet */
        admin_port = web_free_port();
    while (admin_port == port);
    const char *http = test_text("127.0.0.1:%u", port);
    const char *admin = test_text("127.0.0.1:%u", admin_port);
    const char *const pairs[][2] = {{stack->url + strlen("http://"), http},
                                    {stack->admin_url + strlen("http://"), admin},
                                    {"name: n1\n", test_text("name: n%u\n", n)}};
    node->number = n;
    node->url = copy(test_text("http://%s", http));
    node->admin_url = copy(test_text("http://%s", admin));
    return replaced(read_file(stack->config), pairs, TEST_COUNT(pairs));
}

static test_stack_t *new_node(void)
{
    test_stack_t *node = calloc(1, sizeof(*node));
    if (node == NULL)
        abort();
    return node;
}

static void start_node(const test_stack_t *stack, test_stack_t *node, const char *yaml,
                       const char *answers_at)
{
    node->dir = copy(stack->dir);
    node->token = copy(stack->token);
    node->mysql_user = copy(stack->mysql_user);
    node->redis_socket = copy(stack->redis_socket);
    node->redis_pid = stack->redis_pid;
    node->shards = stack->shards;
    for (unsigned i = 0; i < stack->shards; ++i) {
        node->mysql_sockets[i] = copy(stack->mysql_sockets[i]);
        node->mysql_pids[i] = stack->mysql_pids[i];
    }
    node->config = copy(test_text("%s/node-%u.yaml", stack->dir, node->number));
    node->failpoints = copy(test_text("%s/failpoints-%u", stack->dir, node->number));
    write_file(node->config, yaml);
    forget_nodes(node->config, true);
    serve(node, answers_at);
}

test_stack_t *stack_node_start(const test_stack_t *stack, unsigned n, const char *const *settings,
                               unsigned settings_count)
{
    test_stack_t *node = new_node();
    const char *yaml = node_yaml(stack, node, n);
    for (unsigned i = 0; i < settings_count; ++i)
        yaml = with_setting(yaml, settings[i]);
    start_node(stack, node, yaml, "/readyz");
    return node;
}

test_stack_t *stack_node_start_changed(const test_stack_t *stack, unsigned n,
                                       const char *const (*changes)[2], unsigned changes_count)
{
    test_stack_t *node = new_node();
    const char *yaml = node_yaml(stack, node, n);
    for (unsigned i = 0; i < changes_count; ++i)
        EXPECT(strstr(yaml, changes[i][0]) != NULL, "no %s in:\n%s", changes[i][0], yaml);
    start_node(stack, node, replaced(yaml, changes, changes_count), "/healthz");
    return node;
}

void stack_node_again(test_stack_t *node)
{
    WAIT_UNTIL(process_is_gone(node->pid));
    forget_nodes(node->config, true);
    serve(node, "/readyz");
}

void stack_node_stop(test_stack_t *node)
{
    int status = 0;
    if (!process_is_gone(node->pid)) {
        process_signal(node->pid, SIGTERM);
        process_signal(node->pid, SIGCONT);
        WAIT_UNTIL(process_is_gone(node->pid));
        waitpid(node->pid, &status, 0);
        forget_nodes(node->config, false);
    }
    forget_nodes(node->config, true);
    unfill(node);
    free(node->failpoints);
    free(node->dir);
    free(node);
    EXPECT(status == 0, "a further service ended with status %d", status);
}

test_stack_t *stack_second_start(const test_stack_t *stack)
{
    return stack_node_start(stack, 2, NULL, 0);
}

void stack_second_stop(test_stack_t *second)
{
    stack_node_stop(second);
}

const char *stack_log(const test_stack_t *stack)
{
    return stack->number == 0 ? test_text("%s/log/holdfast.log", stack->dir)
                              : test_text("%s/log/holdfast-%u.log", stack->dir, stack->number);
}

bool stack_log_has(const test_stack_t *stack, const char *words)
{
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    FILE *in = fopen(stack_log(stack), "re");
    while (in != NULL && !found && getline(&line, &room, in) > 0)
        found = strstr(line, words) != NULL;
    if (in != NULL)
        fclose(in);
    free(line);
    return found;
}

int stack_command(const test_stack_t *stack, const char *command)
{
    int status = 0;
    const char *program = test_text("%s/holdfast", test_environment("HOLDFAST_TEST_BUILD"));
    const char *log = test_text("%s/log/%s.log", stack->dir, command);
    unlink(log);
    pid_t pid = process_spawn((const char *const[]){program, command, "-c", stack->config, NULL},
                              log, stack->failpoints);
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid, "cannot run %s", program);
    if (status != 0)
        print_error("%s", read_file(log));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
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
