/*
 * Is this node alive, and can it sell anything? Answered from what the prober has published, so no
 * answer waits for a server.
 */
#ifndef HOLDFAST_HTTP_READINESS_H
#define HOLDFAST_HTTP_READINESS_H

#include "http/route.h"
#include "work/prober.h"

void handle_healthz(exchange_t *exchange, const route_match_t *match);
void handle_readyz(exchange_t *exchange, const route_match_t *match);

/* Redis as this node has it: asked by the prober, and connected to each loop. */
void readiness_of_redis(const http_context_t *http, health_t *out);
/* A shard: asked by the prober, and written to by this node. */
void readiness_of_shard(const http_context_t *http, unsigned shard, health_t *out);
/* Adds "state", "reason" (null when ok), "since_ms" and "age_ms" (of the last answer; null: none).
 */
void readiness_add_health(cJSON *json, const health_t *health);

#endif
