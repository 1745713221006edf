#include "gate/gate.h"

#include <stdio.h>
#include <stdlib.h>

problem_t gate_answer_problem(gate_answer_t answer)
{
    switch (answer) {
    case GATE_SOLD_OUT:
        return PROBLEM_SOLD_OUT;
    case GATE_BUYER_LIMIT:
        return PROBLEM_BUYER_LIMIT_EXCEEDED;
    case GATE_NOT_STARTED:
        return PROBLEM_SALE_NOT_STARTED;
    case GATE_ENDED:
        return PROBLEM_SALE_ENDED;
    default:
        return PROBLEM_UNAVAILABLE;
    }
}

void gate_call(redis_args_t *args, const char *function, unsigned keys)
{
    redis_args_begin(args, "FCALL");
    args->name = function;
    redis_args_add(args, str_of(function));
    redis_args_add_u64(args, keys);
}

str_t gate_key(char *out, gate_key_t key, const item_ref_t *item)
{
    static const char *const of_item[] = {
        [GATE_KEY_GATE] = "gate", [GATE_KEY_BUYERS] = "buyers", [GATE_KEY_EARLY] = "early"};
    int n = 0;
    switch (key) {
    case GATE_KEY_GATE:
    case GATE_KEY_BUYERS:
    case GATE_KEY_EARLY:
        n = snprintf(out, GATE_KEY_SIZE, "hf:{%u}:%s:%.*s:%u", item->slot, of_item[key],
                     STR_ARG(sku_str(&item->sku)), item->bucket);
        break;
    case GATE_KEY_UNSETTLED:
        n = snprintf(out, GATE_KEY_SIZE, "hf:{%u}:unsettled", item->slot);
        break;
    case GATE_KEY_KEYS:
        n = snprintf(out, GATE_KEY_SIZE, "hf:{%u}:keys", item->slot);
        break;
    }
    return (str_t){out, (size_t)n};
}

void gate_add_key(redis_args_t *args, gate_key_t key, const item_ref_t *item)
{
    char text[GATE_KEY_SIZE];
    redis_args_add(args, gate_key(text, key, item));
}

void gate_peek(redis_args_t *args, const item_ref_t *item, uint64_t epoch)
{
    static const char *const none[] = {"0", "0", "1", ""}; /* count, deadline, quantity, marks */
    gate_call(args, "holdfast_reserve", 4);
    gate_add_key(args, GATE_KEY_GATE, item);
    gate_add_key(args, GATE_KEY_BUYERS, item);
    gate_add_key(args, GATE_KEY_UNSETTLED, item);
    gate_add_key(args, GATE_KEY_KEYS, item);
    redis_args_add_u64(args, epoch);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); ++i)
        redis_args_add(args, str_of(none[i]));
}

void gate_look(redis_args_t *args, const item_ref_t *const *items, unsigned count)
{
    gate_call(args, "holdfast_look", 2 * count);
    for (unsigned i = 0; i < count; ++i) {
        gate_add_key(args, GATE_KEY_GATE, items[i]);
        gate_add_key(args, GATE_KEY_BUYERS, items[i]);
    }
}

bool gate_look_read(const redisReply *reply, unsigned index, gate_seen_t *out)
{
    size_t part = 3 * (size_t)index;
    if (!gate_reply_is_array(reply, part + 3))
        return false;
    int64_t answer = gate_reply_i64(reply, part), epoch = gate_reply_i64(reply, part + 1);
    *out = (gate_seen_t){.answer = (gate_item_t)answer,
                         .epoch = (uint64_t)epoch,
                         .available = gate_reply_i64(reply, part + 2)};
    return answer >= GATE_ITEM_OK && answer <= GATE_ITEM_FROZEN && epoch >= 0;
}

static str_t next_field(str_t *rest)
{
    const char *end = rest->n == 0 ? NULL : memchr(rest->p, GATE_FIELD_SEPARATOR, rest->n);
    str_t field = {rest->p, end == NULL ? rest->n : (size_t)(end - rest->p)};
    size_t skip = end == NULL ? rest->n : field.n + 1;
    *rest = (str_t){rest->p + skip, rest->n - skip};
    return field;
}

/* Parses digits only, at most `max`. Anything else makes the whole record invalid. */
static uint64_t number_field(str_t *rest, uint64_t max, bool *ok)
{
    str_t field = next_field(rest);
    uint64_t number = 0;
    *ok = *ok && field.n != 0 && field.n <= 20;
    for (size_t i = 0; *ok && i < field.n; ++i) {
        unsigned digit = (unsigned char)field.p[i] - (unsigned)'0';
        *ok = digit <= 9 && number <= (max - digit) / 10;
        number = number * 10 + digit;
    }
    return *ok ? number : 0;
}

bool gate_record_parse(str_t text, gate_record_t *out)
{
    str_t rest = text;
    bool ok = true;
    if (text.n == 0)
        return false;
    out->epoch = number_field(&rest, UINT64_MAX, &ok);
    out->sku = next_field(&rest);
    out->bucket = (uint16_t)number_field(&rest, UINT16_MAX, &ok);
    out->buyer = next_field(&rest);
    out->quantity = (uint32_t)number_field(&rest, UINT32_MAX, &ok);
    out->key = next_field(&rest);
    out->deadline_ms = number_field(&rest, UINT64_MAX, &ok);
    out->owner = next_field(&rest);
    out->digest = number_field(&rest, UINT64_MAX, &ok);
    return ok && rest.n == 0 && out->quantity != 0 && out->sku.n != 0 &&
           out->sku.n <= SKU_BYTES_MAX && out->buyer.n != 0 && out->buyer.n <= BUYER_BYTES_MAX &&
           out->key.n <= KEY_BYTES_MAX && out->owner.n <= GATE_OWNER_MAX;
}

#define SEPARATOR ((str_t){(const char[]){GATE_FIELD_SEPARATOR}, 1})

static void put_field(char **at, str_t field)
{
    str_put(at, SEPARATOR);
    str_put(at, field);
}

static void put_number(char **at, uint64_t number)
{
    str_put(at, SEPARATOR);
    str_put_u64(at, number);
}

str_t gate_record_put(char **at, const gate_record_t *record)
{
    char *begin = *at;
    str_put_u64(at, record->epoch);
    put_field(at, record->sku);
    put_number(at, record->bucket);
    put_field(at, record->buyer);
    put_number(at, record->quantity);
    put_field(at, record->key);
    put_number(at, record->deadline_ms);
    put_field(at, record->owner);
    put_number(at, record->digest);
    return (str_t){begin, (size_t)(*at - begin)};
}

str_t gate_key_field_put(char **at, str_t sku, str_t buyer, str_t key)
{
    char *begin = *at;
    str_put(at, sku);
    put_field(at, buyer);
    put_field(at, key);
    return (str_t){begin, (size_t)(*at - begin)};
}

int64_t gate_reply_number(const redisReply *reply)
{
    int64_t number = 0;
    if (reply->type == REDIS_REPLY_INTEGER)
        number = reply->integer;
    else if (reply->type == REDIS_REPLY_STRING)
        number = strtoll(reply->str, NULL, 10);
    return number > GATE_NUMBER_MAX    ? GATE_NUMBER_MAX
           : number < -GATE_NUMBER_MAX ? -GATE_NUMBER_MAX
                                       : number;
}

int64_t gate_reply_i64(const redisReply *reply, size_t element)
{
    return element < reply->elements ? gate_reply_number(reply->element[element]) : 0;
}

result_t gate_reply_error(const redisReply *reply)
{
    if (reply == NULL || reply->type != REDIS_REPLY_ERROR)
        return RESULT_UNKNOWN;
    return gate_classify((str_t){reply->str, (size_t)reply->len});
}

bool gate_reply_is_array(const redisReply *reply, size_t elements_min)
{
    return reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements >= elements_min;
}

int gate_reply_answer(const redisReply *reply, size_t part, size_t order)
{
    const redisReply *answers =
        gate_reply_is_array(reply, part + GATE_PART_IDS) ? reply->element[part + 3] : NULL;
    if (answers == NULL || answers->type != REDIS_REPLY_STRING || order >= (size_t)answers->len)
        return -1;
    int answer = answers->str[order] - '0';
    return answer >= 0 && answer <= GATE_NOT_LOADED ? answer : -1;
}

size_t gate_reply_next(const redisReply *reply, size_t part)
{
    size_t ids = 0;
    int answer;
    for (size_t i = 0; (answer = gate_reply_answer(reply, part, i)) >= 0; ++i)
        ids += gate_answer_plain(answer) == GATE_FIRST;
    return part + GATE_PART_IDS + ids;
}

str_t gate_owner_key(char *out, str_t incarnation)
{
    int n = snprintf(out, GATE_OWNER_KEY_SIZE, "hf:owner:%.*s", STR_ARG(incarnation));
    return (str_t){out, (size_t)n};
}

/* --- hello --- */

bool gate_auth(redis_args_t *args, const config_t *config)
{
    if (config->redis.password == NULL)
        return false;
    redis_args_begin(args, "AUTH");
    if (config->redis.user != NULL)
        redis_args_add(args, str_of(config->redis.user));
    redis_args_add(args, str_of(config->redis.password));
    return true;
}

#define DEPLOYMENT_KEY "holdfast:deployment"

void gate_hello(redis_args_t *args, bool watches)
{
    gate_call(args, "holdfast_hello", 1);
    redis_args_add(args, STR(DEPLOYMENT_KEY));
    if (watches)
        redis_args_add(args, STR("watch"));
}

void gate_stamp(redis_args_t *args, const deployment_t *deployment)
{
    gate_call(args, "holdfast_stamp", 1);
    redis_args_add(args, STR(DEPLOYMENT_KEY));
    redis_args_add(args, str_of(deployment_name(deployment)));
}

static gate_greeting_t away(char *why, const redisReply *reply, const char *odd)
{
    snprintf(why, GATE_WHY_SIZE, "%s", reply->type == REDIS_REPLY_ERROR ? reply->str : odd);
    return GATE_GREETING_AWAY;
}

static gate_greeting_t compare_stamp(const redisReply *stamp, const char *name, char *why)
{
    str_t text = {stamp->str, (size_t)stamp->len};
    if (str_eq(text, str_of(name)))
        return GATE_GREETING_OK;
    snprintf(why, GATE_WHY_SIZE,
             "this Redis is of deployment '%.*s' (key " DEPLOYMENT_KEY
             "), and the shards are of '%s': correct the configuration, or empty this Redis",
             (int)(text.n < DEPLOYMENT_BYTES_MAX ? text.n : DEPLOYMENT_BYTES_MAX), text.p, name);
    return GATE_GREETING_AWAY;
}

/* The stamp is compared before the version: an older library in the Redis of another deployment
   must not be replaced. */
gate_greeting_t gate_greeting_read(const redisReply *reply, const deployment_t *deployment,
                                   char *why)
{
    why[0] = '\0';
    if (reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "Function not found") != NULL)
        return GATE_GREETING_LOAD;
    if (!gate_reply_is_array(reply, 3) || reply->element[1]->type != REDIS_REPLY_STRING)
        return away(why, reply, "an odd answer to hello");
    const char *name = deployment == NULL ? NULL : deployment_name(deployment);
    const redisReply *stamp = reply->elements > 3 ? reply->element[3] : NULL;
    if (stamp != NULL && stamp->type != REDIS_REPLY_STRING)
        return away(why, stamp, "an odd answer to hello");
    if (name != NULL && stamp != NULL && stamp->len != 0 &&
        compare_stamp(stamp, name, why) != GATE_GREETING_OK)
        return GATE_GREETING_AWAY;
    if (gate_reply_i64(reply, 0) < GATE_LIBRARY_VERSION)
        return GATE_GREETING_LOAD;
    if (deployment == NULL)
        return GATE_GREETING_OK;
    if (name == NULL)
        return away(why, reply, "the deployment is not known yet: no shard has answered");
    return stamp == NULL || stamp->len == 0 ? GATE_GREETING_STAMP : GATE_GREETING_OK;
}

gate_greeting_t gate_stamp_read(const redisReply *reply, const deployment_t *deployment, char *why)
{
    why[0] = '\0';
    return reply->type == REDIS_REPLY_STRING
               ? compare_stamp(reply, deployment_name(deployment), why)
               : away(why, reply, "an odd answer to a stamp");
}
