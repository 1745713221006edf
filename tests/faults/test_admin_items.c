/*
 * Items as a collection on the admin listener: pages in the order of the names, filters, all that
 * is known of one item; and what is said while a server is away.
 */
#include <signal.h>
#include <stdlib.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"
#include "sale/shard_map.h"

#define ITEMS 60
#define WALK_MAX 400

static char prefix[40];

static const char *name_of(unsigned i)
{
    return test_text("%s-%03u", prefix, i);
}

static bool is_watch(unsigned i)
{
    return i % 3 == 0;
}

static bool is_open(unsigned i)
{
    return i % 5 != 0;
}

/* Each shard takes the rows of its slots. */
static void prepare(void)
{
    snprintf(prefix, sizeof(prefix), "%s", sale_sku("listed"));
    char *text = test_text("SELECT 'none' AS sku, 9999 AS slot, 'lua' AS strategy, 1 AS days");
    for (unsigned i = 0; i < ITEMS; ++i)
        text = test_text("%s UNION ALL SELECT '%s', %u, '%s', %d", text, name_of(i),
                         slot_of_sku(str_of(name_of(i))), is_watch(i) ? "watch" : "lua",
                         is_open(i)   ? 1
                         : i % 2 == 0 ? -1
                                      : 3);
    unsigned error = rows_change(
        stack,
        "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, hold_seconds, "
        "strategy, acknowledge, starts_at, ends_at, created_at, updated_at) SELECT v.sku, 0, "
        "v.slot, 10, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), 0, 0, v.strategy, "
        "'committed', UTC_TIMESTAMP(3) + INTERVAL (v.days - 2) DAY, UTC_TIMESTAMP(3) + INTERVAL "
        "v.days DAY, UTC_TIMESTAMP(3), UTC_TIMESTAMP(3) "
        "FROM (%s) v JOIN shard_identity i ON v.slot BETWEEN i.slot_first AND i.slot_last",
        text);
    EXPECT_NUMBER(error, 0);
}

static web_answer_t list(const char *query)
{
    return ADMIN(stack, .path = test_text("/v1/items?%s", query));
}

static const cJSON *member(const cJSON *json, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    EXPECT(found != NULL, "there is no %s", name);
    return found;
}

static double number(const cJSON *json, const char *name)
{
    const cJSON *found = member(json, name);
    EXPECT(cJSON_IsNumber(found), "%s is no number", name);
    return found->valuedouble;
}

static const char *text_of(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(member(json, name));
    return text == NULL ? "" : text;
}

/* --- the list --- */

typedef struct {
    unsigned pages, count, longest;
    const char *skus[WALK_MAX];
} walk_t;

/* All pages of a query. */
static walk_t walk(const char *query)
{
    walk_t found = {0};
    const cJSON *item;
    const char *cursor = "";
    do {
        web_answer_t page = list(test_text("%s%s", query, cursor));
        EXPECT_STATUS(page, 200);
        const cJSON *items = member(page.json, "items");
        unsigned n = (unsigned)cJSON_GetArraySize(items);
        found.longest = n > found.longest ? n : found.longest;
        cJSON_ArrayForEach(item, items)
        {
            EXPECT(found.count < WALK_MAX, "there are more than %u", found.count);
            found.skus[found.count++] = test_text("%s", text_of(item, "sku"));
        }
        EXPECT_NUMBER(cJSON_GetArraySize(member(page.json, "unknown_of")), 0);
        const char *next = web_string(&page, "next_cursor");
        cursor = next == NULL ? NULL : test_text("&cursor=%s", next);
        EXPECT(++found.pages < WALK_MAX, "it does not end");
    } while (cursor != NULL);
    return found;
}

static void expect_walk(const char *query, bool (*has)(unsigned i))
{
    walk_t found = walk(query);
    unsigned at = 0;
    for (unsigned i = 0; i < ITEMS; ++i) {
        if (!has(i))
            continue;
        EXPECT(at < found.count && strcmp(found.skus[at], name_of(i)) == 0,
               "%s: %s is not the one after %u", query, name_of(i), at);
        ++at;
    }
    EXPECT_NUMBER(found.count, at);
}

static bool any(unsigned i)
{
    (void)i;
    return true;
}

static bool is_closed(unsigned i)
{
    return !is_open(i);
}

static bool is_open_watch(unsigned i)
{
    return is_open(i) && is_watch(i);
}

static bool is_none(unsigned i)
{
    (void)i;
    return false;
}

static void pages_have_each_item_once_in_the_order_of_the_names(void **state)
{
    (void)state;
    static const unsigned sizes[] = {1, 7, 30, 59, 60, 61, 1000};
    for (size_t i = 0; i < TEST_COUNT(sizes); ++i) {
        const char *query = test_text("prefix=%s-&limit=%u", prefix, sizes[i]);
        expect_walk(query, any);
        walk_t found = walk(query);
        EXPECT_NUMBER(found.longest, sizes[i] < ITEMS ? sizes[i] : ITEMS);
        EXPECT_NUMBER(found.pages, (ITEMS + sizes[i] - 1) / sizes[i]);
    }
    EXPECT(walk("limit=9").count > ITEMS, "the demonstration item is there too");
}

static void filters_let_through_what_they_name(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        bool (*has)(unsigned i);
    } filters[] = {
        {"strategy=watch", is_watch},
        {"strategy=optimistic", is_none},
        {"open=true", is_open},
        {"open=false", is_closed},
        {"open=true&strategy=watch", is_open_watch},
    };
    for (size_t i = 0; i < TEST_COUNT(filters); ++i) {
        expect_walk(test_text("prefix=%s-&%s", prefix, filters[i].query), filters[i].has);
        expect_walk(test_text("%s&limit=4&prefix=%s-", filters[i].query, prefix), filters[i].has);
    }
}

/* However few items a filter lets through, a call looks at a bounded number of them: pages may then
   be short, and have a cursor all the same. */
static void a_call_looks_at_a_bounded_number_of_items(void **state)
{
    (void)state;
    fault_arm(stack, "item_looks error=5\n");
    walk_t none = walk(test_text("prefix=%s-&strategy=optimistic", prefix));
    EXPECT_FAULT(stack, "item_looks");
    EXPECT_NUMBER(none.count, 0);
    EXPECT(none.pages >= ITEMS / 2 / 5, "only %u pages", none.pages);
    expect_walk(test_text("prefix=%s-&strategy=watch", prefix), is_watch);
    fault_disarm(stack);
}

/* All of both shards; other statements read too. */
static long long rows_read(void)
{
    static const char *const counters[] = {"Handler_read_next", "Handler_read_rnd_next",
                                           "Handler_read_prev", "Sort_rows"};
    long long sum = 0;
    for (unsigned shard = 0; shard < stack->shards; ++shard)
        for (size_t i = 0; i < TEST_COUNT(counters); ++i)
            sum += mysqld_status(stack, shard, counters[i]);
    return sum;
}

#define BULK 20000

static long long rows_of(const char *query)
{
    long long before = rows_read();
    web_answer_t page = list(query);
    EXPECT_STATUS(page, 200);
    return rows_read() - before;
}

static void a_page_reads_a_range_and_not_the_table(void **state)
{
    (void)state;
    for (unsigned shard = 0; shard < stack->shards; ++shard)
        mysqld_run(stack, shard,
                   "INSERT INTO inventory (sku, bucket, slot, total, epoch, per_buyer_limit, "
                   "hold_seconds, strategy, acknowledge, created_at, updated_at) "
                   "SELECT CONCAT('bulk-%u-', seq), 0, (SELECT slot_first FROM shard_identity), 1, "
                   "1000 + seq, 0, 0, 'lua', 'committed', NOW(3), NOW(3) FROM seq_1_to_%d",
                   shard, BULK);
    WAIT_UNTIL(rows_of("limit=10") < BULK / 4);
    WAIT_UNTIL(rows_of(test_text("prefix=%s&limit=10", prefix)) < BULK / 4);
    WAIT_UNTIL(rows_of("limit=10&cursor=62756c6b2d302d35") < BULK / 4); /* bulk-0-5 */
    EXPECT_NUMBER(rows_change(stack, "DELETE FROM inventory WHERE sku LIKE 'bulk-%%'"), 0);
}

static void mistakes_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const mistakes[][2] = {
        {"limit=0", "limit"},
        {"limit=1001", "limit"},
        {"limit=99999999999999999999", "limit"},
        {"limit=", "limit"},
        {"limit=x", "limit"},
        {"limit=1&limit=1", "limit"},
        {"cursor=", "cursor"},
        {"cursor=xyz", "cursor"},
        {"cursor=61&cursor=61", "cursor"},
        {"prefix=", "prefix"},
        {"prefix=%27", "prefix"},
        {"prefix=%zz", "prefix"},
        {"prefix=a&prefix=a", "prefix"},
        {"prefix=01234567890123456789012345678901234567890123456789012345678901234", "prefix"},
        {"strategy=", "strategy"},
        {"strategy=Lua", "strategy"},
        {"strategy=none", "strategy"},
        {"open=1", "open"},
        {"open", "open"},
        {"color=red", "color"},
    };
    for (size_t i = 0; i < TEST_COUNT(mistakes); ++i) {
        web_answer_t answer = list(mistakes[i][0]);
        EXPECT_PROBLEM(answer, 400, "invalid_request");
        EXPECT(strstr(web_string(&answer, "detail"), mistakes[i][1]) != NULL, "%s: %s",
               mistakes[i][0], web_show(&answer));
    }
}

/* Of a shard that is silent nothing is known: it is named, and the items of the others come. */
static bool names_the_silent_shard(const char *name, const char *its, const char *other)
{
    web_answer_t page = list(test_text("prefix=%s-", prefix));
    return page.status == 200 &&
           strstr(page.body, test_text("\"unknown_of\":[\"%s\"]", name)) != NULL &&
           strstr(page.body, other) != NULL && strstr(page.body, its) == NULL;
}

static void a_silent_shard_is_named(void **state)
{
    (void)state;
    const char *its = NULL, *other = NULL;
    for (unsigned i = 0; i < ITEMS; ++i)
        *(rows_shard_of(stack, name_of(i)) == 0 ? &its : &other) = test_text("\"%s\"", name_of(i));
    EXPECT(its != NULL && other != NULL, "both shards have items");
    process_signal(stack->mysql_pids[0], SIGSTOP);
    WAIT_UNTIL(names_the_silent_shard("shard-0", its, other));
    process_signal(stack->mysql_pids[0], SIGCONT);
    WAIT_UNTIL(strstr(list("limit=1").body, "\"unknown_of\":[]") != NULL);
    expect_walk(test_text("prefix=%s-", prefix), any);
}

/* --- one item --- */

static web_answer_t show(const char *sku)
{
    return ADMIN(stack, .path = test_text("/v1/items/%s", sku));
}

static const char *gate_state(const web_answer_t *item)
{
    return text_of(member(item->json, "gate"), "state");
}

static bool is_settled(const char *sku)
{
    web_answer_t item = show(sku);
    EXPECT_STATUS(item, 200);
    return number(member(item.json, "gate"), "unsettled") == 0;
}

static void an_item_has_its_terms_and_counters(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "shown",
                                "\"total\":10,\"per_buyer_limit\":4,\"hold_seconds\":600,"
                                "\"strategy\":\"watch\",\"starts_at\":\"2026-01-01T00:00:00Z\"");
    sale_order(stack, sku, "a", 3, NULL);
    WAIT_UNTIL(is_settled(sku));
    web_answer_t item = show(sku);
    EXPECT(strcmp(text_of(item.json, "sku"), sku) == 0, "%s", web_show(&item));
    EXPECT(strcmp(text_of(item.json, "strategy"), "watch") == 0, "%s", web_show(&item));
    EXPECT(strcmp(text_of(item.json, "acknowledge"), "committed") == 0, "%s", web_show(&item));
    EXPECT(strncmp(text_of(item.json, "starts_at"), "2026-01-01T00:00:00", 19) == 0, "%s",
           web_show(&item));
    EXPECT(cJSON_IsNull(member(item.json, "ends_at")), "%s", web_show(&item));
    EXPECT_NUMBER(number(item.json, "total"), 10);
    EXPECT_NUMBER(number(item.json, "per_buyer_limit"), 4);
    EXPECT_NUMBER(number(item.json, "hold_seconds"), 600);
    EXPECT_NUMBER(number(item.json, "allocated"), 3);
    EXPECT_NUMBER(number(item.json, "available"), 7);
    EXPECT_NUMBER(number(item.json, "slot"), slot_of_sku(str_of(sku)));
    EXPECT_NUMBER(number(item.json, "epoch"),
                  rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku));
    long long created_ms = sale_parse_time(text_of(item.json, "created_at"));
    EXPECT(sale_parse_time(text_of(item.json, "updated_at")) >= created_ms, "%s", web_show(&item));
    const cJSON *gate = member(item.json, "gate");
    EXPECT(strcmp(gate_state(&item), "open") == 0, "%s", web_show(&item));
    EXPECT_NUMBER(number(gate, "epoch"), number(item.json, "epoch"));
    EXPECT_NUMBER(number(gate, "available"), 7);
    EXPECT_NUMBER(number(gate, "unsettled_orders"), 0);
    EXPECT_NUMBER(number(gate, "buyers"), 1);
}

/* An item without a gate, one that is sold without Redis, and none. */
static void an_item_says_what_its_gate_is(void **state)
{
    (void)state;
    web_answer_t item = show(name_of(1));
    EXPECT(strcmp(gate_state(&item), "missing") == 0, "%s", web_show(&item));
    const char *sku = sale_item(stack, "no-gate", "\"total\":5,\"strategy\":\"optimistic\"");
    sale_order(stack, sku, "a", 2, NULL);
    item = show(sku);
    EXPECT_NUMBER(number(item.json, "available"), 3);
    EXPECT(strcmp(gate_state(&item), "open") != 0, "%s", web_show(&item));
    item = show(sale_sku("nothing"));
    EXPECT_PROBLEM(item, 404, "unknown_item");
    item = show("%27");
    EXPECT_PROBLEM(item, 404, "unknown_item");
}

static void without_redis_it_says_what_mysql_has(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "redis-away", "\"total\":10,\"strategy\":\"lua\"");
    sale_order(stack, sku, "a", 4, NULL);
    process_signal(stack->redis_pid, SIGSTOP);
    web_answer_t item = show(sku);
    process_signal(stack->redis_pid, SIGCONT);
    EXPECT_STATUS(item, 200);
    EXPECT(strcmp(gate_state(&item), "unknown") == 0, "%s", web_show(&item));
    EXPECT(cJSON_IsNull(member(item.json, "available")), "%s", web_show(&item));
    EXPECT_NUMBER(number(item.json, "allocated"), 4);
    stack_await_ready(stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_have_each_item_once_in_the_order_of_the_names),
        TEST(filters_let_through_what_they_name),
        TEST(a_call_looks_at_a_bounded_number_of_items),
        TEST(a_page_reads_a_range_and_not_the_table),
        TEST(mistakes_are_refused_by_name),
        TEST(an_item_has_its_terms_and_counters),
        TEST(an_item_says_what_its_gate_is),
        TEST(without_redis_it_says_what_mysql_has),
        TEST(a_silent_shard_is_named),
    };
    static const suite_t suite = {.name = "admin-items", .prepare = prepare};
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
