/*
 * What a process tells the others of itself: its field in the hash GATE_NODES_KEY of Redis. Pure;
 * any thread; nothing blocks.
 */
#ifndef HOLDFAST_ENGINE_NODE_RECORD_H
#define HOLDFAST_ENGINE_NODE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define NODE_NAME_MAX 64
#define NODE_VERSION_MAX 32
/* Shards whose epochs a record has; those of any others are left out. */
#define NODE_EPOCHS_MAX 64

typedef struct {
    uint64_t at_ms; /* when it was written, by the clock of Redis */
    char version[NODE_VERSION_MAX + 1], name[NODE_NAME_MAX + 1]; /* "": it has none */
    /* the highest epoch that the process has read in each shard, in the order of the configuration;
       0: none yet */
    unsigned epochs_count;
    uint64_t epochs[NODE_EPOCHS_MAX];
} node_record_t;

/* The most bytes of the text of a record. */
#define NODE_RECORD_SIZE (NODE_NAME_MAX + NODE_VERSION_MAX + (NODE_EPOCHS_MAX + 1) * 21 + 4)
/* Writes the text, and returns it; it is borrowed from `out` (NODE_RECORD_SIZE bytes). */
str_t node_record_write(char *out, const node_record_t *record);
/* False: the text is no record; `*out` is then not to be used. Fields behind those that are known
   here are ignored: a newer binary may write more. */
bool node_record_read(str_t text, node_record_t *out);

#endif
