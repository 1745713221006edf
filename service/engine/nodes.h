/*
 * The processes that share the work of this deployment, as they tell each other through Redis: the
 * hash GATE_NODES_KEY has a field for each, with a node_record_t. One loop of a process writes its
 * field and reads all of them every NODES_INTERVAL_MS, beside its heartbeat (engine/heartbeat.h).
 *
 * It is for people: nothing decides by it. Whether a process lives, its heartbeat says. A field
 * that was not written for NODES_FORGET_MS is removed by whoever reads it; a process that goes on
 * then writes it again.
 *
 * On the thread of that loop; nothing blocks. A call that fails is dropped, since the next one
 * repeats it; the age of the list says so.
 */
#ifndef HOLDFAST_ENGINE_NODES_H
#define HOLDFAST_ENGINE_NODES_H

#include "engine/node_record.h"

struct engine_loop;

#define NODES_INTERVAL_MS 2048
#define NODES_FORGET_MS 3600000
/* The most processes that the list has. */
#define NODES_MAX 256

typedef struct nodes nodes_t;

typedef struct {
    const char *incarnation;
    const node_record_t *record;
    uint64_t heard_ms_ago; /* since it wrote its record */
} node_seen_t;

nodes_t *nodes_new(struct engine_loop *engine);
void nodes_free(nodes_t *nodes);
/* Call it at each heartbeat. */
void nodes_beat(nodes_t *nodes);
/* Calls `each` for each process of the list, as it was read last; what it gets is borrowed. Returns
   false if none was read yet; otherwise `*age_ms` is how long ago that was. */
bool nodes_each(const nodes_t *nodes, void (*each)(void *context, const node_seen_t *node),
                void *context, uint64_t *age_ms);

#endif
