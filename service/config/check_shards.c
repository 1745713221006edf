#include <string.h>

#include "config/check.h"

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
                        const char *path, complaints_t *complaints)
{
    unsigned last = config->shards[shard].slot_last;
    for (unsigned first = config->shards[shard].slot_first, end; first <= last; first = end + 1) {
        end = run_end(owners, first, last);
        if (owners[first] != 0) {
            const char *other = config->shards[owners[first] - 1].name;
            complain(complaints, path, "the slots %u-%u are held by shards[%u] too ('%s')", first,
                     end, owners[first] - 1, other == NULL ? "" : other);
            continue;
        }
        for (unsigned slot = first; slot <= end; slot++)
            owners[slot] = shard + 1;
    }
}

static void check_slots(const config_t *config, complaints_t *complaints)
{
    slot_owners_t owners = {0};
    bool all_known = true;
    for (unsigned i = 0; i < config->shards_count; i++) {
        char shard[PATH_SIZE], path[PATH_SIZE];
        path_of_element(shard, "shards", i);
        path_of_key(path, shard, "slots");
        if (place_is_sound(complaints, path))
            claim_slots(config, i, owners, path, complaints);
        else
            all_known = false;
    }
    unsigned last = CONFIG_SLOT_COUNT - 1;
    for (unsigned first = 0, end; all_known && first <= last; first = end + 1) {
        end = run_end(owners, first, last);
        if (owners[first] == 0)
            complain(complaints, "shards", "no shard holds the slots %u-%u", first, end);
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
static void check_twin(const config_t *config, unsigned shard, unsigned server, const char *path,
                       complaints_t *complaints)
{
    const config_server_t *mine = &config->shards[shard].servers[server];
    for (unsigned i = 0; i <= shard; i++) {
        unsigned count = i == shard ? server : config->shards[i].servers_count;
        for (unsigned j = 0; j < count; j++) {
            if (!is_same_server(mine, &config->shards[i].servers[j]))
                continue;
            complain(complaints, path, "is the same server as shards[%u].servers[%u]", i, j);
            return;
        }
    }
}

static void check_mode(const config_server_t *server, const char *path, complaints_t *complaints)
{
    char status[PATH_SIZE], mode[PATH_SIZE];
    path_of_key(status, path, "status");
    path_of_key(mode, path, "mode");
    if (!place_is_sound(complaints, status) || !place_is_sound(complaints, mode))
        return;
    if (server->status == SERVER_PRIMARY && server->mode != SERVER_READ_WRITE)
        complain(complaints, mode, "must be read-write, because the server is the primary");
    if (server->status != SERVER_PRIMARY && server->mode == SERVER_READ_WRITE)
        complain(complaints, mode, "must not be read-write, because the server is not the primary");
}

static void check_server_name(const config_shard_t *shard, unsigned server, const char *path,
                              complaints_t *complaints)
{
    const char *name = shard->servers[server].name;
    char name_path[PATH_SIZE];
    path_of_key(name_path, path, "name");
    for (unsigned i = 0; name != NULL && i < server; i++) {
        const char *other = shard->servers[i].name;
        if (other != NULL && strcmp(other, name) == 0) {
            complain(complaints, name_path, "'%s' is the name of servers[%u] already", name, i);
            return;
        }
    }
}

static void check_primary(const config_shard_t *shard, const char *path, complaints_t *complaints)
{
    unsigned primaries = 0, first = 0;
    bool all_known = true;
    for (unsigned i = 0; i < shard->servers_count; i++) {
        char server[PATH_SIZE], status[PATH_SIZE];
        path_of_element(server, path, i);
        path_of_key(status, server, "status");
        if (!place_is_sound(complaints, status))
            all_known = false;
        else if (shard->servers[i].status == SERVER_PRIMARY && primaries++ == 0)
            first = i;
        else if (shard->servers[i].status == SERVER_PRIMARY)
            complain(complaints, status, "makes a second primary beside servers[%u]; give one",
                     first);
    }
    if (primaries == 0 && all_known)
        complain(complaints, path, "has no primary; give one server the status primary");
}

static void check_servers(const config_t *config, unsigned shard, complaints_t *complaints)
{
    char shard_path[PATH_SIZE], path[PATH_SIZE];
    path_of_element(shard_path, "shards", shard);
    path_of_key(path, shard_path, "servers");
    if (!place_is_sound(complaints, path))
        return;
    for (unsigned i = 0; i < config->shards[shard].servers_count; i++) {
        char server[PATH_SIZE];
        path_of_element(server, path, i);
        check_server_name(&config->shards[shard], i, server, complaints);
        check_mode(&config->shards[shard].servers[i], server, complaints);
        check_twin(config, shard, i, server, complaints);
    }
    check_primary(&config->shards[shard], path, complaints);
}

/* ---- shards ---- */

static void check_shard_name(const config_t *config, unsigned shard, complaints_t *complaints)
{
    const char *name = config->shards[shard].name;
    char path[PATH_SIZE], name_path[PATH_SIZE];
    path_of_element(path, "shards", shard);
    path_of_key(name_path, path, "name");
    for (unsigned i = 0; name != NULL && i < shard; i++) {
        const char *other = config->shards[i].name;
        if (other != NULL && strcmp(other, name) == 0) {
            complain(complaints, name_path, "'%s' is the name of shards[%u] already", name, i);
            return;
        }
    }
}

void check_shards(const config_t *config, complaints_t *complaints)
{
    if (!place_is_sound(complaints, "shards"))
        return;
    if (config->shards_count == 0) {
        complain(complaints, "shards", "is missing; give at least one shard, with the slots 0-%u",
                 CONFIG_SLOT_COUNT - 1);
        return;
    }
    for (unsigned i = 0; i < config->shards_count; i++) {
        check_shard_name(config, i, complaints);
        check_servers(config, i, complaints);
    }
    check_slots(config, complaints);
}
