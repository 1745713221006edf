/*
 * A shard's MariaDB falls over: killed, stopped, read-only, its disk full, put back to an old copy.
 * Only its items are away meanwhile, and all goes on by itself when it is back.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

/* The one that falls over, and the one that sells on. */
#define BROKEN 0
#define OTHER 1
/* Small, so that a test can see that it bounds what waits. */
#define QUEUE_MAX 200

static void wake(void)
{
    if (!process_is_gone(stack->mysql_pids[BROKEN]))
        process_signal(stack->mysql_pids[BROKEN], SIGCONT);
}

static const char *item_on(unsigned shard, const char *name, const char *terms)
{
    const char *sku;
    do
        sku = sale_item(stack, name, "%s", terms);
    while (rows_shard_of(stack, sku) != shard);
    return sku;
}

typedef struct {
    const char *path;
    unsigned refused;
} looks_t;

static web_request_t get_orders(void *context, unsigned i)
{
    (void)i;
    return (web_request_t){.base = stack->url, .path = ((looks_t *)context)->path};
}

static bool count_refused(void *context, unsigned i, const web_answer_t *answer)
{
    (void)i;
    ((looks_t *)context)->refused += answer->status != 200;
    return true;
}

/* Each connection of the service's pool finds out by itself that its server was started again, and
   the one whom it serves then hears 503. */
static unsigned use_all_connections(void)
{
    looks_t looks = {.path = "/v1/buyers/nobody/orders"};
    web_crowd(&(web_crowd_t){.connections = 32,
                             .count = 200,
                             .request = get_orders,
                             .answered = count_refused,
                             .context = &looks});
    return looks.refused;
}

/* --- outages --- */

typedef struct {
    const char *name;
    void (*begin)(void);
    void (*end)(void);
    unsigned seconds;
} outage_t;

static void kill_it(void)
{
    mysqld_kill(stack, BROKEN);
}

static void start_it(void)
{
    mysqld_start(stack, BROKEN, "", "");
}

static void stop_it(void)
{
    process_signal(stack->mysql_pids[BROKEN], SIGSTOP);
}

static void continue_it(void)
{
    process_signal(stack->mysql_pids[BROKEN], SIGCONT);
}

static void make_it_read_only(void)
{
    mysqld_run(stack, BROKEN, "SET GLOBAL read_only = 1");
}

static void make_it_writable(void)
{
    EXPECT_NUMBER(mysqld_number(stack, BROKEN, "SELECT @@GLOBAL.read_only"), 1);
    mysqld_run(stack, BROKEN, "SET GLOBAL read_only = 0");
}

/* One extent of InnoDB does not fit any more. */
#define KIB_LEFT 900

static void fill_its_disk(void)
{
    mysqld_fill_disk(stack, BROKEN, KIB_LEFT);
}

static void free_its_disk(void)
{
    mysqld_free_disk(stack, BROKEN);
}

/* --- what is seen during and after them --- */

typedef struct {
    const char *committed, *accepted, *optimistic, *elsewhere;
    crowd_t *here, *there;
} scene_t;

#define STOCK "\"total\":60000,"

static scene_t set_scene(void)
{
    scene_t scene = {
        .committed = item_on(BROKEN, "committed", STOCK "\"hold_seconds\":20,\"strategy\":\"lua\""),
        .accepted =
            item_on(BROKEN, "accepted", STOCK "\"acknowledge\":\"accepted\",\"strategy\":\"lua\""),
        .optimistic = item_on(BROKEN, "optimistic", STOCK "\"strategy\":\"optimistic\""),
        .elsewhere = item_on(OTHER, "elsewhere", STOCK "\"strategy\":\"lua\""),
    };
    const test_stack_t *nodes[] = {stack};
    const char *skus[] = {scene.committed, scene.accepted, scene.optimistic};
    scene.here = crowd_start(&(crowd_plan_t){
        .nodes = nodes, .nodes_count = 1, .skus = skus, .skus_count = 3, .per_second = 150});
    scene.there = crowd_start(&(crowd_plan_t){.nodes = nodes,
                                              .nodes_count = 1,
                                              .skus = &scene.elsewhere,
                                              .skus_count = 1,
                                              .per_second = 150});
    crowd_await(scene.here, CROWD_CREATED, 40);
    crowd_await(scene.here, CROWD_PENDING, 20);
    crowd_await(scene.there, CROWD_CREATED, 20);
    return scene;
}

static web_answer_t buy_one(const char *sku)
{
    static unsigned count;
    return sale_buy(stack, sku, test_text("one-%u", ++count), 1, NULL);
}

/* The first ones may still be on their way when it falls over: 202 is right for these. */
static void expect_only_its_items_are_away(const scene_t *scene)
{
    WAIT_UNTIL(buy_one(scene->committed).status == 503);
    WAIT_UNTIL(buy_one(scene->optimistic).status == 503);
    web_answer_t refused = buy_one(scene->committed);
    EXPECT_PROBLEM(refused, 503, "unavailable");
    EXPECT(atoi(refused.retry_after) > 0, "Retry-After: %s", refused.retry_after);
    web_answer_t accepted = buy_one(scene->accepted);
    bool full = fault_metric(stack, "queue_full_total") > 0;
    EXPECT(accepted.status == 202 || (accepted.status == 503 && full), "%s", web_show(&accepted));
    unsigned before = crowd_received(scene->there, CROWD_CREATED);
    crowd_await(scene->there, CROWD_CREATED, 20);
    web_answer_t sold = buy_one(scene->elsewhere);
    EXPECT_STATUS(sold, 201);
    EXPECT(crowd_received(scene->there, CROWD_CREATED) > before, "the other shard does not sell");
}

/* Of the shard that is away; the other one's are few. */
static void expect_bounded_queues(void)
{
    double waiting = fault_metric(stack, "purchases_in_flight");
    EXPECT(waiting <= 2 * QUEUE_MAX + 100, "%.0f purchases are waiting", waiting);
}

static void falls_over(void **state)
{
    const outage_t *outage = *state;
    scene_t scene = set_scene();
    unsigned here = crowd_received(scene.here, CROWD_CREATED),
             there = crowd_received(scene.there, CROWD_CREATED),
             refused = crowd_received(scene.here, CROWD_UNAVAILABLE);
    long long begun = test_clock_ms();
    outage->begin();
    expect_only_its_items_are_away(&scene);
    while (test_clock_ms() - begun < outage->seconds * 1000LL) {
        expect_bounded_queues();
        usleep(100000);
    }
    there = crowd_received(scene.there, CROWD_CREATED) - there;
    here = crowd_received(scene.here, CROWD_CREATED) - here;
    refused = crowd_received(scene.here, CROWD_UNAVAILABLE) - refused;
    outage->end();
    crowd_await(scene.here, CROWD_CREATED, 40);
    WAIT_UNTIL(buy_one(scene.committed).status == 201);
    WAIT_UNTIL(buy_one(scene.optimistic).status == 201);
    EXPECT(refused > 0, "nobody was told that the shard is away");
    WAIT_UNTIL(use_all_connections() == 0);
    crowd_stop(scene.there);
    EXPECT_PROMISES(stack, scene.here,
                    "%s for %u s: meanwhile the other shard sold %u times, this one %u, and said "
                    "503 %u times",
                    outage->name, outage->seconds, there, here, refused);
    EXPECT_PROMISES(stack, scene.there, "the other shard");
}

/* It must have room for what InnoDB takes at a time, 64 MiB, when it is back.
   As many orders as fill InnoDB's first pages of the table, so that it grows by extents from then
   on. */
static void disk_is_full(void **state)
{
    const char *sku = item_on(BROKEN, "many", "\"total\":1000000");
    mysqld_stop(stack, BROKEN);
    bool small = mysqld_start_on_small_disk(stack, BROKEN, 400);
    if (!small)
        mysqld_start(stack, BROKEN, "", "");
    WAIT_UNTIL(use_all_connections() == 0);
    if (!small)
        skip();
    WAIT_UNTIL(({
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 500, .connections = 32});
        mysqld_number(stack, BROKEN,
                      "SELECT FILE_SIZE FROM information_schema.INNODB_SYS_TABLESPACES "
                      "WHERE NAME = 'holdfast/orders'") > 2 << 20;
    }));
    falls_over(state);
}

/* --- yesterday's copy --- */

/* What was sold between the copy and the loss of the disk is gone with it, and nobody can promise
   it: it is counted. What must hold is what comes after. */
static void is_put_back_to_an_old_copy(void **state)
{
    const char *strategy = *state;
    const char *terms =
        test_text("\"total\":400,\"per_buyer_limit\":2,\"strategy\":\"%s\"", strategy);
    const char *sku = item_on(BROKEN, "yesterday", terms);
    sale_tally_t kept = sale_rush_to_the_end(
        &(sale_rush_t){.stack = stack, .sku = sku, .buyers = 100, .connections = 16});
    EXPECT(kept.created == 100, "%s", sale_show(&kept));
    mysqld_stop(stack, BROKEN);
    mysqld_copy_data(stack, BROKEN);
    mysqld_start(stack, BROKEN, "", "");
    WAIT_UNTIL(use_all_connections() == 0);
    WAIT_UNTIL(buy_one(sku).status == 201);
    sale_tally_t lost =
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 150, .connections = 16});
    EXPECT(lost.created > 100, "%s", sale_show(&lost));
    web_answer_t changed = sale_patch(stack, sku, "\"total\":390");
    EXPECT_STATUS(changed, 200);
    EXPECT_GATE_AGREES(stack, sku);
    long long epoch = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    mysqld_kill(stack, BROKEN);
    mysqld_put_copy_back(stack, BROKEN);
    mysqld_start(stack, BROKEN, "", "");
    EXPECT_NUMBER(sale_live_orders(stack, sku), 100);
    /* That it is the old row shows in its total: the reconciler may have raised its epoch by now.
     */
    EXPECT_NUMBER(rows_sum(stack, "SELECT total FROM inventory WHERE sku = '%s'", sku), 400);
    unsigned gone = lost.created - (unsigned)sale_count_live(stack, lost.ids, lost.created);
    WAIT_UNTIL(use_all_connections() == 0);
    /* The sale goes on, to the last unit that the restored row has. */
    crowd_t *crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const[]){stack},
                                                 .nodes_count = 1,
                                                 .skus = &sku,
                                                 .skus_count = 1,
                                                 .quantity_max = 1});
    crowd_await(crowd, CROWD_CREATED, 40);
    EXPECT_NUMBER(sale_count_live(stack, kept.ids, kept.created), kept.created);
    EXPECT_PROMISES(stack, crowd,
                    "%s: %u orders went with the disk (not promised), %u were in the copy",
                    strategy, gone, kept.created);
    long long now = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    EXPECT(now > epoch, "epoch %lld is not above that of before, %lld", now, epoch);
    EXPECT_NUMBER(sale_live_units(stack, sku), 400);
}

#define OUTAGE(name_, begin_, end_, seconds_)                                                      \
    {                                                                                              \
        "it is " name_, falls_over, NULL, NULL, &(outage_t)                                        \
        {                                                                                          \
            name_, begin_, end_, seconds_                                                          \
        }                                                                                          \
    }

static const suite_t suite = {.name = "shard",
                              .settings = {SUITE_SHORT_DEADLINES, "mysql.writer_queue_max=200",
                                           "mysql.pool_queue_max=200", "mysql.timeout_ms=2000"},
                              .repeats = true,
                              .before_stop = wake};

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Only with HOLDFAST_LONG=1: */
        UNDER("watch", is_put_back_to_an_old_copy),
        UNDER("optimistic", is_put_back_to_an_old_copy),
        /* Always: */
        OUTAGE("killed", kill_it, start_it, 3),
        OUTAGE("stopped", stop_it, continue_it, 8),
        OUTAGE("read-only", make_it_read_only, make_it_writable, 3),
        UNDER("lua", is_put_back_to_an_old_copy),
        /* The last: its disk goes with its server. */
        {"its disk is full", disk_is_full, NULL, NULL,
         &(outage_t){"full", fill_its_disk, free_its_disk, 3}},
    };
    size_t from = chance_is_long() ? 0 : 2;
    return suite_run(&suite, tests + from, TEST_COUNT(tests) - from);
}
