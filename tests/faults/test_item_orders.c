/*
 * The orders of an item on the admin listener: pages, and reports that are sent in parts. A report
 * is whole or seen to be cut, and waits for a client that does not read, but not for ever.
 */
#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"
#include "sale/shard_map.h"

/* Some of one buyer, more than a statement reads; the rest of a buyer each. */
#define OF_ONE 2500
#define ORDERS 60000
/* In the order of a report. */
static char (*ids)[SALE_ID_SIZE];
static unsigned ids_count;
static const char *sku; /* with these orders */
static unsigned shard;

static void take_id(void *context, char **columns)
{
    (void)context;
    EXPECT(ids_count < ORDERS, "there are more");
    const char *hex = columns[0];
    snprintf(ids[ids_count++], SALE_ID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
    for (char *at = ids[ids_count - 1]; *at != '\0'; ++at)
        *at = (char)tolower(*at);
}

/* Every third order has a key; those of the one buyer come under his name, in the middle. */
static void prepare(void)
{
    static char name[80];
    ids = calloc(ORDERS, sizeof(*ids));
    snprintf(name, sizeof(name), "%s",
             sale_item(stack, "report", "\"total\":1000000,\"strategy\":\"lua\""));
    sku = name;
    shard = rows_shard_of(stack, sku);
    mysqld_run(stack, shard,
               "INSERT INTO orders (order_id, sku, buyer_id, quantity, state, reject_code, epoch, "
               "created_at, updated_at, idempotency_key) "
               "SELECT UNHEX(CONCAT(LPAD(HEX(1796000000000 + seq * 7 %% 1000003), 12, '0'), '7', "
               "LPAD(HEX(%u), 3, '0'), '8', LPAD(HEX(seq), 15, '0'))), '%s', "
               "IF(seq <= %d, 'm', CONCAT(IF(seq %% 2, 'a', 'z'), seq * 7919 %% 100003)), 1, "
               "IF(seq %% 100, 'cancelled', 'rejected'), IF(seq %% 100, NULL, 'sold_out'), 1, "
               "NOW(3), NOW(3), IF(seq %% 3, NULL, CONCAT('k', seq)) FROM seq_1_to_%d",
               slot_of_sku(str_of(sku)), sku, OF_ONE, ORDERS);
    rows_each(stack, take_id, NULL,
              "SELECT HEX(order_id) FROM orders WHERE sku = '%s' ORDER BY buyer_id, order_id", sku);
    EXPECT_NUMBER(ids_count, ORDERS);
}

static web_answer_t orders(const char *query)
{
    return ADMIN(stack, .path = test_text("/v1/items/%s/orders?%s", sku, query));
}

/* --- pages --- */

/* Reads pages up to order `until`; returns how many orders there were. */
static unsigned walk(const char *query, unsigned until, bool any_state)
{
    unsigned at = 0;
    const char *cursor = "";
    const cJSON *order;
    do {
        web_answer_t page = orders(test_text("%s%s", query, cursor));
        EXPECT_STATUS(page, 200);
        cJSON_ArrayForEach(order, cJSON_GetObjectItem(page.json, "orders"))
        {
            const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(order, "order_id"));
            EXPECT(!any_state || strcmp(id, ids[at]) == 0, "%s: %s is not order %u, %s", query, id,
                   at, ids[at]);
            ++at;
        }
        const char *next = web_string(&page, "next_cursor");
        cursor = next == NULL ? NULL : test_text("&cursor=%s", next);
    } while (cursor != NULL && at < until);
    return at;
}

static void pages_have_each_order_once(void **state)
{
    (void)state;
    EXPECT_NUMBER(walk("limit=1000", ORDERS, true), ORDERS);
    EXPECT(walk("limit=1", 30, true) >= 30, "pages of one order");
    EXPECT(walk("", 1000, true) >= 1000, "pages of 100");
    web_answer_t page = orders("limit=1000");
    unsigned count = (unsigned)cJSON_GetArraySize(cJSON_GetObjectItem(page.json, "orders"));
    EXPECT_NUMBER(count, 1000);
}

/* The orders of the one buyer begin behind those of `a`. */
static void pages_of_one_buyer_go_on_where_the_last_ended(void **state)
{
    (void)state;
    unsigned first = 0;
    long long before =
        rows_sum(stack, "SELECT COUNT(*) FROM orders WHERE sku = '%s' AND buyer_id < 'm'", sku);
    first = (unsigned)before;
    const char *cursor = test_text("o%s", ids[first + 5]);
    for (unsigned at = first + 6; at < first + OF_ONE + 20;) {
        web_answer_t page = orders(test_text("limit=300&cursor=%s", cursor));
        EXPECT_STATUS(page, 200);
        const cJSON *order;
        cJSON_ArrayForEach(order, cJSON_GetObjectItem(page.json, "orders"))
        {
            const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(order, "order_id"));
            EXPECT(strcmp(id, ids[at]) == 0, "%s is not order %u, %s", id, at, ids[at]);
            ++at;
        }
        cursor = web_string(&page, "next_cursor");
    }
}

static void a_state_is_a_filter(void **state)
{
    (void)state;
    EXPECT_NUMBER(walk("state=rejected&limit=100", ORDERS, false), ORDERS / 100);
    EXPECT_NUMBER(walk("state=rejected&limit=1000", ORDERS, false), ORDERS / 100);
    EXPECT_NUMBER(walk("state=held", ORDERS, false), 0);
    const char *other = sale_item(stack, "states", "\"total\":9,\"hold_seconds\":600");
    sale_order(stack, other, "b", 1, NULL);
    const char *id = sale_order(stack, other, "a", 2, "k");
    web_answer_t moved = sale_move(stack, id, "confirm");
    EXPECT_STATUS(moved, 200);
    web_answer_t page =
        ADMIN(stack, .path = test_text("/v1/items/%s/orders?state=confirmed", other));
    EXPECT_STATUS(page, 200);
    EXPECT(strstr(page.body, test_text("{\"orders\":[{\"order_id\":\"%s\"", id)) == page.body &&
               strstr(page.body, "\"held\"") == NULL,
           "%s", web_show(&page));
    page = ADMIN(stack, .path = test_text("/v1/items/%s/orders", other));
    EXPECT_NUMBER(cJSON_GetArraySize(cJSON_GetObjectItem(page.json, "orders")), 2);
}

static void mistakes_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const mistakes[][2] = {
        {"limit=0", "limit"},
        {"limit=1001", "limit"},
        {"limit=1&limit=1", "limit"},
        {"state=reserved", "state"},
        {"state=live", "state"},
        {"state=", "state"},
        {"state=held&state=held", "state"},
        {"format=xml", "format"},
        {"format=", "format"},
        {"cursor=", "cursor"},
        {"cursor=x01a1fc3d-5927-7395-afbd-bfb68af547ca", "cursor"},
        {"cursor=o01a1fc3d-5927-7395-afbd-bfb68af547ca", "cursor"}, /* no order of the item */
        {"format=csv&limit=5", "limit"},
        {"format=ndjson&cursor=b01a1fc3d-5927-7395-afbd-bfb68af547ca", "cursor"},
        {"sort=id", "sort"},
    };
    for (size_t i = 0; i < TEST_COUNT(mistakes); ++i) {
        web_answer_t answer = orders(mistakes[i][0]);
        EXPECT_PROBLEM(answer, 400, "invalid_request");
        EXPECT(strstr(web_string(&answer, "detail"), mistakes[i][1]) != NULL, "%s: %s",
               mistakes[i][0], web_show(&answer));
    }
    static const char *const formats[] = {"json", "ndjson", "csv"};
    for (size_t i = 0; i < TEST_COUNT(formats); ++i) {
        web_answer_t answer = ADMIN(stack, .path = test_text("/v1/items/%s/orders?format=%s",
                                                             sale_sku("nothing"), formats[i]));
        EXPECT_PROBLEM(answer, 404, "unknown_item");
    }
}

/* --- reports --- */

static void expect_lines(const web_answer_t *report, const char *head, const char *before_id)
{
    const char *at = report->body;
    EXPECT_STATUS(*report, 200);
    EXPECT(strncmp(at, head, strlen(head)) == 0, "%.200s", at);
    at += strlen(head);
    for (unsigned i = 0; i < ORDERS; ++i) {
        size_t n = strlen(before_id);
        EXPECT(strncmp(at, before_id, n) == 0 && strncmp(at + n, ids[i], strlen(ids[i])) == 0,
               "order %u, %s: %.80s", i, ids[i], at);
        at = strchr(at, '\n');
        EXPECT(at != NULL, "order %u has no end", i);
        ++at;
    }
    EXPECT_NUMBER(strlen(at), 0);
}

#define CSV_HEAD                                                                                   \
    "order_id,sku,buyer_id,quantity,state,created_at,expires_at,reject_code,original_order_id\r\n"

static void a_report_has_each_order_once(void **state)
{
    (void)state;
    web_answer_t report = orders("format=ndjson");
    EXPECT(strcmp(report.content_type, "application/x-ndjson") == 0, "%s", report.content_type);
    expect_lines(&report, "", "{\"order_id\":\"");
    report = orders("format=csv");
    EXPECT(strncmp(report.content_type, "text/csv", 8) == 0, "%s", report.content_type);
    expect_lines(&report, CSV_HEAD, "");
    report = ADMIN(stack, .path = test_text("/v1/items/%s/orders", sku),
                   .headers = {"Accept: text/csv"});
    expect_lines(&report, CSV_HEAD, "");
}

static void a_report_of_few_orders_is_whole_too(void **state)
{
    (void)state;
    const char *few = sale_item(stack, "few", "\"total\":9");
    const char *path = test_text("/v1/items/%s/orders?format=", few);
    web_answer_t report = ADMIN(stack, .path = test_text("%scsv", path));
    EXPECT(report.status == 200 && strcmp(report.body, CSV_HEAD) == 0, "%s", web_show(&report));
    report = ADMIN(stack, .path = test_text("%sndjson", path));
    EXPECT(report.status == 200 && report.body_length == 0, "%s", web_show(&report));
    sale_order(stack, few, "=1+1", 1, NULL);
    sale_order(stack, few, "b, c", 1, NULL);
    report = ADMIN(stack, .path = test_text("%scsv", path));
    EXPECT(strstr(report.body, test_text(",%s,'=1+1,1,confirmed,", few)) != NULL, "%s",
           report.body);
    EXPECT(strstr(report.body, ",\"b, c\",1,confirmed,") != NULL, "%s", report.body);
    report = orders("format=ndjson&state=rejected");
    unsigned lines = 0;
    for (const char *at = report.body; (at = strchr(at, '\n')) != NULL; ++at)
        ++lines;
    EXPECT_NUMBER(lines, ORDERS / 100);
    report = orders("format=csv&state=held");
    EXPECT(report.status == 200 && strcmp(report.body, CSV_HEAD) == 0, "%s", web_show(&report));
}

/* A request for the report on a connection of its own; reads only what it is told to. */
static int ask(const test_stack_t *of, const char *method, const char *version)
{
    int fd = web_connect(of->admin_url);
    EXPECT(fd >= 0, "no connection");
    const char *text = test_text("%s /v1/items/%s/orders?format=ndjson HTTP/%s\r\nHost: x\r\n"
                                 "Authorization: Bearer %s\r\n\r\n",
                                 method, sku, version, of->token);
    EXPECT(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text), "cannot send");
    return fd;
}

/* Reads `max` bytes, or to the end; returns how many there were. `tail` gets the last of them, and
   may be NULL. */
static size_t read_bytes(int fd, size_t max, char tail[16])
{
    static char bytes[65536];
    size_t all = 0;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    while (all < max && poll(&readable, 1, 60000) == 1) {
        ssize_t n = recv(fd, bytes, max - all < sizeof(bytes) ? max - all : sizeof(bytes), 0);
        if (n <= 0)
            return all;
        all += (size_t)n;
        if (tail != NULL && n >= 15)
            snprintf(tail, 16, "%.15s", bytes + n - 15);
    }
    return all;
}

static void a_report_is_served_to_old_clients_and_for_a_head(void **state)
{
    (void)state;
    char tail[16] = "";
    int fd = ask(stack, "GET", "1.0");
    EXPECT(read_bytes(fd, SIZE_MAX, tail) > ORDERS * (size_t)200, "all of it");
    EXPECT(strcmp(tail + 13, "}\n") == 0, "it ends with %s", tail);
    close(fd);
    web_answer_t head =
        ADMIN(stack, .method = "HEAD", .path = test_text("/v1/items/%s/orders?format=csv", sku));
    EXPECT(head.status == 200 && head.body_length == 0, "%s", web_show(&head));
}

/* It holds one part of a report for a client that does not read, and ends its connection. */
static void a_client_that_does_not_read_is_ended(void **state)
{
    (void)state;
    double ended = fault_metric(stack, "http_connections_ended_total");
    int fd = ask(stack, "GET", "1.1");
    WAIT_UNTIL(fault_metric(stack, "http_connections_ended_total") > ended);
    char tail[16] = "";
    EXPECT(read_bytes(fd, SIZE_MAX, tail) < ORDERS * (size_t)200, "it was not all sent");
    EXPECT(strcmp(tail + 8, "\r\n0\r\n\r\n") != 0, "it is not whole");
    close(fd);
}

/* A client that reads slowly gets all, although that takes longer than the time-out: see `suite`.
 */
static void a_slow_client_gets_all_of_it(void **state)
{
    (void)state;
    char tail[16] = "";
    int fd = ask(stack, "GET", "1.1");
    size_t all = 0, n;
    for (int pauses = 0; (n = read_bytes(fd, 2000000, tail)) != 0; ++pauses) {
        all += n;
        if (pauses < 4)
            usleep(600000);
        if (strcmp(tail + 8, "\r\n0\r\n\r\n") == 0)
            break;
    }
    EXPECT(all > ORDERS * (size_t)200, "only %zu bytes", all);
    close(fd);
}

static void a_client_that_goes_leaves_nothing(void **state)
{
    (void)state;
    for (int i = 0; i < 20; ++i) {
        int fd = ask(stack, "GET", "1.1");
        read_bytes(fd, (size_t)i * 10000, NULL);
        close(fd);
    }
    WAIT_UNTIL(fault_metric(stack, "http_connections") <= 1);
    web_answer_t report = orders("format=csv");
    expect_lines(&report, CSV_HEAD, "");
}

/* The rest does not come: the client sees that the report is cut. */
static void a_report_that_cannot_go_on_is_seen_to_be_cut(void **state)
{
    (void)state;
    char tail[16] = "";
    double cut = fault_metric(stack, "http_answers_cut_total");
    int fd = ask(stack, "GET", "1.1");
    EXPECT_NUMBER(read_bytes(fd, 1000, NULL), 1000);
    mysqld_kill(stack, shard);
    EXPECT(read_bytes(fd, SIZE_MAX, tail) < ORDERS * (size_t)200, "it was not all sent");
    EXPECT(strcmp(tail + 8, "\r\n0\r\n\r\n") != 0, "it looks whole");
    close(fd);
    WAIT_UNTIL(fault_metric(stack, "http_answers_cut_total") > cut);
    web_answer_t report = orders("format=csv");
    EXPECT_PROBLEM(report, 503, "unavailable");
    mysqld_start(stack, shard, "", "");
    stack_await_ready(stack);
}

static void a_process_that_ends_cuts_it(void **state)
{
    (void)state;
    char tail[16] = "";
    test_stack_t *second = stack_second_start(stack);
    int fd = ask(second, "GET", "1.1");
    EXPECT_NUMBER(read_bytes(fd, 1000, NULL), 1000);
    process_signal(second->pid, SIGTERM);
    EXPECT(read_bytes(fd, SIZE_MAX, tail) < ORDERS * (size_t)200, "it was not all sent");
    close(fd);
    stack_second_stop(second);
}

static void dispose(void)
{
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_have_each_order_once),
        TEST(pages_of_one_buyer_go_on_where_the_last_ended),
        TEST(a_state_is_a_filter),
        TEST(mistakes_are_refused_by_name),
        TEST(a_report_has_each_order_once),
        TEST(a_report_of_few_orders_is_whole_too),
        TEST(a_report_is_served_to_old_clients_and_for_a_head),
        TEST(a_client_that_does_not_read_is_ended),
        TEST(a_slow_client_gets_all_of_it),
        TEST(a_client_that_goes_leaves_nothing),
        TEST(a_report_that_cannot_go_on_is_seen_to_be_cut),
        TEST(a_process_that_ends_cuts_it),
    };
    static const suite_t suite = {.name = "item-orders",
                                  .settings = {"http.idle_timeout_ms=1000", SUITE_SHORT_DEADLINES},
                                  .prepare = prepare,
                                  .after_stop = dispose};
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
