/*
 * The status of a process that is one of several: how many items there are, who shares the work,
 * and what each of them has seen.
 */
#include <signal.h>

#include "harness/fault.h"
#include "harness/mysqld.h"
#include "harness/sale.h"
#include "harness/suite.h"

static const cJSON *member(const cJSON *json, const char *name)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(json, name);
    EXPECT(found != NULL, "there is no %s", name);
    return found;
}

static const char *text_of(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(member(json, name));
    return text == NULL ? "" : text;
}

static web_answer_t status_of(const test_stack_t *on)
{
    web_answer_t status = ADMIN(on, .path = "/v1/status");
    EXPECT_STATUS(status, 200);
    return status;
}

/* What `reader` says of the process that serves `of`; NULL: nothing. */
static const cJSON *node_in(const test_stack_t *reader, const test_stack_t *of)
{
    web_answer_t own = status_of(of), status = status_of(reader);
    const cJSON *each;
    cJSON_ArrayForEach(each, member(status.json, "nodes"))
    {
        if (strcmp(text_of(each, "incarnation"), text_of(own.json, "incarnation")) == 0)
            return each;
    }
    return NULL;
}

static void each_node_names_all(void **state)
{
    (void)state;
    const test_stack_t *const both[] = {stack, node};
    for (unsigned i = 0; i < 2; ++i)
        for (unsigned j = 0; j < 2; ++j) {
            WAIT_UNTIL(node_in(both[i], both[j]) != NULL);
            web_answer_t own = status_of(both[j]);
            const cJSON *seen = node_in(both[i], both[j]);
            EXPECT(strcmp(text_of(seen, "name"), text_of(own.json, "node")) == 0, "%s",
                   web_show(&own));
            EXPECT(strcmp(text_of(seen, "version"), text_of(own.json, "version")) == 0 &&
                       text_of(seen, "version")[0] != '\0',
                   "%s", web_show(&own));
        }
}

static double epoch_seen(const test_stack_t *reader, const test_stack_t *of, const char *shard)
{
    const cJSON *seen = node_in(reader, of);
    const cJSON *epoch = seen == NULL ? NULL : member(member(seen, "epochs"), shard);
    return cJSON_IsNumber(epoch) ? epoch->valuedouble : 0;
}

static void a_node_tells_which_epochs_it_has_seen(void **state)
{
    (void)state;
    const char *sku = sale_item(stack, "epochs", "\"total\":5");
    web_answer_t changed = sale_patch(stack, sku, "\"total\":6");
    EXPECT_STATUS(changed, 200);
    const char *shard = test_text("shard-%u", rows_shard_of(stack, sku));
    double epoch = (double)rows_sum(stack, "SELECT epoch FROM inventory WHERE sku = '%s'", sku);
    WAIT_UNTIL(epoch_seen(stack, stack, shard) >= epoch);
    WAIT_UNTIL(epoch_seen(stack, node, shard) >= epoch);
    WAIT_UNTIL(epoch_seen(node, stack, shard) >= epoch);
}

static double heard_ms_ago(const char *incarnation)
{
    web_answer_t status = status_of(stack);
    const cJSON *each;
    cJSON_ArrayForEach(each, member(status.json, "nodes"))
    {
        if (strcmp(text_of(each, "incarnation"), incarnation) == 0)
            return member(each, "last_heard_ms_ago")->valuedouble;
    }
    FAIL("%s is not in %s", incarnation, web_show(&status));
}

/* It stays in the list for a while, and is not heard of any more. */
static void a_node_that_has_died_is_heard_of_no_more(void **state)
{
    (void)state;
    WAIT_UNTIL(node_in(stack, node) != NULL);
    web_answer_t own = status_of(node);
    const char *incarnation = text_of(own.json, "incarnation");
    process_signal(node->pid, SIGKILL);
    WAIT_UNTIL(heard_ms_ago(incarnation) > 8000);
    own = status_of(stack);
    WAIT_UNTIL(heard_ms_ago(text_of(own.json, "incarnation")) < 8000);
    stack_node_again(node);
    WAIT_UNTIL(node_in(stack, node) != NULL);
    EXPECT(heard_ms_ago(incarnation) > 8000, "%s is heard of again", incarnation);
}

static bool lists_are_old(void)
{
    web_answer_t status = status_of(stack);
    const cJSON *age = member(status.json, "nodes_age_ms");
    return cJSON_IsNumber(age) && age->valuedouble > 8000;
}

static bool is_listed_anew(void)
{
    web_answer_t status = status_of(stack);
    const cJSON *age = member(status.json, "nodes_age_ms");
    return cJSON_IsNumber(age) && age->valuedouble < 8000 && node_in(stack, node) != NULL;
}

static void without_redis_the_list_is_old(void **state)
{
    (void)state;
    process_signal(stack->redis_pid, SIGSTOP);
    WAIT_UNTIL(lists_are_old());
    process_signal(stack->redis_pid, SIGCONT);
    WAIT_UNTIL(is_listed_anew());
}

static bool total_is(long long items)
{
    web_answer_t status = status_of(stack);
    const cJSON *total = member(status.json, "items_total");
    EXPECT(cJSON_GetObjectItem(status.json, "items") == NULL, "it lists items");
    return cJSON_IsNumber(total) && (long long)total->valuedouble == items;
}

static void it_counts_the_items_of_all_shards(void **state)
{
    (void)state;
    long long items = rows_sum(stack, "SELECT COUNT(*) FROM inventory");
    WAIT_UNTIL(total_is(items));
    for (int i = 0; i < 8; ++i)
        sale_item(stack, "counted", "\"total\":5");
    WAIT_UNTIL(total_is(items + 8));
    /* Of a shard that is silent the last count is shown, which gets older. */
    process_signal(stack->mysql_pids[0], SIGSTOP);
    web_answer_t status = status_of(stack);
    double age = member(status.json, "items_total_age_ms")->valuedouble;
    WAIT_UNTIL(member(status_of(stack).json, "items_total_age_ms")->valuedouble > age + 2000);
    EXPECT(total_is(items + 8), "the last count");
    process_signal(stack->mysql_pids[0], SIGCONT);
    stack_await_ready(stack);
}

static double uptime_of(const test_stack_t *on)
{
    return member(status_of(on).json, "uptime_ms")->valuedouble;
}

/* A process that has just begun has run for less time than one that was there before. */
static void it_says_for_how_long_it_runs(void **state)
{
    (void)state;
    double uptime = uptime_of(node);
    WAIT_UNTIL(uptime_of(node) > uptime);
    process_signal(node->pid, SIGKILL);
    WAIT_UNTIL(process_is_gone(node->pid));
    stack_node_again(node);
    EXPECT(uptime_of(node) < uptime_of(stack), "it began later");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_node_names_all),
        TEST(a_node_tells_which_epochs_it_has_seen),
        TEST(a_node_that_has_died_is_heard_of_no_more),
        TEST(without_redis_the_list_is_old),
        TEST(it_counts_the_items_of_all_shards),
        TEST(it_says_for_how_long_it_runs),
    };
    static const suite_t suite = {.name = "status", .pair = true, .setup = suite_pair_up};
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
