/*
 * /healthz and /readyz: whether this process is alive, and whether it can sell anything. The
 * answers use the states that the prober has published, so none waits for a server. Handlers: loop
 * thread only. The others: any thread.
 */
#ifndef HOLDFAST_HTTP_READINESS_H
#define HOLDFAST_HTTP_READINESS_H

#include "http/route.h"
#include "work/prober.h"

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
