/*
 * Three services over the same Redis and MySQL: the strategy of an item is changed all the time,
 * at any of them, while all expire and reconcile and any of them is killed; one key, sent fifty
 * times at once to all three, has one order; and the writers of all change one row, while one of
 * them dies at each step.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define NODES 3

/* The last is the stack's own. */
static test_stack_t *nodes[NODES];
static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};

static void start_third(void)
{
    nodes[0] = node;
    nodes[1] = stack_node_start(stack, 3, NULL, 0);
    nodes[2] = stack;
}

static void stop_third(void)
{
    stack_node_stop(nodes[1]);
}

/* --- everything at once --- */

#define UPHEAVALS 40

typedef struct {
    unsigned toggles, toggled, kills, passes;
    bool dead[NODES];
} upheaval_t;

static const test_stack_t *living(const upheaval_t *upheaval, chance_t *chance)
{
    unsigned n = chance_below(chance, NODES);
    while (upheaval->dead[n])
        n = (n + 1) % NODES;
    return nodes[n];
}

static void toggle(upheaval_t *upheaval, const char *sku, chance_t *chance)
{
    web_answer_t answer = sale_patch(living(upheaval, chance), sku, "\"strategy\":\"%s\"",
                                     strategies[chance_below(chance, TEST_COUNT(strategies))]);
    EXPECT(answer.status == 200 || answer.status == 503, "%s", web_show(&answer));
    ++upheaval->toggles;
    upheaval->toggled += answer.status == 200;
}

static void reconcile(upheaval_t *upheaval, const char *sku, chance_t *chance)
{
    web_answer_t answer = ADMIN(living(upheaval, chance), .method = "POST",
                                .path = test_text("/v1/items/%s/reconcile", sku), .body = "{}");
    EXPECT(answer.status == 200 || answer.status == 503, "%s", web_show(&answer));
    ++upheaval->passes;
}

/* Starts the one that was killed last, so that two always live. */
static void kill_or_start(upheaval_t *upheaval, chance_t *chance)
{
    for (unsigned n = 0; n < NODES - 1; ++n)
        if (upheaval->dead[n]) {
            stack_node_again(nodes[n]);
            upheaval->dead[n] = false;
            return;
        }
    unsigned n = chance_below(chance, NODES - 1);
    process_signal(nodes[n]->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(nodes[n]->pid));
    upheaval->dead[n] = true;
    ++upheaval->kills;
}

static void everything_at_once(void **state)
{
    (void)state;
    chance_t chance = chance_of("upheaval");
    upheaval_t upheaval = {0};
    const char *skus[] = {
        sale_item(stack, "all", "\"total\":700,\"per_buyer_limit\":9,\"hold_seconds\":2"),
        sale_item(stack, "all", "\"total\":500,\"strategy\":\"optimistic\""),
    };
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const *)nodes,
                                                 .nodes_count = NODES,
                                                 .skus = skus,
                                                 .skus_count = TEST_COUNT(skus),
                                                 .per_second = 200});
    crowd_await(crowd, CROWD_CREATED, 20);
    for (unsigned i = 0; i < UPHEAVALS; ++i) {
        unsigned what = chance_below(&chance, 10);
        const char *sku = skus[chance_below(&chance, TEST_COUNT(skus))];
        if (what < 6)
            toggle(&upheaval, sku, &chance);
        else if (what < 8)
            reconcile(&upheaval, sku, &chance);
        else
            kill_or_start(&upheaval, &chance);
        usleep(chance_below(&chance, 200000));
    }
    if (upheaval.kills == 0)
        kill_or_start(&upheaval, &chance);
    if (upheaval.dead[0] || upheaval.dead[1])
        kill_or_start(&upheaval, &chance);
    crowd_stop(crowd);
    EXPECT(upheaval.toggled > 0, "no change of strategy was taken, of %u", upheaval.toggles);
    WAIT_UNTIL(sale_patch(stack, skus[0], "\"hold_seconds\":60").status == 200);
    EXPECT_PROMISES(stack, crowd, "%u of %u changes of strategy, %u passes, %u kills",
                    upheaval.toggled, upheaval.toggles, upheaval.passes, upheaval.kills);
}

/* --- fifty times one key --- */

#define REPEATS 50

typedef struct {
    const char *sku;
    unsigned round;
    unsigned count, replayed, unavailable;
    struct {
        char id[SALE_ID_SIZE];
        bool pending, replayed;
    } received[REPEATS];
    char *odd;
} repeats_t;

static web_request_t next_repeat(void *context, unsigned i)
{
    const repeats_t *repeats = context;
    web_request_t request =
        sale_request(nodes[i % NODES], repeats->sku, "one", 1, test_text("key-%u", repeats->round));
    request.sent_once = true;
    return request;
}

static bool take_repeat(void *context, unsigned i, const web_answer_t *answer)
{
    repeats_t *repeats = context;
    const char *id = sale_id(answer);
    (void)i;
    if ((answer->status == 201 || answer->status == 202) && *id != '\0') {
        snprintf(repeats->received[repeats->count].id, SALE_ID_SIZE, "%s", id);
        repeats->received[repeats->count].pending = answer->status == 202;
        repeats->received[repeats->count++].replayed = answer->replayed[0] != '\0';
        repeats->replayed += answer->replayed[0] != '\0';
    } else if (answer->status == 503) {
        ++repeats->unavailable;
    } else if (repeats->odd == NULL) {
        repeats->odd = test_text("%s", web_show(answer));
    }
    return true;
}

/* Who heard 202 in time, and of no repeat, may have lost the key: that order then ends as rejected,
   and names the one that won. */
static void expect_lost_to(const char *id, const char *winner)
{
    web_answer_t order;
    WAIT_UNTIL(({
        order = sale_get(stack, id);
        order.status == 200 && strcmp(sale_state(&order), "reserved") != 0;
    }));
    const char *original = web_string(&order, "original_order_id");
    EXPECT(strcmp(sale_state(&order), "rejected") == 0 && original != NULL &&
               strcmp(original, winner) == 0,
           "%s, which was told beside %s", web_show(&order), winner);
}

typedef struct {
    const char *sku;
    atomic_bool stopping;
    bool running;
    unsigned changes;
    chance_t chance;
    pthread_t thread;
} toggler_t;

static toggler_t toggler;

static void *toggle_all_the_time(void *context)
{
    (void)context;
    while (!atomic_load(&toggler.stopping)) {
        web_answer_t answer = sale_patch(
            nodes[chance_below(&toggler.chance, NODES)], toggler.sku, "\"strategy\":\"%s\"",
            strategies[chance_below(&toggler.chance, TEST_COUNT(strategies))]);
        toggler.changes += answer.status == 200;
        usleep(chance_below(&toggler.chance, 30000));
    }
    return NULL;
}

static void end_toggler(void)
{
    if (!toggler.running)
        return;
    atomic_store(&toggler.stopping, true);
    pthread_join(toggler.thread, NULL);
    toggler.running = false;
}

/* A case that fails does not come to its end. */
static int key_teardown(void **state)
{
    end_toggler();
    return test_teardown(state);
}

static void expect_one_order(repeats_t *repeats)
{
    web_crowd(&(web_crowd_t){.connections = REPEATS,
                             .count = REPEATS,
                             .request = next_repeat,
                             .answered = take_repeat,
                             .context = repeats});
    EXPECT(repeats->odd == NULL, "%s", repeats->odd);
    /* Under SERIALIZABLE, on a machine that is busy, fifty of them are in each other's way for
     * long. */
    web_answer_t again;
    long long begun = test_clock_ms();
    do {
        again = sale_buy(stack, repeats->sku, "one", 1, test_text("key-%u", repeats->round));
        EXPECT(test_clock_ms() < begun + 60000, "%u of %u were told of an order, and then: %s",
               repeats->count, REPEATS, web_show(&again));
    } while (again.status != 201);
    EXPECT(again.replayed[0] != '\0', "%s", web_show(&again));
    const char *winner = sale_id(&again);
    unsigned new_ones = 0;
    for (unsigned i = 0; i < repeats->count; ++i) {
        bool won = strcmp(repeats->received[i].id, winner) == 0;
        new_ones += won && !repeats->received[i].replayed;
        EXPECT(won || repeats->received[i].pending, "%s was told beside %s",
               repeats->received[i].id, winner);
        if (!won)
            expect_lost_to(repeats->received[i].id, winner);
    }
    EXPECT(new_ones <= 1, "%u times told that %s is new", new_ones, winner);
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND state = 'confirmed' "
                           "AND idempotency_key = 'key-%u'",
                           repeats->sku, repeats->round),
                  1);
}

#define ROUNDS 4

/* "toggled": the strategy is changed all the while. */
static void a_key_sent_fifty_times_has_one_order(void **state)
{
    const char *strategy = *state;
    bool toggled = strcmp(strategy, "toggled") == 0;
    unsigned rounds = toggled ? 3 * ROUNDS : ROUNDS, replayed = 0, unavailable = 0;
    const char *sku =
        sale_item(stack, "key", "\"total\":100,\"strategy\":\"%s\"", toggled ? "lua" : strategy);
    toggler = (toggler_t){.sku = sku, .chance = chance_of("toggler"), .running = toggled};
    if (toggled)
        EXPECT_NUMBER(pthread_create(&toggler.thread, NULL, toggle_all_the_time, NULL), 0);
    for (unsigned round = 0; round < rounds; ++round) {
        repeats_t repeats = {.sku = sku, .round = round};
        expect_one_order(&repeats);
        replayed += repeats.replayed;
        unavailable += repeats.unavailable;
    }
    if (toggled) {
        end_toggler();
        EXPECT(toggler.changes > 0, "the strategy was never changed");
    }
    EXPECT(replayed > 0, "nobody was told of an order that was there");
    WAIT_UNTIL(sale_live_orders(stack, sku) == rounds);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
    print_message("%s: %u keys, %u replays, 503 %u times, %u changes of strategy\n", strategy,
                  rounds, replayed, unavailable, toggler.changes);
}

/* --- one row, three writers --- */

/* The steps of a writer whose row others change too. */
static const char *const steps[] = {"writer_before_lock", "writer_rows_locked",
                                    "writer_before_commit", "writer_after_commit"};

static void die_at(const char *step, crowd_t *crowd, chance_t *chance)
{
    fault_arm(nodes[0], "%s kill after=%u times=1\n", step, chance_below(chance, 8));
    WAIT_UNTIL(process_is_gone(nodes[0]->pid));
    EXPECT_NUMBER(fault_hits(nodes[0], step), 1);
    fault_disarm(nodes[0]);
    stack_node_again(nodes[0]);
    crowd_await(crowd, CROWD_CREATED, 20);
}

/* Until the writers of several nodes wait for the row. */
static void hold_row(const char *sku, crowd_t *crowd)
{
    unsigned shard = rows_shard_of(stack, sku);
    MYSQL *other = mysqld_hold(stack, shard,
                               "UPDATE inventory SET version = version + 1 WHERE sku = '%s'", sku);
    WAIT_UNTIL(mysqld_waiting(stack, shard) >= 2);
    EXPECT_NUMBER(mysqld_send(other, "COMMIT"), 0);
    mysql_close(other);
    crowd_await(crowd, CROWD_CREATED, 20);
}

static void one_of_three_writers_of_a_row_dies(void **state)
{
    const char *strategy = *state;
    chance_t chance = chance_of(test_text("writers %s", strategy));
    const char *skus[] = {
        sale_item(stack, "row", "\"total\":4000,\"hold_seconds\":2,\"strategy\":\"%s\"", strategy),
        sale_item(stack, "row", "\"total\":4000,\"strategy\":\"%s\"", strategy),
    };
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const *)nodes,
                                                 .nodes_count = NODES,
                                                 .skus = skus,
                                                 .skus_count = TEST_COUNT(skus),
                                                 .per_second = 300});
    crowd_await(crowd, CROWD_CREATED, 50);
    for (size_t i = 0; i < TEST_COUNT(steps); ++i) {
        die_at(steps[i], crowd, &chance);
        hold_row(skus[i % TEST_COUNT(skus)], crowd);
    }
    crowd_stop(crowd);
    EXPECT_PROMISES(stack, crowd, "%s, a writer of three killed %zu times", strategy,
                    TEST_COUNT(steps));
}

#define WRITERS(strategy_)                                                                         \
    {                                                                                              \
        strategy_ ": one of three writers of a row dies", one_of_three_writers_of_a_row_dies,      \
            NULL, NULL, (void *)strategy_                                                          \
    }
#define KEY(strategy_)                                                                             \
    {                                                                                              \
        strategy_ ": a key sent fifty times has one order", a_key_sent_fifty_times_has_one_order,  \
            NULL, key_teardown, (void *)strategy_                                                  \
    }

static const suite_t suite = {.name = "nodes",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .prepare = start_third,
                              .before_stop = stop_third};

int main(void)
{
    const struct CMUnitTest tests[] = {
        KEY("lua"),     KEY("watch"),   KEY("optimistic"), KEY("serializable"),
        KEY("toggled"), WRITERS("lua"), WRITERS("watch"),  TEST(everything_at_once),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
