/*
 * DELETE of an item: it goes only if no order of it is live or on its way, whoever buys meanwhile
 * and wherever its service dies; what is left of it can be read and sells nothing.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/promises.h"
#include "harness/suite.h"

static int all_up(void **state)
{
    (void)state;
    if (process_is_gone(node->pid))
        stack_node_again(node);
    fault_disarm(node);
    fault_disarm(stack);
    return 0;
}

static int teardown(void **state)
{
    if (stack->redis_pid != 0)
        process_signal(stack->redis_pid, SIGCONT);
    return test_teardown(state);
}

static void move(const char *id, const char *how)
{
    web_answer_t moved = sale_move(stack, id, how);
    EXPECT_STATUS(moved, 200);
}

static web_answer_t delete_at(const test_stack_t *at, const char *sku)
{
    return ADMIN(at, .method = "DELETE", .path = test_text("/v1/items/%s", sku));
}

static web_answer_t item_at(const test_stack_t *at, const char *sku)
{
    return WEB(.base = at->url, .path = test_text("/v1/items/%s", sku));
}

static long long rows_of(const char *sku)
{
    return rows_sum(stack, "SELECT COUNT(*) FROM inventory WHERE sku = '%s'", sku);
}

/* Both services say that there is no such item, whatever they knew of it. */
static void expect_gone(const char *sku)
{
    const test_stack_t *const both[] = {stack, node};
    for (unsigned i = 0; i < 2; ++i) {
        web_answer_t item, order;
        WAIT_UNTIL((item = item_at(both[i], sku)).status == 404);
        EXPECT_PROBLEM(item, 404, "unknown_item");
        /* A loop that has seen no units refuses by itself for some tens of milliseconds. */
        WAIT_UNTIL((order = sale_buy(both[i], sku, "late", 1, NULL)).status == 404);
        EXPECT_PROBLEM(order, 404, "unknown_item");
        web_answer_t again = delete_at(both[i], sku);
        EXPECT_PROBLEM(again, 404, "unknown_item");
    }
    EXPECT_NUMBER(rows_of(sku), 0);
    EXPECT_NUMBER(sale_live_orders(stack, sku), 0);
    EXPECT(!redis_view(stack, sku).exists, "its gate is still there");
}

static void buy_and_cancel(const char *sku, char *id)
{
    web_answer_t order = sale_buy(stack, sku, "finished", 2, "key");
    EXPECT_STATUS(order, 201);
    snprintf(id, SALE_ID_SIZE, "%s", sale_id(&order));
    web_answer_t cancelled = sale_move(node, id, "cancel");
    EXPECT_STATUS(cancelled, 200);
}

/* Made again under its name: the old orders are what they were, the new one sells what it has. */
static void sell_again(const char *sku, const char *strategy, long long old_epoch)
{
    web_answer_t made = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", sku),
                              .body = test_text("{\"total\":3,\"strategy\":\"%s\"}", strategy));
    EXPECT_STATUS(made, 201);
    EXPECT(rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku) > old_epoch,
           "an epoch that a gate of before may have");
    for (unsigned i = 0; i < 3; ++i) {
        web_answer_t order =
            sale_buy(i == 0 ? node : stack, sku, test_text("again-%u", i), 1, NULL);
        EXPECT_STATUS(order, 201);
    }
    web_answer_t none = sale_buy(stack, sku, "again-3", 1, NULL);
    EXPECT_PROBLEM(none, 409, "sold_out");
    EXPECT_SOUND(stack, sku, 0);
}

static void what_is_deleted_is_gone_and_its_orders_stay(void **state)
{
    const char *strategy = *state;
    char id[SALE_ID_SIZE];
    const char *sku =
        sale_item(stack, "gone", "\"total\":5,\"hold_seconds\":60,\"strategy\":\"%s\"", strategy);
    buy_and_cancel(sku, id);
    long long epoch = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    web_answer_t deleted = delete_at(node, sku);
    EXPECT_STATUS(deleted, 204);
    EXPECT_NUMBER(deleted.body_length, 0);
    expect_gone(sku);
    web_answer_t order = sale_get(stack, id);
    EXPECT_STATUS(order, 200);
    EXPECT(strcmp(sale_state(&order), "cancelled") == 0, "%s", web_show(&order));
    move(id, "cancel");
    web_answer_t extended = sale_move(stack, id, "extend");
    EXPECT_PROBLEM(extended, 409, "wrong_state");
    web_answer_t list = WEB(.base = stack->url, .path = "/v1/buyers/finished/orders");
    EXPECT(strstr(list.body, id) != NULL, "not in its buyer's list: %s", list.body);
    EXPECT_NUMBER(stack_command(stack, "audit"), 0);
    sell_again(sku, strategy, epoch);
}

static void live_orders_forbid_it(void **state)
{
    const char *strategy = *state;
    const char *sku =
        sale_item(stack, "live", "\"total\":5,\"hold_seconds\":60,\"strategy\":\"%s\"", strategy);
    web_answer_t held = sale_buy(stack, sku, "b", 1, NULL);
    EXPECT_STATUS(held, 201);
    web_answer_t refused = delete_at(node, sku);
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    move(sale_id(&held), "confirm");
    refused = delete_at(stack, sku);
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    web_answer_t sells_on = sale_buy(stack, sku, "c", 1, NULL);
    EXPECT_STATUS(sells_on, 201);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_NUMBER(rows_of(sku), 1);
}

/* --- an order that only the gate has --- */

static void *buy_slowly(void *sku)
{
    web_answer_t *answer = test_bytes(sizeof(*answer));
    *answer = sale_buy(stack, sku, "slow", 1, NULL);
    return answer;
}

static bool is_admitted(const char *sku)
{
    return redis_view(stack, sku).reserved == 1;
}

static void an_admitted_order_counts_as_live(void **state)
{
    (void)state;
    pthread_t buyer;
    void *answer;
    const char *sku = sale_item(stack, "admitted", "\"total\":5,\"hold_seconds\":60");
    fault_arm(stack, "writer_versions_found pause=2000 times=1\n");
    EXPECT_NUMBER(pthread_create(&buyer, NULL, buy_slowly, (void *)sku), 0);
    WAIT_UNTIL(is_admitted(sku));
    web_answer_t refused = delete_at(node, sku);
    EXPECT_PROBLEM(refused, 409, "wrong_state");
    pthread_join(buyer, &answer);
    EXPECT_STATUS(*(web_answer_t *)answer, 201);
    EXPECT_SOUND(stack, sku, 0);
    EXPECT_GATE_AGREES(stack, sku);
}

/* --- an item that is not there for long --- */

static void *put_an_item(void *sku)
{
    web_answer_t *answer = test_bytes(sizeof(*answer));
    *answer = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", (const char *)sku),
                    .body = "{\"total\":5}");
    return answer;
}

/* Its row is deleted before the answer to its creation was read from it: the answer says nothing of
   an item that no row had. */
static void it_is_deleted_while_it_is_created(void **state)
{
    (void)state;
    pthread_t admin;
    void *answer;
    const char *sku = test_text("brief-%d", getpid());
    fault_arm(stack, "item_created pause=3000 times=1\n");
    EXPECT_NUMBER(pthread_create(&admin, NULL, put_an_item, (void *)sku), 0);
    EXPECT_FAULT(stack, "item_created");
    web_answer_t deleted = delete_at(node, sku);
    EXPECT_STATUS(deleted, 204);
    pthread_join(admin, &answer);
    const web_answer_t *put = answer;
    EXPECT(put->status == 503 || strstr(put->body, test_text("\"sku\":\"%s\"", sku)) != NULL, "%s",
           web_show(put));
    expect_gone(sku);
}

/* --- a change that a deletion crosses --- */

static void *put_other_terms(void *sku)
{
    web_answer_t *answer = test_bytes(sizeof(*answer));
    *answer = ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", (const char *)sku),
                    .headers = {"If-Match: *"}, .body = "{\"total\":7}");
    return answer;
}

static void *patch_other_terms(void *sku)
{
    web_answer_t *answer = test_bytes(sizeof(*answer));
    *answer = sale_patch(stack, sku, "\"total\":7");
    return answer;
}

/* The change has read a row, without a gate; then the service stops, and the row is deleted. */
static const web_answer_t *change_what_is_deleted(const char *sku, void *(*change)(void *))
{
    pthread_t admin;
    void *answer;
    redis_run(stack, "DEL %s", redis_key(stack, "gate", sku));
    fault_arm(stack, "change_peeked stop times=1\n");
    EXPECT_NUMBER(pthread_create(&admin, NULL, change, (void *)sku), 0);
    EXPECT_FAULT(stack, "change_peeked");
    rows_change(stack, "DELETE FROM inventory WHERE sku = '%s'", sku);
    process_signal(stack->pid, SIGCONT);
    pthread_join(admin, &answer);
    return answer;
}

static void a_put_does_not_find_what_is_deleted_meanwhile(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "crossed", "\"total\":5");
    const web_answer_t *put = change_what_is_deleted(sku, put_other_terms);
    EXPECT_PROBLEM(*put, 412, "precondition_failed");
    EXPECT_NUMBER(rows_of(sku), 0);
}

static void a_patch_does_not_find_what_is_deleted_meanwhile(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "patched", "\"total\":5");
    const web_answer_t *patch = change_what_is_deleted(sku, patch_other_terms);
    EXPECT_PROBLEM(*patch, 404, "unknown_item");
    EXPECT_NUMBER(rows_of(sku), 0);
}

static void *toggle_to_lua(void *unused)
{
    (void)unused;
    web_answer_t *answer = test_bytes(sizeof(*answer));
    *answer =
        ADMIN(stack, .method = "PUT", .path = "/v1/strategy", .body = "{\"strategy\":\"lua\"}");
    return answer;
}

/* There is nothing to change in them any more: that is no failure. The service stops when it has
   read the items of either shard, so there is one in each. */
static void a_toggle_does_not_miss_what_is_deleted_meanwhile(void **state)
{
    (void)state;
    pthread_t admin;
    void *answer;
    const char *skus[2] = {NULL, NULL};
    while (skus[0] == NULL || skus[1] == NULL) {
        const char *sku = sale_item(stack, "toggled", "\"total\":5,\"strategy\":\"optimistic\"");
        skus[rows_shard_of(stack, sku)] = sku;
    }
    fault_arm(stack, "toggle_items_read stop times=1\n");
    EXPECT_NUMBER(pthread_create(&admin, NULL, toggle_to_lua, NULL), 0);
    EXPECT_FAULT(stack, "toggle_items_read");
    rows_change(stack, "DELETE FROM inventory WHERE sku IN ('%s', '%s')", skus[0], skus[1]);
    process_signal(stack->pid, SIGCONT);
    pthread_join(admin, &answer);
    EXPECT_STATUS(*(web_answer_t *)answer, 200);
}

/* --- a crowd --- */

#define CROWD 1500
#define CROWD_AT_ONCE 4

typedef struct {
    const char *sku;
    atomic_uint count;
    char ids[CROWD][SALE_ID_SIZE];
    char odd[400];
    atomic_bool done;
} buyers_t;

static web_request_t buy_at_either(void *context, unsigned i)
{
    const buyers_t *buyers = context;
    return sale_request(i % 2 == 0 ? stack : node, buyers->sku, test_text("crowd-%u", i), 1, NULL);
}

static bool note_answer(void *context, unsigned i, const web_answer_t *answer)
{
    buyers_t *buyers = context;
    (void)i;
    if (answer->status == 201 || answer->status == 202)
        snprintf(buyers->ids[atomic_fetch_add(&buyers->count, 1)], SALE_ID_SIZE, "%s",
                 sale_id(answer));
    else if (answer->status != 409 && answer->status != 404)
        snprintf(buyers->odd, sizeof(buyers->odd), "%s", web_show(answer));
    return true;
}

static void *buy_in_a_crowd(void *context)
{
    buyers_t *buyers = context;
    web_crowd(&(web_crowd_t){.connections = CROWD_AT_ONCE,
                             .count = CROWD,
                             .burst = 1,
                             .burst_ms = 10,
                             .request = buy_at_either,
                             .answered = note_answer,
                             .context = context});
    atomic_store(&buyers->done, true);
    return NULL;
}

/* Holds of a second end and are bought anew all the time, until there is a moment without one. */
static void a_crowd_buys_while_it_is_deleted(void **state)
{
    const char *strategy = *state;
    pthread_t thread;
    chance_t chance = chance_of(__func__);
    buyers_t *buyers = test_bytes(sizeof(*buyers));
    memset(buyers, 0, sizeof(*buyers));
    buyers->sku =
        sale_item(stack, "crowd", "\"total\":2,\"hold_seconds\":1,\"strategy\":\"%s\"", strategy);
    EXPECT_NUMBER(pthread_create(&thread, NULL, buy_in_a_crowd, buyers), 0);
    WAIT_UNTIL(atomic_load(&buyers->count) >= 2);
    unsigned refused = 0;
    long status = 409;
    long long until = test_clock_ms() + 60000;
    while (status != 204 && test_clock_ms() < until) {
        web_answer_t answer = delete_at(refused % 2 == 0 ? stack : node, buyers->sku);
        status = answer.status;
        refused += status != 204;
        EXPECT(status == 204 || status == 409, "%s", web_show(&answer));
        usleep(chance_below(&chance, 15000)); /* so that now it is first, now the crowd */
    }
    bool in_time = !atomic_load(&buyers->done);
    pthread_join(thread, NULL);
    EXPECT_NUMBER(status, 204);
    EXPECT(buyers->odd[0] == '\0', "%s", buyers->odd);
    for (unsigned i = 0; i < buyers->count; ++i) {
        web_answer_t order;
        WAIT_UNTIL((order = sale_get(stack, buyers->ids[i])).status == 200 &&
                   strcmp(sale_state(&order), "reserved") != 0);
        EXPECT(strcmp(sale_state(&order), "expired") == 0, "%s", web_show(&order));
    }
    expect_gone(buyers->sku);
    EXPECT_NUMBER(stack_command(stack, "audit"), 0);
    print_message("%s: deleted after %u refusals, %s; %u orders, all expired\n", strategy, refused,
                  in_time ? "in traffic" : "after it", atomic_load(&buyers->count));
}

/* --- its service dies --- */

static void it_dies_in_a_deletion(void **state)
{
    const char *place = *state;
    char id[SALE_ID_SIZE];
    const char *sku = sale_item(stack, "dies", "\"total\":5,\"hold_seconds\":60");
    buy_and_cancel(sku, id);
    long long epoch = rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    fault_arm(node, "%s kill times=1\n", place);
    EXPECT_NUMBER(delete_at(node, sku).status, 0);
    EXPECT_FAULT(node, place);
    bool deleted = rows_of(sku) == 0;
    EXPECT_NUMBER(deleted, strcmp(place, "delete_committed") == 0);
    if (!deleted) { /* it sells on, with a gate that may have had to be built */
        web_answer_t order;
        WAIT_UNTIL((order = sale_buy(stack, sku, "next", 1, NULL)).status == 201);
        move(sale_id(&order), "cancel");
        EXPECT_SOUND(stack, sku, 0);
        EXPECT_GATE_AGREES(stack, sku);
        web_answer_t answer;
        WAIT_UNTIL((answer = delete_at(stack, sku)).status != 503);
        EXPECT_STATUS(answer, 204);
    }
    stack_node_again(node);
    expect_gone(sku);
    sell_again(sku, "lua", epoch);
}

/* --- Redis is away --- */

static void redis_is_silent(void **state)
{
    (void)state;
    char id[SALE_ID_SIZE];
    const char *gated = sale_item(stack, "gated", "\"total\":5,\"hold_seconds\":60");
    const char *sql =
        sale_item(stack, "sql", "\"total\":5,\"hold_seconds\":60,\"strategy\":\"optimistic\"");
    buy_and_cancel(gated, id);
    buy_and_cancel(sql, id);
    process_signal(stack->redis_pid, SIGSTOP);
    web_answer_t refused = delete_at(stack, gated);
    EXPECT_PROBLEM(refused, 503, "unavailable");
    EXPECT_NUMBER(rows_of(gated), 1);
    web_answer_t deleted = delete_at(stack, sql);
    EXPECT_STATUS(deleted, 204);
    EXPECT_NUMBER(rows_of(sql), 0);
    process_signal(stack->redis_pid, SIGCONT);
    WAIT_UNTIL((deleted = delete_at(stack, gated)).status != 503);
    EXPECT_STATUS(deleted, 204);
    expect_gone(gated);
    web_answer_t again = delete_at(stack, sql); /* takes what was left of it in Redis */
    EXPECT_PROBLEM(again, 404, "unknown_item");
    expect_gone(sql);
}

#define AT(place_)                                                                                 \
    {                                                                                              \
        "it_dies_in_a_deletion: " place_, it_dies_in_a_deletion, all_up, teardown, (void *)place_  \
    }

static const suite_t suite = {.name = "delete",
                              .settings = {SUITE_SHORT_DEADLINES},
                              .pair = true,
                              .repeats = true,
                              .setup = all_up,
                              .teardown = teardown};

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", what_is_deleted_is_gone_and_its_orders_stay),
        UNDER("watch", what_is_deleted_is_gone_and_its_orders_stay),
        UNDER("optimistic", what_is_deleted_is_gone_and_its_orders_stay),
        UNDER("serializable", what_is_deleted_is_gone_and_its_orders_stay),
        UNDER("lua", live_orders_forbid_it),
        UNDER("optimistic", live_orders_forbid_it),
        TEST(an_admitted_order_counts_as_live),
        TEST(it_is_deleted_while_it_is_created),
        TEST(a_put_does_not_find_what_is_deleted_meanwhile),
        TEST(a_patch_does_not_find_what_is_deleted_meanwhile),
        TEST(a_toggle_does_not_miss_what_is_deleted_meanwhile),
        UNDER("lua", a_crowd_buys_while_it_is_deleted),
        UNDER("watch", a_crowd_buys_while_it_is_deleted),
        UNDER("optimistic", a_crowd_buys_while_it_is_deleted),
        UNDER("serializable", a_crowd_buys_while_it_is_deleted),
        AT("delete_row_locked"),
        AT("delete_gate_gone"),
        AT("delete_committed"),
        TEST(redis_is_silent),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
