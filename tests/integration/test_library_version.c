/*
 * What a service does about the library that it finds in Redis: it replaces an older one, and
 * leaves a newer one alone, since another service may have brought it. Both kinds of connection do
 * so; those here are of this process, and no connection of the service is disturbed.
 */
#include "harness/redis_view.h"
#include "harness/rows.h"

#include "base/clock.h"
#include "base/embedded.h"
#include "config/config.h"
#include "config/deployment.h"
#include "gate/gate_sync.h"
#include "gate/health.h"
#include "gate/redis_link.h"
#include "loop/loop.h"

#define STACK stack_shared()
#define PATIENCE_MS 20000

static long long version_there(void)
{
    return redis_run_at(STACK, 0, "FCALL holdfast_hello 0");
}

/* This library, but for its number. */
static void load(int version)
{
    static const char head[] = "local VERSION = ";
    const char *text = embedded_lua_library().p, *at = strstr(text, head); /* a zero byte ends it */
    EXPECT(at != NULL, "it has no version");
    at += strlen(head);
    redis_run(
        STACK, "FUNCTION LOAD REPLACE %s",
        test_text("%.*s%d%s", (int)(at - text), text, version, at + strspn(at, "0123456789")));
    EXPECT_NUMBER(version_there(), version);
}

static int teardown(void **state)
{
    load(GATE_LIBRARY_VERSION);
    return test_teardown(state);
}

static void learn_deployment(void *config, char **columns)
{
    deployment_matches(((config_t *)config)->deployment, str_of(columns[0]));
}

static const config_t *config_of_stack(void)
{
    config_t *config = NULL;
    EXPECT(config_load(STACK->config, &config, stderr) == 0, "no configuration");
    test_keep(config, (void (*)(void *))config_free);
    rows_each(STACK, learn_deployment, config, "SELECT deployment FROM shard_identity");
    return config;
}

/* --- connections --- */

/* As threads have it, which wait for each answer. */
static void connect_a_thread(void)
{
    gate_sync_t *gate = gate_sync_new(config_of_stack());
    const item_ref_t item = item_ref_of(STR("no-such-item"));
    uint64_t epoch;
    gate_item_t answer;
    result_t call = gate_sync_peek(gate, &item, 1, &answer, &epoch);
    gate_sync_free(gate);
    EXPECT_NUMBER(call, RESULT_DONE);
}

/* As a loop has it. */
static struct {
    loop_t loop;
    redis_link_t *link;
    loop_timer_t timer;
    long long end_ms;
} one;

static void look(loop_timer_t *timer)
{
    one.loop.stop = redis_link_is_up(one.link) || test_clock_ms() > one.end_ms;
    if (!one.loop.stop)
        loop_timer_start(&one.loop, timer, 4, look);
}

static void connect_a_loop(void)
{
    static remote_clock_t clock;
    static gate_health_t health;
    static bool begun;
    if (!begun) {
        loop_init(&one.loop, 0);
        gate_health_init(&health);
        begun = true;
    }
    one.loop.stop = false;
    one.end_ms = test_clock_ms() + PATIENCE_MS;
    one.link = redis_link_new(&one.loop, config_of_stack(), &clock, &health, LINK_COUNTS);
    loop_timer_start(&one.loop, &one.timer, 4, look);
    loop_run(&one.loop);
    bool up = redis_link_is_up(one.link);
    redis_link_free(one.link);
    EXPECT(up, "the connection did not come up");
}

static void (*const connections[])(void) = {connect_a_thread, connect_a_loop};

/* --- cases --- */

static void an_older_library_is_replaced(void **state)
{
    (void)state;
    for (size_t i = 0; i < TEST_COUNT(connections); ++i) {
        load(GATE_LIBRARY_VERSION - 1);
        connections[i]();
        EXPECT_NUMBER(version_there(), GATE_LIBRARY_VERSION);
    }
}

static void a_newer_library_is_left_alone(void **state)
{
    (void)state;
    load(GATE_LIBRARY_VERSION + 1);
    for (size_t i = 0; i < TEST_COUNT(connections); ++i) {
        connections[i]();
        EXPECT_NUMBER(version_there(), GATE_LIBRARY_VERSION + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_older_library_is_replaced, teardown),
        cmocka_unit_test_teardown(a_newer_library_is_left_alone, teardown),
    };
    return test_run("library version", tests, TEST_COUNT(tests), NULL, NULL);
}
