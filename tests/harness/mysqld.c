#include "mysqld.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define TIMEOUT_S 20
#define KIB 1024

/* --- talking to it --- */

MYSQL *mysqld_open(const test_stack_t *stack, unsigned shard)
{
    unsigned timeout_s = TIMEOUT_S;
    MYSQL *mysql = mysql_init(NULL);
    mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &timeout_s);
    mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &timeout_s);
    if (mysql_real_connect(mysql, NULL, stack->mysql_user, NULL, "holdfast", 0,
                           stack->mysql_sockets[shard], 0) == NULL) {
        mysql_close(mysql);
        return NULL;
    }
    return mysql;
}

unsigned mysqld_say(MYSQL *mysql, const char *sql)
{
    if (mysql_query(mysql, sql) != 0)
        return mysql_errno(mysql);
    mysql_free_result(mysql_store_result(mysql));
    return mysql_errno(mysql);
}

/* The number that stands in `column` of the first row. */
static long long ask(const test_stack_t *stack, unsigned shard, unsigned column, const char *sql)
{
    MYSQL *mysql = mysqld_open(stack, shard);
    if (mysql == NULL)
        FAIL("cannot reach %s", stack->mysql_sockets[shard]);
    bool said = mysql_query(mysql, sql) == 0;
    MYSQL_RES *result = said ? mysql_store_result(mysql) : NULL;
    MYSQL_ROW row = result == NULL ? NULL : mysql_fetch_row(result);
    long long number = row == NULL || row[column] == NULL ? 0 : strtoll(row[column], NULL, 10);
    const char *why = test_text("%s", mysql_error(mysql));
    bool failed = mysql_errno(mysql) != 0;
    mysql_free_result(result);
    mysql_close(mysql);
    EXPECT(!failed, "%s: %s", sql, why);
    return number;
}

static const char *format_sql(const char *format, va_list arguments)
{
    char *sql = NULL;
    if (vasprintf(&sql, format, arguments) < 0)
        abort();
    test_keep(sql, free);
    return sql;
}

void mysqld_run(const test_stack_t *stack, unsigned shard, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    ask(stack, shard, 0, sql);
}

long long mysqld_number(const test_stack_t *stack, unsigned shard, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    return ask(stack, shard, 0, sql);
}

long long mysqld_status(const test_stack_t *stack, unsigned shard, const char *name)
{
    return ask(stack, shard, 1, test_text("SHOW GLOBAL STATUS LIKE '%s'", name));
}

/* --- what deploy's own functions do --- */

/* Runs `script` where those functions are known: $1 the repository, $2 the stack's directory, $3
   the server's name, $4 `extra`; $base is the directory of the server. */
static int deploy(const test_stack_t *stack, unsigned shard, const char *script, const char *extra)
{
    const char *text = test_text("set -eu; source \"$1/deploy/lib.sh\"\n"
                                 "source \"$1/deploy/servers.sh\"; source \"$1/deploy/stack.sh\"\n"
                                 "umask 077; stack_paths \"$2\"; name=$3; extra=$4\n"
                                 "base=$DIR/mysql/$name; log=$LOG_DIR/$name.log\n%s",
                                 script);
    const char *name = test_text("shard-%u-a", shard);
    const char *log = test_text("%s.up.log", stack->dir);
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        execlp("bash", "bash", "-c", text, "bash", test_environment("HOLDFAST_REPO"), stack->dir,
               name, extra, NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        FAIL("cannot run bash: %s", strerror(errno));
    return status;
}

static void must_deploy(const test_stack_t *stack, unsigned shard, const char *script,
                        const char *extra)
{
    int status = deploy(stack, shard, script, extra);
    EXPECT(status == 0, "status %d; see %s.up.log of:\n%s", status, stack->dir, script);
}

/* --- its process --- */

static void end(const test_stack_t *stack, unsigned shard, int signal)
{
    process_signal(stack->mysql_pids[shard], signal);
    WAIT_UNTIL(process_is_gone(stack->mysql_pids[shard]), 60000);
}

void mysqld_kill(const test_stack_t *stack, unsigned shard)
{
    end(stack, shard, SIGKILL);
}

void mysqld_stop(const test_stack_t *stack, unsigned shard)
{
    end(stack, shard, SIGTERM);
}

static void learn_pid(test_stack_t *stack, unsigned shard)
{
    long pid = 0;
    pid_t before = stack->mysql_pids[shard];
    FILE *in = fopen(test_text("%s/run/shard-%u-a.pid", stack->dir, shard), "re");
    EXPECT(in != NULL && fscanf(in, "%ld", &pid) == 1 && pid > 1, "no pid of shard %u", shard);
    fclose(in);
    EXPECT(pid != before, "the server of shard %u was not started again", shard);
    stack->mysql_pids[shard] = (pid_t)pid;
}

void mysqld_start(test_stack_t *stack, unsigned shard, const char *options)
{
    must_deploy(stack, shard,
                "read -ra options <<<\"$extra\"\n"
                "process_start \"$name\" \"$log\" mariadbd --defaults-file=\"$base/my.cnf\" "
                "\"${options[@]}\"\n"
                "wait_ready \"$name\" 60 \"$log\" mysql_answers \"$name\"",
                options);
    learn_pid(stack, shard);
}

/* --- its data --- */

void mysqld_copy_data(const test_stack_t *stack, unsigned shard)
{
    must_deploy(stack, shard, "rm -rf \"$base/copy\"; cp -a \"$base/data\" \"$base/copy\"", "");
}

void mysqld_put_copy_back(const test_stack_t *stack, unsigned shard)
{
    must_deploy(stack, shard, "rm -rf \"$base/data\"; cp -a \"$base/copy\" \"$base/data\"", "");
}

/* --- a small disk --- */

bool mysqld_start_on_small_disk(test_stack_t *stack, unsigned shard, unsigned mib)
{
    if (deploy(stack, shard, "unshare --mount mount -t tmpfs tmpfs \"$base/tmp\"", "") != 0) {
        print_error("SKIPPED: this machine lets nobody mount a file system, so there is no disk "
                    "that could be filled\n");
        return false;
    }
    /* In a mount namespace of its own: the file system goes when the server goes. */
    must_deploy(stack, shard,
                "process_start \"$name\" \"$log\" unshare --mount sh -euc '\n"
                "  mv \"$1/data\" \"$1/whole\"; mkdir \"$1/data\"\n"
                "  mount -t tmpfs -o \"size=$2\" tmpfs \"$1/data\"\n"
                "  cp -a \"$1/whole/.\" \"$1/data\"\n"
                "  exec mariadbd --defaults-file=\"$1/my.cnf\"' sh \"$base\" \"$extra\"\n"
                "wait_ready \"$name\" 60 \"$log\" mysql_answers \"$name\"",
                test_text("%um", mib));
    learn_pid(stack, shard);
    return true;
}

/* As the server sees it. */
static const char *filler(const test_stack_t *stack, unsigned shard)
{
    return test_text("/proc/%d/root%s/mysql/shard-%u-a/data/filler", (int)stack->mysql_pids[shard],
                     stack->dir, shard);
}

void mysqld_fill_disk(const test_stack_t *stack, unsigned shard, unsigned kib_left)
{
    struct statvfs about;
    const char *path = filler(stack, shard);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    EXPECT(fd >= 0 && fstatvfs(fd, &about) == 0, "%s: %s", path, strerror(errno));
    unsigned long long free_bytes = (unsigned long long)about.f_bfree * about.f_frsize;
    unsigned long long keep = (unsigned long long)kib_left * KIB;
    EXPECT(free_bytes < 1ull << 30, "%llu bytes are free: that is not the small disk", free_bytes);
    int error = free_bytes <= keep ? 0 : posix_fallocate(fd, 0, (off_t)(free_bytes - keep));
    close(fd);
    EXPECT(error == 0, "%s: %s", path, strerror(error));
}

void mysqld_free_disk(const test_stack_t *stack, unsigned shard)
{
    const char *path = filler(stack, shard);
    EXPECT(unlink(path) == 0, "%s: %s", path, strerror(errno));
}
