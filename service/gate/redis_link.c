#include "gate/redis_link.h"

#include <assert.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/embedded.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"

/* The link is silent while a call waits longer than this, or than redis.timeout_ms. */
#define SILENT_MS 1000
#define PROBE_INTERVAL_MS 512
#define WATCHDOG_MS 64

/* Interval at which the same reason of an outage is logged again. */
#define LOG_AGAIN_MS 5000

typedef enum {
    LINK_DOWN,
    LINK_HELLO,
    LINK_LOADING,
    LINK_PROBING,
    LINK_UP,
    LINK_REFUSED
} link_state_t;

struct redis_link {
    loop_t *loop;
    const config_t *config;
    remote_clock_t *clock;
    gate_health_t *health;
    link_kind_t kind;
    link_state_t state;
    bool silent;              /* a call waits for too long */
    bool counted;             /* among the connections that are up */
    redisAsyncContext *redis; /* NULL while down */
    loop_watch_t watch;       /* while there is `redis` */
    loop_timer_t retry, watchdog;
    unsigned attempts;
    unsigned waiting;     /* calls without an answer */
    uint64_t progress_ms; /* time of the last answer, or of sending the first waiting call */
    uint64_t hello_ms;
    uint64_t probed_ms;
    char identity[96];
    char why[GATE_REASON_SIZE];    /* it went down */
    char logged[GATE_REASON_SIZE]; /* `why` as last logged; "": it was up since */
    uint64_t logged_ms;            /* monotonic: time of that log line */
    bool refused;                  /* by the server, and not up since */
    bool freeing;
};

/* One call: the caller's callback, wrapped by ours, which counts waiting calls. */
typedef struct {
    redis_link_t *link;
    redis_reply_cb cb;
    void *context;
    const char *name;
} call_t;

static void connect_now(redis_link_t *link);

/* --- hiredis on h2o's loop: the loop reports readiness, hiredis reads and writes --- */

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
    (void)data; /* reported once */
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

/* Adds the link to `health` or removes it, according to its state. */
static void recount(redis_link_t *link, gate_condition_t condition)
{
    bool counts = link->state == LINK_UP && !link->silent;
    if (counts == link->counted) {
        if (!counts && link->kind == LINK_COUNTS)
            gate_health_note(link->health, condition, link->why);
        return;
    }
    link->counted = counts;
    METRIC_ADD(redis_connections, counts ? 1 : -1);
    if (link->kind == LINK_COUNTS && counts)
        gate_health_add(link->health);
    else if (link->kind == LINK_COUNTS)
        gate_health_remove(link->health, condition, link->why);
}

static void note_why(redis_link_t *link, const char *call, const char *error)
{
    if (call == NULL)
        snprintf(link->why, sizeof(link->why), "%s", error);
    else
        snprintf(link->why, sizeof(link->why), "%s: %.150s", call, error);
}

/* Logs why the link is down. The same reason is logged again from time to time; when several loops
   log at once, the limit of the log writes only some lines. */
static void log_down(redis_link_t *link)
{
    uint64_t now_ms = clock_mono_ms();
    if (link->freeing ||
        (strcmp(link->logged, link->why) == 0 && now_ms - link->logged_ms < LOG_AGAIN_MS))
        return;
    link->logged_ms = now_ms;
    memcpy(link->logged, link->why, sizeof(link->logged));
    LOG_WARN("a connection to Redis is down; the service reconnects", LOG_STR("why", link->why),
             LOG_INT("loop", link->loop->index));
}

static void log_up(redis_link_t *link)
{
    if (link->logged[0] != '\0')
        LOG_INFO("a connection to Redis is up again", LOG_INT("loop", link->loop->index));
    link->logged[0] = '\0';
}

/* The reason is in link->why. */
static void went_down(redis_link_t *link, gate_condition_t condition)
{
    link->state = LINK_DOWN;
    link->redis = NULL;
    link->silent = false;
    log_down(link);
    recount(link, condition);
    loop_timer_stop(&link->watchdog);
    if (!link->freeing)
        loop_timer_start(link->loop, &link->retry, random_backoff(10, 500, link->attempts++),
                         on_retry);
}

static void on_disconnect(const redisAsyncContext *redis, int status)
{
    redis_link_t *link = redis->data;
    if (link->redis != redis)
        return;
    if (link->state != LINK_REFUSED) { /* a refused link keeps the refusal as its reason */
        METRIC_INC(redis_lost_total);
        note_why(link, NULL, status == REDIS_OK ? "closed" : redis->errstr);
    }
    went_down(link, GATE_AWAY);
}

static void on_connect(const redisAsyncContext *redis, int status)
{
    redis_link_t *link = redis->data;
    if (status == REDIS_OK || link->redis != redis)
        return;
    METRIC_INC(redis_lost_total);
    note_why(link, NULL, redis->errstr);
    went_down(link, GATE_AWAY);
}

/* The reason is in link->why. */
static void drop(redis_link_t *link, gate_condition_t condition)
{
    redisAsyncContext *redis = link->redis;
    went_down(link, condition); /* before redisAsyncFree(): its callbacks must find a link that
                                   takes no calls */
    redisAsyncFree(redis);      /* ends every waiting call with NULL */
}

void redis_link_drop(redis_link_t *link)
{
    if (link->redis == NULL)
        return;
    note_why(link, NULL, "dropped");
    drop(link, GATE_AWAY);
}

static void set_silent(redis_link_t *link, bool silent)
{
    if (silent == link->silent)
        return;
    link->silent = silent;
    if (silent && link->kind == LINK_COUNTS) {
        snprintf(link->why, sizeof(link->why), "no answer for %u ms", SILENT_MS);
        log_down(link);
    }
    if (!silent && link->state == LINK_UP)
        log_up(link);
    if (silent || link->state == LINK_UP)
        recount(link, GATE_UNKNOWN);
}

static void probe(redis_link_t *link);

/* The time in ms for which the oldest call has waited. */
static uint64_t waits_ms(const redis_link_t *link)
{
    return link->waiting == 0 ? 0 : clock_mono_ms() - link->progress_ms;
}

static void on_watchdog(loop_timer_t *timer)
{
    redis_link_t *link = H2O_STRUCT_FROM_MEMBER(redis_link_t, watchdog, timer);
    if (waits_ms(link) > link->config->redis.timeout_ms) {
        METRIC_INC(redis_lost_total);
        snprintf(link->why, sizeof(link->why), "no answer for %u ms",
                 link->config->redis.timeout_ms);
        drop(link, GATE_UNKNOWN);
        return;
    }
    set_silent(link, waits_ms(link) > SILENT_MS ||
                         (link->kind == LINK_FOLLOWS && gate_health_is_hopeless(link->health)));
    if (link->state == LINK_UP && link->kind == LINK_COUNTS &&
        clock_mono_ms() - link->probed_ms >= PROBE_INTERVAL_MS)
        probe(link);
    loop_timer_start(link->loop, &link->watchdog, WATCHDOG_MS, on_watchdog);
}

/* Does the gate need the refused command? A plain command that is forbidden does not affect the
   functions, but without a function (missing or forbidden) there is no gate. The watch strategy
   needs all of its commands: without MULTI the rest of a transaction would run without it. */
static bool refuses_gate(const call_t *call, const redisReply *reply)
{
    result_t error = gate_reply_error(reply);
    if (error == RESULT_REFUSED)
        return call->link->kind == LINK_FOLLOWS || strncmp(call->name, "holdfast_", 9) == 0;
    return error == RESULT_AWAY;
}

/* Counts and logs an error that does not affect the connection. An error that does is logged with
   the connection's state. */
static void note_error(const redis_link_t *link, const char *call, const redisReply *reply)
{
    METRIC_INC(redis_refusals_total);
    LOG_WARN("Redis refuses a call", LOG_STR("call", call), LOG_STR("error", reply->str),
             LOG_INT("loop", link->loop->index));
}

/* Takes no more calls. Calls in flight still receive their answers. */
static void mark_refused(redis_link_t *link, const char *call, const redisReply *reply)
{
    METRIC_INC(gate_refusals_total);
    METRIC_INC(redis_refusals_total);
    note_why(link, call, reply->type == REDIS_REPLY_ERROR ? reply->str : "odd reply");
    link->state = LINK_REFUSED;
    link->refused = true;
    link->silent = false;
    log_down(link);
    recount(link, GATE_AWAY);
}

static void on_probe(void *context, const redisReply *reply);

static void answer(const call_t *call, const redisReply *reply)
{
    if (call->cb != NULL)
        call->cb(call->context, reply);
}

static void on_reply(redisAsyncContext *redis, void *reply, void *privdata)
{
    call_t call = *(call_t *)privdata;
    redis_link_t *link = call.link;
    free(privdata);
    assert(link->waiting != 0); /* each call ends in one callback */
    --link->waiting;
    link->progress_ms = clock_mono_ms();
    if (link->redis != redis) { /* the connection is being dropped */
        answer(&call, NULL);
        return;
    }
    bool up = link->state == LINK_UP; /* before the link is up, each step handles its own errors */
    if (reply != NULL)
        set_silent(link, false);
    if (up && refuses_gate(&call, reply))
        mark_refused(link, call.name, reply);
    else if (up && reply != NULL && ((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        note_error(link, call.name, reply);
    bool lost = up && call.cb != on_probe && FAILPOINT_FAILS("gate_answer_lost");
    answer(&call, lost ? NULL : reply);
    if (link->redis != redis)
        return;
    if (lost)
        redis_link_drop(link);
    else if (link->state == LINK_REFUSED && link->waiting == 0)
        drop(link, GATE_AWAY);
}

static bool send_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context)
{
    call_t *call = alloc_bytes(sizeof(*call));
    *call = (call_t){link, cb, context, args->name == NULL ? "" : args->name};
    str_t command = redis_args_command(args);
    if (redisAsyncFormattedCommand(link->redis, on_reply, call, command.p, command.n) != REDIS_OK) {
        free(call);
        return false;
    }
    if (link->waiting++ == 0)
        link->progress_ms = clock_mono_ms();
    return true;
}

static void send_hello(redis_link_t *link);

/* The server refuses a step of the start: drop the connection and start again with backoff. */
static void give_up(redis_link_t *link, const char *call, const redisReply *reply)
{
    METRIC_INC(redis_refusals_total);
    link->refused = true;
    note_why(link, call, reply->type == REDIS_REPLY_ERROR ? reply->str : "odd reply");
    drop(link, GATE_AWAY);
}

static void on_loaded(void *context, const redisReply *reply)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        give_up(context, "FUNCTION LOAD", reply);
    else if (reply != NULL)
        send_hello(context);
}

static void load_library(redis_link_t *link)
{
    redis_args_t args = {0};
    link->state = LINK_LOADING;
    redis_args_begin(&args, "FUNCTION");
    redis_args_add(&args, STR("LOAD"));
    redis_args_add(&args, STR("REPLACE"));
    redis_args_add(&args, embedded_lua_library());
    send_call(link, &args, on_loaded, link);
    redis_args_free(&args);
}

static void probe_passed(redis_link_t *link)
{
    assert(link->state == LINK_PROBING || link->state == LINK_UP);
    if (link->state == LINK_UP) {
        link->attempts = 0; /* a probe passed while up: the backoff starts from its base */
        return;
    }
    log_up(link);
    link->state = LINK_UP;
    link->refused = false;
    recount(link, GATE_OK);
}

static void on_probe(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    if (reply == NULL || link->state == LINK_REFUSED)
        return;
    if (gate_reply_is_array(reply, GATE_PART_IDS)) {
        probe_passed(link);
    } else if (link->state == LINK_UP) {
        mark_refused(link, "holdfast_reserve", reply);
    } else {
        give_up(link, "holdfast_reserve", reply);
    }
}

static void probe(redis_link_t *link)
{
    redis_args_t args = {0};
    link->probed_ms = clock_mono_ms();
    gate_peek(&args, &(item_ref_t){0}, 0);
    send_call(link, &args, on_probe, link);
    redis_args_free(&args);
}

/* Drops a Redis that we do not accept (another deployment, for example). */
static void drop_unusable(redis_link_t *link, const char *call, const char *why)
{
    METRIC_INC(redis_refusals_total);
    link->refused = true;
    note_why(link, call, why);
    drop(link, GATE_AWAY);
}

static void start_to_probe(redis_link_t *link)
{
    link->state = LINK_PROBING;
    probe(link);
}

static void on_stamp(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    char why[GATE_WHY_SIZE];
    if (reply == NULL)
        return;
    if (gate_stamp_read(reply, link->config->deployment, why) == GATE_GREETING_OK)
        start_to_probe(link);
    else
        drop_unusable(link, "holdfast_stamp", why);
}

static void send_stamp(redis_link_t *link)
{
    redis_args_t args = {0};
    gate_stamp(&args, link->config->deployment);
    send_call(link, &args, on_stamp, link);
    redis_args_free(&args);
}

static void read_hello(redis_link_t *link, const redisReply *reply)
{
    size_t n = (size_t)reply->element[1]->len;
    n = n < sizeof(link->identity) ? n : sizeof(link->identity) - 1;
    memcpy(link->identity, reply->element[1]->str, n);
    link->identity[n] = '\0';
    remote_clock_observe(link->clock, link->hello_ms, (uint64_t)gate_reply_i64(reply, 2));
}

static void on_hello(void *context, const redisReply *reply)
{
    redis_link_t *link = context;
    char why[GATE_WHY_SIZE];
    if (reply == NULL)
        return;
    assert(link->state == LINK_HELLO); /* no call is sent before the server is identified */
    switch (gate_greeting_read(reply, link->config->deployment, why)) {
    case GATE_GREETING_LOAD:
        load_library(link);
        return;
    case GATE_GREETING_AWAY:
        drop_unusable(link, "holdfast_hello", why);
        return;
    case GATE_GREETING_STAMP:
        read_hello(link, reply);
        send_stamp(link);
        return;
    case GATE_GREETING_OK:
        read_hello(link, reply);
        start_to_probe(link);
    }
}

static void send_hello(redis_link_t *link)
{
    redis_args_t args = {0};
    link->state = LINK_HELLO;
    link->hello_ms = clock_mono_ms();
    gate_hello(&args, link->kind == LINK_FOLLOWS);
    send_call(link, &args, on_hello, link);
    redis_args_free(&args);
}

static void on_auth(void *context, const redisReply *reply)
{
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        give_up(context, "AUTH", reply);
}

static void connect_now(redis_link_t *link)
{
    const config_t *config = link->config;
    /* The previous connection has ended all its calls. A call that still waited would be counted
       for this connection, and `waiting` would never return to 0. */
    assert(link->redis == NULL && link->state == LINK_DOWN && link->waiting == 0);
    redisAsyncContext *redis = config->redis.socket != NULL
                                   ? redisAsyncConnectUnix(config->redis.socket)
                                   : redisAsyncConnect(config->redis.host, config->redis.port);
    alloc_check(redis);
    redis->data = link;
    if (redis->err != 0) {
        note_why(link, NULL, redis->errstr);
        redisAsyncFree(redis);
        went_down(link, GATE_AWAY);
        return;
    }
    link->redis = redis;
    attach(link);
    redisAsyncSetConnectCallback(redis, on_connect);
    redisAsyncSetDisconnectCallback(redis, on_disconnect);
    loop_timer_start(link->loop, &link->watchdog, WATCHDOG_MS, on_watchdog);
    redis_args_t args = {0};
    if (gate_auth(&args, config))
        send_call(link, &args, on_auth, link);
    redis_args_free(&args);
    send_hello(link);
}

redis_link_t *redis_link_new(loop_t *loop, const config_t *config, remote_clock_t *clock,
                             gate_health_t *health, link_kind_t kind)
{
    redis_link_t *link = alloc_zero(1, sizeof(*link));
    link->loop = loop;
    link->config = config;
    link->clock = clock;
    link->health = health;
    link->kind = kind;
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
    assert(link->waiting == 0 && !link->counted); /* a later callback would use freed memory */
    free(link);
}

bool redis_link_is_up(const redis_link_t *link)
{
    return link->state == LINK_UP && !link->silent &&
           (link->kind == LINK_COUNTS || !gate_health_is_hopeless(link->health));
}

bool redis_link_is_refused(const redis_link_t *link)
{
    return link->refused;
}

str_t redis_link_identity(const redis_link_t *link)
{
    return str_of(link->identity);
}

/* redisAsyncHandleWrite() is not used: it frees the connection if it fails, perhaps under a
   callback. redisBufferWrite() keeps the error in the context until the loop reports that the
   socket is writable. */
void redis_link_flush(redis_link_t *link)
{
    int done;
    if (link->redis != NULL)
        (void)redisBufferWrite(&link->redis->c, &done);
}

bool redis_link_call(redis_link_t *link, redis_args_t *args, redis_reply_cb cb, void *context)
{
    return redis_link_is_up(link) && send_call(link, args, cb, context);
}
