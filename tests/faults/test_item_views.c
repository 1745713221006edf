/*
 * What a crowd that looks is shown: one question to the servers for all of it, never older than it
 * says, changes at once, and the last value while a server is away.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "harness/chance.h"
#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/promises.h"
#include "harness/suite.h"

#define MAX_AGE_MS 100
#define UNKNOWN_MS 500
#define STALE_MAX_MS 4000

static int go_on(void **state)
{
    process_signal(stack->redis_pid, SIGCONT);
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGCONT);
    fault_disarm(stack);
    return test_teardown(state);
}

static web_answer_t get_of(const test_stack_t *at, const char *sku)
{
    return WEB(.base = at->url, .path = test_text("/v1/items/%s", sku));
}

static web_answer_t get(const char *sku)
{
    return get_of(stack, sku);
}

static const char *item(const char *strategy, const char *terms)
{
    return sale_item(stack, strategy, "%s,\"strategy\":\"%s\"", terms, strategy);
}

/* An item with a gate. */
static const char *bought_item(const char *strategy)
{
    const char *sku = item(strategy, "\"total\":100000");
    sale_order(stack, sku, "first", 1, NULL);
    return sku;
}

static bool is_shown(const char *sku, long long available)
{
    web_answer_t answer = get(sku);
    return answer.status == 200 && answer.stale[0] == '\0' &&
           web_number(&answer, "available") == available;
}

/* --- a crowd --- */

typedef struct {
    const char *const *skus;
    unsigned skus_count;
    const test_stack_t *at;
    long status;         /* of every answer */
    unsigned stale;      /* answers with Holdfast-Stale */
    long long low, high; /* of `available` */
    char *odd;
} crowd_of_lookers_t;

static web_request_t look(void *context, unsigned i)
{
    const crowd_of_lookers_t *crowd = context;
    return (web_request_t){.base = crowd->at->url,
                           .path = test_text("/v1/items/%s", crowd->skus[i % crowd->skus_count])};
}

static bool looked(void *context, unsigned i, const web_answer_t *answer)
{
    crowd_of_lookers_t *crowd = context;
    (void)i;
    if (answer->status != crowd->status) {
        crowd->odd = test_text("%s", web_show(answer));
        return false;
    }
    crowd->stale += answer->stale[0] != '\0';
    if (answer->status == 200) {
        long long available = web_number(answer, "available");
        crowd->low = available < crowd->low ? available : crowd->low;
        crowd->high = available > crowd->high ? available : crowd->high;
    }
    return true;
}

static crowd_of_lookers_t crowd_looks(const test_stack_t *at, const char *const *skus,
                                      unsigned skus_count, unsigned count, long status)
{
    crowd_of_lookers_t crowd = {skus, skus_count, at, status, .low = INT64_MAX};
    web_crowd(&(web_crowd_t){
        .connections = 32, .count = count, .request = look, .answered = looked, .context = &crowd});
    EXPECT(crowd.odd == NULL, "%s", crowd.odd);
    return crowd;
}

/* --- questions --- */

#define LOOKS 4000

static long long selects(void)
{
    long long count = 0;
    for (unsigned i = 0; i < stack->shards; ++i)
        count += mysqld_number(stack, i,
                               "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS "
                               "WHERE VARIABLE_NAME = 'COM_SELECT'");
    return count;
}

/* By the reconcilers of both services. */
static double comparisons(void)
{
    const test_stack_t *const both[] = {stack, node};
    double sum = 0;
    for (unsigned i = 0; i < 2; ++i) {
        const cJSON *shard;
        web_answer_t status = ADMIN(both[i], .path = "/v1/status");
        EXPECT_STATUS(status, 200);
        cJSON_ArrayForEach(shard, cJSON_GetObjectItem(status.json, "shards"))
        {
            const cJSON *reconciler = cJSON_GetObjectItem(shard, "reconciler");
            sum += cJSON_GetObjectItem(reconciler, "items_compared")->valuedouble;
        }
    }
    return sum;
}

/* Of the commands that a function calls, HLEN is one that only looks at gates and comparisons
   call; these, three times at most. */
static void a_crowd_causes_one_question_in_the_time_of_an_age(void **state)
{
    const char *sku = bought_item(*state);
    WAIT_UNTIL(is_shown(sku, 99999));
    long long begun = test_clock_ms(), looks = redis_count(stack, "hlen"), reads = selects();
    double compared = comparisons();
    crowd_looks(stack, &sku, 1, LOOKS, 200);
    compared = comparisons() - compared + 2 * stack->shards;
    long long ms = test_clock_ms() - begun;
    looks = redis_count(stack, "hlen") - looks;
    reads = selects() - reads;
    printf("%s: %u looks in %lld ms: %lld questions to Redis, %.0f comparisons, %lld SELECTs\n",
           (const char *)*state, LOOKS, ms, looks, compared, reads);
    EXPECT(looks <= ms / MAX_AGE_MS + 2 + 3 * (long long)compared, "%lld in %lld ms", looks, ms);
    EXPECT(reads < LOOKS / 4, "%lld SELECTs in %lld ms", reads, ms);
}

/* MySQL may as well stand still. */
static void no_question_to_mysql_while_the_gate_is_there(void **state)
{
    const char *sku = bought_item(*state);
    WAIT_UNTIL(redis_view(stack, sku).settled == 1);
    WAIT_UNTIL(is_shown(sku, 99999));
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGSTOP);
    crowd_of_lookers_t crowd = crowd_looks(stack, &sku, 1, LOOKS, 200);
    EXPECT_NUMBER(crowd.stale, 0);
    EXPECT_NUMBER(crowd.low, 99999);
    EXPECT_NUMBER(crowd.high, 99999);
}

static void a_crowd_at_an_unknown_item_causes_few_reads(void **state)
{
    (void)state;
    const char *sku = sale_sku("typing-error");
    long long reads = selects(), begun = test_clock_ms();
    double looked_up = fault_metric(stack, "item_views_refreshed_total");
    crowd_looks(stack, &sku, 1, LOOKS, 404);
    looked_up = fault_metric(stack, "item_views_refreshed_total") - looked_up;
    EXPECT(looked_up <= (double)((test_clock_ms() - begun) / UNKNOWN_MS + 2), "%.0f", looked_up);
    reads = selects() - reads;
    printf("%u looks in %lld ms: %lld SELECTs of anything\n", LOOKS, test_clock_ms() - begun,
           reads);
    EXPECT(reads < LOOKS / 4, "%lld SELECTs", reads);
}

#define MANY 40

/* All that are due in one turn share a SELECT and a call. */
static void many_items_share_their_questions(void **state)
{
    const char *skus[MANY];
    for (unsigned i = 0; i < MANY; ++i) {
        skus[i] = item(*state, "\"total\":7");
        sale_order(stack, skus[i], "first", 1, NULL);
    }
    crowd_of_lookers_t crowd = crowd_looks(stack, skus, MANY, LOOKS, 200);
    EXPECT_NUMBER(crowd.low, 6);
    EXPECT_NUMBER(crowd.high, 6);
}

#define BUDGET 40

/* More items are read than may be looked up: all are shown, and may be 2 s old. */
static void the_budget_bounds_the_questions(void **state)
{
    const char *skus[MANY];
    for (unsigned i = 0; i < MANY; ++i) {
        skus[i] = item(*state, "\"total\":7");
        sale_order(stack, skus[i], "first", 1, NULL);
    }
    test_stack_t *slow =
        STACK_NODE_START(stack, 3, test_text("items.refresh_per_second=%d", BUDGET),
                         "orders.answer_deadline_ms=16000", "orders.commit_deadline_ms=17000");
    long long begun = test_clock_ms();
    double refreshed = fault_metric(slow, "item_views_refreshed_total");
    crowd_of_lookers_t crowd = crowd_looks(slow, skus, MANY, LOOKS, 200);
    refreshed = fault_metric(slow, "item_views_refreshed_total") - refreshed;
    long long ms = test_clock_ms() - begun;
    printf("%s: %u looks at %u items in %lld ms: %.0f were looked up\n", (const char *)*state,
           LOOKS, MANY, ms, refreshed);
    EXPECT(refreshed >= MANY && refreshed <= (double)(BUDGET * (ms / 1000 + 1) + 2),
           "%.0f in %lld ms", refreshed, ms);
    EXPECT_NUMBER(crowd.low, 6);
    EXPECT_NUMBER(crowd.high, 6);
    stack_node_stop(slow);
}

/* --- age --- */

/* Each purchase was answered before the reading began that must show it. */
static void a_value_is_never_older_than_it_says(void **state)
{
    const char *sku = bought_item(*state);
    for (unsigned sold = 2; sold < 12; ++sold) {
        sale_order(stack, sku, test_text("b-%u", sold), 1, NULL);
        long long sold_ms = test_clock_ms(), begun_ms, available;
        unsigned looks = 0;
        do {
            begun_ms = test_clock_ms();
            web_answer_t answer = get(sku);
            EXPECT_STATUS(answer, 200);
            available = web_number(&answer, "available");
            long long slack_ms =
                MAX_AGE_MS + (atoi(answer.age) == 0 ? 0 : 1000 * atoi(answer.age) + 1000);
            EXPECT(available == 100000 - sold || begun_ms - sold_ms <= slack_ms,
                   "%u sold, %lld are shown %lld ms later, Age: %s", sold, available,
                   begun_ms - sold_ms, answer.age);
            ++looks;
        } while (available != 100000 - sold);
    }
}

static void what_is_shown_has_its_headers(void **state)
{
    const char *sku = bought_item(*state);
    web_answer_t first = get(sku);
    EXPECT_STATUS(first, 200);
    EXPECT(strcmp(first.cache_control, "public, max-age=0, must-revalidate") == 0, "%s",
           first.cache_control);
    EXPECT(strcmp(first.age, "0") == 0 && first.etag[0] == '"', "%s %s", first.age, first.etag);
    web_answer_t same = WEB(.base = stack->url, .path = test_text("/v1/items/%s", sku),
                            .headers = {test_text("If-None-Match: \"x\", W/%s", first.etag)});
    EXPECT_STATUS(same, 304);
    EXPECT(same.body_length == 0 && strcmp(same.etag, first.etag) == 0 && same.age[0] != '\0' &&
               same.cache_control[0] != '\0',
           "%s, %s", web_show(&same), same.etag);
    sale_order(stack, sku, "second", 1, NULL);
    WAIT_UNTIL(is_shown(sku, 99998));
    web_answer_t changed = WEB(.base = stack->url, .path = test_text("/v1/items/%s", sku),
                               .headers = {test_text("If-None-Match: %s", first.etag)});
    EXPECT_STATUS(changed, 200);
    EXPECT(strcmp(changed.etag, first.etag) != 0, "%s", changed.etag);
}

/* --- changes --- */

/* Every connection of every loop. */
#define AT_ONCE 64

static bool are_shown_at(const test_stack_t *at, const char *sku, const char *words)
{
    web_answer_t answer = get_of(at, sku);
    return answer.status == 200 && strstr(answer.body, words) != NULL;
}

static void expect_at_once(const char *sku, const char *words)
{
    for (unsigned i = 0; i < AT_ONCE; ++i) {
        web_answer_t answer =
            WEB(.base = stack->url, .path = test_text("/v1/items/%s", sku), .sent_once = true);
        EXPECT_STATUS(answer, 200);
        EXPECT(strstr(answer.body, words) != NULL, "without %s: %s", words, web_show(&answer));
    }
}

static void changes_are_shown_at_once_here_and_soon_there(void **state)
{
    static const char *const terms[] = {
        "\"total\":200000",     "\"per_buyer_limit\":7",       "\"hold_seconds\":77",
        "\"total\":150000",     "\"strategy\":\"optimistic\"", "\"hold_seconds\":78",
        "\"strategy\":\"lua\"", "\"strategy\":\"watch\"",
    };
    const char *sku = bought_item(*state);
    for (size_t i = 0; i < TEST_COUNT(terms); ++i) {
        crowd_looks(stack, &sku, 1, 200, 200);
        crowd_looks(node, &sku, 1, 200, 200);
        web_answer_t patched = sale_patch(stack, sku, "%s", terms[i]);
        EXPECT_STATUS(patched, 200);
        long long begun = test_clock_ms();
        expect_at_once(sku, terms[i]);
        WAIT_UNTIL(are_shown_at(node, sku, terms[i]));
        printf("%s: at the other node after %lld ms\n", terms[i], test_clock_ms() - begun);
    }
}

static void a_new_item_is_known_at_once_here_and_soon_there(void **state)
{
    const char *sku = sale_sku("later");
    crowd_looks(stack, &sku, 1, 200, 404);
    crowd_looks(node, &sku, 1, 200, 404);
    web_answer_t put =
        ADMIN(stack, .method = "PUT", .path = test_text("/v1/items/%s", sku),
              .body = test_text("{\"total\":9,\"strategy\":\"%s\"}", (const char *)*state));
    EXPECT_STATUS(put, 201);
    expect_at_once(sku, "\"available\":9,");
    WAIT_UNTIL(are_shown_at(node, sku, "\"available\":9,"));
    crowd_looks(node, &sku, 1, 200, 200);
    web_answer_t gone = ADMIN(stack, .method = "DELETE", .path = test_text("/v1/items/%s", sku));
    EXPECT_STATUS(gone, 204);
    crowd_looks(stack, &sku, 1, AT_ONCE, 404);
    WAIT_UNTIL(get_of(node, sku).status == 404);
}

/* --- what buyers find --- */

/* The row has all units; the gate has admitted some, and the service that did died. */
static void units_of_a_dead_process_are_not_shown(void **state)
{
    const char *sku = item(*state, "\"total\":10");
    sale_order(stack, sku, "first", 1, NULL);
    WAIT_UNTIL(redis_view(stack, sku).settled == 1);
    /* Until it is taken over. */
    fault_arm(stack, "orphans_slot fail\n");
    fault_arm(node, "reserve_answered kill times=1\n");
    web_answer_t lost = sale_buy(node, sku, "orphan", 9, NULL);
    EXPECT_NUMBER(lost.status, 0);
    EXPECT_FAULT(node, "reserve_answered");
    EXPECT_NUMBER(sale_allocated(stack, sku), 1);
    web_answer_t shown = get(sku);
    EXPECT_STATUS(shown, 200);
    EXPECT_NUMBER(web_number(&shown, "available"), 0);
    web_answer_t refused = sale_buy(stack, sku, "late", 1, NULL);
    EXPECT_PROBLEM(refused, 409, "sold_out");
    EXPECT_NUMBER(sale_allocated(stack, sku), 1);
    fault_disarm(stack);
    WAIT_UNTIL(sale_allocated(stack, sku) == 10);
    WAIT_UNTIL(is_shown(sku, 0));
    stack_node_again(node);
}

/* --- servers that are away --- */

static bool is_stale(const char *sku, const char *away)
{
    web_answer_t answer = get(sku);
    return answer.status == 200 && strcmp(answer.stale, away) == 0;
}

/* Redis has just been stopped: no value is of later. */
static void expect_nothing_old_without_a_word(const char *sku)
{
    long long stopped_ms = test_clock_ms(), begun_ms;
    while ((begun_ms = test_clock_ms()) < stopped_ms + 10 * MAX_AGE_MS) {
        web_answer_t answer = get(sku);
        EXPECT(answer.status != 200 || answer.stale[0] != '\0' ||
                   begun_ms - stopped_ms <= MAX_AGE_MS + 1,
               "%lld ms after the stop: %s", begun_ms - stopped_ms, web_show(&answer));
    }
}

static void redis_is_silent(void **state)
{
    const char *sku = bought_item(*state), *unread = bought_item(*state);
    const char *sql = item("optimistic", "\"total\":5");
    WAIT_UNTIL(is_shown(sku, 99999));
    crowd_looks(stack, &sku, 1, 200, 200); /* both loops have it */
    process_signal(stack->redis_pid, SIGSTOP);
    expect_nothing_old_without_a_word(sku);
    WAIT_UNTIL(is_stale(sku, "redis"));
    crowd_of_lookers_t crowd = crowd_looks(stack, &sku, 1, 300, 200);
    EXPECT_NUMBER(crowd.low, 99999);
    crowd_looks(stack, &sql, 1, 300, 200);
    /* No value of it is known, or none that is young enough. */
    web_answer_t none = get(unread);
    EXPECT(none.status == 503 || (none.status == 200 && none.stale[0] != '\0'), "%s",
           web_show(&none));
    WAIT_UNTIL(get(sku).status == 503);
    web_answer_t away = get(sku);
    EXPECT_PROBLEM(away, 503, "unavailable");
    process_signal(stack->redis_pid, SIGCONT);
    WAIT_UNTIL(is_shown(sku, 99999) && is_shown(unread, 99999));
}

static void mysql_is_silent(void **state)
{
    (void)state;
    const char *lua = bought_item("lua"), *sql = bought_item("optimistic");
    const char *unknown = sale_sku("unknown");
    unsigned shard = rows_shard_of(stack, sql);
    WAIT_UNTIL(is_shown(lua, 99999) && is_shown(sql, 99999));
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGSTOP);
    WAIT_UNTIL(get(sql).stale[0] != '\0');
    EXPECT(is_stale(sql, test_text("shard-%u", shard)), "%s", get(sql).stale);
    crowd_of_lookers_t crowd = crowd_looks(stack, &lua, 1, 300, 200);
    EXPECT_NUMBER(crowd.stale, 0);
    /* Nobody says that it is not there. */
    web_answer_t nobody_knows = get(unknown);
    EXPECT_PROBLEM(nobody_knows, 503, "unavailable");
    WAIT_UNTIL(get(sql).status == 503);
    for (unsigned i = 0; i < stack->shards; ++i)
        process_signal(stack->mysql_pids[i], SIGCONT);
    WAIT_UNTIL(is_shown(sql, 99999));
    WAIT_UNTIL(get(unknown).status == 404);
}

/* No server says that an item is not there. */
static void mysql_is_down(void **state)
{
    (void)state;
    const char *sql = bought_item("optimistic");
    WAIT_UNTIL(is_shown(sql, 99999));
    for (unsigned i = 0; i < stack->shards; ++i)
        mysqld_kill(stack, i);
    WAIT_UNTIL(get(sql).stale[0] != '\0');
    for (unsigned i = 0; i < 20; ++i) {
        web_answer_t answer = get(sale_sku("unknown"));
        EXPECT_PROBLEM(answer, 503, "unavailable");
    }
    for (unsigned i = 0; i < stack->shards; ++i)
        mysqld_start(stack, i, "", "");
    WAIT_UNTIL(is_shown(sql, 99999));
    WAIT_UNTIL(get(sale_sku("unknown")).status == 404);
}

/* --- under traffic --- */

typedef struct {
    const char *sku;
    atomic_bool stop;
    long long low, high;
    unsigned looks, shown;
} looker_t;

static void *looker_thread(void *context)
{
    looker_t *looker = context;
    while (!atomic_load(&looker->stop)) {
        web_answer_t answer = get(looker->sku);
        ++looker->looks;
        if (answer.status != 200)
            continue;
        long long available = web_number(&answer, "available");
        looker->low = available < looker->low ? available : looker->low;
        looker->high = available > looker->high ? available : looker->high;
        ++looker->shown;
    }
    return NULL;
}

typedef void (*disturb_t)(const char *sku);

static void empty_redis(const char *sku)
{
    (void)sku;
    redis_run(stack, "FLUSHALL");
}

static void change_strategy(const char *sku)
{
    static const char *const strategies[] = {"optimistic", "watch", "serializable", "lua"};
    for (size_t i = 0; i < TEST_COUNT(strategies); ++i) {
        web_answer_t answer = sale_patch(stack, sku, "\"strategy\":\"%s\"", strategies[i]);
        EXPECT_STATUS(answer, 200);
    }
}

#define STOCK 300

/* Whatever is shown meanwhile is within the total; in the end it is what is left. */
static void expect_truth_under(disturb_t disturb)
{
    const char *sku = item("lua", test_text("\"total\":%d", STOCK));
    looker_t looker = {.sku = sku, .low = INT64_MAX};
    pthread_t thread;
    pthread_create(&thread, NULL, looker_thread, &looker);
    for (unsigned round = 0; round < 3; ++round) {
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = 4});
        disturb(sku);
        sale_rush(&(sale_rush_t){.stack = stack, .sku = sku, .buyers = 40, .connections = 4});
    }
    WAIT_UNTIL(is_shown(sku, STOCK - sale_allocated(stack, sku)));
    atomic_store(&looker.stop, true);
    pthread_join(thread, NULL);
    printf("%u looks, %u were shown %lld to %lld\n", looker.looks, looker.shown, looker.low,
           looker.high);
    EXPECT(looker.shown != 0 && looker.low >= 0 && looker.high <= STOCK, "%lld to %lld", looker.low,
           looker.high);
    EXPECT_SOUND(stack, sku, 0);
}

static void redis_is_emptied(void **state)
{
    (void)state;
    expect_truth_under(empty_redis);
}

static void the_strategy_changes(void **state)
{
    (void)state;
    expect_truth_under(change_strategy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNDER("lua", a_crowd_causes_one_question_in_the_time_of_an_age),
        UNDER("watch", a_crowd_causes_one_question_in_the_time_of_an_age),
        UNDER("lua", no_question_to_mysql_while_the_gate_is_there),
        TEST(a_crowd_at_an_unknown_item_causes_few_reads),
        UNDER("lua", many_items_share_their_questions),
        UNDER("optimistic", many_items_share_their_questions),
        UNDER("lua", the_budget_bounds_the_questions),
        UNDER("optimistic", the_budget_bounds_the_questions),
        UNDER("lua", a_value_is_never_older_than_it_says),
        UNDER("watch", a_value_is_never_older_than_it_says),
        UNDER("optimistic", a_value_is_never_older_than_it_says),
        UNDER("lua", what_is_shown_has_its_headers),
        UNDER("serializable", what_is_shown_has_its_headers),
        UNDER("lua", changes_are_shown_at_once_here_and_soon_there),
        UNDER("lua", a_new_item_is_known_at_once_here_and_soon_there),
        UNDER("optimistic", a_new_item_is_known_at_once_here_and_soon_there),
        UNDER("lua", units_of_a_dead_process_are_not_shown),
        UNDER("watch", units_of_a_dead_process_are_not_shown),
        UNDER("lua", redis_is_silent),
        TEST(mysql_is_silent),
        TEST(mysql_is_down),
        TEST(redis_is_emptied),
        TEST(the_strategy_changes),
    };
    const suite_t suite = {.name = "item-views",
                           .settings = {SUITE_SHORT_DEADLINES, "http.threads=2",
                                        /* Silence is noticed before. */
                                        "redis.timeout_ms=60000", "mysql.timeout_ms=60000",
                                        test_text("items.stale_max_ms=%d", STALE_MAX_MS)},
                           .pair = true,
                           .setup = suite_pair_up,
                           .teardown = go_on};
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
