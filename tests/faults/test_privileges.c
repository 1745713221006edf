/*
 * A privilege of the service's account is taken away while it works: of MySQL table by table, of
 * the whole database, or to log in; of Redis a command or a category. Whatever needs it says so in
 * the log with the server's own words, a metric counts, /readyz names the server where nothing can
 * be sold without it; no promise is broken, and all goes on by itself once it is granted again.
 *
 * The short form draws some of each kind; with HOLDFAST_LONG=1 each comes once. HOLDFAST_PRIVILEGES
 * (a pattern of fnmatch) takes those whose names match.
 *
 * MariaDB looks a table's privileges up at each statement, but those of a database only when a
 * session begins or says USE: so the connections are ended after such a REVOKE.
 */
#include <fnmatch.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/stat.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define NODES 2
#define KINDS 6 /* of items */
#define SHARDS 2
#define ITEMS (KINDS * SHARDS)

/* Until it is told of, and until all goes on. */
#define REPORTED_MS 40000
/* It lasts so long at the least. */
#define LASTS_MS 1500
#define SHORT_OF_A_KIND 4

static test_stack_t *nodes[NODES];
static const char *skus[ITEMS];
static redisContext *control; /* as a user of its own */
static crowd_t *crowd;

/* --- what can be taken away --- */

typedef enum { SALES_GO_ON, WATCH_REFUSED, SHARDS_AWAY, REDIS_AWAY } effect_t;

typedef struct {
    const char *name;
    /* Of MySQL statements, of which `left` (or NULL) comes second; of Redis a rule of ACL SETUSER.
       `give` NULL: all is given. */
    const char *take, *left, *give;
    bool reconnect;           /* open sessions have it still */
    const char *says, *about; /* both in a line of the log, and in the reason of readyz */
    effect_t effect;
} privilege_t;

#define ACCOUNT "'holdfast'@'localhost'"
#define OF_TABLE(what_, table_, effect_)                                                           \
    {                                                                                              \
        .name = what_ " on " table_,                                                               \
        .take = "REVOKE " what_ " ON holdfast." table_ " FROM " ACCOUNT,                           \
        .give = "GRANT " what_ " ON holdfast." table_ " TO " ACCOUNT,                              \
        .says = what_ " command denied to user 'holdfast'@'localhost' for ", .about = table_,      \
        .effect = effect_                                                                          \
    }
#define TAKE_ALL "REVOKE ALL PRIVILEGES, GRANT OPTION FROM " ACCOUNT
/* Those that are left are of the whole database, as deploy/up grants them. */
#define OF_DATABASE(what_, left_)                                                                  \
    {                                                                                              \
        .name = what_ " on all tables", .take = TAKE_ALL,                                          \
        .left = "GRANT " left_ " ON holdfast.* TO " ACCOUNT, .reconnect = true,                    \
        .says = what_ " command denied to user 'holdfast'@'localhost' for ", .about = "",          \
        .effect = SHARDS_AWAY                                                                      \
    }

static const privilege_t of_mysql[] = {
    OF_TABLE("SELECT", "inventory", SHARDS_AWAY),
    OF_TABLE("INSERT", "inventory", SHARDS_AWAY), /* by the trial order */
    OF_TABLE("UPDATE", "inventory", SHARDS_AWAY),
    OF_TABLE("DELETE", "inventory", SALES_GO_ON),
    OF_TABLE("SELECT", "orders", SHARDS_AWAY),
    OF_TABLE("INSERT", "orders", SHARDS_AWAY),
    OF_TABLE("UPDATE", "orders", SHARDS_AWAY),
    OF_TABLE("SELECT", "holds", SHARDS_AWAY),
    OF_TABLE("INSERT", "holds", SHARDS_AWAY),
    OF_TABLE("UPDATE", "holds", SHARDS_AWAY),
    OF_TABLE("DELETE", "holds", SALES_GO_ON),
    OF_TABLE("SELECT", "cancellations", SALES_GO_ON),
    OF_TABLE("INSERT", "cancellations", SALES_GO_ON),
    OF_TABLE("SELECT", "changes", SALES_GO_ON),
    OF_TABLE("INSERT", "changes", SALES_GO_ON),
    OF_TABLE("DELETE", "changes", SALES_GO_ON),
    OF_TABLE("SELECT", "leases", SHARDS_AWAY),
    OF_TABLE("INSERT", "leases", SHARDS_AWAY),
    OF_TABLE("UPDATE", "leases", SHARDS_AWAY),
    OF_TABLE("SELECT", "settings", SALES_GO_ON),
    OF_TABLE("INSERT", "settings", SALES_GO_ON),
    OF_TABLE("UPDATE", "settings", SALES_GO_ON),
    OF_TABLE("SELECT", "shard_identity", SHARDS_AWAY),
    OF_TABLE("SELECT", "schema_migrations", SHARDS_AWAY),
    OF_DATABASE("SELECT", "INSERT, UPDATE, DELETE"),
    OF_DATABASE("INSERT", "SELECT, UPDATE, DELETE"),
    OF_DATABASE("UPDATE", "SELECT, INSERT, DELETE"),
    {.name = "anything",
     .take = TAKE_ALL,
     .reconnect = true,
     .says = "1044 Access denied for user 'holdfast'@'localhost' to database 'holdfast'",
     .about = "",
     .effect = SHARDS_AWAY},
    {.name = "log-in",
     .take = "ALTER USER " ACCOUNT " ACCOUNT LOCK",
     .give = "ALTER USER " ACCOUNT " ACCOUNT UNLOCK",
     .reconnect = true,
     .says = "Access denied, this account is locked",
     .about = "",
     .effect = SHARDS_AWAY},
};

#define COMMAND(name_, effect_)                                                                    \
    {                                                                                              \
        .name = name_, .take = "-" name_,                                                          \
        .says = "NOPERM this user has no permissions to run the '", .about = name_,                \
        .effect = effect_                                                                          \
    }
#define CATEGORY(name_, effect_)                                                                   \
    {                                                                                              \
        .name = name_, .take = "-" name_, .says = "NOPERM ", .about = "", .effect = effect_        \
    }

static const privilege_t of_redis[] = {
    COMMAND("fcall", REDIS_AWAY),
    COMMAND("info", REDIS_AWAY),
    COMMAND("time", REDIS_AWAY),
    COMMAND("hget", REDIS_AWAY),
    COMMAND("hmget", REDIS_AWAY),
    COMMAND("hset", REDIS_AWAY),
    COMMAND("hdel", REDIS_AWAY),
    COMMAND("hincrby", REDIS_AWAY),
    COMMAND("hlen", REDIS_AWAY),
    COMMAND("hexists", REDIS_AWAY),
    COMMAND("hvals", REDIS_AWAY),
    COMMAND("hgetall", REDIS_AWAY),
    COMMAND("type", REDIS_AWAY),
    COMMAND("expire", REDIS_AWAY),
    COMMAND("persist", REDIS_AWAY),
    COMMAND("rename", REDIS_AWAY),
    COMMAND("del", REDIS_AWAY),
    COMMAND("get", REDIS_AWAY),
    COMMAND("set", REDIS_AWAY),
    COMMAND("exists", SALES_GO_ON),
    COMMAND("watch", WATCH_REFUSED),
    COMMAND("unwatch", WATCH_REFUSED),
    COMMAND("multi", WATCH_REFUSED),
    COMMAND("exec", WATCH_REFUSED),
    COMMAND("config", SALES_GO_ON),
    CATEGORY("@read", REDIS_AWAY),
    CATEGORY("@write", REDIS_AWAY),
    CATEGORY("@scripting", REDIS_AWAY),
    CATEGORY("@transaction", WATCH_REFUSED),
    CATEGORY("@hash", REDIS_AWAY),
    CATEGORY("@keyspace", REDIS_AWAY),
    CATEGORY("@fast", REDIS_AWAY),
    CATEGORY("@slow", REDIS_AWAY),
    CATEGORY("@dangerous", REDIS_AWAY),
    CATEGORY("@all", REDIS_AWAY),
};

static void on_all_shards(const char *statement)
{
    for (unsigned i = 0; i < stack->shards; ++i)
        mysqld_run(stack, i, "%s", statement);
}

static void end_sessions(void)
{
    on_all_shards("KILL CONNECTION USER 'holdfast'@'localhost'");
}

static void set_user(const char *rule)
{
    redisReply *reply = redisCommand(control, "ACL SETUSER default %s", rule);
    EXPECT(reply != NULL && reply->type != REDIS_REPLY_ERROR, "ACL SETUSER default %s: %s", rule,
           reply == NULL ? control->errstr : reply->str);
    freeReplyObject(reply);
}

/* --- the stack --- */

static const char *const tables[] = {"inventory",         "orders",   "holds",
                                     "cancellations",     "leases",   "shard_identity",
                                     "schema_migrations", "settings", "changes"};

/* Table by table, as an administrator may do it. */
static void grant_all(void)
{
    on_all_shards(TAKE_ALL);
    on_all_shards("GRANT CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES, CREATE TEMPORARY "
                  "TABLES ON holdfast.* TO " ACCOUNT);
    for (size_t i = 0; i < TEST_COUNT(tables); ++i)
        on_all_shards(test_text("GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast.%s TO " ACCOUNT,
                                tables[i]));
}

static void open_control(void)
{
    control = redisConnectUnix(stack->redis_socket);
    EXPECT(control != NULL && control->err == 0, "no connection to Redis");
    freeReplyObject(redisCommand(control, "ACL SETUSER tester on >tester ~* &* +@all"));
    redisReply *reply = redisCommand(control, "AUTH tester tester");
    EXPECT(reply != NULL && reply->type != REDIS_REPLY_ERROR, "AUTH");
    freeReplyObject(reply);
}

static void prepare(void)
{
    grant_all();
    end_sessions();
    open_control();
    nodes[0] = stack;
    nodes[1] = node = stack_second_start(stack);
}

static void close_control(void)
{
    set_user("+@all");
    redisFree(control);
}

static bool takes_all(void)
{
    return chance_is_long() || getenv("HOLDFAST_PRIVILEGES") != NULL;
}

/* Not sold out before the end, and then soon. */
static unsigned stock(void)
{
    return takes_all() ? 6000 : 800;
}

static void put_on_sale(void)
{
    static const char *const kinds[KINDS] = {
        "\"strategy\":\"lua\",\"per_buyer_limit\":40,\"hold_seconds\":2",
        "\"strategy\":\"lua\",\"per_buyer_limit\":40,\"acknowledge\":\"accepted\"",
        "\"strategy\":\"watch\",\"per_buyer_limit\":40,\"hold_seconds\":2",
        "\"strategy\":\"watch\"",
        "\"strategy\":\"optimistic\",\"hold_seconds\":2",
        "\"strategy\":\"serializable\""};
    for (unsigned i = 0; i < ITEMS; ++i)
        do
            skus[i] = sale_item(stack, "privileges", "\"total\":%u,%s", stock(), kinds[i % KINDS]);
        while (rows_shard_of(stack, skus[i]) != i / KINDS);
}

/* --- what the services say --- */

static const char *log_path(unsigned service)
{
    return test_text(service == 0 ? "%s/log/holdfast.log" : "%s/log/holdfast-2.log", stack->dir);
}

static long log_size(unsigned service)
{
    struct stat about;
    return stat(log_path(service), &about) == 0 ? (long)about.st_size : 0;
}

static bool has_words(const char *text, const privilege_t *privilege)
{
    const char *at = strstr(text, privilege->says);
    return at != NULL && strstr(at + strlen(privilege->says), privilege->about) != NULL;
}

/* A line of this service, behind `from`, that has the words: it, or NULL. */
static const char *find_line(unsigned service, long from, const privilege_t *privilege)
{
    static char line[65536];
    const char *found = NULL;
    FILE *in = fopen(log_path(service), "re");
    if (in == NULL)
        return NULL;
    fseek(in, from, SEEK_SET);
    while (found == NULL && fgets(line, sizeof(line), in) != NULL)
        if (has_words(line, privilege))
            found = line;
    fclose(in);
    return found;
}

static const char *said(const long from[NODES], const privilege_t *privilege)
{
    const char *line = NULL;
    for (unsigned i = 0; line == NULL && i < NODES; ++i)
        line = find_line(i, from[i], privilege);
    return line;
}

static double refusals(const char *of)
{
    return fault_metric(nodes[0], of) + fault_metric(nodes[1], of);
}

static const cJSON *servers_of(const web_answer_t *ready, effect_t effect)
{
    return cJSON_GetObjectItemCaseSensitive(ready->json, effect == REDIS_AWAY ? "redis" : "shards");
}

static bool is_away(const cJSON *server, const privilege_t *privilege)
{
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(server, "state"));
    const char *reason = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(server, "reason"));
    return state != NULL && strcmp(state, "away") == 0 && reason != NULL &&
           has_words(reason, privilege);
}

static bool are_away(unsigned service, const privilege_t *privilege)
{
    const cJSON *each;
    effect_t effect = privilege->effect;
    web_answer_t ready = WEB(.base = nodes[service]->url, .path = "/readyz");
    if (effect == REDIS_AWAY)
        return is_away(servers_of(&ready, effect), privilege);
    cJSON_ArrayForEach(each,
                       servers_of(&ready, effect)) if (!is_away(each, privilege)) return false;
    return true;
}

static bool lacks_nothing(unsigned service)
{
    web_answer_t ready = WEB(.base = nodes[service]->url, .path = "/readyz");
    return ready.status == 200 && strstr(ready.body, "\"missing\":[]") != NULL;
}

/* --- what goes on --- */

/* What administrators and buyers ask for besides purchases. Any of it may be refused. */
static void call_all(void)
{
    static unsigned nth;
    const char *sku = skus[nth % ITEMS];
    const test_stack_t *service = nodes[nth++ / ITEMS % NODES];
    ADMIN(service, .method = "POST", .path = test_text("/v1/items/%s/reconcile", sku));
    ADMIN(service, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
          .body = test_text("{\"total\":%u}", stock() + nth % 7));
    ADMIN(service, .path = "/v1/audit");
    ADMIN(service, .path = "/v1/status");
    ADMIN(service, .path = "/v1/changes?limit=1");
    WEB(.base = service->url, .path = test_text("/v1/buyers/c1-%u/orders", nth % 100));
    const char *short_lived = test_text("short-lived-%u", nth);
    ADMIN(service, .method = "PUT", .path = test_text("/v1/items/%s", short_lived),
          .body = "{\"total\":1}");
    ADMIN(service, .method = "DELETE", .path = test_text("/v1/items/%s", short_lived));
    web_answer_t order = sale_buy(service, sku, test_text("gives-back-%u", nth), 1, NULL);
    if (order.status == 201)
        WEB(.method = "POST", .base = service->url, .key = "k",
            .path = test_text("/v1/orders/%s/cancel", sale_id(&order)));
}

/* Every item to the strategy of the first, which is not asked for while all is well. */
static void change_strategy(void)
{
    ADMIN(nodes[0], .method = "PUT", .path = "/v1/strategy", .body = "{\"strategy\":\"lua\"}");
}

static bool sells(unsigned service, unsigned item)
{
    static unsigned buyers;
    web_answer_t answer =
        sale_buy(nodes[service], skus[item], test_text("after-%u", ++buyers), 1, NULL);
    return answer.status == 201 || (answer.status == 202 && item % KINDS == 1);
}

static void await_sales(const char *after)
{
    long long begun = test_clock_ms();
    for (unsigned n = 0; n < NODES; ++n) {
        WAIT_UNTIL(lacks_nothing(n));
        for (unsigned i = 0; i < ITEMS; ++i)
            WAIT_UNTIL(sells(n, i));
    }
    print_message("    %s: all goes on after %lld ms\n", after, test_clock_ms() - begun);
}

/* --- one after the other --- */

typedef struct {
    const char *server, *metric;
    const privilege_t *all;
    unsigned count;
    void (*change)(const privilege_t *privilege, bool give);
} account_t;

static void change_in_mysql(const privilege_t *privilege, bool give)
{
    if (give && privilege->give == NULL)
        grant_all();
    else
        on_all_shards(give ? privilege->give : privilege->take);
    if (!give && privilege->left != NULL)
        on_all_shards(privilege->left);
    if (privilege->reconnect)
        end_sessions();
}

static void change_in_redis(const privilege_t *privilege, bool give)
{
    set_user(give ? "+@all" : privilege->take);
}

static const account_t accounts[] = {
    {"MySQL", "mysql_refusals_total", of_mysql, TEST_COUNT(of_mysql), change_in_mysql},
    {"Redis", "redis_refusals_total", of_redis, TEST_COUNT(of_redis), change_in_redis},
};

/* What needs it is refused, and known to be; nothing else is. */
static bool only_watch_is_refused(unsigned service)
{
    static unsigned buyers;
    web_answer_t answer =
        sale_buy(nodes[service], skus[2], test_text("watch-%u", ++buyers), 1, NULL);
    return answer.status == 503 && answer.location[0] == '\0' && sells(service, 0);
}

static bool has_effect(unsigned service, const privilege_t *privilege)
{
    if (privilege->effect == SALES_GO_ON)
        return true;
    return privilege->effect == WATCH_REFUSED ? only_watch_is_refused(service)
                                              : are_away(service, privilege);
}

static bool is_reported(const account_t *account, const privilege_t *privilege,
                        const long from[NODES], double counted)
{
    call_all();
    if (strstr(privilege->name, "settings") != NULL)
        change_strategy();
    for (unsigned n = 0; n < NODES; ++n)
        if (!has_effect(n, privilege))
            return false;
    return said(from, privilege) != NULL && refusals(account->metric) > counted;
}

/* `dies`: one of the services is killed meanwhile, so that the other one has orphans. */
static void be_without(const account_t *account, const privilege_t *privilege, bool dies)
{
    const char *name = test_text("%s without %s", account->server, privilege->name);
    long from[NODES] = {log_size(0), log_size(1)};
    double counted = refusals(account->metric);
    crowd_await(crowd, CROWD_CREATED, 30);
    account->change(privilege, false);
    long long begun = test_clock_ms(), received_ms;
    while (!is_reported(account, privilege, from, counted)) {
        EXPECT(test_clock_ms() - begun < REPORTED_MS, "%s: nothing told", name);
        usleep(50000);
    }
    received_ms = test_clock_ms() - begun;
    print_message("    %s: told after %lld ms: %s", name, received_ms, said(from, privilege));
    while (test_clock_ms() - begun < LASTS_MS)
        call_all();
    if (dies)
        process_signal(nodes[1]->pid, SIGKILL);
    account->change(privilege, true);
    if (dies)
        stack_node_again(nodes[1]);
    await_sales(name);
}

static bool is_wanted(const privilege_t *privilege)
{
    const char *wanted = getenv("HOLDFAST_PRIVILEGES");
    return wanted == NULL || fnmatch(wanted, privilege->name, FNM_EXTMATCH) == 0;
}

/* In an order of the seed's. */
static unsigned draw(const account_t *account, const privilege_t **out)
{
    unsigned count = 0;
    chance_t chance = chance_of(account->server);
    for (unsigned i = 0; i < account->count; ++i)
        if (is_wanted(&account->all[i]))
            out[count++] = &account->all[i];
    for (unsigned i = count; i > 1; --i) {
        unsigned other = chance_below(&chance, i);
        const privilege_t *swapped = out[i - 1];
        out[i - 1] = out[other];
        out[other] = swapped;
    }
    return takes_all() || count < SHORT_OF_A_KIND ? count : SHORT_OF_A_KIND;
}

static void is_reported_and_continues(void **state)
{
    const account_t *account = *state;
    const privilege_t *drawn[64];
    unsigned count = draw(account, drawn);
    put_on_sale();
    crowd = crowd_start(&(crowd_plan_t){.nodes = (const test_stack_t *const *)nodes,
                                        .nodes_count = NODES,
                                        .skus = skus,
                                        .skus_count = ITEMS,
                                        .per_second = 120,
                                        .redis_keeps_all = true});
    await_sales("nothing");
    for (unsigned i = 0; i < count; ++i)
        be_without(account, drawn[i], i == 0);
    EXPECT_PROMISES(stack, crowd, "%u privileges of %s", count, account->server);
}

/* --- a start, and a migration --- */

static bool is_in_file(const char *path, const char *words)
{
    char line[4096];
    bool says = false;
    FILE *in = fopen(path, "re");
    EXPECT(in != NULL, "no %s", path);
    while (!says && fgets(line, sizeof(line), in) != NULL)
        says = strstr(line, words) != NULL;
    fclose(in);
    return says;
}

/* Whose account may not read them: they are not taken for tables that are missing. */
static void a_start_without_the_tables_of_migrations(void **state)
{
    static const char *const changes[][2] = {{"name: n3\n", "name: n3\n"}};
    (void)state;
    on_all_shards(
        "REVOKE SELECT, INSERT, UPDATE, DELETE ON holdfast.schema_migrations FROM " ACCOUNT);
    on_all_shards("REVOKE SELECT, INSERT, UPDATE, DELETE ON holdfast.shard_identity FROM " ACCOUNT);
    EXPECT(stack_command(stack, "migrate") != 0, "holdfast migrate is content");
    EXPECT(is_in_file(test_text("%s/log/migrate.log", stack->dir), "command denied to user"),
           "holdfast migrate does not say why");
    test_stack_t *late = stack_node_start_changed(stack, 3, changes, 1);
    web_answer_t ready = WEB(.base = late->url, .path = "/readyz");
    EXPECT_STATUS(ready, 503);
    WAIT_UNTIL(
        is_in_file(test_text("%s/log/holdfast-3.log", stack->dir), "command denied to user"));
    grant_all();
    WAIT_UNTIL(stack_command(stack, "migrate") == 0);
    WAIT_UNTIL(WEB(.base = late->url, .path = "/readyz").status == 200);
    stack_node_stop(late);
}

/* A case that fails may leave something taken away. */
static int give_all(void **state)
{
    set_user("+@all");
    on_all_shards("ALTER USER " ACCOUNT " ACCOUNT UNLOCK");
    grant_all();
    return test_teardown(state);
}

static const suite_t suite = {
    .name = "privileges",
    .settings = {"orders.answer_deadline_ms=3000", "orders.commit_deadline_ms=20000"},
    .repeats = true,
    .prepare = prepare,
    .before_stop = close_control,
    .teardown = give_all};

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"of_mysql", is_reported_and_continues, NULL, give_all, (void *)&accounts[0]},
        {"of_redis", is_reported_and_continues, NULL, give_all, (void *)&accounts[1]},
        TEST(a_start_without_the_tables_of_migrations),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
