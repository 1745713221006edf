#include "config/check.h"

/* ---- names ---- */

static const char *name_of(const place_t *element)
{
    return *(char **)place_below(element, STR("name"))->data;
}

/* The name of no two elements is the same. */
static void check_names(const place_t *list)
{
    for (size_t i = 0; i < list->below_count; i++) {
        const char *name = name_of(&list->below[i]);
        for (size_t j = 0; name != NULL && j < i; j++) {
            const char *other = name_of(&list->below[j]);
            if (other == NULL || strcmp(name, other) != 0)
                continue;
            complain(place_below(&list->below[i], STR("name")),
                     "'%s' is the name of %s[%zu] already", name, list->section->name, j);
            break;
        }
    }
}

/* ---- slots ---- */

/* Which shard holds each slot, counted from 1; 0: none yet. */
typedef unsigned slot_owners_t[CONFIG_SLOT_COUNT];

static unsigned run_end(const slot_owners_t owners, unsigned first, unsigned last)
{
    unsigned end = first;
    while (end < last && owners[end + 1] == owners[first])
        end++;
    return end;
}

static void claim_slots(const config_t *config, unsigned shard, slot_owners_t owners,
                        place_t *place)
{
    unsigned last = config->shards[shard].slot_last;
    for (unsigned first = config->shards[shard].slot_first, end; first <= last; first = end + 1) {
        end = run_end(owners, first, last);
        if (owners[first] != 0) {
            const char *other = config->shards[owners[first] - 1].name;
            complain(place, "the slots %u-%u are held by shards[%u] too ('%s')", first, end,
                     owners[first] - 1, other == NULL ? "" : other);
            continue;
        }
        for (unsigned slot = first; slot <= end; slot++)
            owners[slot] = shard + 1;
    }
}

static void check_slots(const config_t *config, place_t *shards)
{
    slot_owners_t owners = {0};
    bool all_known = true;
    for (unsigned i = 0; i < config->shards_count; i++) {
        place_t *slots = place_below(&shards->below[i], STR("slots"));
        if (place_is_known(slots))
            claim_slots(config, i, owners, slots);
        else
            all_known = false;
    }
    unsigned last = CONFIG_SLOT_COUNT - 1;
    for (unsigned first = 0, end; all_known && first <= last; first = end + 1) {
        end = run_end(owners, first, last);
        if (owners[first] == 0)
            complain(shards, "no shard holds the slots %u-%u", first, end);
    }
}

/* ---- servers ---- */

static bool is_same_server(const config_server_t *a, const config_server_t *b)
{
    if (a->socket != NULL || b->socket != NULL)
        return a->socket != NULL && b->socket != NULL && strcmp(a->socket, b->socket) == 0;
    return a->host != NULL && b->host != NULL && strcmp(a->host, b->host) == 0 &&
           a->port == b->port;
}

/* A server that stands in two places would be counted, and fail over, twice. */
static void check_twin(const config_t *config, unsigned shard, unsigned server, place_t *place)
{
    const config_server_t *mine = &config->shards[shard].servers[server];
    for (unsigned i = 0; i <= shard; i++) {
        unsigned count = i == shard ? server : config->shards[i].servers_count;
        for (unsigned j = 0; j < count; j++) {
            if (!is_same_server(mine, &config->shards[i].servers[j]))
                continue;
            complain(place, "is the same server as shards[%u].servers[%u]", i, j);
            return;
        }
    }
}

static void check_mode(const config_server_t *server, const place_t *place)
{
    place_t *mode = place_below(place, STR("mode"));
    if (!place_is_known(place_below(place, STR("status"))) || !place_is_known(mode))
        return;
    if (server->status == SERVER_PRIMARY && server->mode != SERVER_READ_WRITE)
        complain(mode, "must be read-write, because the server is the primary");
    if (server->status != SERVER_PRIMARY && server->mode == SERVER_READ_WRITE)
        complain(mode, "must not be read-write, because the server is not the primary");
}

static void check_primary(const config_shard_t *shard, place_t *servers)
{
    unsigned primaries = 0, first = 0;
    bool all_known = true;
    for (unsigned i = 0; i < shard->servers_count; i++) {
        place_t *status = place_below(&servers->below[i], STR("status"));
        if (!place_is_known(status))
            all_known = false;
        else if (shard->servers[i].status == SERVER_PRIMARY && primaries++ == 0)
            first = i;
        else if (shard->servers[i].status == SERVER_PRIMARY)
            complain(status, "makes a second primary beside servers[%u]; give one", first);
    }
    if (primaries == 0 && all_known)
        complain(servers, "has no primary; give one server the status primary");
}

static void check_servers(const config_t *config, unsigned shard, place_t *servers)
{
    if (!place_is_known(servers))
        return;
    check_names(servers);
    for (unsigned i = 0; i < config->shards[shard].servers_count; i++) {
        check_mode(&config->shards[shard].servers[i], &servers->below[i]);
        check_twin(config, shard, i, &servers->below[i]);
    }
    check_primary(&config->shards[shard], servers);
}

/* ---- shards ---- */

void check_shards(const config_t *config, place_t *shards)
{
    if (!place_is_known(shards))
        return;
    if (config->shards_count == 0) {
        complain(shards, "is missing; give at least one shard, with the slots 0-%u",
                 CONFIG_SLOT_COUNT - 1);
        return;
    }
    check_names(shards);
    for (unsigned i = 0; i < config->shards_count; i++)
        check_servers(config, i, place_below(&shards->below[i], STR("servers")));
    check_slots(config, shards);
}
