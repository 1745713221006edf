/*
 * The record of changes under faults: it has a change exactly if the change was made, once,
 * wherever a service dies and whichever answers to COMMIT are lost.
 */
#include <pthread.h>

#include "harness/fault.h"
#include "harness/sale.h"
#include "harness/suite.h"

static web_answer_t put_at(const test_stack_t *at, const char *sku)
{
    return ADMIN(at, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                 .body = "{\"total\":5}");
}

static web_answer_t delete_at(const test_stack_t *at, const char *sku)
{
    return ADMIN(at, .method = "DELETE", .path = test_text("/v1/items/%s", sku));
}

static long long total_of(const char *sku)
{
    return rows_sum(stack, "SELECT total FROM inventory WHERE sku = '%s'", sku);
}

static long long records_of(const char *sku)
{
    return rows_sum(stack, "SELECT COUNT(*) FROM changes WHERE sku = '%s'", sku);
}

/* Each change begins with what the last one has left, and the last has left what is in the row: so
   none is missing, and none is there twice. */
typedef struct {
    char terms[1024]; /* that the last change has left */
    unsigned count;
} chain_t;

static void add_link(void *context, char **columns)
{
    chain_t *chain = context;
    EXPECT(chain->count == 0 || strcmp(chain->terms, columns[0]) == 0, "%s follows %s", columns[0],
           chain->terms);
    snprintf(chain->terms, sizeof(chain->terms), "%s", columns[1]);
    ++chain->count;
}

/* Of an item of which only the total was changed. */
static unsigned expect_chain(const char *sku)
{
    chain_t chain = {.count = 0};
    rows_each(stack, add_link, &chain,
              "SELECT old_terms, new_terms FROM changes WHERE sku = '%s' AND old_terms IS NOT NULL "
              "ORDER BY epoch",
              sku);
    EXPECT(strcmp(chain.terms, test_text("{\"total\":%lld}", total_of(sku))) == 0,
           "the row has %lld, the last record %s", total_of(sku), chain.terms);
    return chain.count;
}

/* --- a service dies --- */

typedef struct {
    const char *place;
    bool made;
} death_t;

static void await_death(const char *place)
{
    EXPECT_FAULT(node, place);
    WAIT_UNTIL(process_is_gone(node->pid));
}

static void it_dies_in_a_change(void **state)
{
    const death_t *death = *state;
    const char *sku = sale_item(stack, "dies", "\"total\":5");
    sale_order(stack, sku, "b", 1, NULL); /* so that the item has its gate */
    fault_arm(node, "%s kill times=1\n", death->place);
    EXPECT_NUMBER(sale_patch(node, sku, "\"total\":6").status, 0);
    await_death(death->place);
    WAIT_UNTIL(sale_patch(stack, sku, "\"total\":7").status == 200);
    EXPECT_NUMBER(expect_chain(sku), death->made ? 2 : 1);
    EXPECT_NUMBER(records_of(sku), death->made ? 3 : 2);
}

static void it_dies_in_a_creation(void **state)
{
    const death_t *death = *state;
    const char *sku = sale_sku("created");
    fault_arm(node, "%s kill times=1\n", death->place);
    EXPECT_NUMBER(put_at(node, sku).status, 0);
    await_death(death->place);
    EXPECT_NUMBER(total_of(sku), death->made ? 5 : 0);
    EXPECT_NUMBER(records_of(sku), death->made);
    web_answer_t again;
    WAIT_UNTIL((again = put_at(stack, sku)).status != 503);
    EXPECT_STATUS(again, death->made ? 200 : 201);
    EXPECT_NUMBER(records_of(sku), 1);
}

static void it_dies_in_a_deletion(void **state)
{
    const death_t *death = *state;
    const char *sku = sale_item(stack, "deleted", "\"total\":5");
    fault_arm(node, "%s kill times=1\n", death->place);
    EXPECT_NUMBER(delete_at(node, sku).status, 0);
    await_death(death->place);
    EXPECT_NUMBER(records_of(sku), death->made ? 2 : 1);
    web_answer_t again;
    WAIT_UNTIL((again = delete_at(stack, sku)).status != 503);
    EXPECT_STATUS(again, death->made ? 404 : 204);
    EXPECT_NUMBER(records_of(sku), 2);
}

/* --- answers are lost --- */

#define CHANGERS 4
#define CHANGES_EACH 12

typedef struct {
    const char *sku;
    unsigned number;
    pthread_t thread;
    long status[CHANGES_EACH];
} changer_t;

static const char *request_of(const changer_t *changer, unsigned i)
{
    return test_text("%s-%u-%u", changer->sku, changer->number, i);
}

/* Each total is another one, so each request has something to change. */
static void *change_often(void *context)
{
    changer_t *changer = context;
    for (unsigned i = 0; i < CHANGES_EACH; ++i) {
        web_answer_t answer =
            ADMIN(changer->number % 2 == 0 ? stack : node, .method = "PATCH",
                  .path = test_text("/v1/items/%s", changer->sku),
                  .body = test_text("{\"total\":%u}", 100 + i * CHANGERS + changer->number),
                  .headers = {test_text("X-Request-Id: %s", request_of(changer, i))});
        changer->status[i] = answer.status;
    }
    return NULL;
}

static unsigned expect_records(const changer_t *changer)
{
    unsigned made = 0;
    for (unsigned i = 0; i < CHANGES_EACH; ++i) {
        long long records =
            rows_sum(stack, "SELECT COUNT(*) FROM changes WHERE sku = '%s' AND request_id = '%s'",
                     changer->sku, request_of(changer, i));
        EXPECT(changer->status[i] == 200   ? records == 1
               : changer->status[i] == 503 ? records <= 1
                                           : false,
               "%ld has %lld records", changer->status[i], records);
        made += changer->status[i] == 200;
    }
    return made;
}

static void answers_to_commit_are_lost(void **state)
{
    const char *place = *state;
    changer_t changers[CHANGERS];
    const char *sku = sale_item(stack, "lost", "\"total\":5,\"strategy\":\"optimistic\"");
    unsigned made = 0;
    fault_arm(stack, "%s fail every=2 times=60\n", place);
    fault_arm(node, "%s fail every=2 times=60\n", place);
    for (unsigned i = 0; i < CHANGERS; ++i) {
        changers[i] = (changer_t){.sku = sku, .number = i};
        EXPECT_NUMBER(pthread_create(&changers[i].thread, NULL, change_often, &changers[i]), 0);
    }
    for (unsigned i = 0; i < CHANGERS; ++i)
        pthread_join(changers[i].thread, NULL);
    EXPECT(fault_hits(stack, place) > 5 && fault_hits(node, place) > 5, "few hits");
    fault_disarm(stack);
    fault_disarm(node);
    for (unsigned i = 0; i < CHANGERS; ++i)
        made += expect_records(&changers[i]);
    unsigned records = expect_chain(sku);
    print_message("%s: %u of %u changes were answered 200, %u are recorded\n", place, made,
                  CHANGERS * CHANGES_EACH, records);
    EXPECT(made > 10 && records >= made, "%u, %u", made, records);
}

static void lost_answers_of_creations_and_deletions(void **state)
{
    const char *place = *state;
    for (unsigned i = 0; i < 6; ++i) {
        const char *sku = sale_sku("lost");
        fault_arm(stack, "%s fail times=1\n", place);
        web_answer_t put = put_at(stack, sku);
        EXPECT_STATUS(put, 201);
        EXPECT_FAULT(stack, place);
        EXPECT_NUMBER(records_of(sku), 1);
        fault_arm(stack, "%s fail times=1\n", place);
        web_answer_t deleted = delete_at(stack, sku);
        EXPECT_STATUS(deleted, 204);
        EXPECT_FAULT(stack, place);
        EXPECT_NUMBER(records_of(sku), 2);
        EXPECT_NUMBER(rows_sum(stack, "SELECT COUNT(*) FROM inventory WHERE sku = '%s'", sku), 0);
    }
}

/* --- versions, and totals that are changed by a difference --- */

static web_answer_t add_at(const test_stack_t *at, const char *sku, unsigned units, const char *key)
{
    return ADMIN(at, .method = "PATCH", .path = test_text("/v1/items/%s", sku),
                 .body = test_text("{\"total_delta\":%u}", units), .key = key);
}

static void it_dies_in_a_restock(void **state)
{
    const death_t *death = *state;
    const char *sku = sale_item(stack, "restock", "\"total\":5");
    sale_order(stack, sku, "b", 1, NULL);
    fault_arm(node, "%s kill times=1\n", death->place);
    EXPECT_NUMBER(add_at(node, sku, 10, "k").status, 0);
    await_death(death->place);
    EXPECT_NUMBER(total_of(sku), death->made ? 15 : 5);
    web_answer_t again;
    WAIT_UNTIL((again = add_at(stack, sku, 10, "k")).status != 503);
    EXPECT_STATUS(again, 200);
    EXPECT_NUMBER(again.replayed[0] != '\0', death->made);
    EXPECT_NUMBER(web_number(&again, "total"), 15);
    EXPECT_NUMBER(expect_chain(sku), 1);
}

/* Each asks until it hears that it has added its units, now at one service, now at the other. */
static void *add_often(void *context)
{
    changer_t *changer = context;
    unsigned asked = changer->number;
    for (unsigned i = 0; i < CHANGES_EACH; ++i)
        do
            changer->status[i] =
                add_at(asked++ % 2 == 0 ? stack : node, changer->sku, i + 1, request_of(changer, i))
                    .status;
        while (changer->status[i] == 503);
    return NULL;
}

static void differences_count_once_whatever_is_lost(void **state)
{
    const char *place = *state;
    changer_t changers[CHANGERS];
    const char *sku = sale_item(stack, "added", "\"total\":5,\"strategy\":\"optimistic\"");
    fault_arm(stack, "%s fail every=2 times=60\n", place);
    fault_arm(node, "%s fail every=2 times=60\n", place);
    for (unsigned i = 0; i < CHANGERS; ++i) {
        changers[i] = (changer_t){.sku = sku, .number = i};
        EXPECT_NUMBER(pthread_create(&changers[i].thread, NULL, add_often, &changers[i]), 0);
    }
    for (unsigned i = 0; i < CHANGERS; ++i)
        pthread_join(changers[i].thread, NULL);
    EXPECT(fault_hits(stack, place) > 5 && fault_hits(node, place) > 5, "few hits");
    fault_disarm(stack);
    fault_disarm(node);
    for (unsigned i = 0; i < CHANGERS * CHANGES_EACH; ++i)
        EXPECT_NUMBER(changers[i / CHANGES_EACH].status[i % CHANGES_EACH], 200);
    EXPECT_NUMBER(total_of(sku), 5 + CHANGERS * CHANGES_EACH * (CHANGES_EACH + 1) / 2);
    EXPECT_NUMBER(expect_chain(sku), CHANGERS * CHANGES_EACH);
}

/* The version that the request names is its own by then. */
static void a_lost_answer_is_no_failed_precondition(void **state)
{
    const char *place = *state;
    const char *sku = sale_item(stack, "named", "\"total\":5"),
               *path = test_text("/v1/items/%s", sku);
    web_answer_t now = sale_patch(stack, sku, "\"total\":6");
    for (unsigned i = 0; i < 8; ++i) {
        EXPECT_STATUS(now, 200);
        const char *header = test_text("If-Match: %s", now.etag);
        fault_arm(stack, "%s fail times=1\n", place);
        now = ADMIN(stack, .method = "PATCH", .path = path,
                    .body = test_text("{\"total\":%u}", 10 + i), .headers = {header});
        EXPECT_STATUS(now, 200);
        EXPECT_FAULT(stack, place);
        EXPECT(strstr(header, now.etag) == NULL, "it has not changed");
    }
    EXPECT_NUMBER(expect_chain(sku), 9);
}

/* --- the table --- */

static void without_its_record_no_change_is_made(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "unrecorded", "\"total\":5"), *fresh = sale_sku("fresh");
    EXPECT_NUMBER(rows_change(stack, "RENAME TABLE changes TO changes_away"), 0);
    web_answer_t patch = sale_patch(stack, sku, "\"total\":6");
    web_answer_t put = put_at(stack, fresh);
    web_answer_t deleted = delete_at(stack, sku);
    EXPECT_NUMBER(rows_change(stack, "RENAME TABLE changes_away TO changes"), 0);
    EXPECT_PROBLEM(patch, 503, "unavailable");
    EXPECT_PROBLEM(put, 503, "unavailable");
    EXPECT_PROBLEM(deleted, 503, "unavailable");
    EXPECT_NUMBER(total_of(sku), 5);
    EXPECT_NUMBER(total_of(fresh), 0);
    WAIT_UNTIL(sale_patch(stack, sku, "\"total\":6").status == 200);
    EXPECT_NUMBER(records_of(sku), 2);
    sale_order(stack, sku, "b", 6, NULL);
}

/* One that began in 2001 is older than any setting keeps. */
static void old_changes_are_removed(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "aged", "\"total\":5");
    EXPECT_NUMBER(rows_change(stack,
                              "INSERT INTO changes (change_id, sku, who, request_id, epoch) VALUES "
                              "(x'00e4e1c0000070000000000000000000', '%s', 'w', 'r', 1)",
                              sku),
                  0);
    EXPECT(records_of(sku) >= 1, "none");
    WAIT_UNTIL(records_of(sku) == 1);
    EXPECT_NUMBER(rows_sum(stack,
                           "SELECT COUNT(*) FROM changes WHERE sku = '%s' AND new_terms IS NOT "
                           "NULL",
                           sku),
                  1);
}

#define AT(case_, place_, made_)                                                                   \
    {                                                                                              \
#case_ ": " place_, case_, suite_pair_up, NULL, &(death_t)                                 \
        {                                                                                          \
            place_, made_                                                                          \
        }                                                                                          \
    }

static const suite_t suite = {
    .name = "record", .settings = {SUITE_SHORT_DEADLINES}, .pair = true, .setup = suite_pair_up};

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT(it_dies_in_a_change, "rebuild_row_locked", false),
        AT(it_dies_in_a_change, "rebuild_row_raised", true),
        AT(it_dies_in_a_change, "rebuild_swapped", true),
        AT(it_dies_in_a_creation, "item_inserted", false),
        AT(it_dies_in_a_creation, "item_created", true),
        AT(it_dies_in_a_deletion, "delete_row_locked", false),
        AT(it_dies_in_a_deletion, "delete_committed", true),
        UNDER("commit_answer_lost", answers_to_commit_are_lost),
        UNDER("commit_not_sent", answers_to_commit_are_lost),
        UNDER("commit_answer_lost", lost_answers_of_creations_and_deletions),
        UNDER("commit_not_sent", lost_answers_of_creations_and_deletions),
        AT(it_dies_in_a_restock, "rebuild_row_locked", false),
        AT(it_dies_in_a_restock, "rebuild_row_raised", true),
        UNDER("commit_answer_lost", differences_count_once_whatever_is_lost),
        UNDER("commit_not_sent", differences_count_once_whatever_is_lost),
        UNDER("commit_answer_lost", a_lost_answer_is_no_failed_precondition),
        UNDER("commit_not_sent", a_lost_answer_is_no_failed_precondition),
        TEST(without_its_record_no_change_is_made),
        TEST(old_changes_are_removed),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
