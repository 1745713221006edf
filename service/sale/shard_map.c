#include "sale/shard_map.h"

#include <assert.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void shard_map_init(shard_map_t *map, const config_t *config)
{
    map->shards_count = config->shards_count;
    for (unsigned i = 0; i < config->shards_count; ++i) {
        assert(config->shards[i].slot_last < SLOT_COUNT);
        for (unsigned slot = config->shards[i].slot_first; slot <= config->shards[i].slot_last;
             ++slot)
            map->shard_of_slot[slot] = (uint16_t)i;
    }
}

uint16_t slot_of_sku(str_t sku)
{
    return (uint16_t)(XXH3_64bits(sku.p, sku.n) % SLOT_COUNT);
}

const config_server_t *shard_primary(const config_shard_t *shard)
{
    for (unsigned i = 0; i < shard->servers_count; ++i)
        if (shard->servers[i].status == SERVER_PRIMARY)
            return &shard->servers[i];
    assert(!"the configuration check demands one primary a shard");
    return NULL;
}

const config_shard_t *shard_of_server(const config_t *config, const config_server_t *server)
{
    for (unsigned i = 0; i < config->shards_count; ++i)
        for (unsigned j = 0; j < config->shards[i].servers_count; ++j)
            if (&config->shards[i].servers[j] == server)
                return &config->shards[i];
    assert(!"a server is one of the configuration's shards");
    return NULL;
}
