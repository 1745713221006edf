/*
 * The map from slots to shards. Pure: no I/O, no clock; nothing blocks.
 *
 * A SKU hashes to one of 1,024 slots; the configuration assigns each slot to a shard. The owner of
 * a map initialises it before any other thread reads it; after that it does not change, and any
 * thread may read it.
 */
#ifndef HOLDFAST_SALE_SHARD_MAP_H
#define HOLDFAST_SALE_SHARD_MAP_H

#include <stdint.h>

#include "base/str.h"
#include "config/config.h"
#include "sale/names.h"

#define SLOT_COUNT 1024

typedef struct {
    uint16_t shard_of_slot[SLOT_COUNT];
    unsigned shards_count;
} shard_map_t;

/* `config` was checked: each slot belongs to exactly one shard. */
void shard_map_init(shard_map_t *map, const config_t *config);
/* XXH3-64 of the SKU, modulo 1,024. It must never change: existing rows are found by it. */
uint16_t slot_of_sku(str_t sku);
/* The index of the owner loop of a slot's items, among `loops_count` loops. */
static inline unsigned loop_of_slot(uint16_t slot, unsigned loops_count)
{
    return slot % loops_count;
}

/* The one server of a shard that takes writes: its primary. */
const config_server_t *shard_primary(const config_shard_t *shard);
/* The shard that `server`, one of config->shards, belongs to. */
const config_shard_t *shard_of_server(const config_t *config, const config_server_t *server);

#endif
