#include "redis_store.h"

#include <stdio.h>
#include <stdlib.h>

/* --- replies --- */

static redisReply *new_reply(int type)
{
    redisReply *reply = world_alloc_zero(sizeof(*reply));
    reply->type = type;
    return reply;
}

redisReply *redis_reply_int(long long number)
{
    redisReply *reply = new_reply(REDIS_REPLY_INTEGER);
    reply->integer = number;
    return reply;
}

redisReply *redis_reply_text(int type, str_t text)
{
    redisReply *reply = new_reply(type);
    reply->str = world_copy(text.p, text.n);
    reply->len = text.n;
    return reply;
}

redisReply *redis_reply_array(size_t count)
{
    redisReply *reply = new_reply(REDIS_REPLY_ARRAY);
    reply->elements = count;
    reply->element = world_alloc_zero((count + 1) * sizeof(*reply->element));
    return reply;
}

redisReply *redis_reply_error(const char *text)
{
    return redis_reply_text(REDIS_REPLY_ERROR, str_of(text));
}

static redisReply *status(const char *text)
{
    return redis_reply_text(REDIS_REPLY_STATUS, str_of(text));
}

static redisReply *string_or_nil(str_t text)
{
    return text.p == NULL ? new_reply(REDIS_REPLY_NIL) : redis_reply_text(REDIS_REPLY_STRING, text);
}

/* --- keys and fields --- */

uint64_t redis_now_ms(const redis_store_t *store)
{
    return WORLD_EPOCH_MS + world_now_us() / 1000 + (uint64_t)store->clock_ms;
}

static str_t keep(str_t s)
{
    return (str_t){world_copy(s.p, s.n), s.n};
}

redis_key_t *redis_key_find(redis_store_t *store, str_t name)
{
    for (unsigned i = 0; i < store->count; ++i) {
        redis_key_t *key = &store->keys[i];
        if (str_eq(key->name, name)) {
            if (key->expires_us == 0 || key->expires_us > world_now_us())
                return key;
            redis_key_delete(store, name);
            return NULL;
        }
    }
    return NULL;
}

void redis_key_delete(redis_store_t *store, str_t name)
{
    for (unsigned i = 0; i < store->count; ++i)
        if (str_eq(store->keys[i].name, name)) {
            ++store->changes;
            memmove(&store->keys[i], &store->keys[i + 1],
                    (store->count - i - 1) * sizeof(*store->keys));
            --store->count;
            return;
        }
}

static redis_key_t *add_key(redis_store_t *store, str_t name)
{
    if (store->count == store->capacity) {
        unsigned capacity = store->capacity == 0 ? 16 : store->capacity * 2;
        redis_key_t *keys = world_alloc(capacity * sizeof(*keys));
        if (store->count != 0)
            memcpy(keys, store->keys, store->count * sizeof(*keys));
        store->keys = keys;
        store->capacity = capacity;
    }
    redis_key_t *key = &store->keys[store->count++];
    *key = (redis_key_t){.name = keep(name)};
    return key;
}

static redis_key_t *hash_for_writing(redis_store_t *store, str_t name)
{
    redis_key_t *key = redis_key_find(store, name);
    if (key == NULL)
        key = add_key(store, name);
    key->changed = ++store->changes;
    return key;
}

static redis_field_t *find_field(const redis_key_t *key, str_t name)
{
    for (unsigned i = 0; i < key->count; ++i)
        if (str_eq(key->fields[i].name, name))
            return &key->fields[i];
    return NULL;
}

str_t redis_field_get(const redis_key_t *key, str_t name)
{
    redis_field_t *field = key == NULL ? NULL : find_field(key, name);
    return field == NULL ? STR_NONE : field->value;
}

/* True: it is new. */
static bool set_field(redis_key_t *key, str_t name, str_t value)
{
    redis_field_t *field = find_field(key, name);
    if (field != NULL) {
        field->value = keep(value);
        return false;
    }
    if (key->count == key->capacity) {
        unsigned capacity = key->capacity == 0 ? 8 : key->capacity * 2;
        redis_field_t *fields = world_alloc(capacity * sizeof(*fields));
        if (key->count != 0)
            memcpy(fields, key->fields, key->count * sizeof(*fields));
        key->fields = fields;
        key->capacity = capacity;
    }
    key->fields[key->count++] = (redis_field_t){keep(name), keep(value)};
    return true;
}

void redis_store_copy(redis_store_t *to, const redis_store_t *from)
{
    *to = *from;
    to->capacity = from->count + 4;
    to->keys = world_alloc(to->capacity * sizeof(*to->keys));
    for (unsigned i = 0; i < from->count; ++i) {
        redis_key_t *key = &to->keys[i];
        *key = from->keys[i];
        key->capacity = key->count + 4;
        key->fields = world_alloc(key->capacity * sizeof(*key->fields));
        if (key->count != 0)
            memcpy(key->fields, from->keys[i].fields, key->count * sizeof(*key->fields));
    }
}

/* --- commands --- */

typedef redisReply *run_t(redis_store_t *store, const str_t *words, unsigned count);

static bool to_number(str_t text, long long *out)
{
    char copy[32], *end;
    if (text.n == 0 || text.n >= sizeof(copy))
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    *out = strtoll(copy, &end, 10);
    return *end == '\0';
}

/* A key that is not a hash where one is wanted. */
static bool is_wrong_type(redis_store_t *store, str_t name)
{
    redis_key_t *key = redis_key_find(store, name);
    return key != NULL && key->is_string;
}
#define WRONG_TYPE "WRONGTYPE Operation against a key holding the wrong kind of value"

static redisReply *run_hget(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return string_or_nil(redis_field_get(redis_key_find(store, words[1]), words[2]));
}

static redisReply *run_hexists(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return redis_reply_int(redis_field_get(redis_key_find(store, words[1]), words[2]).p != NULL);
}

static redisReply *run_hmget(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    redisReply *reply = redis_reply_array(count - 2);
    for (unsigned i = 2; i < count; ++i)
        reply->element[i - 2] = string_or_nil(redis_field_get(key, words[i]));
    return reply;
}

static redisReply *run_hset(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = hash_for_writing(store, words[1]);
    long long added = 0;
    for (unsigned i = 2; i + 1 < count; i += 2)
        added += set_field(key, words[i], words[i + 1]);
    return redis_reply_int(added);
}

static redisReply *run_hincrby(redis_store_t *store, const str_t *words, unsigned count)
{
    char text[24];
    long long now = 0, more;
    (void)count;
    redis_key_t *key = hash_for_writing(store, words[1]);
    str_t old = redis_field_get(key, words[2]);
    if ((old.p != NULL && !to_number(old, &now)) || !to_number(words[3], &more))
        return redis_reply_error("ERR hash value is not an integer");
    int n = snprintf(text, sizeof(text), "%lld", now + more);
    set_field(key, words[2], (str_t){text, (size_t)n});
    return redis_reply_int(now + more);
}

static redisReply *run_hdel(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    long long gone = 0;
    for (unsigned i = 2; i < count && key != NULL; ++i) {
        redis_field_t *field = find_field(key, words[i]);
        if (field == NULL)
            continue;
        size_t behind = (size_t)(key->fields + key->count - field - 1);
        memmove(field, field + 1, behind * sizeof(*field));
        --key->count;
        ++gone;
        key->changed = ++store->changes;
    }
    if (key != NULL && key->count == 0)
        redis_key_delete(store, words[1]);
    return redis_reply_int(gone);
}

static redisReply *run_hlen(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    (void)count;
    return redis_reply_int(key == NULL ? 0 : key->count);
}

static redisReply *all_of(redis_store_t *store, str_t name, bool names, bool values)
{
    redis_key_t *key = redis_key_find(store, name);
    unsigned count = key == NULL ? 0 : key->count;
    redisReply *reply = redis_reply_array((size_t)count * (unsigned)(names + values));
    redisReply **at = reply->element;
    for (unsigned i = 0; i < count; ++i) {
        if (names)
            *at++ = redis_reply_text(REDIS_REPLY_STRING, key->fields[i].name);
        if (values)
            *at++ = redis_reply_text(REDIS_REPLY_STRING, key->fields[i].value);
    }
    return reply;
}

static redisReply *run_hgetall(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return all_of(store, words[1], true, true);
}

static redisReply *run_hvals(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return all_of(store, words[1], false, true);
}

static redisReply *run_hkeys(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return all_of(store, words[1], true, false);
}

static redisReply *run_del(redis_store_t *store, const str_t *words, unsigned count)
{
    long long gone = 0;
    for (unsigned i = 1; i < count; ++i) {
        gone += redis_key_find(store, words[i]) != NULL;
        redis_key_delete(store, words[i]);
    }
    return redis_reply_int(gone);
}

static redisReply *run_exists(redis_store_t *store, const str_t *words, unsigned count)
{
    long long there = 0;
    for (unsigned i = 1; i < count; ++i)
        there += redis_key_find(store, words[i]) != NULL;
    return redis_reply_int(there);
}

static redisReply *run_rename(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    if (redis_key_find(store, words[1]) == NULL)
        return redis_reply_error("ERR no such key");
    redis_key_delete(store, words[2]);
    redis_key_t *key = redis_key_find(store, words[1]);
    key->name = keep(words[2]);
    key->changed = ++store->changes;
    return status("OK");
}

static redisReply *expire_in(redis_store_t *store, str_t name, str_t number, uint64_t unit_us)
{
    long long n;
    redis_key_t *key = redis_key_find(store, name);
    if (!to_number(number, &n))
        return redis_reply_error("ERR value is not an integer or out of range");
    if (key != NULL)
        key->expires_us = world_now_us() + (uint64_t)n * unit_us;
    return redis_reply_int(key != NULL);
}

static redisReply *run_expire(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return expire_in(store, words[1], words[2], 1000000);
}

static redisReply *run_pexpire(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)count;
    return expire_in(store, words[1], words[2], 1000);
}

static redisReply *run_persist(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    bool had = key != NULL && key->expires_us != 0;
    (void)count;
    if (had)
        key->expires_us = 0;
    return redis_reply_int(had);
}

static redisReply *run_type(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    (void)count;
    return status(key == NULL ? "none" : key->is_string ? "string" : "hash");
}

static redisReply *run_set(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_delete(store, words[1]);
    redis_key_t *key = add_key(store, words[1]);
    key->is_string = true;
    key->value = keep(words[2]);
    key->changed = ++store->changes;
    if (count == 5 && str_eq(words[3], STR("PX")))
        expire_in(store, words[1], words[4], 1000);
    else if (count != 3)
        world_unknown("form of SET", words[3].p, words[3].n);
    return status("OK");
}

static redisReply *run_get(redis_store_t *store, const str_t *words, unsigned count)
{
    redis_key_t *key = redis_key_find(store, words[1]);
    (void)count;
    return string_or_nil(key == NULL ? STR_NONE : key->value);
}

static redisReply *run_time(redis_store_t *store, const str_t *words, unsigned count)
{
    char text[24];
    uint64_t ms = redis_now_ms(store), parts[2] = {ms / 1000, ms % 1000 * 1000};
    (void)words, (void)count;
    redisReply *reply = redis_reply_array(2);
    for (int i = 0; i < 2; ++i) {
        int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)parts[i]);
        reply->element[i] = redis_reply_text(REDIS_REPLY_STRING, (str_t){text, (size_t)n});
    }
    return reply;
}

static redisReply *run_info(redis_store_t *store, const str_t *words, unsigned count)
{
    char text[256];
    bool all = count < 2;
    int n = 0;
    if (all || str_eq(words[1], STR("server")))
        n += snprintf(text, sizeof(text), "# Server\r\nrun_id:%s\r\n", store->run_id);
    if (all || str_eq(words[1], STR("replication")))
        n += snprintf(text + n, sizeof(text) - (size_t)n,
                      "# Replication\r\nrole:master\r\nmaster_replid:%s\r\n", store->replid);
    if (n == 0)
        world_unknown("section of INFO", words[1].p, words[1].n);
    return redis_reply_text(REDIS_REPLY_STRING, (str_t){text, (size_t)n});
}

static redisReply *run_ping(redis_store_t *store, const str_t *words, unsigned count)
{
    (void)store, (void)words, (void)count;
    return status("PONG");
}

/* name, words at least, whether words[1] must be a hash or absent */
static const struct {
    const char *name;
    unsigned words_min;
    bool of_hash;
    run_t *run;
} commands[] = {
    {"HMGET", 3, true, run_hmget},      {"HSET", 4, true, run_hset},
    {"HINCRBY", 4, true, run_hincrby},  {"TYPE", 2, false, run_type},
    {"TIME", 1, false, run_time},       {"HDEL", 3, true, run_hdel},
    {"HEXISTS", 3, true, run_hexists},  {"HGET", 3, true, run_hget},
    {"HLEN", 2, true, run_hlen},        {"HVALS", 2, true, run_hvals},
    {"HGETALL", 2, true, run_hgetall},  {"HKEYS", 2, true, run_hkeys},
    {"EXISTS", 2, false, run_exists},   {"DEL", 2, false, run_del},
    {"UNLINK", 2, false, run_del},      {"RENAME", 3, false, run_rename},
    {"EXPIRE", 3, false, run_expire},   {"PEXPIRE", 3, false, run_pexpire},
    {"PERSIST", 2, false, run_persist}, {"SET", 3, false, run_set},
    {"GET", 2, false, run_get},         {"INFO", 1, false, run_info},
    {"PING", 1, false, run_ping},
};

redisReply *redis_command(redis_store_t *store, const str_t *words, unsigned count)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); ++i) {
        if (!str_eq(words[0], str_of(commands[i].name)))
            continue;
        if (count < commands[i].words_min)
            return redis_reply_error("ERR wrong number of arguments");
        if (commands[i].of_hash && is_wrong_type(store, words[1]))
            return redis_reply_error(WRONG_TYPE);
        return commands[i].run(store, words, count);
    }
    world_unknown("command of Redis", words[0].p, words[0].n);
}
