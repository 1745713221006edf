#include "gate/sync_wire.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"

/* Interval at which a waiting call reads the health of the gate. */
#define HEALTH_CHECK_MS 50
/* Limit for a connect, and for room to send, if the loops' connections are there to detect that
   Redis is back. After it Redis is treated as away. */
#define CONNECT_TIMEOUT_MS 1000

redisContext *sync_wire_connect(const config_t *config, const gate_health_t *health)
{
    uint32_t ms = config->redis.timeout_ms;
    if (health != NULL && ms > CONNECT_TIMEOUT_MS)
        ms = CONNECT_TIMEOUT_MS;
    struct timeval timeout = {ms / 1000, (ms % 1000) * 1000};
    redisContext *redis =
        config->redis.socket != NULL
            ? redisConnectUnixWithTimeout(config->redis.socket, timeout)
            : redisConnectWithTimeout(config->redis.host, config->redis.port, timeout);
    if (redis != NULL && redis->err == 0)
        redisSetTimeout(redis, timeout);
    return redis;
}

/* Waits in steps of HEALTH_CHECK_MS, so that it can end early when the health becomes hopeless. */
static bool wait_readable(const redisContext *redis, uint64_t deadline_ms,
                          const gate_health_t *health)
{
    struct pollfd readable = {.fd = redis->fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&readable, 1, HEALTH_CHECK_MS);
        if (ready > 0)
            return true;
        if ((ready < 0 && errno != EINTR) || clock_mono_ms() >= deadline_ms ||
            (health != NULL && gate_health_is_hopeless(health)))
            return false;
    }
}

redisReply *sync_wire_call(redisContext *redis, redis_args_t *args, const config_t *config,
                           const gate_health_t *health)
{
    void *reply = NULL;
    int done = 0;
    str_t command = redis_args_command(args);
    uint64_t deadline_ms = clock_mono_ms() + config->redis.timeout_ms;
    if (redisAppendFormattedCommand(redis, command.p, command.n) != REDIS_OK)
        return NULL;
    while (done == 0)
        if (redisBufferWrite(redis, &done) != REDIS_OK)
            return NULL;
    for (;;) {
        if (redisGetReplyFromReader(redis, &reply) != REDIS_OK)
            return NULL;
        if (reply != NULL)
            return reply;
        if (!wait_readable(redis, deadline_ms, health) || redisBufferRead(redis) != REDIS_OK)
            return NULL;
    }
}
