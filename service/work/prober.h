/*
 * The prober: does each shard take orders, does Redis admit, and since when?
 *
 * A thread for each server, with a connection of its own, asks about once a second; so a silent
 * server delays the probe of no other one. What a thread found is published under a mutex that is
 * held for a copy only: any thread reads it without waiting for a server.
 *
 *   unknown  it has not been asked yet, or it is silent: the probe under way has no answer yet
 *   ok       it answered, and took a canary (store/canary.h; Redis: a reserve call of no orders)
 *   away     it cannot be reached, or it answered and refuses; `reason` has its own words
 *
 * The state is worked out when it is read, so that a server that falls silent is unknown in time,
 * although its probe still blocks.
 */
#ifndef HOLDFAST_WORK_PROBER_H
#define HOLDFAST_WORK_PROBER_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

typedef enum { HEALTH_UNKNOWN, HEALTH_OK, HEALTH_AWAY } health_state_t;

/* "unknown", "ok", "away". */
const char *health_state_name(health_state_t state);

/* One server, at the moment when it was read. */
typedef struct {
    health_state_t state;
    char reason[256];     /* "" only when ok */
    uint64_t since_ms;    /* it has been in this state for so long, as far as is known */
    bool asked;           /* a probe has ended, or is past its time */
    bool silent;          /* it does not even answer a question: asking it only waits */
    bool answers;         /* the last probe: the server itself said something */
    bool has_answered;    /* ever */
    uint64_t answered_ms; /* ago: when it last answered; if has_answered */
    /* Of a shard, as last counted; if counted_items. */
    bool counted_items;
    uint64_t items, sql_items; /* sql_items: those that are sold without Redis */
} health_t;

typedef struct prober prober_t;

/* Starts the threads. `config` outlives it. `writes` false: servers are only asked whether they
   answer, and nothing is tried. */
prober_t *prober_start(const config_t *config, bool writes);
/* No more probes. */
void prober_end(prober_t *prober);
/* The same, and waits for the probes under way: some seconds, if a server is silent. */
void prober_stop(prober_t *prober);

/* Any thread, never blocks. Without a prober (NULL) all is unknown and silent. */
void prober_shard(prober_t *prober, unsigned shard, health_t *out);
void prober_redis(prober_t *prober, health_t *out);
/* Is it known to be silent, so that asking it would only wait? */
bool prober_shard_is_silent(prober_t *prober, unsigned shard);
/* Each server has been asked at least once, or was silent for too long. */
bool prober_has_asked_all(prober_t *prober);

#endif
