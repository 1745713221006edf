/*
 * A storm: three services over two shards, sixteen buyers, items of every strategy on each shard,
 * and the faults of MySQL and Redis one after the other, in an order that the seed draws. After
 * each of them every item sells again at every service, without a restart, and in the end the
 * promises are held against all that was told.
 *
 * The short form draws three faults; with HOLDFAST_LONG=1 each comes once. HOLDFAST_STORM='NAME'
 * or 'NAME|NAME' (patterns of fnmatch) takes these, in the order of the seed.
 */
#include <fnmatch.h>
#include <hiredis/hiredis.h>
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define NODES 3
#define SHARDS 2
#define KINDS 5 /* of items */
#define ITEMS (SHARDS * KINDS)
#define BUYERS 16 /* at a time */

/* After a fault. What is promised is said of an unloaded machine; what is past it is printed. */
#define SELLS_AGAIN_MS 5000

/* The last is the stack's own. */
static test_stack_t *nodes[NODES];

static struct {
    chance_t chance;
    const char *skus[ITEMS];
    crowd_t *crowd;
    unsigned shard;       /* the fault's */
    const char *sku;      /* an item of that shard */
    MYSQL *other_user;    /* whose locks nobody expects */
    redisContext *script; /* that does not end */
    unsigned error;       /* that a trigger signals */
    bool away;            /* the table of orders has another name now */
    const char *stuck;    /* after which faults something did not sell again; "": none */
} storm;

static void start_third(void)
{
    nodes[0] = node;
    nodes[1] = stack_node_start(stack, 3, NULL, 0);
    nodes[2] = stack;
}

/* A case that has failed leaves its fault behind. */
static void calm(void)
{
    kill(stack->redis_pid, SIGCONT);
    for (unsigned i = 0; i < stack->shards; ++i)
        kill(stack->mysql_pids[i], SIGCONT);
    mysql_close(storm.other_user);
    redisFree(storm.script);
    stack_node_stop(nodes[1]);
}

/* --- faults of MySQL; each is of storm.shard --- */

static void run(const char *sql)
{
    mysqld_run(stack, storm.shard, "%s", sql);
}

static void take_id(void *ids, char **columns)
{
    char **at = ids;
    *at = test_text("%s %s", *at, columns[0]);
}

/* All connections of the services, or, with "QUERY", what they do now. */
static void end_each(const char *what)
{
    MYSQL *mysql = mysqld_open(stack, storm.shard);
    MYSQL_ROW row;
    EXPECT(mysql != NULL && mysql_query(mysql, "SELECT id FROM information_schema.processlist "
                                               "WHERE user = 'holdfast'") == 0,
           "shard %u does not answer", storm.shard);
    MYSQL_RES *result = mysql_store_result(mysql);
    char *ids = test_text("%s", "");
    while ((row = mysql_fetch_row(result)) != NULL)
        take_id(&ids, row);
    mysql_free_result(result);
    for (char *id; (id = strsep(&ids, " ")) != NULL;)
        if (*id != '\0')
            mysqld_send(mysql, test_text("KILL %s %s", what, id)); /* it may have ended by itself */
    mysql_close(mysql);
}

static void end_connections(void)
{
    end_each("CONNECTION");
}

static void end_statements(void)
{
    end_each("QUERY");
}

static void read_only(void)
{
    run("SET GLOBAL read_only = 1");
}

static void writable(void)
{
    run("SET GLOBAL read_only = 0");
}

static void innodb_read_only(void)
{
    mysqld_stop(stack, storm.shard);
    mysqld_start(stack, storm.shard, "", "--innodb-read-only");
}

static void start_again(void)
{
    mysqld_stop(stack, storm.shard);
    mysqld_start(stack, storm.shard, "", "");
}

static void end_server(void)
{
    mysqld_kill(stack, storm.shard);
}

static void start_server(void)
{
    mysqld_start(stack, storm.shard, "", "");
}

/* Sessions that begin meanwhile keep what they found: nobody ends them. */
static void tx_read_only(void)
{
    run("SET GLOBAL tx_read_only = 1");
    end_connections();
}

static void tx_writable(void)
{
    run("SET GLOBAL tx_read_only = 0");
}

static void few_rows(void)
{
    run("SET GLOBAL sql_select_limit = 5");
    end_connections();
}

static void all_rows(void)
{
    run("SET GLOBAL sql_select_limit = DEFAULT");
}

static void rename_orders(bool away)
{
    const char *sql =
        away ? "RENAME TABLE orders TO orders_away" : "RENAME TABLE orders_away TO orders";
    MYSQL *mysql = mysqld_open(stack, storm.shard);
    EXPECT(mysql != NULL && mysqld_send(mysql, "SET lock_wait_timeout = 20") == 0, "no connection");
    if (storm.away != away) {
        end_connections(); /* whoever has a transaction open */
        EXPECT_NUMBER(mysqld_send(mysql, sql), 0);
    }
    mysql_close(mysql);
    storm.away = away;
}

static void orders_away(void)
{
    rename_orders(true);
}

static void orders_to_and_fro(void)
{
    rename_orders(!storm.away);
    usleep(300 * 1000);
}

static void orders_back(void)
{
    rename_orders(false);
}

/* None of these is about the values of a row. */
static const unsigned errors[] = {1021, 1030, 1036, 1041, 1047, 1053, 1105, 1114, 1142, 1146, 1180,
                                  1205, 1206, 1213, 1290, 1317, 1364, 1637, 1665, 1792, 1927};

static void signal_error(const char *event, const char *condition)
{
    storm.error = errors[chance_below(&storm.chance, TEST_COUNT(errors))];
    mysqld_run(stack, storm.shard,
               "CREATE TRIGGER storm BEFORE %s FOR EACH ROW IF %s THEN SIGNAL SQLSTATE '45000' SET "
               "MYSQL_ERRNO = %u, MESSAGE_TEXT = 'a storm'; END IF",
               event, condition, storm.error);
}

static void error_for_one_buyer(void)
{
    signal_error("INSERT ON orders", "NEW.buyer_id LIKE 'c%-7'");
}

static void error_for_all(void)
{
    signal_error("INSERT ON orders", "1 = 1");
}

static void error_at_update(void)
{
    signal_error("UPDATE ON inventory", test_text("NEW.sku = '%s'", storm.sku));
}

static void no_error(void)
{
    run("DROP TRIGGER storm");
}

static void commits_not_received(void)
{
    for (unsigned n = 0; n < NODES; ++n)
        fault_arm(nodes[n], "commit_answer_lost fail times=8\n");
    EXPECT_FAULT(nodes[chance_below(&storm.chance, NODES)], "commit_answer_lost");
    read_only();
}

static void commits_received(void)
{
    for (unsigned n = 0; n < NODES; ++n)
        fault_disarm(nodes[n]);
    writable();
}

/* A transaction that is left open. */
static void lock(const char *sql)
{
    storm.other_user = mysqld_open(stack, storm.shard);
    EXPECT(storm.other_user != NULL, "shard %u does not answer", storm.shard);
    mysqld_send(storm.other_user, "SET innodb_lock_wait_timeout = 20");
    EXPECT_NUMBER(mysqld_send(storm.other_user, "BEGIN"), 0);
    unsigned error = mysqld_send(storm.other_user, sql);
    EXPECT(error == 0 || error == 1213, "error %u of %s", error, sql);
}

static void lock_item(void)
{
    lock(test_text("SELECT * FROM inventory WHERE sku = '%s' FOR UPDATE", storm.sku));
}

static void lock_buyer(void)
{
    lock("SELECT * FROM orders WHERE buyer_id LIKE 'c%-7' FOR UPDATE");
}

static void lock_gap(void)
{
    lock(test_text("SELECT * FROM orders WHERE sku = '%s' AND buyer_id BETWEEN 'c1-3' AND 'c1-4' "
                   "FOR UPDATE",
                   storm.sku));
}

static void lock_server(void)
{
    storm.other_user = mysqld_open(stack, storm.shard);
    EXPECT(storm.other_user != NULL, "shard %u does not answer", storm.shard);
    EXPECT_NUMBER(mysqld_send(storm.other_user, "FLUSH TABLES WITH READ LOCK"), 0);
}

static void unlock(void)
{
    mysql_close(storm.other_user);
    storm.other_user = NULL;
}

#define ACCOUNT "'holdfast'@'localhost'"
#define TABLES_WRITTEN "holdfast.*"

static void revoke_insert(void)
{
    run("REVOKE INSERT ON " TABLES_WRITTEN " FROM " ACCOUNT);
}

static void grant_insert(void)
{
    run("GRANT INSERT ON " TABLES_WRITTEN " TO " ACCOUNT);
}

static void stop_server(void)
{
    process_signal(stack->mysql_pids[storm.shard], SIGSTOP);
}

static void continue_server(void)
{
    process_signal(stack->mysql_pids[storm.shard], SIGCONT);
}

/* --- faults of Redis --- */

static void no_memory(void)
{
    redis_run(stack, "CONFIG SET maxmemory 1");
}

static void memory(void)
{
    redis_run(stack, "CONFIG SET maxmemory 0");
}

static void no_replicas(void)
{
    redis_run(stack, "CONFIG SET min-replicas-to-write 1");
}

static void no_replicas_needed(void)
{
    redis_run(stack, "CONFIG SET min-replicas-to-write 0");
}

static void replica(void)
{
    redis_run(stack, "REPLICAOF 127.0.0.1 1");
}

static void master(void)
{
    redis_run(stack, "REPLICAOF NO ONE");
}

static void forbid_functions(void)
{
    redis_run(stack, "ACL SETUSER default -fcall");
}

static void allow_functions(void)
{
    redis_run(stack, "ACL SETUSER default +fcall");
}

static void script_hangs(void)
{
    redis_run(stack, "CONFIG SET busy-reply-threshold 300");
    storm.script = redisConnectUnix(stack->redis_socket);
    EXPECT(storm.script != NULL && storm.script->err == 0, "Redis does not answer");
    int sent = 0;
    redisAppendCommand(storm.script, "EVAL %s 0", "while true do end");
    while (!sent)
        EXPECT(redisBufferWrite(storm.script, &sent) == REDIS_OK, "Redis is gone");
}

static void script_ends(void)
{
    WAIT_UNTIL(!redis_refuses(stack, "SCRIPT KILL"));
    redisFree(storm.script);
    storm.script = NULL;
}

static void stop_redis(void)
{
    process_signal(stack->redis_pid, SIGSTOP);
}

static void continue_redis(void)
{
    process_signal(stack->redis_pid, SIGCONT);
}

static void end_redis_connections(void)
{
    redis_run(stack, "CLIENT KILL TYPE normal SKIPME yes");
}

static void nothing(void)
{
}

/* --- all of them --- */

typedef enum { OF_MYSQL, OF_REDIS } fault_kind_t;

typedef struct {
    fault_kind_t kind;
    const char *name;
    void (*begin)(void);
    void (*during)(void); /* over and over; NULL: it lasts by itself */
    void (*end)(void);
    bool mutes_redis; /* answers of Redis may be lost */
} fault_t;

static const fault_t faults[] = {
    {OF_MYSQL, "read_only", read_only, NULL, writable, false},
    {OF_MYSQL, "innodb_read_only", innodb_read_only, NULL, start_again, false},
    {OF_MYSQL, "tx_read_only", tx_read_only, NULL, tx_writable, false},
    {OF_MYSQL, "orders renamed", orders_away, orders_to_and_fro, orders_back, false},
    {OF_MYSQL, "connections ended", end_connections, end_connections, nothing, false},
    {OF_MYSQL, "statements ended", end_statements, end_statements, nothing, false},
    {OF_MYSQL, "error for one buyer", error_for_one_buyer, NULL, no_error, false},
    {OF_MYSQL, "error for all", error_for_all, NULL, no_error, false},
    {OF_MYSQL, "error at update", error_at_update, NULL, no_error, false},
    {OF_MYSQL, "commits unheard, then read_only", commits_not_received, NULL, commits_received,
     false},
    {OF_MYSQL, "sql_select_limit", few_rows, NULL, all_rows, false},
    {OF_MYSQL, "item locked", lock_item, NULL, unlock, false},
    {OF_MYSQL, "buyer's orders locked", lock_buyer, NULL, unlock, false},
    {OF_MYSQL, "gap locked", lock_gap, NULL, unlock, false},
    {OF_MYSQL, "tables locked", lock_server, NULL, unlock, false},
    {OF_MYSQL, "insert revoked", revoke_insert, NULL, grant_insert, false},
    {OF_MYSQL, "shard stopped", stop_server, NULL, continue_server, false},
    {OF_MYSQL, "shard dead", end_server, NULL, start_server, false},
    {OF_REDIS, "maxmemory", no_memory, NULL, memory, false},
    {OF_REDIS, "min-replicas-to-write", no_replicas, NULL, no_replicas_needed, false},
    {OF_REDIS, "replica of nobody", replica, NULL, master, false},
    {OF_REDIS, "functions forbidden", forbid_functions, NULL, allow_functions, false},
    {OF_REDIS, "script hangs", script_hangs, NULL, script_ends, true},
    {OF_REDIS, "redis stopped", stop_redis, NULL, continue_redis, true},
    {OF_REDIS, "redis connections ended", end_redis_connections, end_redis_connections, nothing,
     true},
};
#define FAULTS TEST_COUNT(faults)
#define SHORT_FAULTS 3

typedef struct {
    const fault_t *all[FAULTS];
    unsigned count;
} plan_t;

static bool is_wanted(const fault_t *fault)
{
    const char *wanted = getenv("HOLDFAST_STORM");
    return wanted == NULL || fnmatch(test_text("@(%s)", wanted), fault->name, FNM_EXTMATCH) == 0;
}

static plan_t shuffled_faults(void)
{
    plan_t plan = {.count = 0};
    for (size_t i = 0; i < FAULTS; ++i)
        if (is_wanted(&faults[i]))
            plan.all[plan.count++] = &faults[i];
    for (unsigned i = plan.count; i > 1; --i) {
        unsigned other = chance_below(&storm.chance, i);
        const fault_t *fault = plan.all[i - 1];
        plan.all[i - 1] = plan.all[other];
        plan.all[other] = fault;
    }
    return plan;
}

/* Of both kinds if there are both. */
static plan_t some_of(const plan_t *all)
{
    plan_t plan = {.all = {all->all[0]}, .count = 1};
    for (unsigned i = 1; i < all->count && plan.count < SHORT_FAULTS; ++i) {
        bool last = plan.count == SHORT_FAULTS - 1, both = false;
        for (unsigned k = 0; k < plan.count; ++k)
            both |= plan.all[k]->kind != all->all[i]->kind;
        if (!last || both)
            plan.all[plan.count++] = all->all[i];
    }
    return plan;
}

static plan_t plan_faults(void)
{
    plan_t all = shuffled_faults();
    EXPECT(all.count != 0, "HOLDFAST_STORM names no fault");
    return chance_is_long() || getenv("HOLDFAST_STORM") != NULL ? all : some_of(&all);
}

/* --- what sells again --- */

typedef struct {
    unsigned node, item;
    bool sells;
    long long ms;
    char buyer[24], last[160];
} place_t;

typedef struct {
    place_t places[NODES * ITEMS];
    unsigned asked[NODES * ITEMS], asked_count;
    long long begun;
} sales_t;

/* Buyers of one purchase each who heard 503: none of them may own anything. */
static struct {
    char (*buyers)[24];
    unsigned count, room;
} refused;

static bool is_accepted(unsigned item)
{
    return item % KINDS == KINDS - 1;
}

static web_request_t read_place(void *context, unsigned i)
{
    static unsigned buyers;
    sales_t *sales = context;
    place_t *place = &sales->places[sales->asked[i]];
    snprintf(place->buyer, sizeof(place->buyer), "probe-%u", ++buyers);
    web_request_t request =
        sale_request(nodes[place->node], storm.skus[place->item], place->buyer, 1, NULL);
    request.sent_once = true;
    return request;
}

static void note_refused(const char *buyer)
{
    if (refused.count == refused.room) {
        refused.room = refused.room * 2 + 256;
        refused.buyers = realloc(refused.buyers, refused.room * sizeof(*refused.buyers));
        if (refused.buyers == NULL)
            abort();
    }
    snprintf(refused.buyers[refused.count++], sizeof(*refused.buyers), "%s", buyer);
}

static bool take_place(void *context, unsigned i, const web_answer_t *answer)
{
    sales_t *sales = context;
    place_t *place = &sales->places[sales->asked[i]];
    place->sells = answer->status == 201 || (answer->status == 202 && is_accepted(place->item));
    place->ms = test_clock_ms() - sales->begun;
    snprintf(place->last, sizeof(place->last), "%ld: %.140s", answer->status,
             answer->body == NULL ? "" : answer->body);
    if (answer->status == 503 && answer->location[0] == '\0')
        note_refused(place->buyer);
    return true;
}

/* Asks at all places that do not sell yet, at once. */
static void read_again(sales_t *sales)
{
    sales->asked_count = 0;
    for (unsigned i = 0; i < NODES * ITEMS; ++i)
        if (!sales->places[i].sells)
            sales->asked[sales->asked_count++] = i;
    if (sales->asked_count != 0)
        web_crowd(&(web_crowd_t){.connections = sales->asked_count,
                                 .count = sales->asked_count,
                                 .request = read_place,
                                 .answered = take_place,
                                 .context = sales});
}

static const place_t *slowest(const sales_t *sales)
{
    const place_t *slow = &sales->places[0];
    for (unsigned i = 1; i < NODES * ITEMS; ++i) {
        const place_t *place = &sales->places[i];
        if (slow->sells && (!place->sells || place->ms > slow->ms))
            slow = place;
    }
    return slow;
}

static void print_stuck(const char *after, const place_t *place)
{
    print_error("    after %s, service %u does not sell %s: %s\n", after, place->node,
                storm.skus[place->item], place->last);
    storm.stuck = test_text("%s%s%s", storm.stuck, *storm.stuck == '\0' ? "" : "; ", after);
}

/* Waits until every item has sold at every service. The storm goes on after a failure, so that one
   run tells of all faults. */
static void await_sales(const char *after)
{
    sales_t *sales = test_bytes(sizeof(*sales));
    const place_t *slow;
    sales->begun = test_clock_ms();
    for (unsigned i = 0; i < NODES * ITEMS; ++i)
        sales->places[i] = (place_t){.node = i / ITEMS, .item = i % ITEMS};
    while (read_again(sales), slow = slowest(sales), !slow->sells) {
        if (test_clock_ms() - sales->begun > TEST_WAIT_MS) {
            print_stuck(after, slow);
            return;
        }
        usleep(100 * 1000);
    }
    const char *note = slow->ms > SELLS_AGAIN_MS ? " (past the 5 s of an unloaded machine)" : "";
    print_message("    %s: every item sells again after %.1f s%s\n", after, (double)slow->ms / 1000,
                  note);
}

/* --- the storm --- */

static void put_on_sale(unsigned faults_count)
{
    static const char *const kinds[KINDS] = {
        "\"strategy\":\"lua\",\"per_buyer_limit\":40,\"hold_seconds\":600",
        "\"strategy\":\"watch\",\"hold_seconds\":600", "\"strategy\":\"optimistic\"",
        "\"strategy\":\"serializable\"",
        "\"strategy\":\"lua\",\"per_buyer_limit\":40,\"acknowledge\":\"accepted\""};
    /* Not sold out before the end, and then soon. */
    unsigned stock = 1000 + 500 * faults_count;
    for (unsigned i = 0; i < ITEMS; ++i)
        do
            storm.skus[i] = sale_item(stack, "storm", "\"total\":%u,%s", stock, kinds[i % KINDS]);
        while (rows_shard_of(stack, storm.skus[i]) != i / KINDS);
}

static unsigned duration_ms(void)
{
    return chance_is_long() ? 1000 + chance_below(&storm.chance, 6000) : 2500;
}

static void happen(const fault_t *fault)
{
    storm.shard = chance_below(&storm.chance, SHARDS);
    storm.sku = storm.skus[storm.shard * KINDS + chance_below(&storm.chance, KINDS)];
    storm.error = 0;
    unsigned ms = duration_ms();
    crowd_await(storm.crowd, CROWD_CREATED, 50); /* all of it is awake again */
    if (fault->mutes_redis)
        crowd_redis_is_mute(storm.crowd, true);
    fault->begin();
    const char *what =
        test_text("%s (%s%u, %u ms%s)", fault->name, fault->kind == OF_MYSQL ? "shard " : "redis ",
                  storm.shard, ms, storm.error == 0 ? "" : test_text(", error %u", storm.error));
    for (long long end = test_clock_ms() + ms; test_clock_ms() < end; usleep(100 * 1000))
        if (fault->during != NULL)
            fault->during();
    fault->end();
    await_sales(what);
    crowd_redis_is_mute(storm.crowd, false);
}

/* Of those who bought to see whether something sells. */
static void expect_refused_own_nothing(void)
{
    for (unsigned i = 0; i < refused.count; ++i)
        EXPECT(rows_sum(stack,
                        "SELECT COUNT(*) FROM orders WHERE buyer_id = '%s' AND state <> 'rejected'",
                        refused.buyers[i]) == 0,
               "503 yet live: %s", refused.buyers[i]);
    refused.count = 0;
}

static void faults_in_turn(void **state)
{
    (void)state;
    storm.chance = chance_of("storm");
    storm.stuck = "";
    plan_t plan = plan_faults();
    put_on_sale(plan.count);
    storm.crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const *)nodes,
                                              .nodes_count = NODES,
                                              .skus = storm.skus,
                                              .skus_count = ITEMS,
                                              .connections = BUYERS,
                                              .per_second = 300,
                                              .redis_keeps_all = true});
    await_sales("nothing");
    for (unsigned i = 0; i < plan.count; ++i)
        happen(plan.all[i]);
    EXPECT_PROMISES(stack, storm.crowd, "%u faults", plan.count);
    expect_refused_own_nothing();
    EXPECT(*storm.stuck == '\0', "something did not sell again after: %s", storm.stuck);
}

static const suite_t suite = {
    .name = "storm", .pair = true, .repeats = true, .prepare = start_third, .before_stop = calm};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(faults_in_turn),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
