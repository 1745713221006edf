#include "fault.h"

#include <errno.h>

#include "harness/web.h"

static void replace(const char *path, const char *text)
{
    const char *new_path = test_text("%s.new", path);
    FILE *out = fopen(new_path, "we");
    EXPECT(out != NULL, "cannot write %s: %s", new_path, strerror(errno));
    fputs(text, out);
    fclose(out);
    EXPECT(rename(new_path, path) == 0, "cannot replace %s: %s", path, strerror(errno));
}

void fault_arm(const test_stack_t *node, const char *lines, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, lines);
    if (vasprintf(&text, lines, arguments) < 0)
        abort();
    va_end(arguments);
    test_keep(text, free);
    unlink(test_text("%s.hits", node->failpoints));
    replace(node->failpoints, text);
}

void fault_disarm(const test_stack_t *node)
{
    replace(node->failpoints, "");
}

unsigned fault_hits(const test_stack_t *node, const char *name)
{
    char line[256];
    size_t length = strlen(name);
    unsigned count = 0;
    FILE *in = fopen(test_text("%s.hits", node->failpoints), "re");
    if (in == NULL)
        return 0;
    while (fgets(line, sizeof(line), in) != NULL)
        count += strncmp(line, name, length) == 0 && line[length] == ' ';
    fclose(in);
    return count;
}

void fault_expect(const char *file, int line, const test_stack_t *node, const char *name)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    while (fault_hits(node, name) == 0) {
        if (test_clock_ms() > end)
            test_fail(file, line, "the fault %s did not happen", name);
        usleep(10000);
    }
}

double fault_metric(const test_stack_t *node, const char *name)
{
    const char *full = test_text("\nholdfast_%s", name);
    web_answer_t answer = WEB(.base = node->admin_url, .path = "/metrics", .token = node->token);
    EXPECT_STATUS(answer, 200);
    double sum = 0;
    bool found = false;
    for (const char *at = answer.body; (at = strstr(at, full)) != NULL;) {
        at += strlen(full);
        if (*at != ' ' && *at != '{')
            continue;
        const char *value = *at == '{' ? strstr(at, "} ") + 1 : at;
        sum += strtod(value, NULL);
        found = true;
    }
    EXPECT(found, "no metric %s", name);
    return sum;
}
