#include "redis_view.h"

#include <hiredis/hiredis.h>

#include "harness/rows.h"

static redisContext *open_redis(const test_stack_t *stack)
{
    redisContext *redis = redisConnectUnix(stack->redis_socket);
    if (redis == NULL || redis->err != 0)
        FAIL("cannot reach %s: %s", stack->redis_socket, redis == NULL ? "" : redis->errstr);
    return redis;
}

static long long number_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_INTEGER  ? reply->integer
           : reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10)
                                               : 0;
}

/* `at` NULL: the answer itself. */
static long long run(const test_stack_t *stack, const size_t *at, const char *format,
                     va_list arguments)
{
    long long number = 0;
    redisContext *redis = open_redis(stack);
    redisReply *reply = redisvCommand(redis, format, arguments);
    char *fault = reply == NULL                      ? test_text("%s", redis->errstr)
                  : reply->type == REDIS_REPLY_ERROR ? test_text("%s", reply->str)
                  : at != NULL && *at >= reply->elements
                      ? test_text("an answer of only %zu elements", reply->elements)
                      : NULL;
    if (fault == NULL)
        number = number_of(at == NULL ? reply : reply->element[*at]);
    if (reply != NULL)
        freeReplyObject(reply);
    redisFree(redis);
    EXPECT(fault == NULL, "Redis: %s: %s", format, fault);
    return number;
}

long long redis_run(const test_stack_t *stack, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    long long number = run(stack, NULL, format, arguments);
    va_end(arguments);
    return number;
}

long long redis_run_at(const test_stack_t *stack, size_t at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    long long number = run(stack, &at, format, arguments);
    va_end(arguments);
    return number;
}

bool redis_refuses(const test_stack_t *stack, const char *format, ...)
{
    va_list arguments;
    redisContext *redis = open_redis(stack);
    va_start(arguments, format);
    redisReply *reply = redisvCommand(redis, format, arguments);
    va_end(arguments);
    bool refuses = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    if (reply != NULL)
        freeReplyObject(reply);
    redisFree(redis);
    return refuses;
}

long long redis_count(const test_stack_t *stack, const char *command)
{
    redisContext *redis = open_redis(stack);
    redisReply *reply = redisCommand(redis, "INFO commandstats");
    EXPECT(reply != NULL && reply->type == REDIS_REPLY_STRING, "no answer to INFO");
    const char *name = test_text("cmdstat_%s:calls=", command), *at = strstr(reply->str, name);
    long long calls = at == NULL ? 0 : strtoll(at + strlen(name), NULL, 10);
    freeReplyObject(reply);
    redisFree(redis);
    return calls;
}

static long long slot_of(const test_stack_t *stack, const char *sku)
{
    return rows_sum(stack, "SELECT slot FROM inventory WHERE sku = '%s'", sku);
}

const char *redis_key(const test_stack_t *stack, const char *which, const char *sku)
{
    bool of_slot = strcmp(which, "unsettled") == 0 || strcmp(which, "keys") == 0;
    return of_slot ? test_text("hf:{%lld}:%s", slot_of(stack, sku), which)
                   : test_text("hf:{%lld}:%s:%s:0", slot_of(stack, sku), which, sku);
}

redis_view_t redis_view(const test_stack_t *stack, const char *sku)
{
    const char *key = redis_key(stack, "gate", sku);
    redis_view_t view = {.exists = redis_run(stack, "EXISTS %s", key) == 1};
    view.unsettled = redis_run(stack, "HLEN hf:{%lld}:unsettled", slot_of(stack, sku));
    if (!view.exists)
        return view;
    struct {
        const char *field;
        long long *to;
    } fields[] = {
        {"epoch", &view.epoch},       {"capacity", &view.capacity},
        {"reserved", &view.reserved}, {"unreserved", &view.unreserved},
        {"settled", &view.settled},   {"released", &view.released},
    };
    for (size_t i = 0; i < TEST_COUNT(fields); ++i)
        *fields[i].to = redis_run(stack, "HGET %s %s", key, fields[i].field);
    view.closed = redis_run(stack, "HGET %s closed", key) == 1;
    view.available = view.capacity - view.reserved + view.unreserved + view.released;
    return view;
}

static const char *disagreement(const test_stack_t *stack, const char *sku)
{
    long long left = rows_sum(stack,
                              "SELECT total - allocated_total + released_total FROM inventory "
                              "WHERE sku = '%s'",
                              sku);
    bool uses_gate =
        rows_sum(stack, "SELECT strategy IN ('lua', 'watch') FROM inventory WHERE sku = '%s'",
                 sku) == 1;
    redis_view_t view = redis_view(stack, sku);
    if (!uses_gate)
        return view.exists && !view.closed ? "a SQL strategy rules, but the gate is open" : NULL;
    if (!view.exists) {
        bool bought =
            rows_sum(stack, "SELECT allocated_total FROM inventory WHERE sku = '%s'", sku) != 0;
        return bought ? "there is no gate" : NULL;
    }
    if (view.unsettled != 0)
        return test_text("%lld orders are unsettled", view.unsettled);
    if (view.reserved - view.unreserved != view.settled)
        return test_text("reserved %lld, unreserved %lld, settled %lld", view.reserved,
                         view.unreserved, view.settled);
    if (view.available != left)
        return test_text("%lld units left at the gate, %lld in MySQL", view.available, left);
    return NULL;
}

void redis_expect_agrees(const char *file, int line, const test_stack_t *stack, const char *sku)
{
    long long end = test_clock_ms() + TEST_WAIT_MS;
    const char *why;
    while ((why = disagreement(stack, sku)) != NULL) {
        if (test_clock_ms() > end)
            test_fail(file, line, "gate and row of %s disagree for good: %s", sku, why);
        usleep(20000);
    }
}
