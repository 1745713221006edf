/*
 * COMMITs whose outcome nobody hears, connections that are killed, and deadlocks: an unknown
 * outcome is looked up, a transaction that was rolled back is run again, and nobody hears 500.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

static const char *short_holds(const char *strategy)
{
    return sale_item(stack, "holds",
                     "\"total\":900,\"per_buyer_limit\":20,\"hold_seconds\":3,\"strategy\":\"%s\"",
                     strategy);
}

static crowd_t *crowd_after(const char *const *sku, const char *strategy)
{
    const test_stack_t *nodes[] = {stack, node};
    crowd_t *crowd =
        crowd_start(&(crowd_plan_t){.nodes = nodes,
                                    .nodes_count = 2,
                                    .skus = sku,
                                    .skus_count = 1,
                                    .connections = sale_uses_gate(strategy) ? 0 : SALE_FEW,
                                    .per_second = 200,
                                    .quantity_max = 1});
    crowd_await(crowd, CROWD_CREATED, 30);
    return crowd;
}

/* So that the last units can be bought, and stay bought, while the promises are looked at. */
static void end_crowd(crowd_t *crowd, const char *sku)
{
    crowd_stop(crowd);
    WAIT_UNTIL(sale_patch(stack, sku, "\"hold_seconds\":60").status == 200);
}

/* --- COMMIT --- */

typedef struct {
    const char *strategy, *point;
} lost_t;

/* Under the writer or the purchases' own transactions, under moves and expiry, and, since the terms
   are changed all the time, under rebuilds. */
static void commits_are_lost(void **state)
{
    const lost_t *lost = *state;
    chance_t chance = chance_of(lost->strategy);
    const char *sku = short_holds(lost->strategy);
    crowd_t *crowd = crowd_after(&sku, lost->strategy);
    unsigned changed = 0;
    const test_stack_t *nodes[] = {stack, node};
    for (size_t n = 0; n < TEST_COUNT(nodes); ++n)
        fault_arm(nodes[n], "%s fail after=%u times=40\n", lost->point, chance_below(&chance, 10));
    for (unsigned i = 0; fault_hits(stack, lost->point) < 40 || fault_hits(node, lost->point) < 40;
         ++i) {
        EXPECT(i < 4000, "only %u and %u hits", fault_hits(stack, lost->point),
               fault_hits(node, lost->point));
        usleep(50000);
        web_answer_t change = sale_patch(nodes[i % 2], sku, "\"total\":%u", 900 + i % 2);
        EXPECT(change.status == 200 || change.status == 503, "%s", web_show(&change));
        changed += change.status == 200;
    }
    fault_disarm(stack);
    fault_disarm(node);
    crowd_await(crowd, CROWD_CREATED, 30);
    end_crowd(crowd, sku);
    EXPECT_PROMISES(stack, crowd, "%s: %s 80 times, terms changed %u times", lost->strategy,
                    lost->point, changed);
}

/* --- KILL --- */

#define KILLS 60

static void connections_are_killed(void **state)
{
    const char *strategy = *state;
    chance_t chance = chance_of(test_text("kills %s", strategy));
    const char *sku = short_holds(strategy);
    unsigned shard = rows_shard_of(stack, sku), killed = 0;
    crowd_t *crowd = crowd_after(&sku, strategy);
    MYSQL *mysql = mysqld_open(stack, shard);
    EXPECT(mysql != NULL, "no connection");
    for (unsigned i = 0; i < KILLS * 20 && killed < KILLS; ++i) {
        usleep(20000 + chance_below(&chance, 80000));
        /* One that is busy if there is one. */
        long long id = mysqld_number(stack, shard,
                                     "SELECT id FROM information_schema.processlist WHERE user = "
                                     "'holdfast' ORDER BY command = 'Sleep', RAND(%u) LIMIT 1",
                                     chance_below(&chance, 1000000));
        if (id != 0)
            killed += mysqld_send(mysql, test_text("KILL CONNECTION %lld", id)) == 0;
    }
    mysql_close(mysql);
    EXPECT_NUMBER(killed, KILLS);
    crowd_await(crowd, CROWD_CREATED, 30);
    end_crowd(crowd, sku);
    EXPECT_PROMISES(stack, crowd, "%s: %u connections killed", strategy, killed);
}

/* --- deadlocks --- */

typedef struct {
    const char *first, *second;
    unsigned shard;
    chance_t chance;
    atomic_bool *stopping;
    unsigned rounds, victim;
    pthread_t thread;
} adversary_t;

/* Takes its locks in an order that is not the service's, and keeps them for a while. */
static void *lock_and_keep(void *context)
{
    adversary_t *adversary = context;
    MYSQL *mysql = mysqld_open(stack, adversary->shard);
    while (mysql != NULL && !atomic_load(adversary->stopping)) {
        mysqld_send(mysql, "SET SESSION innodb_lock_wait_timeout = 2");
        mysqld_send(mysql, "START TRANSACTION"); /* REPEATABLE READ: with gaps */
        unsigned error = mysqld_send(mysql, adversary->first);
        usleep(20000 + chance_below(&adversary->chance, 100000));
        if (error == 0)
            error = mysqld_send(mysql, adversary->second);
        ++adversary->rounds;
        adversary->victim += error == 1213;
        usleep(chance_below(&adversary->chance, 20000));
        mysqld_send(mysql, "ROLLBACK");
        usleep(50000 + chance_below(&adversary->chance, 50000));
    }
    if (mysql != NULL)
        mysql_close(mysql);
    mysql_thread_end();
    return NULL;
}

#define STORM_MS 5000

static void deadlocks_storm(void **state)
{
    const char *strategy = *state;
    const char *sku = short_holds(strategy);
    const char *row = test_text("SELECT * FROM inventory WHERE sku = '%s' FOR UPDATE", sku);
    const char *held = test_text("SELECT * FROM orders WHERE sku = '%s' AND state = 'held' "
                                 "ORDER BY order_id DESC LIMIT 100 FOR UPDATE",
                                 sku);
    const char *gaps = test_text("SELECT * FROM orders WHERE sku = '%s' AND buyer_id BETWEEN 'c' "
                                 "AND 'd' FOR UPDATE",
                                 sku);
    const char *due =
        "SELECT * FROM holds WHERE expires_at < NOW(3) + INTERVAL 1 SECOND FOR UPDATE";
    atomic_bool stopping = false;
    adversary_t adversaries[] = {{.first = row, .second = held},
                                 {.first = row, .second = gaps},
                                 {.first = due, .second = row}};
    unsigned shard = rows_shard_of(stack, sku), rounds = 0, victim = 0;
    crowd_t *crowd = crowd_after(&sku, strategy);
    long long deadlocks = mysqld_status(stack, shard, "Innodb_deadlocks");
    for (unsigned i = 0; i < TEST_COUNT(adversaries); ++i) {
        adversaries[i].chance = chance_of(test_text("adversary %u", i));
        adversaries[i].shard = shard;
        adversaries[i].stopping = &stopping;
        pthread_create(&adversaries[i].thread, NULL, lock_and_keep, &adversaries[i]);
    }
    usleep(STORM_MS * 1000);
    atomic_store(&stopping, true);
    for (unsigned i = 0; i < TEST_COUNT(adversaries); ++i) {
        pthread_join(adversaries[i].thread, NULL);
        rounds += adversaries[i].rounds;
        victim += adversaries[i].victim;
    }
    deadlocks = mysqld_status(stack, shard, "Innodb_deadlocks") - deadlocks;
    EXPECT(deadlocks > victim, "%lld deadlocks, and %u of them ended the adversary", deadlocks,
           victim);
    crowd_await(crowd, CROWD_CREATED, 30);
    end_crowd(crowd, sku);
    EXPECT_PROMISES(stack, crowd,
                    "%s: %lld deadlocks in %u rounds, of which %u ended the adversary", strategy,
                    deadlocks, rounds, victim);
}

#define LOST(strategy_, point_)                                                                    \
    {                                                                                              \
        strategy_ ": " point_, commits_are_lost, NULL, NULL, &(lost_t)                             \
        {                                                                                          \
            strategy_, point_                                                                      \
        }                                                                                          \
    }

static const suite_t suite = {
    .name = "commit", .settings = {SUITE_SHORT_DEADLINES}, .pair = true, .repeats = true};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        LOST("watch", "commit_answer_lost"),
        LOST("serializable", "commit_answer_lost"),
        UNDER("optimistic", deadlocks_storm),
        /* Always: */
        LOST("lua", "commit_answer_lost"),
        LOST("lua", "commit_not_sent"),
        LOST("optimistic", "commit_answer_lost"),
        LOST("optimistic", "commit_not_sent"),
        UNDER("lua", connections_are_killed),
        UNDER("optimistic", connections_are_killed),
        UNDER("lua", deadlocks_storm),
        UNDER("serializable", deadlocks_storm),
    };
    size_t from = chance_is_long() ? 0 : 3;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
