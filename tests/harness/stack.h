/*
 * Stacks: the shared one that tests/run has brought up (its DIR/env is in our environment), and
 * stacks of a test's own, for tests that kill, stop or configure something.
 *
 * Signals go only to processes that deploy/up of such a stack, or this harness, has started.
 */
#ifndef HOLDFAST_HARNESS_STACK_H
#define HOLDFAST_HARNESS_STACK_H

#include "harness/test.h"

#define STACK_SHARDS_MAX 8

/* A stack, or one more service of it. */
typedef struct {
    char
        *failpoints; /* the file that arms its service, see harness/fault.h; NULL: the shared one */
    char *dir, *url, *admin_url, *token, *config, *redis_socket, *mysql_user;
    char *mysql_sockets[STACK_SHARDS_MAX];
    pid_t pid, redis_pid, mysql_pids[STACK_SHARDS_MAX];
    unsigned shards;
    unsigned number; /* of a further service; 0: the stack's own */
} test_stack_t;

/* The one of our environment. Never ends. */
const test_stack_t *stack_shared(void);

/* Brings one up, with settings "section.key=value", or changes the settings of one that is up (its
   service then starts again; what died is started again too). `name` is for its directory. */
test_stack_t *stack_start(const char *name, const char *const *settings, unsigned settings_count);
#define STACK_START(name_, ...)                                                                    \
    stack_start(name_, (const char *const[]){__VA_ARGS__},                                         \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
void stack_again(test_stack_t *stack, const char *const *settings, unsigned settings_count);
#define STACK_AGAIN(stack_, ...)                                                                   \
    stack_again(stack_, (const char *const[]){__VA_ARGS__},                                        \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
/* Where everything is and which processes run, after deploy/up was run by somebody else. */
void stack_learn(test_stack_t *stack);
/* Waits until the service is ready and lacks nothing. */
void stack_await_ready(const test_stack_t *stack);
/* Stops it; its logs stay. False: a sanitizer has reported in a log of the service. */
bool stack_stop(test_stack_t *stack);

/* One more service over the same servers, `n` from 2 to STACK_NODES_MAX + 1: its configuration is
   the first one's, but for addresses, name and `settings`. Of the result url, admin_url, config,
   failpoints and pid are its own. Signals may kill it; stack_node_again() then starts it as it was.
   One that a failed case has left running ends when its number is used again, or with the stack. */
#define STACK_NODES_MAX 4
test_stack_t *stack_node_start(const test_stack_t *stack, unsigned n, const char *const *settings,
                               unsigned settings_count);
#define STACK_NODE_START(stack_, n_, ...)                                                          \
    stack_node_start(stack_, n_, (const char *const[]){__VA_ARGS__},                               \
                     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))
/* One whose configuration is another text besides: each `change` is a text in it and what stands
   there instead. It may be one that is never ready: this returns when it answers at all. */
test_stack_t *stack_node_start_changed(const test_stack_t *stack, unsigned n,
                                       const char *const (*changes)[2], unsigned changes_count);
void stack_node_again(test_stack_t *node);
/* By SIGTERM; fails if it does not end with status 0. One that is dead already is only forgotten.
 */
void stack_node_stop(test_stack_t *node);
/* Number 2, without settings. */
test_stack_t *stack_second_start(const test_stack_t *stack);
void stack_second_stop(test_stack_t *second);

/* The secret of this name that deploy/up made. */
const char *stack_secret(const test_stack_t *stack, const char *name);

/* Is there a line with these words in the log of this service? A thread writes the log: wait for
   what must be in it, and look for what must not only when the service has ended. */
bool stack_log_has(const test_stack_t *stack, const char *words);
const char *stack_log(const test_stack_t *stack); /* its path */

/* `holdfast COMMAND -c CONFIG`; its exit status. What it says is printed if that is not 0. */
int stack_command(const test_stack_t *stack, const char *command);

/* A program of this test, which does not outlive it: a child, to be waited for. Its output is
   appended to `log`; `failpoints`: the file that arms it, or NULL. */
pid_t process_spawn(const char *const *arguments, const char *log, const char *failpoints);
void process_signal(pid_t pid, int signal);
/* Ended, or a zombie that nobody has waited for. */
bool process_is_gone(pid_t pid);

#endif
