/*
 * A user of Redis' access control lists: every connection of a service logs in as it, and a wrong
 * password or a missing permission is Redis' being away. On a stack of its own.
 */
#include "harness/sale.h"
#include "harness/suite.h"

#define RULES "~* &* +@all"

static void add_user(void)
{
    redis_run(stack, "ACL SETUSER seller on >a-password-of-it " RULES);
}

/* A second service, whose configuration names the user. */
static test_stack_t *start_as_user(const char *password)
{
    const char *const changes[][2] = {
        {"redis:\n", test_text("redis:\n  user: seller\n  password: %s\n", password)}};
    return stack_node_start_changed(stack, 2, changes, TEST_COUNT(changes));
}

static void every_connection_logs_in_as_the_user(void **state)
{
    (void)state;
    test_stack_t *service = start_as_user("a-password-of-it");
    stack_await_ready(service);
    static const char *const strategies[] = {"lua", "watch"};
    for (size_t i = 0; i < TEST_COUNT(strategies); ++i) {
        const char *sku =
            sale_item(service, "user", "\"total\":5,\"strategy\":\"%s\"", strategies[i]);
        sale_order(service, sku, "b", 1, NULL);
    }
    /* Without that user nothing of this service is left: so all were its. */
    redis_run(stack, "ACL DELUSER seller");
    WAIT_UNTIL(({
        web_answer_t ready = WEB(.base = service->url, .path = "/readyz");
        strstr(ready.body, "WRONGPASS") != NULL;
    }));
    web_answer_t other = WEB(.base = stack->url, .path = "/readyz");
    EXPECT_STATUS(other, 200); /* the stack's own is the user `default` */
    add_user();
    stack_await_ready(service);
    stack_node_stop(service);
}

static void a_wrong_password_is_away(void **state)
{
    (void)state;
    test_stack_t *service = start_as_user("another-password");
    WAIT_UNTIL(({
        web_answer_t ready = WEB(.base = service->url, .path = "/readyz");
        ready.status == 503 && strstr(ready.body, "WRONGPASS") != NULL;
    }));
    WAIT_UNTIL(stack_log_has(service, "WRONGPASS"));
    EXPECT(!stack_log_has(service, "another-password"), "the password is in the log");
    stack_node_stop(service);
}

static const suite_t suite = {
    .name = "redis-user", .settings = {"http.threads=1"}, .prepare = add_user};

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_connection_logs_in_as_the_user),
        TEST(a_wrong_password_is_away),
    };
    return suite_run(&suite, tests, TEST_COUNT(tests));
}
