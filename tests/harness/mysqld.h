/*
 * One shard's MariaDB, and what may befall its machine: it is killed and started again, stopped in
 * its tracks, put back to an older copy of its data, given a small disk. Only for stacks of a
 * test's own. A server is started as deploy/up would, with its own my.cnf, so that deploy/down
 * finds it.
 *
 * What fails ends the case that runs: main thread only, but for mysqld_open() and mysqld_send().
 */
#ifndef HOLDFAST_HARNESS_MYSQLD_H
#define HOLDFAST_HARNESS_MYSQLD_H

#include <mysql.h>

#include "harness/stack.h"

/* --- talking to it, as root --- */
/* NULL: it does not answer. */
MYSQL *mysqld_open(const test_stack_t *stack, unsigned shard);
/* 0, or the number of the error. */
unsigned mysqld_send(MYSQL *mysql, const char *sql);
/* One statement on a connection of its own; fails on an error. */
void mysqld_run(const test_stack_t *stack, unsigned shard, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The first number that it gives (NULL is 0). */
long long mysqld_number(const test_stack_t *stack, unsigned shard, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A transaction that has run this statement, on a connection of its own: what it has locked stays
   locked until mysqld_send(.., "COMMIT") or mysql_close(). Fails on an error. */
MYSQL *mysqld_hold(const test_stack_t *stack, unsigned shard, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* How many transactions wait for the lock of a row. */
long long mysqld_waiting(const test_stack_t *stack, unsigned shard);
/* Of SHOW GLOBAL STATUS. */
long long mysqld_status(const test_stack_t *stack, unsigned shard, const char *name);

/* --- its process --- */
/* SIGKILL; returns when it is gone. */
void mysqld_kill(const test_stack_t *stack, unsigned shard);
/* SIGTERM: a clean end. */
void mysqld_stop(const test_stack_t *stack, unsigned shard);
/* Of one that is gone; returns when it answers. `before`: words that run it, like "nice";
   `options`: more of them than my.cnf has; both may be "". */
void mysqld_start(test_stack_t *stack, unsigned shard, const char *before, const char *options);

/* --- its data, while it is stopped --- */
void mysqld_copy_data(const test_stack_t *stack, unsigned shard);
/* What was copied is what there is, once more. */
void mysqld_put_copy_back(const test_stack_t *stack, unsigned shard);

/* --- a small disk --- */
/* Of one that is gone: as mysqld_start(), with its data on a file system of so many MiB, that only
   it sees and that ends with it. False: this machine does not let us mount, and says why. */
bool mysqld_start_on_small_disk(test_stack_t *stack, unsigned shard, unsigned mib);
/* Fills that disk up to so many KiB. */
void mysqld_fill_disk(const test_stack_t *stack, unsigned shard, unsigned kib_left);
void mysqld_free_disk(const test_stack_t *stack, unsigned shard);

#endif
