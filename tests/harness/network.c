#include "network.h"

#include <signal.h>
#include <sys/stat.h>

#include "harness/deployed.h"
#include "harness/mysqld.h"

/* Names and addresses are this process's. */
static bool started;

static const char *space(void)
{
    return test_text("holdfast-%d", (int)getpid());
}

/* Of the side of the services, 1, and of the servers, 2. */
static const char *address(unsigned side)
{
    return test_text("10.213.%d.%u", (int)getpid() % 250, side);
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    test_keep(text, free);
    return system(text);
}

#define SHELL(...)                                                                                 \
    do {                                                                                           \
        int status_ = shell(__VA_ARGS__);                                                          \
        EXPECT(status_ == 0, "status %d of: %s", status_, test_text(__VA_ARGS__));                 \
    } while (0)

/* --- the namespace --- */

#define QUIET ">/dev/null 2>&1"

static int make(void)
{
    const char *s = space();
    int id = (int)getpid();
    return shell("{ ip netns add %s && ip link add hfa%d type veth peer name hfb%d netns %s && "
                 "ip addr add %s/30 dev hfa%d && ip -n %s addr add %s/30 dev hfb%d && "
                 "ip link set hfa%d up && ip -n %s link set hfb%d up && ip -n %s link set lo up && "
                 "ip netns exec %s nft 'add table inet loss; add counter inet loss lost; "
                 "add chain inet loss out { type filter hook output priority 0; }'; } " QUIET,
                 s, id, id, s, address(1), id, s, address(2), id, id, s, id, s, s);
}

static void unmake(void)
{
    shell("ip netns del %s " QUIET, space()); /* and the pair with it */
}

bool network_is_allowed(void)
{
    bool allowed = make() == 0;
    unmake();
    if (!allowed)
        print_error("SKIPPED: this machine allows no network namespaces or packet filters, so "
                    "there is no network that could lose packets\n");
    return allowed;
}

/* --- the servers in it --- */

static void move_redis(test_stack_t *stack)
{
    process_signal(stack->redis_pid, SIGTERM);
    WAIT_UNTIL(process_is_gone(stack->redis_pid));
    deployed_must(stack, "redis", "",
                  test_text("process_start redis \"$log\" ip netns exec %s redis-server "
                            "\"$DIR/redis/redis.conf\" --port %d --bind %s --protected-mode no\n"
                            "redis_wait",
                            space(), NETWORK_REDIS_PORT, address(2)));
    stack->redis_pid = deployed_pid(stack, "redis");
}

static const char *mysql_password(const test_stack_t *stack)
{
    char word[256] = "";
    FILE *in = fopen(test_text("%s/secrets/mysql_password", stack->dir), "re");
    EXPECT(in != NULL && fscanf(in, "%255s", word) == 1, "no password of MySQL");
    fclose(in);
    return test_text("%s", word);
}

static void move_mysql(test_stack_t *stack, unsigned shard)
{
    const char *user = test_text("'holdfast'@'%s'", address(1));
    mysqld_stop(stack, shard);
    mysqld_start(stack, shard, test_text("ip netns exec %s", space()),
                 test_text("--skip-networking=0 --bind-address=%s --port=%u", address(2),
                           NETWORK_MYSQL_PORT + shard));
    mysqld_run(stack, shard, "CREATE USER %s IDENTIFIED BY '%s'", user, mysql_password(stack));
    mysqld_run(stack, shard, "GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.* TO %s", user);
}

void network_start(test_stack_t *stack)
{
    unmake(); /* what a process of the same id has left */
    EXPECT(make() == 0, "no network");
    started = true;
    move_redis(stack);
    for (unsigned i = 0; i < stack->shards; ++i)
        move_mysql(stack, i);
}

void network_end(void)
{
    if (started)
        unmake();
    started = false;
}

const char *network_config(const test_stack_t *stack)
{
    const char *path = test_text("%s/network.yaml", stack->dir);
    const char *edits = test_text("-e 's|socket: %s$|host: %s\\n  port: %d|'", stack->redis_socket,
                                  address(2), NETWORK_REDIS_PORT);
    for (unsigned i = 0; i < stack->shards; ++i)
        edits = test_text("%s -e 's|socket: %s$|host: %s\\n        port: %u|'", edits,
                          stack->mysql_sockets[i], address(2), NETWORK_MYSQL_PORT + i);
    SHELL("umask 077; sed %s '%s' >'%s'", edits, stack->config, path);
    EXPECT(shell("grep -q socket: '%s'", path) != 0, "a socket is left in %s", path);
    return path;
}

/* --- losses --- */

void network_lose_answers(unsigned first_port, unsigned last_port)
{
    SHELL("ip netns exec %s nft 'reset counter inet loss lost' " QUIET, space());
    SHELL("ip netns exec %s nft 'add rule inet loss out tcp sport %u-%u counter name lost drop'",
          space(), first_port, last_port);
}

long long network_heal(void)
{
    long long packets = -1;
    FILE *in = popen(test_text("ip netns exec %s nft list counter inet loss lost | sed -n "
                               "'s/.*packets \\([0-9]*\\).*/\\1/p'",
                               space()),
                     "r");
    EXPECT(in != NULL && fscanf(in, "%lld", &packets) == 1, "no count of packets");
    pclose(in);
    SHELL("ip netns exec %s nft 'flush chain inet loss out'", space());
    return packets;
}
