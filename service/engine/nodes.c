#include "engine/nodes.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/version.h"
#include "engine/engine.h"

/* Fields that one call removes. */
#define FORGET_AT_ONCE 16

typedef struct {
    char incarnation[GATE_OWNER_MAX + 1];
    node_record_t record;
} entry_t;

struct nodes {
    engine_loop_t *engine;
    uint64_t called_ms; /* monotonic; when the last calls were sent; 0: none were */
    uint64_t read_ms;   /* monotonic; when the list was read; 0: it was not */
    unsigned count;
    entry_t entries[NODES_MAX];
};

nodes_t *nodes_new(engine_loop_t *engine)
{
    nodes_t *nodes = alloc_zero(1, sizeof(*nodes));
    nodes->engine = engine;
    return nodes;
}

void nodes_free(nodes_t *nodes)
{
    free(nodes);
}

static uint64_t age_of(const nodes_t *nodes, const node_record_t *record)
{
    uint64_t now_ms = remote_clock_now_ms(&nodes->engine->node->gate_clock);
    return now_ms > record->at_ms ? now_ms - record->at_ms : 0;
}

/* --- writing --- */

static void fill_record(const node_t *node, node_record_t *out)
{
    const char *name = node->config->node.name;
    *out = (node_record_t){.at_ms = remote_clock_now_ms(&node->gate_clock)};
    snprintf(out->version, sizeof(out->version), "%s", holdfast_version);
    snprintf(out->name, sizeof(out->name), "%s", name != NULL ? name : "");
    for (; out->epochs_count < node->map.shards_count && out->epochs_count < NODE_EPOCHS_MAX;
         ++out->epochs_count)
        out->epochs[out->epochs_count] = atomic_load(&node->shards[out->epochs_count].epoch_seen);
}

static void write_record(nodes_t *nodes)
{
    char text[NODE_RECORD_SIZE];
    node_record_t record;
    engine_loop_t *engine = nodes->engine;
    fill_record(engine->node, &record);
    redis_args_begin(&engine->args, "HSET");
    redis_args_add(&engine->args, STR(GATE_NODES_KEY));
    redis_args_add(&engine->args, str_of(engine->node->incarnation));
    redis_args_add(&engine->args, node_record_write(text, &record));
    redis_link_call(engine->gate, &engine->args, NULL, NULL);
}

/* --- reading --- */

static bool is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING;
}

/* False: the field is none of ours, and is left as it is. */
static bool read_entry(const redisReply *name, const redisReply *text, entry_t *out)
{
    if (!is_text(name) || !is_text(text) || name->len == 0 || (size_t)name->len > GATE_OWNER_MAX)
        return false;
    for (size_t i = 0; i < (size_t)name->len; ++i)
        if ((name->str[i] < '0' || name->str[i] > '9') &&
            (name->str[i] < 'a' || name->str[i] > 'f'))
            return false;
    snprintf(out->incarnation, sizeof(out->incarnation), "%.*s", (int)name->len, name->str);
    return node_record_read((str_t){text->str, (size_t)text->len}, &out->record);
}

static void forget(nodes_t *nodes, const redisReply *reply)
{
    redis_args_t *args = &nodes->engine->args;
    unsigned count = 0;
    entry_t entry;
    for (size_t i = 0; i + 1 < reply->elements && count < FORGET_AT_ONCE; i += 2) {
        if (!read_entry(reply->element[i], reply->element[i + 1], &entry) ||
            age_of(nodes, &entry.record) < NODES_FORGET_MS)
            continue;
        if (count++ == 0) {
            redis_args_begin(args, "HDEL");
            redis_args_add(args, STR(GATE_NODES_KEY));
        }
        redis_args_add(args, str_of(entry.incarnation));
    }
    if (count != 0)
        redis_link_call(nodes->engine->gate, args, NULL, NULL);
}

static void on_list(void *context, const redisReply *reply)
{
    nodes_t *nodes = context;
    if (!gate_reply_is_array(reply, 0))
        return;
    nodes->count = 0;
    for (size_t i = 0; i + 1 < reply->elements && nodes->count < NODES_MAX; i += 2)
        if (read_entry(reply->element[i], reply->element[i + 1], &nodes->entries[nodes->count]))
            ++nodes->count;
    nodes->read_ms = clock_mono_ms();
    forget(nodes, reply);
}

void nodes_beat(nodes_t *nodes)
{
    uint64_t now_ms = clock_mono_ms();
    engine_loop_t *engine = nodes->engine;
    if (nodes->called_ms != 0 && now_ms - nodes->called_ms < NODES_INTERVAL_MS)
        return;
    /* Without the clock of Redis a record would be of another time. */
    if (!redis_link_is_up(engine->gate) || !remote_clock_is_observed(&engine->node->gate_clock))
        return;
    nodes->called_ms = now_ms;
    write_record(nodes);
    redis_args_begin(&engine->args, "HGETALL");
    redis_args_add(&engine->args, STR(GATE_NODES_KEY));
    redis_link_call(engine->gate, &engine->args, on_list, nodes);
}

bool nodes_each(const nodes_t *nodes, void (*each)(void *context, const node_seen_t *node),
                void *context, uint64_t *age_ms)
{
    if (nodes->read_ms == 0)
        return false;
    for (unsigned i = 0; i < nodes->count; ++i) {
        const entry_t *entry = &nodes->entries[i];
        each(context, &(node_seen_t){.incarnation = entry->incarnation,
                                     .record = &entry->record,
                                     .heard_ms_ago = age_of(nodes, &entry->record)});
    }
    *age_ms = clock_mono_ms() - nodes->read_ms;
    return true;
}
