#include "redis_wire.h"

#include <h2o.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>

#include "faults.h"
#include "gate/sync_wire.h"
#include "redis_lua.h"

faults_t faults;
void (*redis_on_call)(const redis_store_t *store, const str_t *words, unsigned count,
                      const redisReply *reply);

typedef struct command {
    struct command *next; /* towards the server */
    struct command *next_waiting;
    str_t *words;
    unsigned count;
    uint64_t written_us;
    redisCallbackFn *done;
    void *context;
    redisReply *reply;
    struct command *next_reply;
} command_t;

typedef struct {
    str_t name;
    uint64_t changed;
} watched_t;

#define WATCHED_MAX 8
#define QUEUED_MAX 16

typedef struct {
    owner_t owner;
    unsigned number, server, server_life;
    bool client_open, server_open, connected;
    command_t *sent, **sent_tail;       /* under way to the server */
    command_t *waiting, **waiting_tail; /* without an answer: at the client */
    command_t *replies, **replies_tail; /* under way back */
    uint64_t arrives_us, answers_us;    /* of the last of each */
    /* The server's side of WATCH and MULTI. */
    bool multi, spoilt;
    watched_t watched[WATCHED_MAX];
    unsigned watched_count;
    command_t *queued[QUEUED_MAX];
    unsigned queued_count;
    /* Not blocking: */
    redisAsyncContext *async;
    bool in_callback, closing;
    /* Blocking: */
    unsigned coroutine;
    bool blocked;
    redisReply *answer;
} wire_t;

typedef struct {
    redis_store_t store;
    bool up, ever_up, reset_seen;
    unsigned life;
    int functions; /* -1: none loaded */
    uint64_t stalled_until, loading_until, refuses_until;
    unsigned refuses; /* of refusals[] */
} server_t;

bool redis_ran_without_multi;

static server_t servers[REDIS_SERVERS];
static redis_store_t snapshot;
static bool has_snapshot;
static unsigned endpoint[WORLD_OWNERS_MAX];
static wire_t **wires;
static unsigned wires_count, wires_capacity;

/* --- servers --- */

static void name_server(redis_store_t *store)
{
    for (int i = 0; i < 40; ++i) {
        store->run_id[i] = "0123456789abcdef"[chance_below(16)];
        store->replid[i] = "0123456789abcdef"[chance_below(16)];
    }
}

static void set_functions(server_t *server, bool loaded)
{
    if (server->functions >= 0)
        redis_lua_unload(server->functions);
    server->functions = loaded ? redis_lua_load() : -1;
}

void redis_begin(void)
{
    memset(servers, 0, sizeof(servers));
    memset(endpoint, 0, sizeof(endpoint));
    wires = NULL;
    wires_count = wires_capacity = 0;
    has_snapshot = false;
    for (unsigned i = 0; i < REDIS_SERVERS; ++i) {
        servers[i].functions = -1;
        servers[i].store.clock_ms = (int64_t)chance_below(400) - 200;
        name_server(&servers[i].store);
    }
    servers[0].up = servers[0].ever_up = true;
}

void redis_end(void)
{
    for (unsigned i = 0; i < REDIS_SERVERS; ++i)
        set_functions(&servers[i], false);
}

redis_store_t *redis_store(unsigned server)
{
    return &servers[server].store;
}

bool redis_is_up(unsigned server)
{
    return servers[server].up;
}

void redis_snapshot(void)
{
    redis_store_copy(&snapshot, &servers[0].store);
    has_snapshot = true;
}

static void break_wire(wire_t *wire, bool received);

void redis_kill(unsigned number)
{
    server_t *server = &servers[number];
    TRACE("redis %u is killed", number);
    server->up = false;
    ++server->life;
    for (unsigned i = 0; i < wires_count; ++i)
        if (wires[i]->server == number && wires[i]->client_open)
            break_wire(wires[i], !chance(4));
}

static void take_data(server_t *server, const redis_store_t *from)
{
    redis_store_t old = server->store;
    redis_store_copy(&server->store, from);
    server->store.clock_ms = old.clock_ms;
    memcpy(server->store.run_id, old.run_id, sizeof(old.run_id));
    memcpy(server->store.replid, old.replid, sizeof(old.replid));
}

void redis_start(unsigned number, redis_return_t with)
{
    static const char *const names[] = {"all its data", "older data", "no data"};
    server_t *server = &servers[number];
    if (with == REDIS_OLD_DATA && !has_snapshot)
        with = REDIS_NO_DATA;
    if (with == REDIS_OLD_DATA)
        take_data(server, &snapshot);
    else if (with == REDIS_NO_DATA)
        server->store.count = 0;
    name_server(&server->store);
    set_functions(server, with != REDIS_NO_DATA);
    server->up = server->ever_up = true;
    if (with != REDIS_NO_DATA && chance(2))
        server->loading_until = world_now_us() + chance_time_us(100, 100000);
    TRACE("redis %u is back with %s, run id %.8s", number, names[with], server->store.run_id);
}

void redis_flush(unsigned number)
{
    TRACE("redis %u: FLUSHALL", number);
    servers[number].store.count = 0;
}

void redis_stall(unsigned number, uint64_t us)
{
    TRACE("redis %u stands still for %llu us", number, (unsigned long long)us);
    servers[number].stalled_until = world_now_us() + us;
}

/* Errors of dispatch: what it is told is not run. */
static const struct {
    enum { REFUSES_MEMORY, REFUSES_WRITES, REFUSES_ALL } what;
    const char *text;
} refusals[] = {
    {REFUSES_MEMORY, "OOM command not allowed when used memory > 'maxmemory'."},
    {REFUSES_WRITES, "READONLY You can't write against a read only replica."},
    {REFUSES_WRITES, "NOREPLICAS Not enough good replicas to write."},
    {REFUSES_WRITES, "MISCONF Redis is configured to save RDB snapshots, but it cannot."},
    {REFUSES_ALL, "NOPERM User default has no permissions to run the command"},
    {REFUSES_ALL, "NOAUTH Authentication required."},
    {REFUSES_ALL, "BUSY Redis is busy running a script."},
    {REFUSES_ALL, "MASTERDOWN Link with MASTER is down."},
};

void redis_refuse(unsigned number, uint64_t us)
{
    servers[number].refuses = chance_below(sizeof(refusals) / sizeof(refusals[0]));
    servers[number].refuses_until = world_now_us() + us;
    TRACE("redis %u says for %llu us: %s", number, (unsigned long long)us,
          refusals[servers[number].refuses].text);
}

void redis_point(unsigned node, unsigned number, bool keep)
{
    server_t *server = &servers[number];
    TRACE("node %u (0: all) goes to redis %u, old connections %s", node, number,
          keep ? "stay" : "break");
    if (!server->ever_up) {
        if (has_snapshot)
            take_data(server, &snapshot);
        set_functions(server, has_snapshot);
        server->up = server->ever_up = true;
    }
    for (unsigned i = 0; i < WORLD_OWNERS_MAX; ++i)
        if (node == 0 || node == i)
            endpoint[i] = number;
    for (unsigned i = 0; i < wires_count && !keep; ++i)
        if (wires[i]->client_open && wires[i]->server != number &&
            (node == 0 || wires[i]->owner.node == node))
            break_wire(wires[i], true);
}

void redis_break(unsigned node, bool of_loops)
{
    for (unsigned i = 0; i < wires_count; ++i) {
        wire_t *wire = wires[i];
        if (wire->client_open && wire->owner.node == node && (wire->async != NULL) == of_loops &&
            wire->server != endpoint[node])
            break_wire(wire, true);
    }
}

/* --- what the server does with a command --- */

static void lose_a_field(redis_store_t *store, str_t name)
{
    const redis_key_t *key = redis_key_find(store, name);
    if (key == NULL || key->count < 2)
        return;
    str_t field = key->fields[chance_below(key->count)].name;
    TRACE("redis loses a field of a staged table");
    freeReplyObject(redis_command(store, (str_t[]){STR("HDEL"), name, field}, 3));
}

static redisReply *call_function(server_t *server, const str_t *words, unsigned count)
{
    if (server == servers)
        redis_on_call(&server->store, words, count, NULL);
    redisReply *reply = redis_lua_call(server->functions, &server->store, words + 1, count - 1);
    if (str_eq(words[1], STR("holdfast_stage")) && chance(faults.redis_stage_lost))
        lose_a_field(&server->store, words[3]);
    if (server == servers)
        redis_on_call(&server->store, words, count, reply);
    return reply;
}

static redisReply *run_plain(server_t *server, const command_t *command)
{
    const str_t *words = command->words;
    if (str_eq(words[0], STR("FCALL"))) {
        if (server->functions < 0)
            return redis_reply_error("ERR Function not found");
        return call_function(server, words, command->count);
    }
    if (str_eq(words[0], STR("FUNCTION"))) {
        set_functions(server, true);
        return redis_reply_text(REDIS_REPLY_STRING, STR("holdfast"));
    }
    return redis_command(&server->store, words, command->count);
}

static uint64_t changed(server_t *server, str_t name)
{
    redis_key_t *key = redis_key_find(&server->store, name);
    return key == NULL ? 0 : key->changed;
}

static redisReply *run_exec(server_t *server, wire_t *wire)
{
    bool dirty = false;
    if (!wire->multi) {
        redis_ran_without_multi = true;
        return redis_reply_error("ERR EXEC without MULTI");
    }
    for (unsigned i = 0; i < wire->watched_count; ++i)
        if (changed(server, wire->watched[i].name) != wire->watched[i].changed)
            dirty = true;
    wire->multi = false;
    wire->watched_count = 0;
    if (wire->spoilt)
        return redis_reply_error("EXECABORT Transaction discarded because of previous errors.");
    if (dirty)
        return redis_reply_text(REDIS_REPLY_NIL, STR_NONE);
    redisReply *reply = redis_reply_array(wire->queued_count);
    for (unsigned i = 0; i < wire->queued_count; ++i)
        reply->element[i] = run_plain(server, wire->queued[i]);
    return reply;
}

/* Commands that Redis refuses when it is out of memory; of the functions all but reserve may run.
 */
static bool takes_memory(const command_t *command)
{
    str_t name = command->words[0];
    return str_eq(name, STR("HSET")) || str_eq(name, STR("HINCRBY")) || str_eq(name, STR("SET")) ||
           (str_eq(name, STR("FCALL")) && str_eq(command->words[1], STR("holdfast_reserve")));
}

/* As lua/holdfast.lua registers its functions. */
static bool writes(const command_t *command)
{
    static const char *const no_writes[] = {"holdfast_inspect",       "holdfast_look",
                                            "holdfast_unsettled_ids", "holdfast_unsettled_buyers",
                                            "holdfast_owners",        "holdfast_orphans",
                                            "holdfast_hello"};
    str_t name = command->words[0];
    if (!str_eq(name, STR("FCALL")))
        return takes_memory(command) || str_eq(name, STR("HDEL")) || str_eq(name, STR("DEL")) ||
               str_eq(name, STR("FUNCTION"));
    for (size_t i = 0; i < sizeof(no_writes) / sizeof(no_writes[0]); ++i)
        if (str_eq(command->words[1], str_of(no_writes[i])))
            return false;
    return true;
}

static bool is_refused(const server_t *server, const command_t *command)
{
    if (server->refuses_until <= world_now_us())
        return false;
    switch (refusals[server->refuses].what) {
    case REFUSES_MEMORY:
        return takes_memory(command);
    case REFUSES_WRITES:
        return writes(command);
    default:
        return true;
    }
}

static redisReply *run(wire_t *wire, command_t *command)
{
    server_t *server = &servers[wire->server];
    str_t name = command->words[0];
    redisReply *ok = redis_reply_text(REDIS_REPLY_STATUS, STR("OK"));
    if (server->loading_until > world_now_us())
        return redis_reply_error("LOADING Redis is loading the dataset in memory");
    if (is_refused(server, command)) {
        wire->spoilt = true;
        if (str_eq(name, STR("EXEC"))) /* refused or not, the transaction is over */
            return run_exec(server, wire);
        return redis_reply_error(refusals[server->refuses].text);
    }
    if (takes_memory(command) && chance(faults.redis_refuses)) {
        wire->spoilt = true;
        return redis_reply_error("OOM command not allowed when used memory > 'maxmemory'.");
    }
    if (str_eq(name, STR("EXEC")))
        return run_exec(server, wire);
    if (wire->multi) {
        if (wire->queued_count == QUEUED_MAX)
            world_unknown("so long a MULTI", "", 0);
        wire->queued[wire->queued_count++] = command;
        return redis_reply_text(REDIS_REPLY_STATUS, STR("QUEUED"));
    }
    if (str_eq(name, STR("MULTI"))) {
        wire->multi = true;
        wire->spoilt = false;
        wire->queued_count = 0;
        return ok;
    }
    if (str_eq(name, STR("WATCH"))) {
        for (unsigned i = 1; i < command->count && wire->watched_count < WATCHED_MAX; ++i)
            wire->watched[wire->watched_count++] =
                (watched_t){command->words[i], changed(server, command->words[i])};
        return ok;
    }
    if (str_eq(name, STR("UNWATCH"))) {
        wire->watched_count = 0;
        return ok;
    }
    return run_plain(server, command);
}

static void show(const command_t *command, const redisReply *reply)
{
    char text[400];
    size_t n = 0;
    for (unsigned i = str_eq(command->words[0], STR("FCALL")) ? 1 : 0;
         i < command->count && n < sizeof(text) - 1; ++i) {
        bool plain = command->words[i].n < 60;
        for (size_t j = 0; j < command->words[i].n; ++j)
            plain = plain && (command->words[i].p[j] & 0x80) == 0 && command->words[i].p[j] >= ' ';
        if (plain)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %.*s", STR_ARG(command->words[i]));
        else
            n += (size_t)snprintf(text + n, sizeof(text) - n, " ~%02x%02x",
                                  (uint8_t)command->words[i].p[command->words[i].n - 2],
                                  (uint8_t)command->words[i].p[command->words[i].n - 1]);
    }
    world_trace("redis runs%s", text);
    n = 0;
    if (reply->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < reply->elements && n < sizeof(text) - 1; ++i) {
            const redisReply *e = reply->element[i];
            n += e->type == REDIS_REPLY_INTEGER
                     ? (size_t)snprintf(text + n, sizeof(text) - n, " %lld", e->integer)
                     : (size_t)snprintf(text + n, sizeof(text) - n, " %.24s",
                                        e->str == NULL ? "-" : e->str);
        }
    else if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(text, sizeof(text), " %lld", reply->integer);
    else
        snprintf(text, sizeof(text), " %.60s", reply->str == NULL ? "-" : reply->str);
    if (n != 0 || reply->type != REDIS_REPLY_ARRAY)
        world_trace("      ->%s", text);
}

/* --- there and back --- */

static void on_answer(void *context, uint64_t number);

static void on_arrival(void *context, uint64_t number)
{
    wire_t *wire = context;
    server_t *server = &servers[wire->server];
    command_t *command = wire->sent;
    if (command == NULL || !wire->server_open || !server->up || server->life != wire->server_life)
        return;
    if (server->stalled_until > world_now_us()) {
        world_after(server->stalled_until - world_now_us() + 1, (owner_t){0, 0}, on_arrival, wire,
                    number);
        return;
    }
    if ((wire->sent = command->next) == NULL)
        wire->sent_tail = &wire->sent;
    if (chance(faults.redis_lost_before)) {
        TRACE("redis: a connection of node %u breaks before a command", wire->owner.node);
        break_wire(wire, !chance(3));
        return;
    }
    owner_t owner = world_owner();
    world_set_owner(wire->owner);
    command->reply = run(wire, command);
    if (world_tracing)
        show(command, command->reply);
    world_set_owner(owner);
    if (chance(faults.redis_lost_after)) {
        TRACE("redis: a connection of node %u breaks after a command", wire->owner.node);
        break_wire(wire, !chance(3));
        return;
    }
    command->next_reply = NULL;
    *wire->replies_tail = command;
    wire->replies_tail = &command->next_reply;
    uint64_t at = world_now_us() + fault_latency_us();
    wire->answers_us = at > wire->answers_us ? at : wire->answers_us;
    world_after(wire->answers_us - world_now_us(), wire->owner, on_answer, wire, 0);
}

static void give_async(wire_t *wire, command_t *command, redisReply *reply)
{
    wire->in_callback = true;
    command->done(wire->async, reply, command->context);
    wire->in_callback = false;
}

static void close_async(wire_t *wire, bool error);

static void on_answer(void *context, uint64_t number)
{
    wire_t *wire = context;
    command_t *command = wire->replies;
    (void)number;
    if (command == NULL || !wire->client_open)
        return;
    if ((wire->replies = command->next_reply) == NULL)
        wire->replies_tail = &wire->replies;
    if ((wire->waiting = command->next_waiting) == NULL)
        wire->waiting_tail = &wire->waiting;
    if (wire->async == NULL) {
        wire->answer = command->reply;
        if (wire->blocked)
            world_wake(wire->coroutine, 0);
        return;
    }
    give_async(wire, command, command->reply);
    freeReplyObject(command->reply);
    if (wire->closing)
        close_async(wire, false);
}

/* "*3" or "$5", on a line of its own. */
static size_t take_number(str_t *text, char kind)
{
    char *end = NULL;
    size_t number = text->n > 1 && text->p[0] == kind ? strtoul(text->p + 1, &end, 10) : 0;
    if (end == NULL || end == text->p + 1 || memcmp(end, "\r\n", 2) != 0)
        world_unknown("command on the wire", text->p, text->n);
    text->n -= (size_t)(end + 2 - text->p);
    text->p = end + 2;
    return number;
}

static command_t *send_command(wire_t *wire, str_t text)
{
    command_t *command = world_alloc_zero(sizeof(*command));
    command->count = (unsigned)take_number(&text, '*');
    command->words = world_alloc(command->count * sizeof(str_t));
    command->written_us = world_now_us();
    for (unsigned i = 0; i < command->count; ++i) {
        size_t n = take_number(&text, '$');
        if (text.n < n + 2 || memcmp(text.p + n, "\r\n", 2) != 0)
            world_unknown("end of a word", text.p, text.n);
        command->words[i] = (str_t){world_copy(text.p, n), n};
        text = (str_t){text.p + n + 2, text.n - n - 2};
    }
    if (text.n != 0)
        world_unknown("end of a command", text.p, text.n);
    *wire->sent_tail = command;
    wire->sent_tail = &command->next;
    *wire->waiting_tail = command;
    wire->waiting_tail = &command->next_waiting;
    uint64_t at = world_now_us() + fault_latency_us();
    if (chance(faults.redis_late)) {
        at += chance_time_us(100000, 9000000);
        TRACE("redis: a command of node %u is held up until %.3f ms", wire->owner.node,
              (double)at / 1000);
    }
    wire->arrives_us = at > wire->arrives_us ? at : wire->arrives_us;
    world_after(wire->arrives_us - world_now_us(), (owner_t){0, 0}, on_arrival, wire, 0);
    return command;
}

static wire_t *open_wire(void)
{
    if (wires_count == wires_capacity) {
        unsigned capacity = wires_capacity == 0 ? 64 : wires_capacity * 2;
        wire_t **more = world_alloc(capacity * sizeof(wire_t *));
        if (wires_count != 0)
            memcpy(more, wires, wires_count * sizeof(wire_t *));
        wires = more;
        wires_capacity = capacity;
    }
    wire_t *wire = world_alloc_zero(sizeof(*wire));
    wire->number = wires_count;
    wires[wires_count++] = wire;
    wire->owner = world_owner();
    wire->server = endpoint[wire->owner.node];
    wire->server_life = servers[wire->server].life;
    wire->client_open = wire->server_open = true;
    wire->sent_tail = &wire->sent;
    wire->waiting_tail = &wire->waiting;
    wire->replies_tail = &wire->replies;
    return wire;
}

/* hiredis writes when the loop comes round: what was asked for in this very turn never goes. */
static void forget_unwritten(wire_t *wire)
{
    command_t **at = &wire->sent;
    while (*at != NULL && (*at)->written_us != world_now_us())
        at = &(*at)->next;
    *at = NULL;
    wire->sent_tail = at;
}

/* The client has closed: what it had sent arrives or not. */
static void client_closed(wire_t *wire)
{
    wire->client_open = false;
    if (wire->async != NULL)
        forget_unwritten(wire);
    if (!chance(2))
        return;
    command_t *command = wire->sent;
    if (chance(2) || command == NULL)
        wire->server_open = false;
    else /* the first still does */
        command->next = NULL;
}

static void on_connected(void *context, uint64_t number);

static void on_reset(void *context, uint64_t number)
{
    wire_t *wire = context;
    (void)number;
    if (!wire->client_open)
        return;
    if (wire->async != NULL && !wire->connected) {
        on_connected(wire, 0);
    } else if (wire->async != NULL) {
        close_async(wire, true);
    } else if (wire->blocked) {
        wire->client_open = false;
        world_wake(wire->coroutine, 0);
    } else {
        wire->client_open = false;
    }
}

/* `heard`: the client is told; else it meets silence. */
static void break_wire(wire_t *wire, bool received)
{
    wire->server_open = false;
    wire->replies = NULL;
    wire->replies_tail = &wire->replies;
    if (received)
        world_after(fault_latency_us(), wire->owner, on_reset, wire, 0);
}

void redis_forget_node(owner_t owner)
{
    for (unsigned i = 0; i < wires_count; ++i)
        if (wires[i]->client_open && wires[i]->owner.node == owner.node &&
            wires[i]->owner.life == owner.life)
            client_closed(wires[i]);
}

/* --- hiredis, not blocking --- */

static wire_t *wire_of(const redisContext *redis)
{
    return wires[redis->fd];
}

static void close_async(wire_t *wire, bool error)
{
    redisAsyncContext *redis = wire->async;
    if (!wire->client_open)
        return;
    wire->closing = true;
    client_closed(wire);
    while (wire->waiting != NULL) {
        command_t *command = wire->waiting;
        wire->waiting = command->next_waiting;
        give_async(wire, command, NULL);
    }
    if (redis->ev.cleanup != NULL)
        redis->ev.cleanup(redis->ev.data);
    if (wire->connected && redis->onDisconnect != NULL)
        redis->onDisconnect(redis, error ? REDIS_ERR : REDIS_OK);
}

static void on_connected(void *context, uint64_t number)
{
    wire_t *wire = context;
    server_t *server = &servers[wire->server];
    (void)number;
    if (!wire->client_open)
        return;
    if (wire->connected)
        return;
    if (server->up && wire->server_open && server->life == wire->server_life) {
        wire->connected = true;
        wire->async->onConnect(wire->async, REDIS_OK);
        return;
    }
    wire->async->errstr = (char *)"Connection refused";
    wire->async->onConnect(wire->async, REDIS_ERR);
    close_async(wire, true);
}

redisAsyncContext *redisAsyncConnectUnix(const char *path)
{
    (void)path;
    wire_t *wire = open_wire();
    redisAsyncContext *redis = world_alloc_zero(sizeof(*redis));
    redis->c.fd = (int)wire->number;
    redis->errstr = (char *)"connection lost";
    wire->async = redis;
    world_after(fault_latency_us(), wire->owner, on_connected, wire, 0);
    return redis;
}

redisAsyncContext *redisAsyncConnect(const char *host, int port)
{
    (void)port;
    return redisAsyncConnectUnix(host);
}

int redisAsyncSetConnectCallback(redisAsyncContext *redis, redisConnectCallback *run_it)
{
    redis->onConnect = run_it;
    return REDIS_OK;
}

int redisAsyncSetDisconnectCallback(redisAsyncContext *redis, redisDisconnectCallback *run_it)
{
    redis->onDisconnect = run_it;
    return REDIS_OK;
}

void redisAsyncFree(redisAsyncContext *redis)
{
    wire_t *wire = wire_of(&redis->c);
    wire->closing = true;
    if (!wire->in_callback)
        close_async(wire, false);
}

int redisAsyncFormattedCommand(redisAsyncContext *redis, redisCallbackFn *done, void *context,
                               const char *text, size_t n)
{
    wire_t *wire = wire_of(&redis->c);
    if (wire->closing)
        return REDIS_ERR;
    command_t *command = send_command(wire, (str_t){text, n});
    command->done = done;
    command->context = context;
    return REDIS_OK;
}

int redisBufferWrite(redisContext *redis, int *done)
{
    (void)redis;
    *done = 1;
    return REDIS_OK;
}

/* Nothing calls what is attached to a descriptor; they are only asked for by gate/redis_link.c. */
void redisAsyncHandleRead(redisAsyncContext *redis)
{
    (void)redis;
}

void redisAsyncHandleWrite(redisAsyncContext *redis)
{
    (void)redis;
}

/* --- blocking: gate/sync_wire.h --- */

redisContext *sync_wire_connect(const config_t *config, const gate_health_t *health)
{
    (void)config;
    (void)health;
    wire_t *wire = open_wire();
    server_t *server = &servers[wire->server];
    redisContext *redis = world_alloc_zero(sizeof(*redis));
    redis->fd = (int)wire->number;
    world_sleep_us(fault_latency_us());
    if (!server->up || server->life != wire->server_life) {
        redis->err = REDIS_ERR_IO;
        wire->client_open = false;
    }
    return redis;
}

void redisFree(redisContext *redis)
{
    wire_t *wire = wire_of(redis);
    if (wire->client_open)
        client_closed(wire);
}

/* Health that turns bad during the wait ends it no sooner: a longer wait is one of a slow machine.
 */
redisReply *sync_wire_call(redisContext *redis, redis_args_t *args, const config_t *config,
                           const gate_health_t *health)
{
    wire_t *wire = wire_of(redis);
    (void)health;
    if (redis->err != 0 || !wire->client_open) {
        redis->err = REDIS_ERR_EOF;
        return NULL;
    }
    wire->answer = NULL;
    wire->coroutine = world_coroutine();
    send_command(wire, redis_args_command(args));
    if (chance(faults.stall)) /* the caller's thread stands still with its call out */
        world_sleep_us(chance_time_us(1000, faults.stall_us));
    wire->blocked = wire->answer == NULL && wire->client_open;
    if (wire->blocked)
        world_wait((uint64_t)config->redis.timeout_ms * 1000);
    wire->blocked = false;
    if (wire->answer == NULL)
        redis->err = REDIS_ERR_IO;
    return wire->answer;
}

void sim_free(void *memory);

void freeReplyObject(void *object)
{
    redisReply *reply = object;
    if (reply == NULL)
        return;
    for (size_t i = 0; i < reply->elements; ++i)
        freeReplyObject(reply->element[i]);
    sim_free(reply->element);
    sim_free(reply->str);
    sim_free(reply);
}
