/*
 * /healthz and /readyz: whether this process is alive, and whether it can sell anything. The
 * answers use the states that the prober has published, so none waits for a server. Handlers: loop
 * thread only. The others: any thread.
 *
 * Each loop keeps the last answer of /readyz for READINESS_KEPT_MS, unless one of the conditions
 * that it depends on has changed: then the next request has a new one.
 */
#ifndef HOLDFAST_HTTP_READINESS_H
#define HOLDFAST_HTTP_READINESS_H

#include "http/route.h"
#include "work/prober.h"

#define READINESS_KEPT_MS 50

/* The conditions at one moment. Members are compared as they are. */
typedef struct {
    bool draining;
    gate_condition_t gate; /* of the loops' connections */
    uint64_t probes;       /* prober_generation() */
    uint64_t writers;      /* which shards' writers are away */
} readiness_stamp_t;

/* The last answer of a loop. */
typedef struct readiness {
    int status; /* 0: none is kept */
    char *text;
    uint64_t rendered_us; /* monotonic */
    readiness_stamp_t stamp;
} readiness_t;

readiness_t *readiness_new(unsigned loops_count);
void readiness_free(readiness_t *all, unsigned loops_count);
/* Whether the answer can be given again, at `now_us` under the conditions `now`. Pure. */
bool readiness_is_fresh(const readiness_t *kept, const readiness_stamp_t *now, uint64_t now_us);

void handle_healthz(exchange_t *exchange, const route_match_t *match);
void handle_readyz(exchange_t *exchange, const route_match_t *match);

/* The state of Redis for this node: the prober's, and that of the loops' connections. */
void readiness_of_redis(const http_context_t *http, health_t *out);
/* The state of a shard for this node: the prober's, and the writer's. */
void readiness_of_shard(const http_context_t *http, unsigned shard, health_t *out);
/* Adds "state", "reason" (null when ok), "since_ms" and "age_ms" (of the last answer; null:
   none). */
void readiness_add_health(cJSON *json, const health_t *health);

#endif
