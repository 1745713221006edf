/*
 * Redis fails over to a replica that has not heard of the last sales, and back. Services reach it
 * by the path of a socket, which is a link: to the master, and then to what sentinels, or the test,
 * have put in its place. Both sides keep what they have: an old gate must admit nobody.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/redis_server.h"
#include "harness/suite.h"

#define SENTINELS 3
/* Sentinels that were kept from running for two seconds do nothing for the next thirty ("tilt", in
   Redis's documentation of Sentinel): on a busy machine that may come before any of their steps. */
#define FAILOVER_MS 100000

static redis_server_t *a, *b, *sentinels[SENTINELS];
static char dir[100]; /* of the servers and the links */

/* --- what the services connect to --- */

static const char *link_of(unsigned n)
{
    return test_text("%s/gate-%u.sock", dir, n);
}

static void point(unsigned n, const redis_server_t *server)
{
    const char *new_link = test_text("%s/gate.new", dir);
    unlink(new_link);
    EXPECT(symlink(server->socket, new_link) == 0 && rename(new_link, link_of(n)) == 0,
           "no link to %s: %s", server->socket, strerror(errno));
}

static bool points_to(unsigned n, const redis_server_t *server)
{
    char target[200] = "";
    ssize_t length = readlink(link_of(n), target, sizeof(target) - 1);
    return length > 0 && strcmp(target, server->socket) == 0;
}

/* As documented for client-reconfig-script: NAME ROLE STATE FROM_IP FROM_PORT TO_IP TO_PORT. */
static const char *write_script(void)
{
    const char *path = test_text("%s/reconfig", dir);
    FILE *out = fopen(path, "we");
    EXPECT(out != NULL, "cannot write %s", path);
    fprintf(out, "#!/bin/sh\ncd '%s' || exit 1\n", dir);
    for (unsigned n = 1; n <= 2; ++n)
        fprintf(out,
                "ln -sfn \"%s/redis-$7.sock\" \"by-script-$$\" && mv -fT \"by-script-$$\" "
                "gate-%u.sock\n",
                dir, n);
    fclose(out);
    EXPECT(chmod(path, 0700) == 0, "chmod: %s", strerror(errno));
    return path;
}

/* --- the stack --- */

static void replicate(const redis_server_t *replica, const redis_server_t *master)
{
    redis_server_ask(replica, "REPLICAOF 127.0.0.1 %u", master->port);
    WAIT_UNTIL(strcmp(redis_server_info(replica, "master_link_status"), "up") == 0);
}

/* The harness looks at the gate where node 1 does. */
static void read_through_link(test_stack_t *at)
{
    free(at->redis_socket);
    at->redis_socket = strdup(link_of(1));
}

static test_stack_t *start_with_links(void)
{
    test_stack_t *own = STACK_START("failover", SUITE_SHORT_DEADLINES);
    int n = snprintf(dir, sizeof(dir), "%s", own->redis_socket);
    EXPECT(n < (int)sizeof(dir), "too long: %s", own->redis_socket);
    *strrchr(dir, '/') = '\0';
    a = redis_server_start(dir);
    b = redis_server_start(dir);
    point(1, a);
    point(2, a);
    STACK_AGAIN(own, test_text("redis.socket=%s", link_of(1)));
    return own;
}

static void start_second(void)
{
    node = STACK_NODE_START(stack, 2, test_text("redis.socket=%s", link_of(2)));
    read_through_link(stack);
    read_through_link(node);
}

static void free_servers(void)
{
    redis_server_t *all[] = {a, b, sentinels[0], sentinels[1], sentinels[2]};
    for (size_t i = 0; i < TEST_COUNT(all); ++i)
        if (all[i] != NULL)
            redis_server_free(all[i]);
    a = b = NULL;
}

/* A is master, B follows, nobody else decides. */
static int a_is_master(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SENTINELS; ++i) {
        if (sentinels[i] != NULL)
            redis_server_free(sentinels[i]);
        sentinels[i] = NULL;
    }
    redis_server_t *both[] = {a, b};
    for (size_t i = 0; i < TEST_COUNT(both); ++i) {
        if (both[i]->pid == 0)
            redis_server_again(both[i]);
        process_signal(both[i]->pid, SIGCONT);
    }
    redis_server_ask(a, "REPLICAOF NO ONE");
    replicate(b, a);
    point(1, a);
    point(2, a);
    redis_server_ask(b, "CLIENT KILL TYPE normal");
    return 0;
}

typedef struct {
    const char *sku;
    const test_stack_t *nodes[2];
    crowd_t *crowd;
    chance_t chance;
} sale_t;

static sale_t begin(const char *name, const char *strategy)
{
    sale_t sale = {.nodes = {stack, node}, .chance = chance_of(name)};
    sale.sku = sale_item(
        stack, name, "\"total\":500,\"per_buyer_limit\":9,\"hold_seconds\":3,\"strategy\":\"%s\"",
        strategy);
    sale.crowd = crowd_start(
        &(crowd_plan_t){.nodes = sale.nodes, .nodes_count = 2, .skus = &sale.sku, .skus_count = 1});
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    return sale;
}

static long long gate_field(const redis_server_t *server, const char *sku, const char *field)
{
    const char *text = redis_server_ask(server, "HGET %s %s", redis_key(stack, "gate", sku), field);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

static long long row_epoch(const char *sku)
{
    return rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
}

/* --- sentinels --- */

static bool sentinels_know_all(void)
{
    for (unsigned i = 0; i < SENTINELS; ++i) {
        const char *master = redis_server_ask(sentinels[i], "SENTINEL MASTER gate");
        if (master == NULL || strstr(master, "num-slaves\n1\n") == NULL ||
            strstr(master, "num-other-sentinels\n2\n") == NULL)
            return false;
    }
    return true;
}

static void start_sentinels(const redis_server_t *master)
{
    const char *script = write_script();
    for (unsigned i = 0; i < SENTINELS; ++i)
        sentinels[i] = redis_sentinel_start(dir, master, script);
    WAIT_UNTIL(sentinels_know_all());
}

static bool follows(const redis_server_t *replica)
{
    return strcmp(redis_server_info(replica, "role"), "slave") == 0 &&
           strcmp(redis_server_info(replica, "master_link_status"), "up") == 0;
}

/* Cut off from its master, it misses what is sold from here on. */
static void make_stale(const sale_t *sale, const redis_server_t *master,
                       const redis_server_t *replica)
{
    redis_server_ask(replica, "REPLICAOF 127.0.0.1 1");
    crowd_await(sale->crowd, CROWD_CREATED, 60);
    long long epoch = gate_field(master, sale->sku, "epoch"),
              reserved = gate_field(master, sale->sku, "reserved");
    EXPECT(gate_field(replica, sale->sku, "epoch") < epoch ||
               gate_field(replica, sale->sku, "reserved") < reserved,
           "the replica is not stale");
}

/* The old master comes back, and the sentinels are asked to make it master again. */
static void fail_back(const sale_t *sale)
{
    if (a->pid == 0)
        redis_server_again(a);
    process_signal(a->pid, SIGCONT);
    WAIT_UNTIL(follows(a));
    crowd_await(sale->crowd, CROWD_CREATED, 30);
    long long end = test_clock_ms() + FAILOVER_MS;
    while (!points_to(1, a)) {
        EXPECT(test_clock_ms() < end, "no failover back: %s",
               redis_server_ask(sentinels[0], "SENTINEL MASTER gate"));
        redis_server_ask(sentinels[0], "SENTINEL FAILOVER gate"); /* refused while one is on */
        usleep(500000);
    }
    WAIT_UNTIL(follows(b));
}

static void sentinels_promote_a_stale_replica(const char *strategy, int signal)
{
    sale_t sale = begin("promoted", strategy);
    start_sentinels(a);
    make_stale(&sale, a, b);
    long long before = row_epoch(sale.sku);
    if (signal == SIGKILL)
        redis_server_kill(a);
    else
        process_signal(a->pid, signal);
    WAIT_UNTIL(points_to(1, b) && points_to(2, b));
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    EXPECT(row_epoch(sale.sku) > before, "sold by the gate of a stale replica");
    fail_back(&sale);
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    EXPECT_PROMISES(stack, sale.crowd, "%s, master %s, stale replica promoted, and back", strategy,
                    signal == SIGKILL ? "killed" : "stopped");
}

static void a_stale_replica_is_promoted_and_fails_back(void **state)
{
    sentinels_promote_a_stale_replica(*state, SIGKILL);
}

/* It awakes as a master that knows of no other, with the connections that it had. */
static void a_stopped_master_comes_back(void **state)
{
    sentinels_promote_a_stale_replica(*state, SIGSTOP);
}

/* --- by hand --- */

/* The old master follows the new one and keeps the connections that it has: it refuses what is
   written over these, and the services go where the link leads. */
static void a_master_that_becomes_a_replica_is_left(void **state)
{
    sale_t sale = begin("demoted", *state);
    long long before = row_epoch(sale.sku);
    redis_server_ask(b, "REPLICAOF NO ONE");
    point(1, b);
    point(2, b);
    redis_server_ask(a, "REPLICAOF 127.0.0.1 %u", b->port);
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    EXPECT(row_epoch(sale.sku) > before, "sold by the gate of another master");
    EXPECT(strcmp(redis_server_info(a, "role"), "slave") == 0, "it is no replica");
    WAIT_UNTIL(stack_log_has(stack, "READONLY ") || stack_log_has(node, "READONLY "));
    EXPECT_PROMISES(stack, sale.crowd, "%s, the master became a replica", (const char *)*state);
}

/* Both are masters and neither hears of the other: whoever is asked has an old gate, or none. The
   services go to either, both to the same or each to another. */
static void services_are_sent_to_and_fro(void **state)
{
    redis_server_t *both[] = {a, b};
    unsigned apart = 0, swings = 8;
    sale_t sale = begin("to-and-fro", *state);
    long long before = row_epoch(sale.sku);
    redis_server_ask(b, "REPLICAOF NO ONE");
    for (unsigned i = 0; i < swings; ++i) {
        unsigned first = chance_below(&sale.chance, 2), second = chance_below(&sale.chance, 2);
        apart += first != second;
        point(1, both[first]);
        point(2, both[second]);
        redis_server_ask(a, "CLIENT KILL TYPE normal");
        redis_server_ask(b, "CLIENT KILL TYPE normal");
        usleep(chance_below(&sale.chance, 800) * 1000);
    }
    point(1, b);
    point(2, b);
    redis_server_ask(a, "CLIENT KILL TYPE normal");
    crowd_await(sale.crowd, CROWD_CREATED, 20);
    point(1, a); /* with a gate of long ago that is still A's own */
    point(2, a);
    redis_server_ask(b, "CLIENT KILL TYPE normal");
    crowd_await(sale.crowd, CROWD_CREATED, 50);
    EXPECT(row_epoch(sale.sku) > before, "no rebuild at all");
    EXPECT_PROMISES(stack, sale.crowd, "%s, sent %u times to and fro between two masters, %u apart",
                    (const char *)*state, swings, apart);
}

static const suite_t suite = {.name = "failover",
                              .start = start_with_links,
                              .prepare = start_second,
                              .after_stop = free_servers,
                              .setup = a_is_master,
                              .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", a_stale_replica_is_promoted_and_fails_back),
        UNDER("watch", a_stopped_master_comes_back),
        UNDER("lua", a_master_that_becomes_a_replica_is_left),
        UNDER("watch", a_master_that_becomes_a_replica_is_left),
        UNDER("lua", services_are_sent_to_and_fro),
        UNDER("watch", services_are_sent_to_and_fro),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
