/*
 * Versions on admin writes: ETags of items, If-Match and If-None-Match, and totals that are changed
 * by a difference.
 */
#include <pthread.h>

#include "harness/sale.h"

#define STACK stack_shared()

#define MUST(answer_, status_)                                                                     \
    do {                                                                                           \
        web_answer_t must_ = (answer_);                                                            \
        EXPECT_STATUS(must_, status_);                                                             \
    } while (0)

/* `header` NULL: none. */
static web_answer_t write_item(const char *method, const char *sku, const char *body,
                               const char *header)
{
    return ADMIN(STACK, .method = method, .path = test_text("/v1/items/%s", sku), .body = body,
                 .headers = {header});
}

static web_answer_t patch(const char *sku, const char *body, const char *header)
{
    return write_item("PATCH", sku, body, header);
}

static web_answer_t put(const char *sku, const char *body, const char *header)
{
    return write_item("PUT", sku, body, header);
}

/* The ETag of an item, from a write that changes nothing. */
static const char *etag_of(const char *sku)
{
    web_answer_t answer = patch(sku, "{}", NULL);
    EXPECT_STATUS(answer, 200);
    EXPECT(answer.etag[0] == '"', "no strong ETag: %s", answer.etag);
    return test_text("%s", answer.etag);
}

static const char *if_match(const char *etag)
{
    return test_text("If-Match: %s", etag);
}

static long long total_of(const char *sku)
{
    return rows_sum(STACK, "SELECT total FROM inventory WHERE sku = '%s'", sku);
}

static long long records_of(const char *sku)
{
    return rows_sum(STACK, "SELECT COUNT(*) FROM changes WHERE sku = '%s'", sku);
}

/* --- ETag --- */

static void it_changes_with_the_terms_and_only_with_them(void **state)
{
    (void)state;
    const char *sku = sale_sku("etag");
    web_answer_t made = put(sku, "{\"total\":10,\"strategy\":\"lua\"}", NULL);
    EXPECT_STATUS(made, 201);
    const char *etag = test_text("%s", made.etag);
    EXPECT(strcmp(etag_of(sku), etag) == 0, "%s, then %s", etag, etag_of(sku));
    sale_order(STACK, sku, "b", 1, NULL);
    redis_run(STACK, "DEL %s", redis_key(STACK, "gate", sku));
    sale_order(STACK, sku, "c", 1, NULL); /* after a rebuild */
    EXPECT(strcmp(etag_of(sku), etag) == 0, "a sale or a rebuild changes it");
    web_answer_t same = put(sku, "{\"total\":10,\"strategy\":\"lua\"}", NULL);
    EXPECT_STATUS(same, 200);
    EXPECT(strcmp(same.etag, etag) == 0, "%s, then %s", etag, same.etag);
    static const char *const changes[] = {
        "{\"total\":11}",           "{\"per_buyer_limit\":2}",
        "{\"hold_seconds\":5}",     "{\"ends_at\":\"2036-01-31T12:00:00Z\"}",
        "{\"strategy\":\"watch\"}", "{\"acknowledge\":\"accepted\"}"};
    for (size_t i = 0; i < TEST_COUNT(changes); ++i) {
        web_answer_t changed = patch(sku, changes[i], NULL);
        EXPECT_STATUS(changed, 200);
        EXPECT(strcmp(changed.etag, etag) != 0, "%s leaves it", changes[i]);
        etag = test_text("%s", changed.etag);
    }
}

/* What was written for the first item does not change the second. */
static void a_new_item_of_the_name_has_another(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "again", "\"total\":10"), *etag = etag_of(sku);
    MUST(write_item("DELETE", sku, NULL, NULL), 204);
    MUST(put(sku, "{\"total\":10}", NULL), 201);
    EXPECT(strcmp(etag_of(sku), etag) != 0, "both have %s", etag);
    web_answer_t late = patch(sku, "{\"total\":11}", if_match(etag));
    EXPECT_PROBLEM(late, 412, "precondition_failed");
}

/* --- If-Match, If-None-Match --- */

static void only_the_version_that_is_named_is_changed(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "match", "\"total\":10"), *old = etag_of(sku);
    MUST(patch(sku, "{\"total\":11}", if_match(old)), 200);
    const char *now = etag_of(sku);
    const char *const names_it[] = {now, "*", test_text("\"x\", %s", now),
                                    test_text("%s,%s", old, now)};
    const char *const others[] = {old, test_text("W/%s", now), "\"x\"", "x"};
    for (size_t i = 0; i < TEST_COUNT(others); ++i) {
        web_answer_t refused = patch(sku, "{\"total\":12}", if_match(others[i]));
        EXPECT_PROBLEM(refused, 412, "precondition_failed");
        refused = put(sku, "{\"total\":11}", if_match(others[i])); /* although it changes nothing */
        EXPECT_PROBLEM(refused, 412, "precondition_failed");
        refused = write_item("DELETE", sku, NULL, if_match(others[i]));
        EXPECT_PROBLEM(refused, 412, "precondition_failed");
    }
    EXPECT_NUMBER(records_of(sku), 2);
    for (size_t i = 0; i < TEST_COUNT(names_it); ++i)
        MUST(put(sku, test_text("{\"total\":%lld}", total_of(sku)), if_match(names_it[i])), 200);
    web_answer_t lines =
        ADMIN(STACK, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
              .body = "{\"total\":20}", .headers = {if_match("\"x\""), if_match(etag_of(sku))});
    EXPECT_STATUS(lines, 200);
    MUST(write_item("DELETE", sku, NULL, if_match(etag_of(sku))), 204);
    web_answer_t gone = put(sku, "{\"total\":1}", if_match("*"));
    EXPECT_PROBLEM(gone, 412, "precondition_failed");
    gone = patch(sku, "{\"total\":1}", if_match("*"));
    EXPECT_PROBLEM(gone, 404, "unknown_item");
    gone = write_item("DELETE", sku, NULL, if_match(now));
    EXPECT_PROBLEM(gone, 404, "unknown_item");
}

static void an_item_that_is_there_is_not_created(void **state)
{
    (void)state;
    const char *sku = sale_sku("create");
    MUST(put(sku, "{\"total\":10}", "If-None-Match: *"), 201);
    web_answer_t again = put(sku, "{\"total\":10}", "If-None-Match: *");
    EXPECT_PROBLEM(again, 412, "precondition_failed");
    const char *etag = etag_of(sku);
    again = patch(sku, "{\"total\":11}", test_text("If-None-Match: W/%s", etag));
    EXPECT_PROBLEM(again, 412, "precondition_failed");
    MUST(patch(sku, "{\"total\":11}", "If-None-Match: \"x\""), 200);
    MUST(patch(sku, "{\"total\":12}", test_text("If-None-Match: %s", etag)), 200);
    EXPECT_NUMBER(records_of(sku), 3);
}

static void a_put_names_what_it_replaces(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "replace", "\"total\":10,\"per_buyer_limit\":3");
    const char *etag = etag_of(sku);
    web_answer_t refused = put(sku, "{\"total\":10}", NULL); /* it would remove the limit */
    EXPECT_PROBLEM(refused, 428, "precondition_required");
    EXPECT_NUMBER(records_of(sku), 1);
    MUST(put(sku, "{\"total\":10,\"per_buyer_limit\":3}", NULL), 200);
    EXPECT_NUMBER(records_of(sku), 1);
    MUST(put(sku, "{\"total\":12}", if_match(etag)), 200);
    EXPECT_NUMBER(records_of(sku), 2);
    refused = put(sku, "{\"total\":14}", if_match(etag));
    EXPECT_PROBLEM(refused, 412, "precondition_failed");
    EXPECT_NUMBER(total_of(sku), 12);
}

/* --- total_delta --- */

static web_answer_t add(const char *sku, int units, const char *key)
{
    return ADMIN(STACK, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
                 .body = test_text("{\"total_delta\":%d}", units), .key = key);
}

static void a_difference_is_added_once(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "delta", "\"total\":10"), *etag = etag_of(sku);
    web_answer_t added = add(sku, 5, "k1");
    EXPECT_STATUS(added, 200);
    EXPECT_NUMBER(web_number(&added, "total"), 15);
    EXPECT(added.replayed[0] == '\0', "it is no replay");
    MUST(add(sku, -3, "k2"), 200);
    added = add(sku, 5, "\"k1\"");
    EXPECT_STATUS(added, 200);
    EXPECT(strcmp(added.replayed, "true") == 0, "not told that it is a replay");
    EXPECT_NUMBER(web_number(&added, "total"), 12);
    added = add(sku, 6, "k1");
    EXPECT_PROBLEM(added, 422, "idempotency_key_reused");
    added = patch(sku, "{\"total_delta\":5}", if_match(etag));
    EXPECT_PROBLEM(added, 412, "precondition_failed");
    MUST(patch(sku, "{\"total_delta\":5,\"hold_seconds\":7}", if_match(etag_of(sku))), 200);
    EXPECT_NUMBER(total_of(sku), 17);
    EXPECT_NUMBER(records_of(sku), 4);
    MUST(add(sku, 0, "k3"), 200);
    EXPECT_NUMBER(records_of(sku), 4);
}

static void a_difference_is_read_strictly(void **state)
{
    (void)state;
    const char *sku = sale_item(STACK, "strict", "\"total\":10");
    static const char *const bad[] = {"{\"total_delta\":1,\"total\":11}", "{\"total_delta\":1.5}",
                                      "{\"total_delta\":\"1\"}", "{\"total_delta\":null}",
                                      "{\"total_delta\":1000000001}"};
    for (size_t i = 0; i < TEST_COUNT(bad); ++i) {
        web_answer_t refused = patch(sku, bad[i], if_match(etag_of(sku)));
        EXPECT_PROBLEM(refused, 400, "invalid_request");
    }
    web_answer_t refused = put(sku, "{\"total_delta\":1}", if_match("*"));
    EXPECT_PROBLEM(refused, 400, "invalid_request");
    refused = add(sku, 1, "not a key");
    EXPECT_PROBLEM(refused, 400, "invalid_request");
    refused = add(sku, 1, NULL);
    EXPECT_PROBLEM(refused, 428, "precondition_required");
    refused = patch(sku, "{\"total_delta\":1}", if_match("*"));
    EXPECT_PROBLEM(refused, 428, "precondition_required");
    refused = add(sku, -11, "below");
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    refused = add(sku, 1000000000, "above");
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    sale_order(STACK, sku, "b", 8, NULL);
    refused = add(sku, -3, "sold");
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    EXPECT_NUMBER(total_of(sku), 10);
    EXPECT_NUMBER(records_of(sku), 1);
}

/* --- several at once --- */

#define AT_ONCE 4
#define ROUNDS 12

typedef struct {
    const char *sku, *body, *header, *key;
    web_answer_t answer;
    pthread_t thread;
} writer_t;

static void *write_now(void *context)
{
    writer_t *writer = context;
    writer->answer = ADMIN(STACK, .method = "PATCH", .path = test_text("/v1/items/%s", writer->sku),
                           .body = writer->body, .key = writer->key, .headers = {writer->header});
    return NULL;
}

static void write_at_once(writer_t *writers, unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        EXPECT_NUMBER(pthread_create(&writers[i].thread, NULL, write_now, &writers[i]), 0);
    for (unsigned i = 0; i < count; ++i)
        pthread_join(writers[i].thread, NULL);
}

static void of_those_with_one_version_one_changes_it(void **state)
{
    const char *sku =
        sale_item(STACK, "race", "\"total\":10,\"strategy\":\"%s\"", (const char *)*state);
    sale_order(STACK, sku, "b", 1, NULL);
    for (unsigned round = 0; round < ROUNDS; ++round) {
        writer_t writers[AT_ONCE];
        unsigned made = 0;
        const char *header = if_match(etag_of(sku));
        for (unsigned i = 0; i < AT_ONCE; ++i)
            writers[i] = (writer_t){
                sku, test_text("{\"total\":%u}", 100 * (round + 1) + i), header, NULL, {0}, 0};
        write_at_once(writers, AT_ONCE);
        for (unsigned i = 0; i < AT_ONCE; ++i) {
            EXPECT(writers[i].answer.status == 200 || writers[i].answer.status == 412, "%s",
                   web_show(&writers[i].answer));
            made += writers[i].answer.status == 200;
            if (writers[i].answer.status == 200)
                EXPECT_NUMBER(total_of(sku), 100 * (round + 1) + i);
        }
        EXPECT_NUMBER(made, 1);
    }
    EXPECT_NUMBER(records_of(sku), 1 + ROUNDS);
    EXPECT_GATE_AGREES(STACK, sku);
}

/* Each is sent twice at the same time. */
static void all_differences_count_once(void **state)
{
    const char *sku =
        sale_item(STACK, "sum", "\"total\":10,\"strategy\":\"%s\"", (const char *)*state);
    sale_order(STACK, sku, "b", 1, NULL);
    long long total = 10;
    for (unsigned round = 0; round < ROUNDS; ++round) {
        writer_t writers[2 * AT_ONCE];
        for (unsigned i = 0; i < 2 * AT_ONCE; ++i) {
            int units = i / 2 == 0 ? -1 : (int)(i / 2);
            writers[i] = (writer_t){sku,  test_text("{\"total_delta\":%d}", units),
                                    NULL, test_text("%u-%u", round, i / 2),
                                    {0},  0};
            total += i % 2 == 0 ? units : 0;
        }
        write_at_once(writers, 2 * AT_ONCE);
        for (unsigned i = 0; i < 2 * AT_ONCE; ++i)
            EXPECT(writers[i].answer.status == 200, "%s", web_show(&writers[i].answer));
        EXPECT_NUMBER(total_of(sku), total);
    }
    EXPECT_NUMBER(records_of(sku), 1 + AT_ONCE * ROUNDS);
    EXPECT_GATE_AGREES(STACK, sku);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_changes_with_the_terms_and_only_with_them),
        TEST(a_new_item_of_the_name_has_another),
        TEST(only_the_version_that_is_named_is_changed),
        TEST(an_item_that_is_there_is_not_created),
        TEST(a_put_names_what_it_replaces),
        TEST(a_difference_is_added_once),
        TEST(a_difference_is_read_strictly),
        UNDER("lua", of_those_with_one_version_one_changes_it),
        UNDER("optimistic", of_those_with_one_version_one_changes_it),
        UNDER("lua", all_differences_count_once),
        UNDER("optimistic", all_differences_count_once),
    };
    return test_run("versions", tests, TEST_COUNT(tests), NULL, NULL);
}
