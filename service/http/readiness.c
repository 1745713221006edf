#include "http/readiness.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "http/request_job.h"

void handle_healthz(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    reply_text(exchange, 200, "application/json", STR("{\"status\":\"ok\"}"));
}

/* The loops' own connections count as much as the prober's, because purchases use them. */
void readiness_of_redis(const http_context_t *http, health_t *out)
{
    prober_redis(http->prober, out);
    gate_health_t *health = http->gate_health;
    gate_condition_t condition = gate_health_condition(health);
    if (out->state != HEALTH_OK || condition == GATE_OK)
        return;
    char reason[GATE_REASON_SIZE];
    gate_health_reason(health, reason);
    out->state = condition == GATE_AWAY ? HEALTH_AWAY : HEALTH_UNKNOWN;
    out->since_ms = gate_health_down_ms(health);
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

/* The writer counts because the prober writes nothing: a lock on all rows, for example, held by
   another user of the server, is met by orders only. */
void readiness_of_shard(const http_context_t *http, unsigned shard, health_t *out)
{
    uint64_t away_ms;
    char why[WRITER_WHY_SIZE];
    prober_shard(http->prober, shard, out);
    if (out->state != HEALTH_OK || !writer_away_for(http->shards[shard].writer, &away_ms, why))
        return;
    out->state = HEALTH_AWAY;
    out->since_ms = away_ms;
    snprintf(out->reason, sizeof(out->reason),
             "orders cannot be written, those that are queued wait: %s", why);
}

void readiness_add_health(cJSON *json, const health_t *health)
{
    cJSON_AddStringToObject(json, "state", health_state_name(health->state));
    if (health->state == HEALTH_OK)
        cJSON_AddNullToObject(json, "reason");
    else
        cJSON_AddStringToObject(json, "reason", health->reason);
    cJSON_AddNumberToObject(json, "since_ms", (double)health->since_ms);
    if (health->has_answered)
        cJSON_AddNumberToObject(json, "age_ms", (double)health->answered_ms);
    else
        cJSON_AddNullToObject(json, "age_ms");
}

/* The states that decide; `shards` has one for each shard. */
typedef struct {
    const http_context_t *http;
    bool starting, draining;
    health_t redis;
    health_t shards[];
} states_t;

static states_t *read_states(const http_context_t *http)
{
    states_t *states =
        alloc_zero(1, sizeof(*states) + http->map->shards_count * sizeof(states->shards[0]));
    states->http = http;
    states->draining = atomic_load(&http->draining);
    states->starting = !prober_has_probed_all(http->prober);
    readiness_of_redis(http, &states->redis);
    for (unsigned i = 0; i < http->map->shards_count; ++i)
        readiness_of_shard(http, i, &states->shards[i]);
    return states;
}

/* Whether at least one item can be sold: a shard takes orders, and Redis admits or is not needed,
   because of the fallback or because one of the shard's items has a strategy without Redis. */
static bool can_sell(const states_t *states)
{
    bool without_redis = states->http->config->redis.on_gate_down == GATE_DOWN_OPTIMISTIC;
    for (unsigned i = 0; i < states->http->map->shards_count; ++i) {
        const health_t *shard = &states->shards[i];
        bool sells = states->redis.state == HEALTH_OK || without_redis || shard->sql_items != 0;
        if (shard->state == HEALTH_OK && sells)
            return true;
    }
    return false;
}

static void add_missing(cJSON *missing, const char *name)
{
    cJSON_AddItemToArray(missing, cJSON_CreateString(name));
}

static void list_missing(cJSON *json, const states_t *states)
{
    cJSON *missing = cJSON_AddArrayToObject(json, "missing");
    const config_t *config = states->http->config;
    if (states->starting)
        add_missing(missing, "still starting");
    if (states->draining)
        add_missing(missing, "shutting down");
    if (states->redis.state != HEALTH_OK && config->redis.on_gate_down == GATE_DOWN_REFUSE)
        add_missing(missing, "redis");
    for (unsigned i = 0; i < states->http->map->shards_count; ++i)
        if (states->shards[i].state != HEALTH_OK)
            add_missing(missing, config->shards[i].name);
}

static void list_servers(cJSON *json, const states_t *states)
{
    readiness_add_health(cJSON_AddObjectToObject(json, "redis"), &states->redis);
    cJSON *shards = cJSON_AddArrayToObject(json, "shards");
    for (unsigned i = 0; i < states->http->map->shards_count; ++i) {
        cJSON *shard = cJSON_CreateObject();
        cJSON_AddStringToObject(shard, "name", states->http->config->shards[i].name);
        readiness_add_health(shard, &states->shards[i]);
        cJSON_AddItemToArray(shards, shard);
    }
}

/* --- what a loop keeps --- */

readiness_t *readiness_new(unsigned loops_count)
{
    return alloc_zero(loops_count, sizeof(readiness_t));
}

void readiness_free(readiness_t *all, unsigned loops_count)
{
    for (unsigned i = 0; all != NULL && i < loops_count; ++i)
        free(all[i].text);
    free(all);
}

bool readiness_is_fresh(const readiness_t *kept, const readiness_stamp_t *now, uint64_t now_us)
{
    const readiness_stamp_t *then = &kept->stamp;
    return kept->status != 0 && now_us - kept->rendered_us < READINESS_KEPT_MS * UINT64_C(1000) &&
           then->draining == now->draining && then->gate == now->gate &&
           then->probes == now->probes && then->writers == now->writers;
}

static readiness_stamp_t read_stamp(const http_context_t *http, uint64_t now_us)
{
    readiness_stamp_t stamp = {.draining = atomic_load(&http->draining),
                               .gate = gate_health_condition(http->gate_health),
                               .probes = prober_generation(http->prober, now_us / 1000)};
    for (unsigned i = 0; i < http->map->shards_count; ++i)
        stamp.writers = stamp.writers * 3 + writer_is_away(http->shards[i].writer);
    return stamp;
}

static char *render(const http_context_t *http, int *status)
{
    states_t *states = read_states(http);
    bool ready = !states->starting && !states->draining && can_sell(states);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "status", ready ? "ready" : "not ready");
    list_missing(json, states);
    list_servers(json, states);
    char *text = alloc_check(cJSON_PrintUnformatted(json));
    cJSON_Delete(json);
    free(states);
    *status = ready ? 200 : 503;
    return text;
}

/* The stamp is read first: what changes meanwhile is rendered again by the next request. */
static void renew(const http_context_t *http, readiness_t *kept, uint64_t now_us)
{
    const readiness_stamp_t stamp = read_stamp(http, now_us);
    if (readiness_is_fresh(kept, &stamp, now_us))
        return;
    free(kept->text);
    kept->text = render(http, &kept->status);
    kept->rendered_us = now_us;
    kept->stamp = stamp;
}

void handle_readyz(exchange_t *exchange, const route_match_t *match)
{
    const http_context_t *http = exchange->http;
    (void)match;
    readiness_t *kept = &http->readiness[exchange->engine->loop->index];
    renew(http, kept, exchange->started_us);
    reply_text(exchange, kept->status, "application/json", str_of(kept->text));
}
