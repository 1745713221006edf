#include "gate/redis_link.h"

#include <assert.h>
#include <hiredis/async.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "embedded.h"
#include "metrics/metrics.h"

typedef enum { LINK_DOWN, LINK_HELLO, LINK_LOADING, LINK_UP } link_state_t;

struct redis_link {
    loop_t *loop;
    const config_t *config;
    remote_clock_t *clock;
    gate_health_t *health;
    link_state_t state;
    redisAsyncContext *redis; /* NULL while down */
    loop_watch_t watch;       /* while there is `redis` */
    loop_timer_t retry, watchdog;
    unsigned attempts;
    unsigned waiting;     /* calls without an answer */
    uint64_t progress_ms; /* when the last answer came, or the first waiting call went */
    uint64_t hello_ms;
    char identity[96];
    bool freeing;
};

/* One call: the caller's callback behind one of ours that keeps count. */
typedef struct {
    redis_link_t *link;
    redis_reply_cb cb;
    void *context;
} call_t;

static void connect_now(redis_link_t *link);

/* --- hiredis on h2o's loop: readiness only, hiredis itself reads and writes --- */

static void on_readable(loop_watch_t *watch)
{
    redisAsyncHandleRead(H2O_STRUCT_FROM_MEMBER(redis_link_t, watch, watch)->redis);
}

static void on_writable(loop_watch_t *watch)
{
    redisAsyncHandleWrite(H2O_STRUCT_FROM_MEMBER(redis_link_t, watch, watch)->redis);
}

static void add_read(void *data)
{
    loop_watch_reads(&((redis_link_t *)data)->watch, true);
}

static void del_read(void *data)
{
    loop_watch_reads(&((redis_link_t *)data)->watch, false);
}

static void add_write(void *data)
{
    loop_watch_write(&((redis_link_t *)data)->watch);
}

static void del_write(void *data)
{
    (void)data; /* it is told once */
}

static void cleanup(void *data)
{
    loop_watch_stop(&((redis_link_t *)data)->watch);
}

static void attach(redis_link_t *link)
{
    redisAsyncContext *redis = link->redis;
    loop_watch_start(link->loop, &link->watch, redis->c.fd, on_readable, on_writable);
    redis->ev.data = link;
    redis->ev.addRead = add_read;
    redis->ev.delRead = del_read;
    redis->ev.addWrite = add_write;
    redis->ev.delWrite = del_write;
    redis->ev.cleanup = cleanup;
}

/* --- the life of the connection --- */

static void on_retry(loop_timer_t *timer)
{
    connect_now(H2O_STRUCT_FROM_MEMBER(redis_link_t, retry, timer));
}

void gate_health_init(gate_health_t *health)
{
    atomic_store(&health->up, 0);
    atomic_store(&health->down_since_ms, clock_mono_ms());
}

uint64_t gate_health_down_ms(const gate_health_t *health)
{
    uint64_t since_ms = atomic_load(&health->down_since_ms);
    return atomic_load(&health->up) != 0 ? 0 : clock_mono_ms() - since_ms;
}

/* The moment is set before the last one counts as down, so that nobody reads an older one. */
static void count_up(redis_link_t *link, bool up)
{
    METRIC_ADD(redis_connections, up ? 1 : -1);
    if (link->health == NULL)
        return;
    if (!up)
        atomic_store(&link->health->down_since_ms, clock_mono_ms());
    atomic_fetch_add(&link->health->up, up ? 1U : -1U);
}

static void went_down(redis_link_t *link, const char *why)
{
    if (!link->freeing && (link->state == LINK_UP || link->attempts == 0))
        LOG_WARN("redis connection is down, will retry", LOG_STR("why", why),
                 LOG_INT("loop", link->loop->index));
    if (link->state == LINK_UP)
        count_up(link, false);
    link->state = LINK_DOWN;
    link->redis = NULL;
    loop_timer_stop(&link->watchdog);
    if (!link->freeing)
        loop_timer_start(link->loop, &link->retry, random_backoff(10, 500, link->attempts++),
                         on_retry);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    redis_link_t *link = redis->data;
    if (link->redis == redis)
        went_down(link, status == REDIS_OK ? "closed" : redis->errstr);
}

static void on_connect(const redisAsyncContext *redis, int status)
{
    redis_link_t *link = redis->data;
    if (status != REDIS_OK && link->redis == redis)
        went_down(link, redis->errstr);
}

void redis_link_drop(redis_link_t *link)
{
    redisAsyncContext *redis = link->redis;
    if (redis == NULL)
        return;
    redisAsyncFree(redis); /* answers every waiting call with NULL, then on_disconnect */
    if (link->redis == redis)
        went_down(link, "dropped");
}

static void on_watchdog(loop_timer_t *timer)
{
    redis_link_t *link = H2O_STRUCT_FROM_MEMBER(redis_link_t, watchdog, timer);
    if (link->waiting != 0 &&
        clock_mono_ms() - link->progress_ms > link->config->redis.timeout_ms) {
        LOG_WARN("redis is silent, dropping the connection", LOG_INT("waiting", link->waiting));
        redis_link_drop(link);
        return;
    }
    loop_timer_start(link->loop, &link->watchdog, 64, on_watchdog);
}

/* A master that became a replica, or one without our library: whoever connects anew finds the
   right one, or loads it. */
static bool is_of_wrong_server(const redisReply *reply)
{
    static const char *const words[] = {"READONLY", "MASTERDOWN", "LOADING",
                                        "ERR Function not found"};
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); ++i)
        if (strncmp(reply->str, words[i], strlen(words[i])) == 0)
            return true;
    return false;
}

static void on_reply(redisAsyncContext *redis, void *reply, void *privdata)
{
    call_t call = *(call_t *)privdata;
    (void)redis;
    free(privdata);
    --call.link->waiting;
    call.link->progress_ms = clock_mono_ms();
    bool up = call.link->state == LINK_UP; /* before that, what says hello knows what to do */
    bool lost = up && FAILPOINT_FAILS("gate_answer_lost");
    bool wrong_server = up && is_of_wrong_server(reply);
    call.cb(call.context, lost ? NULL : reply);
    if ((lost || wrong_server) && call.link->redis == redis)
        redis_link_drop(call.link);
}

static bool send_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context)
{
    call_t *call = malloc(sizeof(*call));
    if (call == NULL)
        abort();
    *call = (call_t){link, cb, context};
    str_t command = redis_args_command(args);
    if (redisAsyncFormattedCommand(link->redis, on_reply, call, command.p, command.n) != REDIS_OK) {
        free(call);
        return false;
    }
    if (link->waiting++ == 0)
        link->progress_ms = clock_mono_ms();
    return true;
}

static void say_hello(redis_link_t *link);

static void on_loaded(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        if (!is_of_wrong_server(reply)) /* one that still loads its data soon is the right one */
            LOG_ERROR("redis refuses the functions library", LOG_STR("error", reply->str));
        redis_link_drop(link);
        return;
    }
    say_hello(link);
}

static void load_library(redis_link_t *link)
{
    redis_args_t args = {0};
    link->state = LINK_LOADING;
    redis_args_add(&args, STR("FUNCTION"));
    redis_args_add(&args, STR("LOAD"));
    redis_args_add(&args, STR("REPLACE"));
    redis_args_add(&args, embedded_lua_library());
    send_call(link, &args, on_loaded, link);
    redis_args_free(&args);
}

static bool says_no_such_function(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "Function not found") != NULL;
}

static void on_hello(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    if (reply == NULL)
        return;
    if (says_no_such_function(reply) ||
        (gate_reply_is_array(reply, 3) && gate_reply_i64(reply, 0) < GATE_LIBRARY_VERSION)) {
        load_library(link);
        return;
    }
    if (!gate_reply_is_array(reply, 3) || reply->element[1]->type != REDIS_REPLY_STRING) {
        if (!is_of_wrong_server(reply)) /* which is told once, when the connection goes down */
            LOG_WARN("redis does not say hello",
                     LOG_STR("error", reply->type == REDIS_REPLY_ERROR ? reply->str : "odd reply"));
        redis_link_drop(link);
        return;
    }
    size_t n = (size_t)reply->element[1]->len;
    n = n < sizeof(link->identity) ? n : sizeof(link->identity) - 1;
    memcpy(link->identity, reply->element[1]->str, n);
    link->identity[n] = '\0';
    remote_clock_observe(link->clock, link->hello_ms, (uint64_t)gate_reply_i64(reply, 2));
    link->state = LINK_UP;
    link->attempts = 0;
    count_up(link, true);
}

static void say_hello(redis_link_t *link)
{
    redis_args_t args = {0};
    link->state = LINK_HELLO;
    link->hello_ms = clock_mono_ms();
    gate_call(&args, "holdfast_hello", 0);
    send_call(link, &args, on_hello, link);
    redis_args_free(&args);
}

static void on_auth(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        LOG_ERROR("redis refuses the password", LOG_STR("error", reply->str));
        redis_link_drop(link);
    }
}

static void connect_now(redis_link_t *link)
{
    const config_t *config = link->config;
    redisAsyncContext *redis = config->redis.socket != NULL
                                   ? redisAsyncConnectUnix(config->redis.socket)
                                   : redisAsyncConnect(config->redis.host, config->redis.port);
    if (redis == NULL)
        abort();
    redis->data = link;
    if (redis->err != 0) {
        char why[128];
        snprintf(why, sizeof(why), "%s", redis->errstr);
        redisAsyncFree(redis);
        went_down(link, why);
        return;
    }
    link->redis = redis;
    attach(link);
    redisAsyncSetConnectCallback(redis, on_connect);
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
    link->waiting = 0;
    loop_timer_start(link->loop, &link->watchdog, 64, on_watchdog);
    if (config->redis.password != NULL) {
        redis_args_t args = {0};
        redis_args_add(&args, STR("AUTH"));
        redis_args_add(&args, str_of(config->redis.password));
        send_call(link, &args, on_auth, link);
        redis_args_free(&args);
    }
    say_hello(link);
}

redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             gate_health_t *health)
{
    redis_link_t *link = calloc(1, sizeof(*link));
    if (link == NULL)
        abort();
    link->loop = loop;
    link->config = config;
    link->clock = clock;
    link->health = health;
    connect_now(link);
    return link;
}

void redis_link_free(redis_link_t *link)
{
    if (link == NULL)
        return;
    link->freeing = true;
    redis_link_drop(link);
    loop_timer_stop(&link->retry);
    loop_timer_stop(&link->watchdog);
    free(link);
}

bool redis_link_is_up(const redis_link_t *link)
{
    return link->state == LINK_UP;
}

str_t redis_link_identity(const redis_link_t *link)
{
    return str_of(link->identity);
}

/* Not by redisAsyncHandleWrite(): that frees the connection if it fails, perhaps under a callback.
   An error stays in the context until the loop says that it can be written. */
void redis_link_flush(redis_link_t *link)
{
    int done;
    if (link->redis != NULL)
        (void)redisBufferWrite(&link->redis->c, &done);
}

bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context)
{
    return link->state == LINK_UP && send_call(link, args, cb, context);
}
