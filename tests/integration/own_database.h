/*
 * For tests of the binary's commands: a database of the test's own on the servers of the shared
 * stack, and a configuration that names it. The running service does not see it, and what is
 * broken there by hand is broken for nobody else. Each test is one source file, so this is
 * included whole. Unlike the harness it uses the service's own code to talk to MySQL.
 */
#ifndef HOLDFAST_TESTS_OWN_DATABASE_H
#define HOLDFAST_TESTS_OWN_DATABASE_H

#include "harness/test.h"

#include <sys/wait.h>

#include "base/order_id.h"
#include "config/config.h"
#include "sale/shard_map.h"
#include "store/db.h"
#include "store/migrate.h"

/* What all cases share, made once. */
static struct {
    const char *database;
    char *path; /* of its configuration */
    config_t *config;
    config_t root; /* the same servers, as the account that may create databases */
} here;

/* --- files and processes --- */

static char *read_all(FILE *in)
{
    size_t n = 0, size = 1 << 16;
    char *text = test_bytes(size);
    for (size_t got; (got = fread(text + n, 1, size - 1 - n, in)) != 0;)
        n += got;
    text[n] = '\0';
    return text;
}

static char *read_path(const char *path)
{
    FILE *in = fopen(path, "re");
    EXPECT(in != NULL, "cannot read %s", path);
    char *text = read_all(in);
    fclose(in);
    return text;
}

/* Writes a configuration as that in `from`, with `old` replaced by `new_text` wherever it is. */
static const char *derive(const char *from, const char *name, const char *old, const char *new_text)
{
    const char *tmp = getenv("HOLDFAST_TEST_TMP");
    const char *path = test_text("%s/%s-%d.yaml", tmp != NULL ? tmp : "/tmp", name, getpid());
    const char *at = read_path(from), *next;
    FILE *out = fopen(path, "we");
    EXPECT(out != NULL, "cannot write %s", path);
    EXPECT(strstr(at, old) != NULL, "no %s in %s", old, from);
    for (; (next = strstr(at, old)) != NULL; at = next + strlen(old))
        fprintf(out, "%.*s%s", (int)(next - at), at, new_text);
    fputs(at, out);
    fclose(out);
    return path;
}

static FILE *start(const char *command, const char *path)
{
    FILE *out = popen(test_text("exec '%s/holdfast' %s -c '%s' 2>/dev/null",
                                test_environment("HOLDFAST_TEST_BUILD"), command, path),
                      "r");
    EXPECT(out != NULL, "cannot start holdfast");
    return out;
}

static int finish(FILE *process, char **said)
{
    *said = read_all(process);
    int status = pclose(process);
    EXPECT(WIFEXITED(status), "holdfast ended with status %d", status);
    return WEXITSTATUS(status);
}

static inline int migrate(char **said)
{
    return finish(start("migrate", here.path), said);
}

/* --- the database --- */

/* Whatever the database is by then. */
static db_t *open_shard(const config_t *config, unsigned shard)
{
    return db_new_unchecked(config, shard_primary(&here.config->shards[shard]));
}

static void run_text(const config_t *config, unsigned shard, const char *text)
{
    db_t *db = open_shard(config, shard);
    result_t result = db_run(db, text);
    EXPECT(result == RESULT_DONE, "%s: %s", text, db_error(db));
    db_free(db);
}

static void run_on_all(const config_t *config, const char *text)
{
    for (unsigned i = 0; i < here.config->shards_count; ++i)
        run_text(config, i, text);
}

static void create_database(void)
{
    run_on_all(&here.root,
               test_text("DROP DATABASE IF EXISTS %s; CREATE DATABASE %s "
                         "CHARACTER SET utf8mb4; GRANT ALL ON %s.* TO '%s'@'localhost'",
                         here.database, here.database, here.database, here.config->mysql.user));
}

/* The Redis of the shared stack is that of this deployment only. */
static const char *deployment_of_stack(void)
{
    config_t *config = NULL;
    static const char text[] = "SELECT deployment FROM shard_identity";
    EXPECT(config_load(test_environment("HOLDFAST_CONFIG"), &config, stderr) == 0, "no stack");
    db_t *db = db_new(config, shard_primary(&config->shards[0]));
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    EXPECT(db_query(db, &sql) == RESULT_DONE && db_next(db), "%s", db_error(db));
    const char *name = test_text("%.*s", STR_ARG(db_bytes(db, 0)));
    db_free(db);
    config_free(config);
    return name;
}

/* Fixtures of the group. */
static int set_up_group(void **state)
{
    (void)state;
    static char database[64], path[512];
    snprintf(database, sizeof(database), "holdfast_test_%d", getpid());
    const char *named = derive(test_environment("HOLDFAST_CONFIG"), "own-deployment", "node:\n",
                               test_text("node:\n  deployment: %s\n", deployment_of_stack()));
    snprintf(
        path, sizeof(path), "%s",
        derive(named, "own-database", "database: holdfast", test_text("database: %s", database)));
    unlink(named);
    here.database = database;
    here.path = path;
    if (config_load(path, &here.config, stderr) != 0)
        return -1;
    here.root = *here.config;
    here.root.mysql.user = (char *)getenv("HOLDFAST_MYSQL_USER");
    here.root.mysql.password = NULL;
    here.root.mysql.database = (char *)"information_schema"; /* which is always there */
    order_id_set_key(STR("a key of this test only"));
    create_database();
    test_forget();
    return 0;
}

/* Likewise, with the tables of this version in it. */
static inline int set_up_migrated(void **state)
{
    if (set_up_group(state) != 0)
        return -1;
    FILE *log = tmpfile();
    int failed = migrate_all(here.config, log);
    fclose(log);
    return failed;
}

static int tear_down_group(void **state)
{
    (void)state;
    run_on_all(&here.root, test_text("DROP DATABASE %s; REVOKE ALL ON %s.* FROM '%s'@'localhost'",
                                     here.database, here.database, here.config->mysql.user));
    unlink(here.path);
    config_free(here.config);
    test_forget();
    return 0;
}

#endif
