/*
 * Configuration files that are right but for one thing, in a directory of their own, which is
 * the working directory while the tests run: so files are named without a path.
 */
#ifndef HOLDFAST_TESTS_CONFIG_FIXTURE_H
#define HOLDFAST_TESTS_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"

#define COUNT(array_) (sizeof(array_) / sizeof((array_)[0]))
#define KEY "0123456789abcdef"

static char directory[] = "/tmp/holdfast-config-XXXXXX";
static const char *const files[] = {"c.yaml", "good",  "crlf", "open", "short", "empty", "newline",
                                    "nul",    "lines", "long", "pem",  "key",   "fifo",  "canary"};

static inline void write_file(const char *name, const void *content, size_t n, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, n), n);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static inline void write_text(const char *name, const char *content, mode_t mode)
{
    write_file(name, content, strlen(content), mode);
}

static inline int set_up(void **state)
{
    static char oversized[5000];
    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(chdir(directory), 0);
    memset(oversized, 'x', sizeof(oversized));
    write_text("good", "secret-of-20-letters\n", 0600);
    write_text("crlf", "secret-of-20-letters\r\n", 0400);
    write_text("open", KEY "\n", 0640);
    write_text("short", "123456789012345\n", 0600);
    write_text("empty", "", 0600);
    write_text("newline", "\n", 0600);
    write_file("nul", KEY "\0" KEY, 33, 0600);
    write_text("lines", KEY "\n" KEY "\n", 0600);
    write_file("long", oversized, sizeof(oversized), 0600);
    write_text("pem", "certificate", 0644);
    write_text("key", "key", 0640);
    write_text("canary", "c4n4ry", 0600);
    assert_int_equal(mkdir("directory", 0700), 0);
    return mkfifo("fifo", 0600);
}

static inline int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(files); ++i)
        unlink(files[i]);
    rmdir("directory");
    return chdir("/") + rmdir(directory);
}

/* Nothing in here can be left out. */
static const struct {
    const char *name, *value;
} base[] = {
    {"admin", "{token: " KEY "}"},
    {"orders", "{id_key: " KEY "}"},
    {"redis", "{socket: /r}"},
    {"mysql", "{user: u}"},
    {"shards", "[{name: a, slots: 0-1023, servers: [{name: s, socket: /s}]}]"},
};

/* `first` and then, from the line after it on, those of base[] that are not `replaced`. */
static inline void write_config(const char *replaced, const char *first)
{
    FILE *out = fopen("c.yaml", "w");
    assert_non_null(out);
    fprintf(out, "%s\n", first);
    for (size_t i = 0; i < COUNT(base); ++i) {
        if (strcmp(base[i].name, replaced) != 0)
            fprintf(out, "%s: %s\n", base[i].name, base[i].value);
    }
    fclose(out);
}

/* Loads it; `*said` is all that was reported of, to be freed. */
static inline int load(const char *path, config_t **config, char **said)
{
    size_t n;
    FILE *diagnostics = open_memstream(said, &n);
    assert_non_null(diagnostics);
    *config = NULL;
    int mistakes = config_load(path, config, diagnostics);
    fclose(diagnostics);
    int lines = 0;
    for (size_t i = 0; i < n; ++i)
        lines += (*said)[i] == '\n';
    assert_int_equal(mistakes, lines);
    assert_true((mistakes == 0) == (*config != NULL));
    return mistakes;
}

static inline config_t *load_good(const char *replaced, const char *first)
{
    config_t *config;
    char *said;
    write_config(replaced, first);
    if (load("c.yaml", &config, &said) != 0)
        fail_msg("%s", said);
    free(said);
    return config;
}

/* `expected`: how each diagnostic starts behind the file's name, one a line. */
static inline void assert_diagnostics(const char *path, const char *expected)
{
    config_t *config;
    char *said, *at;
    load(path, &config, &said);
    at = said;
    for (const char *line = expected; *line != '\0';) {
        size_t n = strcspn(line, "\n"), file = strlen(path);
        if (strncmp(at, path, file) != 0 || strncmp(at + file, line, n) != 0)
            fail_msg("expected %.*s\nin %s", (int)n, line, said);
        at += strcspn(at, "\n");
        at += *at == '\n';
        line += n;
        line += *line == '\n';
    }
    if (*at != '\0')
        fail_msg("beyond what was expected: %s", at);
    free(said);
    config_free(config);
}

typedef struct {
    const char *replaced, *first, *expected;
} case_t;

static inline void assert_cases(const case_t *cases, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        write_config(cases[i].replaced, cases[i].first);
        assert_diagnostics("c.yaml", cases[i].expected);
    }
}

#endif
