/*
 * A service dies in the middle of a sale: at every named place of its path, and at any moment. The
 * node that dies serves alone in some cases, and beside another in the rest.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define KILLS_AT_RANDOM 5

/* --- a sale --- */

/* Two items: one has plenty, of the other units come back by expiry and are sold again. */
typedef struct {
    const char *skus[2];
    const test_stack_t *nodes[2];
    crowd_t *crowd;
} sale_t;

static sale_t begin(const char *strategy, bool alone)
{
    sale_t sale = {.nodes = {node, stack}};
    sale.skus[0] = sale_item(
        stack, "plenty",
        "\"total\":1500,\"per_buyer_limit\":25,\"hold_seconds\":5,\"strategy\":\"%s\"", strategy);
    sale.skus[1] =
        sale_item(stack, "few", "\"total\":80,\"hold_seconds\":1,\"strategy\":\"%s\"", strategy);
    if (alone) {
        process_signal(stack->pid, SIGKILL);
        WAIT_UNTIL(process_is_gone(stack->pid));
    }
    sale.crowd = crowd_start(&(crowd_plan_t){.nodes = sale.nodes,
                                             .nodes_count = alone ? 1 : 2,
                                             .skus = sale.skus,
                                             .skus_count = TEST_COUNT(sale.skus)});
    crowd_await(sale.crowd, CROWD_CREATED, 30);
    return sale;
}

/* --- at named places --- */

#define PLACES_MAX 8
#define PROVOKE_EVERY_MS 200

/* Places where it dies, one after the other, and how it is made to come there. */
typedef struct {
    const char *strategy;
    bool alone; /* nobody else lives */
    void (*provoke)(const sale_t *sale);
    const char *places[PLACES_MAX];
} route_t;

/* The change itself may be cut off by the death that it leads to. */
static void change_terms(const sale_t *sale)
{
    static int total = 1500;
    total += total % 2 == 0 ? 1 : -1; /* up, down: only a lowered total freezes the gate */
    for (size_t i = 0; i < TEST_COUNT(sale->skus) && !process_is_gone(node->pid); ++i)
        sale_patch(node, sale->skus[i], "\"total\":%d", total + (i == 0 ? 0 : -1400));
}

static void change_strategy(const sale_t *sale)
{
    static bool watch;
    watch = !watch;
    sale_patch(node, sale->skus[0], "\"strategy\":\"%s\"", watch ? "watch" : "lua");
}

static void flush_redis(const sale_t *sale)
{
    (void)sale;
    redis_run(stack, "FLUSHALL");
}

static void die_at(const sale_t *sale, const route_t *route, const char *place, chance_t *chance)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    /* What traffic leads to is passed a few times first. */
    unsigned after = route->provoke == NULL ? chance_below(chance, 12) : 0;
    fault_arm(node, "%s kill after=%u times=1\n", place, after); /* not once a thread */
    while (!process_is_gone(node->pid)) {
        EXPECT(test_clock_ms() < end, "it does not die at %s", place);
        if (route->provoke != NULL)
            route->provoke(sale);
        for (unsigned ms = 0; ms < PROVOKE_EVERY_MS && !process_is_gone(node->pid); ms += 10)
            usleep(10000);
    }
    EXPECT(fault_hits(node, place) == 1, "died %u times at %s", fault_hits(node, place), place);
    fault_disarm(node);
    stack_node_again(node);
    crowd_await(sale->crowd, CROWD_CREATED, 10);
}

static void dies_at_named_places(void **state)
{
    const route_t *route = *state;
    char words[400];
    int n = snprintf(words, sizeof(words), "%s%s, killed at", route->strategy,
                     route->alone ? ", alone" : "");
    sale_t sale = begin(route->strategy, route->alone);
    for (size_t i = 0; i < PLACES_MAX && route->places[i] != NULL; ++i) {
        chance_t chance = chance_of(route->places[i]);
        die_at(&sale, route, route->places[i], &chance);
        n += snprintf(words + n, sizeof(words) - (size_t)n, " %s", route->places[i]);
    }
    stack_again(stack, NULL, 0);
    EXPECT_PROMISES(stack, sale.crowd, "%s", words);
}

/* --- at any moment --- */

static void kill_one(unsigned which)
{
    pid_t pid = which == 0 ? stack->pid : node->pid;
    process_signal(pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(pid));
}

static void dies_at_any_moment(void **state)
{
    const char *strategy = *state;
    chance_t chance = chance_of(test_text("moments %s", strategy));
    sale_t sale = begin(strategy, false);
    unsigned kills = 0;
    for (unsigned i = 0; i < KILLS_AT_RANDOM; ++i) {
        unsigned first = chance_below(&chance, 2);
        bool both = chance_percent(&chance, 30);
        usleep(chance_below(&chance, 900) * 1000);
        kill_one(first);
        if (both)
            kill_one(1 - first);
        kills += both ? 2 : 1;
        usleep(chance_below(&chance, 300) * 1000);
        if (process_is_gone(node->pid))
            stack_node_again(node);
        if (process_is_gone(stack->pid))
            stack_again(stack, NULL, 0);
        crowd_await(sale.crowd, CROWD_CREATED, 10);
    }
    EXPECT(crowd_received(sale.crowd, CROWD_AWAY) + crowd_received(sale.crowd, CROWD_LOST) > 0,
           "the crowd has not felt it: %s", crowd_show(sale.crowd));
    EXPECT_PROMISES(stack, sale.crowd, "%s, %u kills at random", strategy, kills);
}

/* --- while it starts --- */

#define EARLY_ORDERS 24
#define EARLY_SENDERS 6

typedef struct {
    char ids[EARLY_ORDERS][SALE_ID_SIZE];
    atomic_uint next, cancelled;
} early_t;

/* Until it is answered: connections are refused until the service listens. */
static void *cancel_early(void *context)
{
    early_t *early = context;
    for (unsigned i; (i = atomic_fetch_add(&early->next, 1)) < EARLY_ORDERS;) {
        long long end = test_clock_ms() + TEST_WAIT_MS;
        while (test_clock_ms() < end) {
            if (sale_move(node, early->ids[i], "cancel").status == 200) {
                atomic_fetch_add(&early->cancelled, 1);
                break;
            }
            usleep(2000);
        }
    }
    return NULL;
}

/* One event loop is up before the other, and has requests whose outcome it tells to all of them. */
static void is_called_before_all_its_loops_are_up(void **state)
{
    (void)state;
    early_t early = {.next = 0};
    pthread_t senders[EARLY_SENDERS];
    const char *sku = sale_item(stack, "early", "\"total\":100,\"strategy\":\"lua\"");
    for (unsigned i = 0; i < EARLY_ORDERS; ++i) {
        web_answer_t order = sale_buy(stack, sku, test_text("early-%u", i), 1, NULL);
        EXPECT_STATUS(order, 201);
        snprintf(early.ids[i], SALE_ID_SIZE, "%s", sale_id(&order));
    }
    kill_one(1);
    fault_arm(node, "loop_starting pause=3000 after=1 times=1\n");
    for (unsigned i = 0; i < EARLY_SENDERS; ++i)
        EXPECT_NUMBER(pthread_create(&senders[i], NULL, cancel_early, &early), 0);
    stack_node_again(node);
    for (unsigned i = 0; i < EARLY_SENDERS; ++i)
        pthread_join(senders[i], NULL);
    EXPECT_FAULT(node, "loop_starting");
    fault_disarm(node);
    EXPECT(!process_is_gone(node->pid), "it died while it started");
    EXPECT_NUMBER(atomic_load(&early.cancelled), EARLY_ORDERS);
    EXPECT_NUMBER(sale_live_orders(stack, sku), 0);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

#define PURCHASE                                                                                   \
    {                                                                                              \
        "reserve_answered", "writer_before_commit", "writer_after_commit", "notify_gate"           \
    }
#define MOVES                                                                                      \
    {                                                                                              \
        "move_before_commit", "move_after_commit", "release_before_gate", "release_after_gate",    \
            "expire_before_commit", "expire_after_commit"                                          \
    }
#define CHANGE                                                                                     \
    {                                                                                              \
        "rebuild_row_locked", "rebuild_row_raised", "rebuild_looked_up", "rebuild_swapped"         \
    }
#define REBUILD                                                                                    \
    {                                                                                              \
        "rebuild_row_locked", "rebuild_row_raised", "rebuild_looked_up", "rebuild_staging",        \
            "rebuild_staged", "rebuild_swapped"                                                    \
    }
#define ROUTE(name_, ...)                                                                          \
    {                                                                                              \
        name_, dies_at_named_places, NULL, NULL, &(route_t)                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const suite_t suite = {.name = "kill",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = suite_pair_up};

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROUTE("lua, alone: dies in a purchase", "lua", true, NULL, PURCHASE),
        ROUTE("watch: dies in a purchase", "watch", false, NULL, PURCHASE),
        ROUTE("optimistic: dies in a purchase", "optimistic", false, NULL, {"sql_before_commit"}),
        ROUTE("serializable, alone: dies in a purchase", "serializable", true, NULL,
              {"sql_before_commit"}),
        ROUTE("lua: dies in a move or an expiry", "lua", false, NULL, MOVES),
        ROUTE("watch, alone: dies in a move or an expiry", "watch", true, NULL, MOVES),
        ROUTE("lua: dies in a change of terms", "lua", false, change_terms, CHANGE),
        ROUTE("lua: dies while the gate is frozen", "lua", false, change_terms, {"rebuild_frozen"}),
        ROUTE("lua and watch: dies in a change of strategy", "lua", false, change_strategy, CHANGE),
        ROUTE("watch, alone: dies in the rebuild of an emptied gate", "watch", true, flush_redis,
              REBUILD),
        UNDER("lua", dies_at_any_moment),
        UNDER("watch", dies_at_any_moment),
        TEST(is_called_before_all_its_loops_are_up),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
