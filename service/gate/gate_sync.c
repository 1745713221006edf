#include "gate/gate_sync.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/embedded.h"
#include "base/failpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "gate/sync_wire.h"
#include "metrics/metrics.h"

struct gate_sync {
    const config_t *config;
    redisContext *redis; /* NULL: not connected */
    redis_args_t args;
    char error[GATE_WHY_SIZE]; /* of the last call that failed */
    bool error_is_reply;       /* it is an error reply of Redis */
    gate_health_t *health;     /* NULL: no shared health, only this connection */
};

gate_sync_t *gate_sync_new(const config_t *config)
{
    gate_sync_t *gate = alloc_zero(1, sizeof(*gate));
    gate->config = config;
    return gate;
}

const char *gate_sync_error(const gate_sync_t *gate)
{
    return gate->error;
}

bool gate_sync_error_is_reply(const gate_sync_t *gate)
{
    return gate->error_is_reply;
}

/* Keeps the error reply of Redis, or the reason why the connection failed. */
static void keep_error(gate_sync_t *gate, const redisReply *reply)
{
    const char *why = reply == NULL ? "no answer" : "an odd reply";
    gate->error_is_reply = reply != NULL;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        why = reply->str;
    else if (gate->redis != NULL && gate->redis->err != 0)
        why = gate->redis->errstr;
    snprintf(gate->error, sizeof(gate->error), "%s", why);
}

static void disconnect(gate_sync_t *gate)
{
    if (gate->redis != NULL)
        redisFree(gate->redis);
    gate->redis = NULL;
}

void gate_sync_free(gate_sync_t *gate)
{
    if (gate == NULL)
        return;
    disconnect(gate);
    redis_args_free(&gate->args);
    free(gate);
}

void gate_sync_follow(gate_sync_t *gate, gate_health_t *health)
{
    gate->health = health;
}

/* Sends a command and waits. NULL: there is no answer; that was logged. */
static redisReply *call_redis(gate_sync_t *gate, redis_args_t *args)
{
    assert(gate->redis != NULL);
    redisReply *reply = sync_wire_call(gate->redis, args, gate->config, gate->health);
    if (reply == NULL) {
        keep_error(gate, NULL);
        METRIC_INC(redis_lost_total);
        LOG_WARN("Redis does not answer", LOG_STR("call", args->name),
                 LOG_STR("error", gate->error));
    }
    return reply;
}

/* Keeps the error reply of this call, or a text for a malformed answer. */
static void note_refusal(gate_sync_t *gate, const redisReply *reply, const char *call)
{
    keep_error(gate, reply);
    METRIC_INC(redis_refusals_total);
    LOG_WARN("Redis refuses a call", LOG_STR("call", call), LOG_STR("error", gate->error));
}

/* Frees the reply; logs an unexpected one. */
static bool check_reply(gate_sync_t *gate, redisReply *reply, bool expected, const char *call)
{
    if (reply != NULL && !expected)
        note_refusal(gate, reply, call);
    freeReplyObject(reply);
    return expected;
}

static bool authenticate(gate_sync_t *gate)
{
    redis_args_t args = {0};
    if (!gate_auth(&args, gate->config))
        return true;
    redisReply *reply = call_redis(gate, &args);
    redis_args_free(&args);
    return check_reply(gate, reply, reply != NULL && reply->type != REDIS_REPLY_ERROR, "AUTH");
}

static bool load_library(gate_sync_t *gate)
{
    redis_args_t args = {0};
    redis_args_begin(&args, "FUNCTION");
    args.name = "FUNCTION LOAD";
    redis_args_add(&args, STR("LOAD"));
    redis_args_add(&args, STR("REPLACE"));
    redis_args_add(&args, embedded_lua_library());
    redisReply *reply = call_redis(gate, &args);
    redis_args_free(&args);
    return check_reply(gate, reply, reply != NULL && reply->type != REDIS_REPLY_ERROR,
                       "FUNCTION LOAD");
}

/* The reason is in gate->error. */
static void note_unusable(gate_sync_t *gate, const redisReply *reply)
{
    gate->error_is_reply = reply->type == REDIS_REPLY_ERROR;
    METRIC_INC(redis_refusals_total);
    LOG_WARN("Redis is not used", LOG_STR("why", gate->error));
}

static gate_greeting_t call_hello(gate_sync_t *gate)
{
    redis_args_t args = {0};
    gate_greeting_t greeting = GATE_GREETING_AWAY;
    gate_hello(&args, false);
    redisReply *reply = call_redis(gate, &args);
    redis_args_free(&args);
    if (reply != NULL)
        greeting = gate_greeting_read(reply, gate->config->deployment, gate->error);
    if (reply != NULL && greeting == GATE_GREETING_AWAY)
        note_unusable(gate, reply);
    freeReplyObject(reply);
    return greeting;
}

static bool stamp(gate_sync_t *gate)
{
    redis_args_t args = {0};
    gate_stamp(&args, gate->config->deployment);
    redisReply *reply = call_redis(gate, &args);
    redis_args_free(&args);
    bool ok = reply != NULL &&
              gate_stamp_read(reply, gate->config->deployment, gate->error) == GATE_GREETING_OK;
    if (reply != NULL && !ok)
        note_unusable(gate, reply);
    freeReplyObject(reply);
    return ok;
}

/* Greets every new connection, because a Redis that restarted empty has no library and no stamp. */
static bool greet(gate_sync_t *gate)
{
    gate_greeting_t greeting = call_hello(gate);
    if (greeting == GATE_GREETING_LOAD)
        greeting = load_library(gate) ? call_hello(gate) : GATE_GREETING_AWAY;
    return greeting == GATE_GREETING_OK || (greeting == GATE_GREETING_STAMP && stamp(gate));
}

static bool connect_redis(gate_sync_t *gate)
{
    if (gate->redis != NULL && fd_is_spent(gate->redis->fd))
        disconnect(gate); /* avoids the loss of the first call after a restart of Redis */
    if (gate->redis != NULL)
        return true;
    gate->redis = sync_wire_connect(gate->config, gate->health);
    if (gate->redis == NULL || gate->redis->err != 0) {
        keep_error(gate, NULL);
        METRIC_INC(redis_lost_total);
        LOG_WARN("no connection to Redis", LOG_STR("error", gate->error));
        disconnect(gate);
        return false;
    }
    if (!authenticate(gate) || !greet(gate)) {
        disconnect(gate);
        return false;
    }
    return true;
}

result_t gate_sync_connect(gate_sync_t *gate)
{
    return connect_redis(gate) ? RESULT_DONE : RESULT_AWAY;
}

/* The result of an error reply or a malformed answer. Drops the connection: it may lead to a server
   that has lost the library, or is another server now. */
static result_t end_by_error(gate_sync_t *gate, redisReply *reply)
{
    result_t result = gate_reply_error(reply);
    note_refusal(gate, reply, gate->args.name);
    freeReplyObject(reply);
    disconnect(gate);
    return result;
}

/* The expected kind of answer. */
typedef enum { REPLY_ARRAY, REPLY_TEXT_OR_NIL, REPLY_NUMBER } reply_kind_t;

static bool is_of_kind(const redisReply *reply, reply_kind_t kind, size_t elements_min)
{
    switch (kind) {
    case REPLY_ARRAY:
        return gate_reply_is_array(reply, elements_min);
    case REPLY_TEXT_OR_NIL:
        return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_NIL;
    default:
        return reply->type == REDIS_REPLY_INTEGER;
    }
}

/* Sends gate->args. With RESULT_DONE the caller frees `*reply`; else it is NULL. A malformed answer
   is an error, because reading it as an empty list would hide orders. */
static result_t call(gate_sync_t *gate, reply_kind_t kind, size_t elements_min, redisReply **reply)
{
    *reply = NULL;
    if (gate->health != NULL && gate_health_is_hopeless(gate->health)) {
        gate->error_is_reply = false;
        gate_health_reason(gate->health, gate->error);
        return RESULT_AWAY;
    }
    if (!connect_redis(gate))
        return RESULT_AWAY;
    redisReply *answer = call_redis(gate, &gate->args);
    if (answer != NULL && FAILPOINT_FAILS("gate_sync_answer_lost")) {
        freeReplyObject(answer);
        answer = NULL;
    }
    if (answer == NULL) {
        disconnect(gate);
        return RESULT_UNKNOWN;
    }
    if (!is_of_kind(answer, kind, elements_min))
        return end_by_error(gate, answer);
    *reply = answer;
    return RESULT_DONE;
}

static void begin(gate_sync_t *gate, const char *function, unsigned keys)
{
    gate_call(&gate->args, function, keys);
}

static void begin_plain(gate_sync_t *gate, const char *command)
{
    redis_args_begin(&gate->args, command);
}

static void add_key(gate_sync_t *gate, gate_key_t key, const item_ref_t *item)
{
    gate_add_key(&gate->args, key, item);
}

/* The key of the slot's unsettled orders, of which the name of an item is no part. */
static void add_unsettled_key(gate_sync_t *gate, uint16_t slot)
{
    add_key(gate, GATE_KEY_UNSETTLED, &(item_ref_t){.slot = slot});
}

static void add_item(gate_sync_t *gate, const item_ref_t *item)
{
    redis_args_add(&gate->args, sku_str(&item->sku));
    redis_args_add_u64(&gate->args, item->bucket);
}

static void add_ids(gate_sync_t *gate, const order_id_t *ids, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        redis_args_add(&gate->args, (str_t){(const char *)ids[i].bytes, sizeof(ids[i].bytes)});
}

static void copy_setting(const redisReply *reply, const char *name, char out[GATE_SETTING_SIZE])
{
    out[0] = '\0';
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            reply->element[i + 1]->type == REDIS_REPLY_STRING &&
            strcmp(reply->element[i]->str, name) == 0)
            snprintf(out, GATE_SETTING_SIZE, "%s", reply->element[i + 1]->str);
}

result_t gate_sync_settings(gate_sync_t *gate, gate_settings_t *out)
{
    redisReply *reply;
    begin_plain(gate, "CONFIG");
    redis_args_add(&gate->args, STR("GET"));
    redis_args_add(&gate->args, STR("*append*"));
    redis_args_add(&gate->args, STR("maxmemory-policy"));
    result_t result = call(gate, REPLY_ARRAY, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    copy_setting(reply, "appendonly", out->appendonly);
    copy_setting(reply, "appendfsync", out->appendfsync);
    copy_setting(reply, "no-appendfsync-on-rewrite", out->no_appendfsync_on_rewrite);
    copy_setting(reply, "maxmemory-policy", out->maxmemory_policy);
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_peek(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                        gate_item_t *answer, uint64_t *gate_epoch)
{
    redisReply *reply;
    gate_peek(&gate->args, item, epoch);
    result_t result = call(gate, REPLY_ARRAY, 2, &reply);
    if (result != RESULT_DONE)
        return result;
    *answer = (gate_item_t)gate_reply_i64(reply, 0);
    *gate_epoch = (uint64_t)gate_reply_i64(reply, 1);
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_inspect(gate_sync_t *gate, const item_ref_t *item, gate_state_t *out)
{
    redisReply *reply;
    begin(gate, "holdfast_inspect", 3);
    add_key(gate, GATE_KEY_GATE, item);
    add_key(gate, GATE_KEY_BUYERS, item);
    add_key(gate, GATE_KEY_UNSETTLED, item);
    add_item(gate, item);
    result_t result = call(gate, REPLY_ARRAY, 18, &reply);
    if (result != RESULT_DONE)
        return result;
    *out = (gate_state_t){.answer = (gate_item_t)gate_reply_i64(reply, 0),
                          .epoch = (uint64_t)gate_reply_i64(reply, 1),
                          .closed = gate_reply_i64(reply, 2) != 0,
                          .capacity = gate_reply_i64(reply, 3),
                          .reserved = gate_reply_i64(reply, 4),
                          .unreserved = gate_reply_i64(reply, 5),
                          .settled = gate_reply_i64(reply, 6),
                          .released = gate_reply_i64(reply, 7),
                          .unsettled_units = gate_reply_i64(reply, 8),
                          .held_orders = gate_reply_i64(reply, 9),
                          .now_ms = (uint64_t)gate_reply_i64(reply, 10),
                          .per_buyer_limit = (uint64_t)gate_reply_i64(reply, 11),
                          .starts_at_ms = (uint64_t)gate_reply_i64(reply, 12),
                          .ends_at_ms = (uint64_t)gate_reply_i64(reply, 13),
                          .frozen_until_ms = (uint64_t)gate_reply_i64(reply, 14),
                          .known_buyers = gate_reply_i64(reply, 15),
                          .buyers = gate_reply_i64(reply, 16),
                          .loading_until_ms = (uint64_t)gate_reply_i64(reply, 17)};
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_unsettled_ids(gate_sync_t *gate, const item_ref_t *item, order_id_t **ids,
                                 size_t *count)
{
    redisReply *reply;
    *ids = NULL;
    *count = 0;
    begin(gate, "holdfast_unsettled_ids", 1);
    add_key(gate, GATE_KEY_UNSETTLED, item);
    add_item(gate, item);
    result_t result = call(gate, REPLY_ARRAY, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    *ids = alloc_zero(reply->elements + 1, sizeof(**ids));
    for (size_t i = 0; i < reply->elements; ++i)
        if (reply->element[i]->len == sizeof(order_id_t))
            memcpy((*ids)[(*count)++].bytes, reply->element[i]->str, sizeof(order_id_t));
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_unsettled_buyers(gate_sync_t *gate, const item_ref_t *item,
                                    void (*each)(void *context, str_t buyer), void *context)
{
    redisReply *reply;
    begin(gate, "holdfast_unsettled_buyers", 1);
    add_key(gate, GATE_KEY_UNSETTLED, item);
    add_item(gate, item);
    result_t result = call(gate, REPLY_ARRAY, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    for (size_t i = 0; i < reply->elements; ++i)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            (size_t)reply->element[i]->len <= BUYER_BYTES_MAX)
            each(context, (str_t){reply->element[i]->str, (size_t)reply->element[i]->len});
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_unsettled_get(gate_sync_t *gate, const order_id_t *id, gate_record_t *record,
                                 char **text, bool *found)
{
    redisReply *reply;
    *text = NULL;
    *found = false;
    begin_plain(gate, "HGET");
    add_unsettled_key(gate, order_id_slot(id));
    add_ids(gate, id, 1);
    result_t result = call(gate, REPLY_TEXT_OR_NIL, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    if (reply->type == REDIS_REPLY_STRING) {
        size_t n = (size_t)reply->len;
        *text = alloc_copy(reply->str, n);
        *found = gate_record_parse((str_t){*text, n}, record);
    }
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_any_unsettled(gate_sync_t *gate, const uint16_t *slots, unsigned count,
                                 bool *any)
{
    redisReply *reply;
    begin_plain(gate, "EXISTS");
    for (unsigned i = 0; i < count; ++i)
        add_unsettled_key(gate, slots[i]);
    result_t result = call(gate, REPLY_NUMBER, 0, &reply);
    if (result == RESULT_DONE)
        *any = reply->integer != 0;
    freeReplyObject(reply);
    return result;
}

result_t gate_sync_owners(gate_sync_t *gate, uint16_t slot, gate_owner_t *owners, unsigned max,
                          unsigned *count)
{
    redisReply *reply;
    *count = 0;
    begin(gate, "holdfast_owners", 1);
    add_unsettled_key(gate, slot);
    result_t result = call(gate, REPLY_ARRAY, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    for (size_t i = 0; i < reply->elements && *count < max; ++i) {
        const redisReply *name = reply->element[i];
        if (name->type != REDIS_REPLY_STRING || (size_t)name->len > GATE_OWNER_MAX)
            continue;
        gate_owner_t *owner = &owners[(*count)++];
        memcpy(owner->bytes, name->str, (size_t)name->len);
        owner->length = (uint8_t)name->len;
    }
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_is_alive(gate_sync_t *gate, const gate_owner_t *owner, bool *alive)
{
    redisReply *reply;
    char key[GATE_OWNER_KEY_SIZE];
    begin_plain(gate, "EXISTS");
    redis_args_add(&gate->args, gate_owner_key(key, (str_t){owner->bytes, owner->length}));
    result_t result = call(gate, REPLY_NUMBER, 0, &reply);
    if (result == RESULT_DONE)
        *alive = reply->integer != 0;
    freeReplyObject(reply);
    return result;
}

static void each_record(const redisReply *reply,
                        void (*each)(void *context, const order_id_t *id,
                                     const gate_record_t *record),
                        void *context)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *id = reply->element[i], *text = reply->element[i + 1];
        order_id_t order_id;
        gate_record_t record;
        if (id->len != sizeof(order_id.bytes) ||
            !gate_record_parse((str_t){text->str, (size_t)text->len}, &record)) {
            each(context, NULL, NULL);
            continue;
        }
        memcpy(order_id.bytes, id->str, sizeof(order_id.bytes));
        each(context, &order_id, &record);
    }
}

result_t gate_sync_orphans(
    gate_sync_t *gate, uint16_t slot, const gate_owner_t *gone, unsigned gone_count, unsigned max,
    void (*each)(void *context, const order_id_t *id, const gate_record_t *record), void *context)
{
    redisReply *reply;
    begin(gate, "holdfast_orphans", 1);
    add_unsettled_key(gate, slot);
    redis_args_add_u64(&gate->args, max);
    for (unsigned i = 0; i < gone_count; ++i)
        redis_args_add(&gate->args, (str_t){gone[i].bytes, gone[i].length});
    result_t result = call(gate, REPLY_ARRAY, 0, &reply);
    if (result == RESULT_DONE)
        each_record(reply, each, context);
    freeReplyObject(reply);
    return result;
}

result_t gate_sync_release(gate_sync_t *gate, const release_t *releases, unsigned count,
                           gate_release_t *out)
{
    redisReply *reply;
    const item_ref_t *item = &releases[0].item;
    begin(gate, "holdfast_release", 3);
    add_key(gate, GATE_KEY_GATE, item);
    add_key(gate, GATE_KEY_BUYERS, item);
    add_key(gate, GATE_KEY_EARLY, item);
    redis_args_add_u64(&gate->args, releases[0].epoch);
    for (unsigned i = 0; i < count; ++i) {
        /* The call carries one epoch for all releases: a release of another epoch would free units
           of this one. */
        assert(releases[i].epoch == releases[0].epoch);
        assert(str_eq(sku_str(&item->sku), sku_str(&releases[i].item.sku)));
        redis_args_add(&gate->args, buyer_str(&releases[i].buyer));
        redis_args_add_u64(&gate->args, releases[i].quantity);
        redis_args_add_u64(&gate->args, releases[i].sequence);
    }
    result_t result = call(gate, REPLY_TEXT_OR_NIL, 0, &reply);
    if (result != RESULT_DONE)
        return result;
    str_t word = {reply->str, (size_t)reply->len};
    *out = str_eq(word, STR("done"))    ? GATE_RELEASE_DONE
           : str_eq(word, STR("newer")) ? GATE_RELEASE_NEWER
                                        : GATE_RELEASE_LATER;
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_freeze(gate_sync_t *gate, const item_ref_t *item, uint32_t ms,
                          int64_t *unsettled, uint64_t *epoch, uint64_t *until_ms)
{
    redisReply *reply;
    begin(gate, "holdfast_freeze", 1);
    add_key(gate, GATE_KEY_GATE, item);
    redis_args_add_u64(&gate->args, ms);
    result_t result = call(gate, REPLY_ARRAY, 3, &reply);
    if (result != RESULT_DONE)
        return result;
    *unsettled = gate_reply_i64(reply, 0);
    *epoch = (uint64_t)gate_reply_i64(reply, 1);
    *until_ms = (uint64_t)gate_reply_i64(reply, 2);
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_frozen(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch, uint32_t ms,
                          uint64_t *until_ms, bool *frozen, int64_t *unsettled)
{
    redisReply *reply;
    begin(gate, "holdfast_frozen", 1);
    add_key(gate, GATE_KEY_GATE, item);
    redis_args_add_u64(&gate->args, epoch);
    redis_args_add_u64(&gate->args, *until_ms);
    redis_args_add_u64(&gate->args, ms);
    result_t result = call(gate, REPLY_ARRAY, 3, &reply);
    if (result != RESULT_DONE)
        return result;
    *frozen = gate_reply_i64(reply, 0) != 0;
    *unsettled = gate_reply_i64(reply, 1);
    *until_ms = (uint64_t)gate_reply_i64(reply, 2);
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_thaw(gate_sync_t *gate, const item_ref_t *item, uint64_t until_ms)
{
    redisReply *reply;
    begin(gate, "holdfast_thaw", 1);
    add_key(gate, GATE_KEY_GATE, item);
    redis_args_add_u64(&gate->args, until_ms);
    result_t result = call(gate, REPLY_NUMBER, 0, &reply);
    freeReplyObject(reply);
    return result;
}

/* The staging key contains the epoch, so that two concurrent rebuilds never mix their tables. */
static void add_staging_key(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch)
{
    char text[GATE_KEY_SIZE + 32];
    str_t buyers = gate_key(text, GATE_KEY_BUYERS, item);
    int more =
        snprintf(text + buyers.n, sizeof(text) - buyers.n, ":%llu", (unsigned long long)epoch);
    redis_args_add(&gate->args, (str_t){text, buyers.n + (size_t)more});
}

/* A value of `buyers`. */
static void add_value(gate_sync_t *gate, int64_t units, uint64_t sequence)
{
    char text[2 * U64_DIGITS_MAX + 2], *at = text;
    assert(units >= 0);
    str_put_u64(&at, (uint64_t)units);
    if (sequence != 0) {
        str_put(&at, STR("@"));
        str_put_u64(&at, sequence);
    }
    redis_args_add(&gate->args, (str_t){text, (size_t)(at - text)});
}

result_t gate_sync_stage(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                         const gate_buyers_t *part)
{
    redisReply *reply;
    begin(gate, "holdfast_stage", 1);
    add_staging_key(gate, item, epoch);
    for (size_t i = 0; i < part->count; ++i) {
        redis_args_add(&gate->args, part->buyers[i]);
        add_value(gate, part->units[i], part->sequence);
    }
    result_t result = call(gate, REPLY_NUMBER, 0, &reply);
    freeReplyObject(reply);
    return result;
}

static str_t word_of(const redisReply *reply, size_t element)
{
    const redisReply *word = reply->element[element];
    return word->type == REDIS_REPLY_STRING ? (str_t){word->str, (size_t)word->len} : STR_NONE;
}

result_t gate_sync_load(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                        const gate_buyers_t *part, uint32_t loader_ms, bool last, gate_load_t *out,
                        bool *has_loader)
{
    redisReply *reply;
    begin(gate, "holdfast_load", 3);
    add_key(gate, GATE_KEY_GATE, item);
    add_key(gate, GATE_KEY_BUYERS, item);
    add_key(gate, GATE_KEY_EARLY, item);
    redis_args_add_u64(&gate->args, epoch);
    redis_args_add_u64(&gate->args, part->sequence);
    redis_args_add_u64(&gate->args, loader_ms);
    redis_args_add_u64(&gate->args, last ? 1 : 0);
    for (size_t i = 0; i < part->count; ++i) {
        redis_args_add(&gate->args, part->buyers[i]);
        redis_args_add_i64(&gate->args, part->units[i]);
    }
    result_t result = call(gate, REPLY_ARRAY, 2, &reply);
    if (result != RESULT_DONE)
        return result;
    *out = str_eq(word_of(reply, 0), STR("done"))    ? GATE_LOADED
           : str_eq(word_of(reply, 0), STR("whole")) ? GATE_LOAD_WHOLE
                                                     : GATE_LOAD_STALE;
    *has_loader = gate_reply_i64(reply, 1) != 0;
    freeReplyObject(reply);
    return RESULT_DONE;
}

/* The words about the new epoch with which each change of a gate begins. */
static void add_terms(gate_sync_t *gate, const item_ref_t *item, const gate_rebuild_t *rebuild)
{
    redis_args_add_u64(&gate->args, rebuild->epoch);
    add_item(gate, item);
    redis_args_add_i64(&gate->args, rebuild->capacity);
    redis_args_add_u64(&gate->args, rebuild->terms->per_buyer_limit);
    redis_args_add_u64(&gate->args, rebuild->terms->starts_at_ms);
    redis_args_add_u64(&gate->args, rebuild->terms->ends_at_ms);
}

static void add_item_keys(gate_sync_t *gate, const item_ref_t *item)
{
    add_key(gate, GATE_KEY_GATE, item);
    add_key(gate, GATE_KEY_BUYERS, item);
    add_key(gate, GATE_KEY_UNSETTLED, item);
    add_key(gate, GATE_KEY_KEYS, item);
    add_key(gate, GATE_KEY_EARLY, item);
}

static gate_renewed_t renewed_of(const redisReply *reply)
{
    str_t word = word_of(reply, 0);
    if (str_eq(word, STR("done")))
        return gate_reply_i64(reply, 3) != 0 ? GATE_RENEWED : GATE_RENEWED_LOADING;
    return str_eq(word, STR("old"))     ? GATE_RENEW_OLD
           : str_eq(word, STR("later")) ? GATE_RENEW_LATER
                                        : GATE_RENEW_UNFIT;
}

result_t gate_sync_renew(gate_sync_t *gate, const item_ref_t *item, const gate_rebuild_t *rebuild,
                         gate_renewed_t *out)
{
    redisReply *reply;
    assert(!rebuild->closed && rebuild->rejected_count <= rebuild->in_mysql_count);
    begin(gate, "holdfast_renew", 5);
    add_item_keys(gate, item);
    add_terms(gate, item, rebuild);
    redis_args_add_u64(&gate->args, rebuild->previous_epoch);
    redis_args_add_i64(&gate->args, rebuild->released);
    redis_args_add_i64(&gate->args, rebuild->committed);
    redis_args_add_u64(&gate->args, rebuild->in_mysql_count - rebuild->rejected_count);
    add_ids(gate, rebuild->in_mysql, rebuild->in_mysql_count);
    result_t result = call(gate, REPLY_ARRAY, 4, &reply);
    if (result == RESULT_DONE)
        *out = renewed_of(reply);
    freeReplyObject(reply);
    return result;
}

result_t gate_sync_rebuild(gate_sync_t *gate, const item_ref_t *item, const gate_rebuild_t *rebuild,
                           gate_rebuilt_t *out)
{
    redisReply *reply;
    assert(!rebuild->closed || rebuild->staged_buyers == 0); /* a closed gate admits no order */
    assert(rebuild->in_mysql_count == 0 || rebuild->in_mysql != NULL);
    begin(gate, "holdfast_rebuild", 6);
    add_item_keys(gate, item);
    add_staging_key(gate, item, rebuild->epoch);
    add_terms(gate, item, rebuild);
    redis_args_add_u64(&gate->args, rebuild->closed ? 1 : 0);
    redis_args_add_u64(&gate->args, rebuild->staged_buyers);
    redis_args_add_i64(&gate->args, rebuild->staged_units);
    redis_args_add_u64(&gate->args, rebuild->whole ? 1 : 0);
    redis_args_add_u64(&gate->args, rebuild->previous_epoch);
    add_ids(gate, rebuild->in_mysql, rebuild->in_mysql_count);
    result_t result = call(gate, REPLY_ARRAY, 1, &reply);
    if (result != RESULT_DONE)
        return result;
    *out = str_eq(word_of(reply, 0), STR("done"))  ? GATE_REBUILT
           : str_eq(word_of(reply, 0), STR("old")) ? GATE_REBUILD_OLD
                                                   : GATE_REBUILD_STAGING;
    freeReplyObject(reply);
    return RESULT_DONE;
}

result_t gate_sync_forget(gate_sync_t *gate, const item_ref_t *item)
{
    redisReply *reply;
    begin(gate, "holdfast_forget", 3);
    add_key(gate, GATE_KEY_GATE, item);
    add_key(gate, GATE_KEY_BUYERS, item);
    add_key(gate, GATE_KEY_EARLY, item);
    result_t result = call(gate, REPLY_NUMBER, 0, &reply);
    freeReplyObject(reply);
    return result;
}
