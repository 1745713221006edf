#include <assert.h>

#include "config/check.h"
#include "config/config.h"

/* --- names --- */

static bool is_same_text(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

static const char *name_of(const place_t *element)
{
    return *(char **)place_below(element, STR("name"))->data;
}

/* No two elements may have the same name. */
static void check_names(const place_t *list)
{
    for (size_t i = 0; i < list->below_count; ++i) {
        const char *name = name_of(&list->below[i]);
        for (size_t j = 0; j < i; ++j) {
            if (!is_same_text(name, name_of(&list->below[j])))
                continue;
            report(place_below(&list->below[i], STR("name")), "'%s' is the name of %s[%zu] already",
                   name, list->section->name, j);
            break;
        }
    }
}

/* --- slots --- */

/* The shard of each slot, counted from 1; 0: none yet. */
typedef unsigned slot_owners_t[CONFIG_SLOT_COUNT];

static unsigned run_end(const slot_owners_t owners, unsigned first, unsigned last)
{
    unsigned end = first;
    while (end < last && owners[end + 1] == owners[first])
        ++end;
    return end;
}

static void claim_slots(const place_t *shards, unsigned shard, slot_owners_t owners, place_t *slots)
{
    const config_shard_t *held = shards->below[shard].data;
    /* A range that is known has passed read_slots(); another one would end behind `owners`. */
    assert(held->slot_first <= held->slot_last && held->slot_last < CONFIG_SLOT_COUNT);
    for (unsigned first = held->slot_first, end; first <= held->slot_last; first = end + 1) {
        end = run_end(owners, first, held->slot_last);
        if (owners[first] != 0) {
            const char *other = name_of(&shards->below[owners[first] - 1]);
            report(slots, "the slots %u-%u are held by shards[%u] too ('%s')", first, end,
                   owners[first] - 1, other == NULL ? "" : other);
            continue;
        }
        for (unsigned slot = first; slot <= end; ++slot)
            owners[slot] = shard + 1;
    }
}

static void check_slots(place_t *shards)
{
    slot_owners_t owners = {0};
    bool all_known = true;
    for (unsigned i = 0; i < shards->below_count; ++i) {
        place_t *slots = place_below(&shards->below[i], STR("slots"));
        if (place_is_known(slots))
            claim_slots(shards, i, owners, slots);
        else
            all_known = false;
    }
    unsigned last = CONFIG_SLOT_COUNT - 1;
    for (unsigned first = 0, end; all_known && first <= last; first = end + 1) {
        end = run_end(owners, first, last);
        if (owners[first] == 0)
            report(shards, "no shard holds the slots %u-%u", first, end);
    }
}

/* --- servers --- */

static bool is_same_server(const place_t *a_place, const place_t *b_place)
{
    const config_server_t *a = a_place->data, *b = b_place->data;
    if (a->socket != NULL || b->socket != NULL)
        return is_same_text(a->socket, b->socket);
    return is_same_text(a->host, b->host) && a->port == b->port &&
           place_is_known(place_below(a_place, STR("port"))) &&
           place_is_known(place_below(b_place, STR("port")));
}

/* A server that is listed twice would be counted twice, and fail over twice. */
static void check_unique(const place_t *shards, place_t *server)
{
    for (size_t i = 0; i < shards->below_count; ++i) {
        const place_t *servers = place_below(&shards->below[i], STR("servers"));
        for (size_t j = 0; j < servers->below_count; ++j) {
            if (&servers->below[j] == server)
                return;
            if (!is_same_server(server, &servers->below[j]))
                continue;
            report(server, "is the same server as shards[%zu].servers[%zu]", i, j);
            return;
        }
    }
}

static void check_mode(const place_t *place)
{
    const config_server_t *server = place->data;
    place_t *mode = place_below(place, STR("mode"));
    if (!place_is_known(place_below(place, STR("status"))) || !place_is_known(mode))
        return;
    if (server->status == SERVER_PRIMARY && server->mode != SERVER_READ_WRITE)
        report(mode, "must be read-write, because the server is the primary");
    if (server->status != SERVER_PRIMARY && server->mode == SERVER_READ_WRITE)
        report(mode, "must not be read-write, because the server is not the primary");
}

static void check_primary(place_t *servers)
{
    const place_t *first = NULL;
    bool all_known = true;
    for (size_t i = 0; i < servers->below_count; ++i) {
        const config_server_t *server = servers->below[i].data;
        place_t *status = place_below(&servers->below[i], STR("status"));
        if (!place_is_known(status))
            all_known = false;
        else if (server->status == SERVER_PRIMARY && first == NULL)
            first = &servers->below[i];
        else if (server->status == SERVER_PRIMARY)
            report(status, "makes a second primary beside servers[%zu]; give one",
                   (size_t)(first - servers->below));
    }
    if (first == NULL && all_known)
        report(servers, "has no primary; give one server the status primary");
}

static void check_servers(const place_t *shards, place_t *servers)
{
    if (!place_is_known(servers))
        return;
    check_names(servers);
    for (size_t i = 0; i < servers->below_count; ++i) {
        check_mode(&servers->below[i]);
        check_unique(shards, &servers->below[i]);
    }
    check_primary(servers);
}

/* --- shards --- */

void check_shards(place_t *shards)
{
    if (!place_is_known(shards))
        return;
    if (shards->below_count == 0) {
        report(shards, "is missing; give at least one shard, with the slots 0-%u",
               CONFIG_SLOT_COUNT - 1);
        return;
    }
    check_names(shards);
    for (size_t i = 0; i < shards->below_count; ++i)
        check_servers(shards, place_below(&shards->below[i], STR("servers")));
    check_slots(shards);
}
