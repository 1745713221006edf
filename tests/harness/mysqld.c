#include "mysqld.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>

#include "harness/deployed.h"

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

unsigned mysqld_send(MYSQL *mysql, const char *sql)
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

MYSQL *mysqld_hold(const test_stack_t *stack, unsigned shard, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    MYSQL *mysql = mysqld_open(stack, shard);
    EXPECT(mysql != NULL, "cannot reach %s", stack->mysql_sockets[shard]);
    EXPECT_NUMBER(mysqld_send(mysql, "START TRANSACTION"), 0);
    EXPECT_NUMBER(mysqld_send(mysql, sql), 0);
    return mysql;
}

long long mysqld_waiting(const test_stack_t *stack, unsigned shard)
{
    /* INNODB_TRX is no use: it is not read anew as long as somebody asks every 100 ms. */
    return mysqld_status(stack, shard, "Innodb_row_lock_current_waits");
}

long long mysqld_status(const test_stack_t *stack, unsigned shard, const char *name)
{
    return ask(stack, shard, 1, test_text("SHOW GLOBAL STATUS LIKE '%s'", name));
}

/* $base is the directory of the server. */
#define BASE "base=$DIR/mysql/$name\n"

static const char *name_of(unsigned shard)
{
    return test_text("shard-%u-a", shard);
}

/* --- its process --- */

static void end(const test_stack_t *stack, unsigned shard, int signal)
{
    process_signal(stack->mysql_pids[shard], signal);
    WAIT_UNTIL(process_is_gone(stack->mysql_pids[shard]));
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
    pid_t pid = deployed_pid(stack, name_of(shard));
    EXPECT(pid != stack->mysql_pids[shard], "the server of shard %u was not started again", shard);
    stack->mysql_pids[shard] = pid;
}

#define WAIT "wait_ready \"$name\" \"$log\" mysql_answers \"$name\""

void mysqld_start(test_stack_t *stack, unsigned shard, const char *before, const char *options)
{
    const char *script = test_text(
        BASE
        "process_start \"$name\" \"$log\" %s mariadbd --defaults-file=\"$base/my.cnf\" %s\n" WAIT,
        before, options);
    deployed_must(stack, name_of(shard), "", script);
    learn_pid(stack, shard);
}

/* --- its data --- */

void mysqld_copy_data(const test_stack_t *stack, unsigned shard)
{
    deployed_must(stack, name_of(shard), "",
                  BASE "rm -rf \"$base/copy\"; cp -a \"$base/data\" \"$base/copy\"");
}

void mysqld_put_copy_back(const test_stack_t *stack, unsigned shard)
{
    deployed_must(stack, name_of(shard), "",
                  BASE "rm -rf \"$base/data\"; cp -a \"$base/copy\" \"$base/data\"");
}

/* --- a small disk --- */

bool mysqld_start_on_small_disk(test_stack_t *stack, unsigned shard, unsigned mib)
{
    const char *name = name_of(shard);
    if (deployed_run(stack, name, "", BASE "unshare --mount mount -t tmpfs tmpfs \"$base/tmp\"") !=
        0) {
        print_error("SKIPPED: this machine lets nobody mount a file system, so there is no disk "
                    "that could be filled\n");
        return false;
    }
    /* In a mount namespace of its own: the file system goes when the server goes. The binary log is
       on another disk: a server that cannot write that one stands still for a minute, whenever
       there is room again, and who tries in vain to make a table longer takes all the room
       meanwhile. */
    deployed_must(
        stack, name, test_text("%um", mib),
        BASE "process_start \"$name\" \"$log\" unshare --mount sh -euc '\n"
             "  mv \"$1/data\" \"$1/whole\"; mkdir \"$1/data\"\n"
             "  mount -t tmpfs -o \"size=$2\" tmpfs \"$1/data\"\n"
             "  cp -a \"$1/whole/.\" \"$1/data\"\n"
             "  exec mariadbd --defaults-file=\"$1/my.cnf\" --log-bin=\"$1/binlog\"' sh \"$base\" "
             "\"$extra\"\n" WAIT);
    learn_pid(stack, shard);
    return true;
}

/* As the server sees it. */
static const char *filler(const test_stack_t *stack, unsigned shard)
{
    return test_text("/proc/%d/root%s/mysql/shard-%u-a/data/filler", (int)stack->mysql_pids[shard],
                     stack->dir, shard);
}

/* The server writes meanwhile: what is free is asked again until all but `keep` is taken. */
static int fill_but(int fd, unsigned long long keep, unsigned long long *taken)
{
    struct statvfs about;
    for (unsigned tries = 0; tries < 100; ++tries) {
        if (fstatvfs(fd, &about) != 0)
            return errno;
        unsigned long long free_bytes = (unsigned long long)about.f_bfree * about.f_frsize;
        EXPECT(free_bytes < 1ull << 30, "%llu bytes are free: not the small disk", free_bytes);
        if (free_bytes <= keep)
            return 0;
        unsigned long long more = tries % 2 == 0 ? free_bytes - keep : (free_bytes - keep) / 2 + 1;
        if (posix_fallocate(fd, (off_t)*taken, (off_t)more) == 0)
            *taken += more;
    }
    return ENOSPC;
}

void mysqld_fill_disk(const test_stack_t *stack, unsigned shard, unsigned kib_left)
{
    unsigned long long taken = 0;
    const char *path = filler(stack, shard);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    EXPECT(fd >= 0, "%s: %s", path, strerror(errno));
    int error = fill_but(fd, (unsigned long long)kib_left * KIB, &taken);
    close(fd);
    EXPECT(error == 0, "%s: %s", path, strerror(error));
}

void mysqld_free_disk(const test_stack_t *stack, unsigned shard)
{
    const char *path = filler(stack, shard);
    EXPECT(unlink(path) == 0, "%s: %s", path, strerror(errno));
}
