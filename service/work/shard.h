/*
 * What the threads that work for one shard share: its pool, its writer, its reconciler and its
 * housekeeping, and the loops that ask them. Made before any of these threads, and there until the
 * last has ended. Nothing in it changes meanwhile but what is atomic or has a lock of its own.
 */
#ifndef HOLDFAST_WORK_SHARD_H
#define HOLDFAST_WORK_SHARD_H

#include "base/clock.h"
#include "gate/health.h"
#include "work/announcements.h"
#include "work/repair_queue.h"

struct pool;
struct writer;

typedef struct shard {
    const config_t *config;
    unsigned index; /* in config->shards */
    const shard_map_t *map;
    const char *incarnation; /* random, of this process: owns its entries in `unsettled` */
    struct pool *pool;
    struct writer *writer;
    remote_clock_t clock;       /* of the shard's primary */
    remote_clock_t *gate_clock; /* of Redis */
    gate_health_t *gate_health; /* of the loops' connections to Redis */
    announcements_t *announcements;
    repair_queue_t repairs;
    atomic_uint gate_looks; /* pool threads that wait for Redis on a purchase's behalf */
} shard_t;

#endif
