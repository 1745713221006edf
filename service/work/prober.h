/*
 * The prober: whether each shard takes orders, whether Redis admits, and since when.
 *
 * A thread for each server, with a connection of its own, probes it about once a second; so a
 * silent server delays no other probe. The result is published under a mutex that is held only for
 * a copy, so any thread reads it without waiting for a server. An error of a server is a state with
 * a reason, no return value. Times are ms.
 *
 *   unknown  it has not been probed yet, or it is silent: the probe under way has no answer yet
 *   ok       it answered, and took a canary (store/canary.h; Redis: a reserve call of no orders)
 *   away     it cannot be reached, or it answered and refuses; `reason` contains its own words
 *
 * The state is computed when it is read. So a server that falls silent becomes unknown in time,
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

/* The state of one server when it was read. A copy: the caller owns it. */
typedef struct {
    health_state_t state;
    char reason[256];     /* "" only when ok */
    uint64_t since_ms;    /* for how long it has been in this state, as far as is known */
    bool probed;          /* a probe has ended, or is past its time */
    bool silent;          /* it answers nothing at all: a call to it would only wait */
    bool answers;         /* the last probe had an answer from the server itself */
    bool has_answered;    /* ever */
    uint64_t answered_ms; /* how long ago it last answered; if has_answered */
    /* Only of a shard, from the last count; valid if counted_items. */
    bool counted_items;
    uint64_t items, sql_items; /* sql_items: those that are sold without Redis */
} health_t;

typedef struct prober prober_t;

/* Starts the threads. `config` must outlive the prober. `writes` false: the probes only read, and
   try no canary. */
prober_t *prober_start(const config_t *config, bool writes);
/* Begins no more probes. Does not block. */
void prober_end(prober_t *prober);
/* The same; then blocks until the probes under way have ended (some seconds if a server is silent),
   and frees the prober. */
void prober_stop(prober_t *prober);

/* Any thread; never blocks. If `prober` is NULL, all servers are unknown and silent. */
void prober_shard(prober_t *prober, unsigned shard, health_t *out);
void prober_redis(prober_t *prober, health_t *out);
/* True if the shard is silent, so that a call to it would only wait. */
bool prober_shard_is_silent(prober_t *prober, unsigned shard);
/* Another number whenever a state, a reason or a count has changed, also because a server has
   fallen silent. `now_ms` is monotonic. Takes no lock. */
uint64_t prober_generation(const prober_t *prober, uint64_t now_ms);
/* True if each server was probed at least once, or was silent for too long. */
bool prober_has_probed_all(prober_t *prober);

#endif
