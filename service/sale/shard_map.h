/*
 * Which shard holds what. Pure: no I/O, no clock.
 *
 * A sku hashes to one of 1,024 slots; the configuration sends each slot to a shard. The map is
 * immutable for the life of the process and may be read from any thread.
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

/* `config` was checked: each slot is held exactly once. */
void shard_map_init(shard_map_t *map, const config_t *config);
/* XXH3-64 of the sku, modulo 1,024. Fixed for ever: it is where the data is. */
uint16_t slot_of_sku(str_t sku);
/* The one of a process's loops that has the purchases of a slot's items. */
static inline unsigned loop_of_slot(uint16_t slot, unsigned loops_count)
{
    return slot % loops_count;
}

/* The server of a shard that takes writes: its one primary. */
const config_server_t *shard_primary(const config_shard_t *shard);
/* The shard that `server`, one of config->shards, belongs to. */
const config_shard_t *shard_of_server(const config_t *config, const config_server_t *server);

#endif
