/*
 * The state that the threads of one shard share: its pool, its writer, its reconciler, its loader,
 * its housekeeping, and the loops that use them. The node owns it; it is made before any of these
 * threads starts and is freed after the last has ended. Meanwhile nothing in it changes, except
 * members that are atomic or have a lock of their own. Any thread may read it; nothing here blocks
 * or fails.
 */
#ifndef HOLDFAST_WORK_SHARD_H
#define HOLDFAST_WORK_SHARD_H

#include "base/clock.h"
#include "gate/health.h"
#include "work/announcements.h"
#include "work/in_use.h"
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
    remote_clock_t clock; /* of the shard's primary */
    /* the highest epoch that housekeeping has read in the shard; 0: none yet */
    _Atomic uint64_t epoch_seen;
    remote_clock_t *gate_clock; /* of Redis */
    gate_health_t *gate_health; /* of the loops' connections to Redis */
    announcements_t *announcements;
    repair_queue_t repairs;
    /* gates whose tables of buyers the loader is to load, by sku and epoch */
    repair_queue_t loads;
    in_use_t in_use;
    /* number of pool threads that wait for Redis on behalf of a purchase */
    atomic_uint gate_peeks;
    /* orders that the reconciler has taken over and whose purchases have not ended */
    atomic_uint orphans_under_way;
} shard_t;

#endif
