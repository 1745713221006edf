/*
 * holdfast: one binary. See usage() for its commands and README.md for what they are for.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "config/config.h"
#include "reconcile/audit.h"
#include "serve.h"
#include "store/db.h"
#include "store/migrate.h"

static int usage(FILE *out)
{
    fputs("usage: holdfast COMMAND -c FILE\n"
          "  serve     answer buyers until SIGTERM\n"
          "  check     name every mistake in the configuration\n"
          "  migrate   bring each shard's tables up to date; safe to repeat\n"
          "  audit     print the invariants as JSON; exit 1 if one is broken\n"
          "  settings  (no -c) describe every setting\n",
          out);
    return out == stdout ? 0 : 2;
}

static int run(const char *command, const config_t *config)
{
    if (strcmp(command, "serve") == 0)
        return serve(config);
    if (strcmp(command, "migrate") == 0)
        return migrate_all(config, stdout);
    if (strcmp(command, "audit") == 0)
        return audit_main(config, stdout);
    puts("the configuration is valid");
    return 0;
}

static bool is_command(const char *word)
{
    static const char *const commands[] = {"serve", "check", "migrate", "audit"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); ++i)
        if (strcmp(word, commands[i]) == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    config_t *config = NULL;
    if (argc == 2 && strcmp(argv[1], "settings") == 0) {
        config_describe(stdout);
        return 0;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0))
        return usage(stdout);
    if (argc != 4 || !is_command(argv[1]) || strcmp(argv[2], "-c") != 0)
        return usage(stderr);
    int mistakes = config_load(argv[3], &config, stderr);
    if (mistakes != 0) {
        fprintf(stderr, "holdfast: %d mistake%s in %s\n", mistakes, mistakes == 1 ? "" : "s",
                argv[3]);
        return 1;
    }
    db_library_begin();
    int status = run(argv[1], config);
    log_stop();
    config_free(config);
    db_library_end();
    return status;
}
