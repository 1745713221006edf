/*
 * holdfast: the program, with all its commands. usage() lists them; deploy/README.md describes
 * their use.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/version.h"
#include "config/config.h"
#include "http/credentials.h"
#include "reconcile/audit.h"
#include "serve.h"
#include "signals.h"
#include "store/db.h"
#include "store/migrate.h"

typedef struct {
    const char *name, *summary;
    const char *help; /* the text of `holdfast NAME --help` behind the usage line */
} command_t;

static const command_t commands[] = {
    {"serve", "answer buyers until SIGTERM",
     "Signals: TERM and INT end it, after what was started; HUP opens the file of the log "
     "(log.file)\n"
     "again and loads the certificates and keys of TLS and the tokens; USR1, USR2 and the like are "
     "ignored.\n"},
    {"check", "name every mistake in the configuration", "Exit 1 if there is one.\n"},
    {"migrate", "bring each shard's tables up to date; safe to repeat", ""},
    {"audit", "print the invariants as JSON; exit 1 if one is broken",
     "Progress is on standard error. Exit 2 if a server was away, so that the answer is not "
     "known.\n"},
};
#define COMMANDS_COUNT (sizeof(commands) / sizeof(commands[0]))
static const char settings_summary[] = "describe every setting";

static int usage(FILE *out)
{
    fputs("usage: holdfast COMMAND -c FILE\n", out);
    for (size_t i = 0; i < COMMANDS_COUNT; ++i)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
    fprintf(out,
            "  settings  (no -c) %s\n"
            "holdfast COMMAND --help: more of a command; holdfast --version\n",
            settings_summary);
    return out == stdout ? 0 : 2;
}

static int command_usage(const command_t *command)
{
    printf("usage: holdfast %s -c FILE\n\n%s.\n%s\n"
           "  -c FILE   the configuration; `holdfast settings` describes what may stand in it\n",
           command->name, command->summary, command->help);
    return 0;
}

static const command_t *find_command(const char *word)
{
    for (size_t i = 0; i < COMMANDS_COUNT; ++i)
        if (strcmp(word, commands[i].name) == 0)
            return &commands[i];
    return NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Runs a command that needs no configuration, and returns its status; -1: it is another one. */
static int run_without_configuration(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : "";
    const command_t *command = find_command(first);
    bool help = argc == 3 && is_help(argv[2]);
    if (argc == 2 && (is_help(first) || strcmp(first, "help") == 0))
        return usage(stdout);
    if (argc == 2 && strcmp(first, "--version") == 0)
        return printf("holdfast %s\n", holdfast_version) < 0;
    if (argc == 2 && strcmp(first, "settings") == 0) {
        config_describe(stdout);
        return 0;
    }
    if (help && strcmp(first, "settings") == 0) {
        printf("usage: holdfast settings\n\n%s: type, bounds, default, unit, a sentence.\n",
               settings_summary);
        return 0;
    }
    if (help && command != NULL)
        return command_usage(command);
    if (argc == 4 && command != NULL && strcmp(argv[2], "-c") == 0)
        return -1;
    if (command != NULL && argc <= 4)
        fprintf(stderr, "holdfast %s: -c FILE is missing\n\n", first);
    else if (command != NULL || strcmp(first, "settings") == 0)
        fprintf(stderr, "holdfast %s: too many arguments\n\n", first);
    else if (argc > 1)
        fprintf(stderr, "holdfast: unknown command: %s\n\n", first);
    return usage(stderr);
}

/* What config_load() does not read: the files of tokens and keys. */
static int check(const config_t *config)
{
    char reason[CREDENTIALS_REASON_SIZE];
    credentials_t *credentials = credentials_load(config, reason);
    if (credentials == NULL)
        fprintf(stderr, "holdfast: %s\n", reason);
    else
        puts("the configuration is valid");
    credentials_release(credentials);
    return credentials == NULL;
}

static int run(const char *command, const config_t *config)
{
    if (strcmp(command, "serve") == 0)
        return serve(config);
    if (strcmp(command, "migrate") == 0)
        return migrate_all(config, stdout);
    if (strcmp(command, "audit") == 0)
        return audit_main(config, stdout);
    return check(config);
}

int main(int argc, char **argv)
{
    config_t *config = NULL;
    int status = run_without_configuration(argc, argv);
    if (status >= 0)
        return status;
    if (strcmp(argv[1], "serve") == 0)
        signals_set_up(); /* first of all: threads inherit the mask, and a HUP must not end the
                             process meanwhile */
    int mistakes = config_load(argv[3], &config, stderr);
    if (mistakes != 0) {
        fprintf(stderr, "holdfast: %d mistake%s in %s\n", mistakes, mistakes == 1 ? "" : "s",
                argv[3]);
        return 1;
    }
    db_library_begin();
    status = run(argv[1], config);
    log_stop();
    config_free(config);
    db_library_end();
    return status;
}
