/*
 * To see it: /metrics parses as Prometheus text and counts what happened, /v1/status says what
 * the documents promise, and health and readiness tell apart alive and able.
 */
#include <ctype.h>
#include <math.h>
#include <signal.h>

#include "harness/sale.h"

#define STACK stack_shared()

static const char *const strategies[] = {"lua", "watch", "optimistic", "serializable"};

static const char *scrape(void)
{
    web_answer_t answer = ADMIN(STACK, .path = "/metrics");
    EXPECT_STATUS(answer, 200);
    EXPECT(strncmp(answer.content_type, "text/plain", 10) == 0, "Content-Type: %s",
           answer.content_type);
    return answer.body;
}

/* The value of a series, `series` being the whole text before the value; 0 if it is not there. */
static double value_of(const char *metrics, const char *series)
{
    char *line = test_text("\n%s ", series);
    const char *at = strstr(metrics, line);
    return at == NULL ? 0 : strtod(at + strlen(line), NULL);
}

/* --- the format --- */

static bool is_name(const char *text, size_t n)
{
    for (size_t i = 0; i < n; ++i)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != ':')
            return false;
    return n > 0 && !isdigit((unsigned char)text[0]);
}

/* Behind the labels, or NULL: {a="b",c="d"}, where \, " and newline are escaped. */
static const char *skip_labels(const char *at)
{
    if (*at != '{')
        return at;
    for (++at; *at != '}';) {
        size_t name = strcspn(at, "=");
        if (!is_name(at, name) || at[name + 1] != '"')
            return NULL;
        for (at += name + 2; *at != '"'; ++at)
            if (*at == '\0' || (*at == '\\' && strchr("\\\"n", *++at) == NULL))
                return NULL;
        ++at;
        at += *at == ',';
    }
    return at + 1;
}

static void expect_sample(const char *line)
{
    size_t name = strcspn(line, "{ ");
    const char *at = is_name(line, name) ? skip_labels(line + name) : NULL;
    char *end = NULL;
    EXPECT(strncmp(line, "holdfast_", 9) == 0, "not ours: %s", line);
    EXPECT(at != NULL && *at == ' ', "not a sample: %s", line);
    double value = strtod(at + 1, &end);
    EXPECT(end != at + 1 && *end == '\0' && isfinite(value), "no value: %s", line);
}

/* A name is declared before its first sample, once, and with a known type. */
static void expect_declared(const char *metrics)
{
    for (const char *at = metrics; (at = strstr(at, "# TYPE ")) != NULL; ++at) {
        const char *name = at + 7, *type;
        size_t n = strcspn(name, " ");
        type = name + n + 1;
        EXPECT(strncmp(type, "counter\n", 8) == 0 || strncmp(type, "gauge\n", 6) == 0 ||
                   strncmp(type, "histogram\n", 10) == 0,
               "%.60s", at);
        const char *again = strstr(at + 1, test_text("# TYPE %.*s ", (int)n, name));
        EXPECT(again == NULL, "declared twice: %.*s", (int)n, name);
        const char *help = strstr(metrics, test_text("# HELP %.*s ", (int)n, name));
        EXPECT(help != NULL && help < at, "no HELP before TYPE: %.*s", (int)n, name);
        if (strncmp(type, "counter", 7) == 0)
            EXPECT(n > 6 && strncmp(name + n - 6, "_total", 6) == 0, "a counter's name: %.*s",
                   (int)n, name);
    }
}

static void metrics_parse_as_prometheus_text(void **state)
{
    (void)state;
    char *metrics = test_text("%s", scrape()), *rest = metrics, *line;
    expect_declared(metrics);
    EXPECT(metrics[strlen(metrics) - 1] == '\n', "the last line has no end");
    unsigned samples = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (*line == '\0' || *line == '#')
            continue;
        expect_sample(line);
        ++samples;
    }
    EXPECT(samples > 50, "only %u samples", samples);
}

static void histograms_add_up(void **state)
{
    (void)state;
    const char *metrics = scrape();
    static const char *const names[] = {"holdfast_commit_seconds", "holdfast_gate_batch_orders",
                                        "holdfast_writer_batch_orders"};
    for (size_t i = 0; i < TEST_COUNT(names); ++i) {
        double last = 0;
        const char *prefix = test_text("\n%s_bucket{", names[i]);
        for (const char *at = metrics; (at = strstr(at, prefix)) != NULL; ++at) {
            double value = strtod(strchr(at, '}') + 1, NULL);
            EXPECT(value >= last, "buckets of %s do not grow", names[i]);
            last = value;
        }
        double all = value_of(metrics, test_text("%s_bucket{le=\"+Inf\"}", names[i]));
        const char *count = strstr(metrics, test_text("\n%s_count", names[i]));
        EXPECT(count != NULL, "%s has no count", names[i]);
        EXPECT(strtod(strchr(count, ' '), NULL) == all, "%s: +Inf %g, count %.40s", names[i], all,
               count + 1);
    }
}

/* --- what is counted --- */

typedef struct {
    double created, refused, reserved, refused_by_strategy;
} counts_t;

static double requests(const char *metrics, const char *route, int status)
{
    return value_of(metrics, test_text("holdfast_http_requests_total{route=\"%s\",status=\"%d\"}",
                                       route, status));
}

static counts_t count(const char *strategy)
{
    const char *metrics = scrape();
    return (counts_t){
        requests(metrics, "order_create", 201), requests(metrics, "order_create", 409),
        value_of(metrics, test_text("holdfast_reserved_total{strategy=\"%s\"}", strategy)),
        value_of(metrics, test_text("holdfast_refused_total{strategy=\"%s\"}", strategy))};
}

static void purchases_are_counted_by_route_status_and_strategy(void **state)
{
    (void)state;
    for (size_t s = 0; s < TEST_COUNT(strategies); ++s) {
        const char *sku =
            sale_item(STACK, "count", "\"total\":7,\"strategy\":\"%s\"", strategies[s]);
        counts_t before = count(strategies[s]);
        sale_tally_t tally =
            sale_rush(&(sale_rush_t){.stack = STACK, .sku = sku, .buyers = 20, .connections = 4});
        counts_t after = count(strategies[s]);
        double reserved = after.reserved - before.reserved,
               refused = after.refused_by_strategy - before.refused_by_strategy;
        EXPECT(after.created - before.created == tally.created &&
                   after.refused - before.refused == tally.sold_out,
               "%s: 201 %g, 409 %g; %s", strategies[s], after.created - before.created,
               after.refused - before.refused, sale_show(&tally));
        /* On a slow machine some of the others are reserved and some are not. */
        unsigned late = tally.pending + tally.unavailable;
        EXPECT(reserved >= tally.created && refused >= tally.sold_out &&
                   reserved + refused <= tally.created + tally.sold_out + late,
               "%s: reserved %g, refused %g; %s", strategies[s], reserved, refused,
               sale_show(&tally));
        EXPECT(tally.created + late >= 7 && tally.sold_out + late >= 13, "%s", sale_show(&tally));
    }
}

static void routes_and_refusals_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *path, *route;
        int status;
    } calls[] = {{"/v1/orders/x", "order_get", 404},
                 {"/v1/items/nothing-here", "item_get", 404},
                 {"/nowhere", "other", 404},
                 {"/healthz", "healthz", 200},
                 {"/v1/buyers/nobody/orders", "buyer_orders", 200}};
    for (size_t i = 0; i < TEST_COUNT(calls); ++i) {
        double before = requests(scrape(), calls[i].route, calls[i].status);
        web_answer_t answer = WEB(.base = STACK->url, .path = calls[i].path);
        EXPECT_STATUS(answer, calls[i].status);
        double more = requests(scrape(), calls[i].route, calls[i].status) - before;
        EXPECT(more == 1, "%s: %s %d grew by %g", calls[i].path, calls[i].route, calls[i].status,
               more);
    }
    /* An answer without a body has its status too. */
    const char *sku = sale_item(STACK, "gone", "\"total\":1");
    double before = requests(scrape(), "item_delete", 204);
    web_answer_t gone = ADMIN(STACK, .method = "DELETE", .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(gone, 204);
    EXPECT(requests(scrape(), "item_delete", 204) == before + 1, "204 is not counted");
}

static void rejected_and_replayed_are_counted(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "replay", "\"total\":7,\"strategy\":\"lua\"");
    sale_order(STACK, sku, "a", 1, "k");
    double before = value_of(scrape(), "holdfast_orders_replayed_total");
    for (unsigned replayed = 0; replayed < 2;) {
        web_answer_t order = sale_buy(STACK, sku, "a", 1, "k");
        EXPECT(order.status == 503 || order.replayed[0] != '\0', "%s", web_show(&order));
        replayed += order.replayed[0] != '\0';
    }
    double more = value_of(scrape(), "holdfast_orders_replayed_total") - before;
    EXPECT(more == 2, "replayed grew by %g", more);
}

static void every_strategy_has_its_aborts_and_retries(void **state)
{
    (void)state;
    static const char *const names[] = {"reserved", "refused", "aborts", "retries"};
    const char *metrics = scrape();
    for (size_t n = 0; n < TEST_COUNT(names); ++n)
        for (size_t s = 0; s < TEST_COUNT(strategies); ++s) {
            const char *series =
                test_text("\nholdfast_%s_total{strategy=\"%s\"} ", names[n], strategies[s]);
            EXPECT(strstr(metrics, series) != NULL, "no %s", series + 1);
        }
    static const char *const others[] = {"http_connections", "purchases_in_flight",
                                         "redis_connections", "gate_rebuilds_total"};
    for (size_t i = 0; i < TEST_COUNT(others); ++i)
        EXPECT(strstr(metrics, test_text("\nholdfast_%s ", others[i])) != NULL, "no %s", others[i]);
}

static void gauges_return_to_rest(void **state)
{
    (void)state;
    WAIT_UNTIL(value_of(scrape(), "holdfast_purchases_in_flight") == 0);
    const char *metrics = scrape();
    EXPECT(value_of(metrics, "holdfast_http_connections") >= 1, "not even this connection");
    for (const char *at = metrics; (at = strstr(at, "\nholdfast_writer_queue_orders{")) != NULL;
         ++at)
        EXPECT(strtod(strchr(at, '}') + 1, NULL) == 0, "%.80s", at + 1);
}

/* --- status, audit, health --- */

static const cJSON *member(const cJSON *json, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    if (found == NULL)
        FAIL("no %s in %.200s", name, ({
                 char *text = cJSON_PrintUnformatted(json);
                 test_keep(text, free);
                 text == NULL ? "nothing" : text;
             }));
    return found;
}

static void expect_text(const cJSON *json, const char *name, const char *text)
{
    const char *has = cJSON_GetStringValue(member(json, name));
    EXPECT(has != NULL && strcmp(has, text) == 0, "%s is %s, not %s", name, has, text);
}

static void status_names_the_groups_and_their_servers(void **state)
{
    (void)state;
    web_answer_t status = ADMIN(STACK, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    const cJSON *groups = member(status.json, "groups");
    EXPECT_NUMBER(cJSON_GetArraySize(groups), STACK->shards);
    for (unsigned i = 0; i < STACK->shards; ++i) {
        const cJSON *group = cJSON_GetArrayItem(groups, (int)i);
        const cJSON *servers = member(group, "servers"), *server = cJSON_GetArrayItem(servers, 0);
        expect_text(group, "name", test_text("shard-%u", i));
        expect_text(server, "name", test_text("shard-%u-a", i));
        expect_text(server, "status", "primary");
        expect_text(server, "mode", "read-write");
        expect_text(server, "zone", "local");
        expect_text(server, "socket", STACK->mysql_sockets[i]);
        EXPECT(cJSON_GetNumberValue(member(server, "weight")) == 1, "weight");
    }
}

/* The members that are there; others may join them. */
static void status_has_all_that_is_promised(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "status", "\"total\":7,\"strategy\":\"watch\"");
    web_answer_t status = ADMIN(STACK, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    static const char *const subjects[] = {
        "default_strategy", "shards",    "connections", "drift", "items_total", "nodes",
        "version",          "uptime_ms", "groups"};
    for (size_t i = 0; i < TEST_COUNT(subjects); ++i)
        member(status.json, subjects[i]);
    EXPECT_NUMBER(cJSON_GetArraySize(member(status.json, "shards")), STACK->shards);
    EXPECT(cJSON_GetObjectItem(status.json, "items") == NULL, "%s", web_show(&status));
    /* Items are listed by a call of their own. */
    web_answer_t items = ADMIN(STACK, .path = test_text("/v1/items?prefix=%s", sku));
    EXPECT_STATUS(items, 200);
    const cJSON *item = cJSON_GetArrayItem(member(items.json, "items"), 0);
    expect_text(item, "sku", sku);
    expect_text(item, "strategy", "watch");
    long long epoch = rows_sum(STACK, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    EXPECT_NUMBER(cJSON_GetNumberValue(member(item, "epoch")), epoch);
}

static void the_audit_finds_nothing_wrong_and_what_is(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "audit", "\"total\":9,\"strategy\":\"lua\"");
    sale_order(STACK, sku, "a", 2, NULL);
    EXPECT_GATE_AGREES(STACK, sku);
    web_answer_t audit = sale_audit(STACK);
    EXPECT_STATUS(audit, 200);
    EXPECT(cJSON_IsTrue(member(audit.json, "ok")), "%s", web_show(&audit));
    /* One unit that no order has. */
    unsigned error = rows_change(
        STACK, "UPDATE inventory SET allocated_total = allocated_total + 1 WHERE sku = '%s'", sku);
    web_answer_t spoiled = sale_audit(STACK);
    unsigned mended = rows_change(
        STACK, "UPDATE inventory SET allocated_total = allocated_total - 1 WHERE sku = '%s'", sku);
    EXPECT(error == 0 && mended == 0, "%u, %u", error, mended);
    EXPECT_STATUS(spoiled, 200);
    EXPECT(cJSON_IsFalse(member(spoiled.json, "ok")), "not seen: %s", web_show(&spoiled));
    EXPECT(strstr(spoiled.body, sku) != NULL, "does not name %s: %s", sku, web_show(&spoiled));
    /* A counter of the gate that lies is seen, unless it was mended before anybody looked. */
    redis_run(STACK, "HINCRBY %s reserved 1", redis_key(STACK, "gate", sku));
    web_answer_t pass = ADMIN(STACK, .method = "POST",
                              .path = test_text("/v1/items/%s/reconcile", sku), .body = "{}");
    EXPECT_STATUS(pass, 200);
    EXPECT_GATE_AGREES(STACK, sku);
    audit = sale_audit(STACK);
    EXPECT(cJSON_IsTrue(member(audit.json, "ok")), "%s", web_show(&audit));
}

static void healthz_and_readyz_are_200(void **state)
{
    (void)state;
    web_answer_t health = WEB(.base = STACK->url, .path = "/healthz");
    web_answer_t ready = WEB(.base = STACK->url, .path = "/readyz");
    EXPECT_STATUS(health, 200);
    EXPECT_STATUS(ready, 200);
}

/* Sends raw requests, of which the last ends the connection; all that comes back. */
static const char *talk(const char *requests)
{
    const size_t size = 1 << 18;
    char *text = test_bytes(size);
    size_t length = 0;
    int fd = web_connect(STACK->url);
    EXPECT_NUMBER(write(fd, requests, strlen(requests)), strlen(requests));
    for (ssize_t n; length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0;)
        length += (size_t)n;
    close(fd);
    return text;
}

static void answers_carry_a_request_id(void **state)
{
    (void)state;
    static const struct {
        const char *id;
        bool kept; /* else it gets another: what is logged and sent back is plain text */
    } cases[] = {{"abc-123", true}, {"A.z_9", true}, {"a\"b", false}, {"a b", false},
                 {"a\\b", false},   {"a,b", false},  {"", false}};
    for (size_t i = 0; i < TEST_COUNT(cases); ++i) {
        const char *text =
            talk(test_text("GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                           "X-Request-Id: %s\r\n\r\n",
                           cases[i].id));
        const char *at = strcasestr(text, "x-request-id: ");
        EXPECT(at != NULL, "%s", text);
        at += strlen("x-request-id: ");
        size_t n = strcspn(at, "\r\n");
        bool kept = n == strlen(cases[i].id) && strncmp(at, cases[i].id, n) == 0;
        EXPECT(kept == cases[i].kept, "%s: %.*s", cases[i].id, (int)n, at);
        EXPECT(n != 0 && strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789-_.") == n,
               "%.*s", (int)n, at);
    }
}

/* An answer to HEAD has no body to be sent: it is taken all the same, and no request was taken
 * back. */
static void any_number_of_heads_are_answered(void **state)
{
    (void)state;
    enum { HEADS = 300 };
    const char *text =
        talk(test_text("%sGET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                       test_repeat("HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n", HEADS)));
    unsigned answers = 0;
    for (const char *at = text; (at = strstr(at, "HTTP/1.1 200 ")) != NULL; ++at)
        ++answers;
    EXPECT_NUMBER(answers, HEADS + 1);
}

/* --- a stack that lacks something: its own --- */

static bool is_missing(const web_answer_t *ready, const char *name)
{
    const cJSON *each;
    cJSON_ArrayForEach(each, member(ready->json, "missing")) if (strcmp(cJSON_GetStringValue(each),
                                                                        name) == 0) return true;
    return false;
}

/* It has no item that could be sold without Redis. */
static void readyz_names_what_is_missing(void **state)
{
    (void)state;
    test_stack_t *own = STACK_START("ready", "node.name=n1");
    process_signal(own->redis_pid, SIGTERM);
    WAIT_UNTIL(WEB(.base = own->url, .path = "/readyz").status == 503);
    web_answer_t ready = WEB(.base = own->url, .path = "/readyz");
    web_answer_t health = WEB(.base = own->url, .path = "/healthz");
    stack_again(own, NULL, 0);
    WAIT_UNTIL(WEB(.base = own->url, .path = "/readyz").status == 200);
    process_signal(own->mysql_pids[1], SIGSTOP);
    web_answer_t no_mysql;
    WAIT_UNTIL(({
        no_mysql = WEB(.base = own->url, .path = "/readyz");
        is_missing(&no_mysql, "shard-1");
    }));
    process_signal(own->mysql_pids[1], SIGCONT);
    WAIT_UNTIL(({
        web_answer_t now = WEB(.base = own->url, .path = "/readyz");
        !is_missing(&now, "shard-1");
    }));
    bool clean = stack_stop(own);
    EXPECT(ready.status == 503 && is_missing(&ready, "redis"), "%s", web_show(&ready));
    EXPECT_STATUS(no_mysql, 200); /* the other shard sells */
    EXPECT_STATUS(health, 200);   /* alive, though not able */
    EXPECT(clean, "see above");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(metrics_parse_as_prometheus_text),
        TEST(purchases_are_counted_by_route_status_and_strategy),
        TEST(routes_and_refusals_are_counted),
        TEST(rejected_and_replayed_are_counted),
        TEST(every_strategy_has_its_aborts_and_retries),
        TEST(histograms_add_up),
        TEST(gauges_return_to_rest),
        TEST(status_names_the_groups_and_their_servers),
        TEST(status_has_all_that_is_promised),
        TEST(the_audit_finds_nothing_wrong_and_what_is),
        TEST(healthz_and_readyz_are_200),
        TEST(answers_carry_a_request_id),
        TEST(any_number_of_heads_are_answered),
        TEST(readyz_names_what_is_missing),
    };
    return test_run("metrics", tests, TEST_COUNT(tests), NULL, NULL);
}
