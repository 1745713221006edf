/*
 * The record of changes: each change that somebody has asked for leaves one row, with what was
 * before and after; what changes nothing leaves none. The list has them newest first, from all
 * shards.
 */
#include "harness/sale.h"

#define STACK stack_shared()

#define MUST(answer_, status_)                                                                     \
    do {                                                                                           \
        web_answer_t must_ = (answer_);                                                            \
        EXPECT_STATUS(must_, status_);                                                             \
    } while (0)

/* --- asking --- */

static web_answer_t list(const char *query, ...) __attribute__((format(printf, 1, 2)));
static web_answer_t list(const char *query, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, query);
    vsnprintf(text, sizeof(text), query, arguments);
    va_end(arguments);
    web_answer_t answer = ADMIN(STACK, .path = test_text("/v1/changes?%s", text));
    EXPECT_STATUS(answer, 200);
    return answer;
}

static int count_of(const web_answer_t *answer)
{
    return cJSON_GetArraySize(cJSON_GetObjectItem(answer->json, "changes"));
}

static const cJSON *member(const web_answer_t *answer, int i, const char *name)
{
    const cJSON *change = cJSON_GetArrayItem(cJSON_GetObjectItem(answer->json, "changes"), i);
    const cJSON *found = cJSON_GetObjectItem(change, name);
    EXPECT(found != NULL, "change %d has no %s: %s", i, name, web_show(answer));
    return found;
}

static void expect_json(const web_answer_t *answer, int i, const char *name, const char *text)
{
    const cJSON *found = member(answer, i, name);
    cJSON *expected = cJSON_Parse(text);
    bool same = cJSON_Compare(found, expected, true);
    cJSON_Delete(expected);
    EXPECT(same, "%s of change %d is not %s: %s", name, i, text, web_show(answer));
}

static const char *path_of(const char *sku)
{
    return test_text("/v1/items/%s", sku);
}

static web_answer_t delete_item(const char *sku)
{
    return ADMIN(STACK, .method = "DELETE", .path = path_of(sku),
                 .headers = {"X-Request-Id: the-last", "Holdfast-Reason: sold elsewhere"});
}

static long long epoch_of(const char *sku)
{
    return rows_sum(STACK, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
}

static long long records_of(const char *sku)
{
    return rows_sum(STACK, "SELECT COUNT(*) FROM changes WHERE sku = '%s'", sku);
}

/* --- what is recorded --- */

#define CREATED                                                                                    \
    "{\"total\":10,\"per_buyer_limit\":0,\"hold_seconds\":0,\"starts_at\":null,\"ends_at\":null,"  \
    "\"strategy\":\"lua\",\"acknowledge\":\"committed\"}"

static void a_life_of_an_item(void **state)
{
    (void)state;
    long long epochs[2], begun = sale_now_ms();
    const char *sku = sale_item(STACK, "life", "\"total\":10,\"strategy\":\"lua\"");
    web_answer_t patched = ADMIN(
        STACK, .method = "PATCH", .path = path_of(sku),
        .body = "{\"total\":12,\"per_buyer_limit\":3,\"ends_at\":\"2036-01-31T12:00:00Z\"}",
        .headers = {"X-Request-Id: restock-7", "Holdfast-Reason: ein Pal\xc3\xa4ttchen mehr"});
    EXPECT_STATUS(patched, 200);
    epochs[0] = epoch_of(sku);
    MUST(sale_patch(STACK, sku, "\"strategy\":\"optimistic\",\"total\":12"), 200);
    epochs[1] = epoch_of(sku);
    MUST(delete_item(sku), 204);
    web_answer_t changes = list("sku=%s", sku);
    EXPECT_NUMBER(count_of(&changes), 4);
    expect_json(&changes, 0, "action", "\"delete\"");
    expect_json(&changes, 0, "request_id", "\"the-last\"");
    expect_json(&changes, 0, "reason", "\"sold elsewhere\"");
    expect_json(&changes, 0, "epoch", test_text("%lld", epochs[1]));
    expect_json(&changes, 0, "new", "null");
    expect_json(&changes, 0, "old",
                "{\"total\":12,\"per_buyer_limit\":3,\"hold_seconds\":0,\"starts_at\":null,"
                "\"ends_at\":\"2036-01-31T12:00:00.000Z\",\"strategy\":\"optimistic\","
                "\"acknowledge\":\"committed\"}");
    expect_json(&changes, 1, "old", "{\"strategy\":\"lua\"}");
    expect_json(&changes, 1, "new", "{\"strategy\":\"optimistic\"}");
    expect_json(&changes, 1, "reason", "null");
    expect_json(&changes, 1, "epoch", test_text("%lld", epochs[1]));
    expect_json(&changes, 2, "action", "\"change\"");
    expect_json(&changes, 2, "sku", test_text("\"%s\"", sku));
    expect_json(&changes, 2, "who", "\"admin\"");
    expect_json(&changes, 2, "request_id", "\"restock-7\"");
    expect_json(&changes, 2, "reason", "\"ein Pal\xc3\xa4ttchen mehr\"");
    expect_json(&changes, 2, "epoch", test_text("%lld", epochs[0]));
    expect_json(&changes, 2, "old", "{\"total\":10,\"per_buyer_limit\":0,\"ends_at\":null}");
    expect_json(&changes, 2, "new",
                "{\"total\":12,\"per_buyer_limit\":3,\"ends_at\":\"2036-01-31T12:00:00.000Z\"}");
    expect_json(&changes, 3, "action", "\"create\"");
    expect_json(&changes, 3, "old", "null");
    expect_json(&changes, 3, "new", CREATED);
    long long at = sale_parse_time(member(&changes, 3, "at")->valuestring);
    EXPECT(at >= begun - 1000 && at <= sale_now_ms() + 1000, "%s", web_show(&changes));
}

static void what_changes_nothing_leaves_none(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "same", "\"total\":10,\"strategy\":\"lua\"");
    sale_order(STACK, sku, "b", 4, NULL);
    MUST(ADMIN(STACK, .method = "PATCH", .path = path_of(sku), .body = "{}"), 200);
    MUST(sale_patch(STACK, sku, "\"total\":10"), 200);
    MUST(ADMIN(STACK, .method = "PUT", .path = path_of(sku),
               .body = "{\"total\":10,\"strategy\":\"lua\"}"),
         200);
    MUST(sale_patch(STACK, sku, "\"total\":3"), 409);
    MUST(sale_patch(STACK, sku, "\"total\":-3"), 400);
    MUST(delete_item(sku), 409);
    MUST(ADMIN(STACK, .method = "POST", .path = test_text("%s/reconcile", path_of(sku))), 200);
    EXPECT_NUMBER(records_of(sku), 1);
    const char *unknown = sale_sku("unknown");
    MUST(sale_patch(STACK, unknown, "\"total\":3"), 404);
    MUST(delete_item(unknown), 404);
    EXPECT_NUMBER(records_of(unknown), 0);
}

/* A rebuild raises the epoch, and is nobody's change. */
static void a_rebuild_leaves_none(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "rebuilt", "\"total\":10,\"strategy\":\"lua\"");
    sale_order(STACK, sku, "b", 1, NULL);
    long long epoch = epoch_of(sku);
    redis_run(STACK, "DEL %s", redis_key(STACK, "gate", sku));
    sale_order(STACK, sku, "c", 1, NULL);
    EXPECT(epoch_of(sku) > epoch, "it was not rebuilt");
    EXPECT_NUMBER(records_of(sku), 1);
}

static void the_toggle_leaves_one_for_each_item(void **state)
{
    (void)state;
    const char *skus[2];
    for (unsigned i = 0; i < 2; ++i)
        skus[i] = sale_item(STACK, "toggled", "\"total\":1,\"strategy\":\"%s\"",
                            i == 0 ? "watch" : "lua");
    web_answer_t put =
        ADMIN(STACK, .method = "PUT", .path = "/v1/strategy", .body = "{\"strategy\":\"lua\"}",
              .headers = {"X-Request-Id: toggle-1", "Holdfast-Reason: opening"});
    EXPECT_STATUS(put, 200);
    web_answer_t changes = list("sku=%s", skus[0]);
    EXPECT_NUMBER(count_of(&changes), 2);
    expect_json(&changes, 0, "request_id", "\"toggle-1\"");
    expect_json(&changes, 0, "reason", "\"opening\"");
    expect_json(&changes, 0, "old", "{\"strategy\":\"watch\"}");
    expect_json(&changes, 0, "new", "{\"strategy\":\"lua\"}");
    EXPECT_NUMBER(records_of(skus[1]), 1);
}

static web_answer_t toggle(const char *strategy, const char *request)
{
    return ADMIN(STACK, .method = "PUT", .path = "/v1/strategy",
                 .body = test_text("{\"strategy\":\"%s\"}", strategy),
                 .headers = {test_text("X-Request-Id: %s", request)});
}

static unsigned defaults_on_page(const web_answer_t *changes, const char *request)
{
    unsigned count = 0;
    for (int i = 0; i < count_of(changes); ++i) {
        if (strcmp(member(changes, i, "request_id")->valuestring, request) != 0 ||
            !cJSON_IsNull(member(changes, i, "sku")))
            continue;
        expect_json(changes, i, "old", "{\"default_strategy\":\"lua\"}");
        expect_json(changes, i, "new", "{\"default_strategy\":\"watch\"}");
        expect_json(changes, i, "epoch", "null");
        ++count;
    }
    return count;
}

/* Of the records of one toggle, how many are of the default. The toggle has one for each item of
   the stack too, of which other tests have made many: all pages since `since` are read. */
static unsigned defaults_of(const char *request, const char *since)
{
    unsigned count = 0;
    const char *cursor = NULL;
    do {
        web_answer_t changes =
            list(cursor == NULL ? test_text("limit=100&since=%s", since)
                                : test_text("limit=100&since=%s&cursor=%s", since, cursor));
        count += defaults_on_page(&changes, request);
        cursor = cJSON_GetStringValue(cJSON_GetObjectItem(changes.json, "next_cursor"));
    } while (cursor != NULL);
    return count;
}

static void a_change_of_the_default_leaves_one(void **state)
{
    (void)state;
    const char *first = sale_sku("a"), *again = sale_sku("b"), *since = sale_time(-10);
    MUST(toggle("lua", "before"), 200);
    MUST(toggle("watch", first), 200);
    MUST(toggle("watch", again), 200);
    MUST(toggle("lua", "after"), 200);
    EXPECT_NUMBER(defaults_of(first, since), 1);
    EXPECT_NUMBER(defaults_of(again, since), 0);
}

static void a_bad_reason_is_refused(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "reason", "\"total\":10");
    const char *const bad[] = {
        test_text("Holdfast-Reason: %s", test_repeat("x", 256)),
        "Holdfast-Reason: no UTF-8: \xff",
        "Holdfast-Reason: a control character: \xc2\x85",
    };
    for (size_t i = 0; i < TEST_COUNT(bad); ++i) {
        web_answer_t answer = ADMIN(STACK, .method = "PATCH", .path = path_of(sku),
                                    .body = "{\"total\":11}", .headers = {bad[i]});
        EXPECT_PROBLEM(answer, 400, "invalid_request");
    }
    web_answer_t twice =
        ADMIN(STACK, .method = "PATCH", .path = path_of(sku), .body = "{\"total\":11}",
              .headers = {"Holdfast-Reason: one", "Holdfast-Reason: two"});
    EXPECT_PROBLEM(twice, 400, "invalid_request");
    EXPECT_NUMBER(records_of(sku), 1);
    web_answer_t longest =
        ADMIN(STACK, .method = "PATCH", .path = path_of(sku), .body = "{\"total\":11}",
              .headers = {test_text("Holdfast-Reason: %s", test_repeat("x", 255))});
    EXPECT_STATUS(longest, 200);
}

/* --- the list --- */

/* One item of each shard. */
static void one_of_each(const char *skus[2])
{
    skus[0] = skus[1] = NULL;
    while (skus[0] == NULL || skus[1] == NULL) {
        const char *sku = sale_item(STACK, "paged", "\"total\":1");
        skus[rows_shard_of(STACK, sku)] = sku;
    }
}

static void pages_are_merged_over_the_shards(void **state)
{
    (void)state;
    const char *skus[2], *cursor = "";
    one_of_each(skus);
    usleep(2000); /* ids of one millisecond have no order */
    const char *since = "";
    for (int i = 0; i < 6; ++i) {
        MUST(sale_patch(STACK, skus[i % 2], "\"total\":%d", 10 + i), 200);
        usleep(2000);
        web_answer_t first = list("limit=1");
        if (i == 2)
            since = member(&first, 0, "at")->valuestring;
    }
    for (int i = 5; i >= 0; i -= 2) {
        web_answer_t page = list("limit=2%s", cursor);
        EXPECT_NUMBER(count_of(&page), 2);
        for (int j = 0; j < 2; ++j) {
            expect_json(&page, j, "sku", test_text("\"%s\"", skus[(i - j) % 2]));
            expect_json(&page, j, "new", test_text("{\"total\":%d}", 10 + i - j));
        }
        cursor = test_text("&cursor=%s", web_string(&page, "next_cursor"));
    }
    web_answer_t late = list("since=%s", since);
    EXPECT_NUMBER(count_of(&late), 4);
    EXPECT(cJSON_IsNull(cJSON_GetObjectItem(late.json, "next_cursor")), "%s", web_show(&late));
    late = list("since=%s&sku=%s", since, skus[0]);
    EXPECT_NUMBER(count_of(&late), 2);
    late = list("who=admin&limit=1&sku=%s", skus[1]);
    expect_json(&late, 0, "new", "{\"total\":15}");
    late = list("who=admin&since=%s", since);
    EXPECT_NUMBER(count_of(&late), 4);
    late = list("who=nobody");
    EXPECT_NUMBER(count_of(&late), 0);
}

static void bad_questions_are_refused(void **state)
{
    (void)state;
    const char *const bad[] = {
        "limit=0",     "limit=101", "cursor=1", "sku=%20", "sku=",      "since=now",
        "who=a&who=a", "who=",      "what=1",   "since=",  "sku=a&sku", "cursor=&limit=1"};
    for (size_t i = 0; i < TEST_COUNT(bad); ++i) {
        web_answer_t answer = ADMIN(STACK, .path = test_text("/v1/changes?%s", bad[i]));
        EXPECT_PROBLEM(answer, 400, "invalid_request");
    }
    web_answer_t closed = WEB(.base = STACK->admin_url, .path = "/v1/changes");
    EXPECT_PROBLEM(closed, 401, "unauthorized");
    web_answer_t not_public = WEB(.base = STACK->url, .path = "/v1/changes");
    EXPECT_PROBLEM(not_public, 404, "not_found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_life_of_an_item),
        TEST(what_changes_nothing_leaves_none),
        TEST(a_rebuild_leaves_none),
        TEST(the_toggle_leaves_one_for_each_item),
        TEST(a_change_of_the_default_leaves_one),
        TEST(a_bad_reason_is_refused),
        TEST(pages_are_merged_over_the_shards),
        TEST(bad_questions_are_refused),
    };
    return test_run("changes", tests, TEST_COUNT(tests), NULL, NULL);
}
