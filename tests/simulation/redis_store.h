/*
 * What a Redis server holds, and its commands: keys that are hashes or strings, with a time to
 * live; TYPE, EXISTS, HGET... as in the manual of Redis 7. One command runs whole, as there.
 *
 * Memory is the history's. A copy of a store shares its bytes, which never change. Not modelled:
 * other types, eviction, SCAN, the wire format. A command that is not known ends the program with
 * its name: add it to the table in redis_store.c.
 */
#ifndef HOLDFAST_SIMULATION_REDIS_STORE_H
#define HOLDFAST_SIMULATION_REDIS_STORE_H

#include <hiredis/hiredis.h>

#include "base/str.h"
#include "world.h"

typedef struct {
    str_t name, value;
} redis_field_t;

typedef struct {
    str_t name;
    bool is_string;
    str_t value; /* of a string */
    redis_field_t *fields;
    unsigned count, capacity;
    uint64_t expires_us; /* 0: never */
    uint64_t changed;    /* for WATCH */
} redis_key_t;

typedef struct {
    redis_key_t *keys;
    unsigned count, capacity;
    uint64_t changes;
    char run_id[41], replid[41];
    int64_t clock_ms; /* its clock less the world's */
} redis_store_t;

void redis_store_copy(redis_store_t *to, const redis_store_t *from);
/* NULL: there is none, or its time is over. */
redis_key_t *redis_key_find(redis_store_t *store, str_t name);
void redis_key_delete(redis_store_t *store, str_t name);
str_t redis_field_get(const redis_key_t *key, str_t name); /* STR_NONE: none */
/* Milliseconds since 1970, by its clock. */
uint64_t redis_now_ms(const redis_store_t *store);

/* Never NULL. */
redisReply *redis_command(redis_store_t *store, const str_t *words, unsigned count);

redisReply *redis_reply_int(long long number);
redisReply *redis_reply_text(int type, str_t text);
redisReply *redis_reply_array(size_t count);
redisReply *redis_reply_error(const char *text);

#endif
