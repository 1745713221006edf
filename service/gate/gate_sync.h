/*
 * Blocking calls to the gate, for pool threads and the reconciler: everything that is not on
 * the path of a purchase. A gate_sync_t belongs to one thread at a time. Each call has
 * redis.timeout_ms; one that got no answer drops the connection. Those that follow the health of
 * the gate say "away" at once while a call would only wait, and give up a wait as soon as that is
 * known.
 *
 * Each returns a result_t, and has logged and counted what is not RESULT_DONE:
 *
 *   away     no connection, or an error that Redis gives before it runs a call: nothing happened
 *   refused  the same, of this call only: its user may not, or the functions are not there
 *   unknown  no answer, an answer that makes no sense, or any other error: it may have happened, or
 * a part of it. gate_sync_error_is_reply() says whether Redis has said something
 *
 * gate_sync_error() has the words. What is filled in is set only by RESULT_DONE.
 */
#ifndef HOLDFAST_GATE_GATE_SYNC_H
#define HOLDFAST_GATE_GATE_SYNC_H

#include "gate/gate.h"
#include "gate/health.h"

typedef struct gate_sync gate_sync_t;

gate_sync_t *gate_sync_new(const config_t *config);
void gate_sync_free(gate_sync_t *gate);
/* From now on it is not asked while `health` is hopeless. `health` outlives it. */
void gate_sync_follow(gate_sync_t *gate, gate_health_t *health);
/* Connects, and loads the functions library (REPLACE) if Redis has none or an older one. One that
   is another deployment's is away. Every other call does the same when it has to. */
result_t gate_sync_connect(gate_sync_t *gate);
/* Of the last call that was not done: the words of Redis, or what became of the connection. */
const char *gate_sync_error(const gate_sync_t *gate);
/* They are the words of Redis: so it answers. */
bool gate_sync_error_is_reply(const gate_sync_t *gate);

/* Settings of Redis on which it depends that what it acknowledged is kept. */
#define GATE_SETTING_SIZE 32
typedef struct {
    char appendonly[GATE_SETTING_SIZE], appendfsync[GATE_SETTING_SIZE];
    char no_appendfsync_on_rewrite[GATE_SETTING_SIZE], maxmemory_policy[GATE_SETTING_SIZE];
} gate_settings_t;

/* Where CONFIG is not permitted, Redis says so: gate_sync_error_is_reply(). */
result_t gate_sync_settings(gate_sync_t *gate, gate_settings_t *out);

/* What a gate holds, in one moment. */
typedef struct {
    gate_item_t answer; /* GATE_ITEM_OK, _MISSING or _FOREIGN */
    uint64_t epoch;
    bool closed;
    int64_t capacity, reserved, unreserved, settled, released;
    int64_t unsettled_units; /* really in `unsettled` under this epoch */
    int64_t held_orders;     /* of any epoch */
    uint64_t now_ms;         /* the clock of Redis */
    uint64_t per_buyer_limit, starts_at_ms, ends_at_ms, frozen_until_ms;
    int64_t known_buyers, buyers; /* fields of `buyers`: as counted, and really there */
} gate_state_t;

static inline int64_t gate_available(const gate_state_t *state)
{
    return state->capacity - state->reserved + state->unreserved + state->released;
}

static inline int64_t gate_unsettled(const gate_state_t *state)
{
    return state->reserved - state->unreserved - state->settled;
}

/* What reserve would say to a caller of `epoch`, and the gate's own epoch (0: no gate). */
result_t gate_sync_peek(gate_sync_t *gate, uint16_t slot, str_t sku, uint64_t epoch,
                        gate_item_t *answer, uint64_t *gate_epoch);
result_t gate_sync_inspect(gate_sync_t *gate, uint16_t slot, str_t sku, gate_state_t *out);
/* The ids of the item's unsettled orders; *ids is malloc'ed. */
result_t gate_sync_unsettled_ids(gate_sync_t *gate, uint16_t slot, str_t sku, order_id_t **ids,
                                 size_t *count);
/* The record of one unsettled order. *found false: it is not there. `record` is borrowed
   from `*text`, which the caller frees. */
result_t gate_sync_unsettled_get(gate_sync_t *gate, const order_id_t *id, gate_record_t *record,
                                 char **text, bool *found);

/* The incarnation of a process, as in records. */
typedef struct {
    char bytes[GATE_OWNER_MAX];
    uint8_t length;
} gate_owner_t;

/* Who owns unsettled orders in a slot: fills up to `max`. */
result_t gate_sync_owners(gate_sync_t *gate, uint16_t slot, gate_owner_t *owners, unsigned max,
                          unsigned *count);
/* Does this process give its heartbeat (engine/engine.h)? */
result_t gate_sync_is_alive(gate_sync_t *gate, const gate_owner_t *owner, bool *alive);
/* Unsettled orders of a slot that belong to one of `gone`, or are past their commit deadline: up to
   `max`, each with its record; both are NULL for what is none, which takes room all the same. */
result_t gate_sync_orphans(
    gate_sync_t *gate, uint16_t slot, const gate_owner_t *gone, unsigned gone_count, unsigned max,
    void (*each)(void *context, const order_id_t *id, const gate_record_t *record), void *context);

typedef enum { GATE_RELEASE_DONE, GATE_RELEASE_NEWER, GATE_RELEASE_LATER } gate_release_t;
/* All of one item and epoch. */
result_t gate_sync_release(gate_sync_t *gate, const release_t *releases, unsigned count,
                           gate_release_t *out);

/* *epoch 0: there is no gate, or another change has frozen it. */
result_t gate_sync_freeze(gate_sync_t *gate, uint16_t slot, str_t sku, uint32_t ms,
                          int64_t *unsettled, uint64_t *epoch, uint64_t *until_ms);
/* Does the freeze that ends at *until_ms last still? If so it is made to last at least `ms` from
   now (0: as it is), and *until_ms is its end. */
result_t gate_sync_frozen(gate_sync_t *gate, uint16_t slot, str_t sku, uint64_t epoch, uint32_t ms,
                          uint64_t *until_ms, bool *frozen, int64_t *unsettled);
/* Ends the freeze that lasts until then, and no other. */
result_t gate_sync_thaw(gate_sync_t *gate, uint16_t slot, str_t sku, uint64_t until_ms);

/* Removes the gate and its buyers. Whoever needs them builds them again from MySQL. */
result_t gate_sync_forget(gate_sync_t *gate, uint16_t slot, str_t sku);

/* A part of the buyers' table of a rebuild under `epoch`; up to some thousands a call. */
result_t gate_sync_stage(gate_sync_t *gate, uint16_t slot, str_t sku, uint64_t epoch,
                         const str_t *buyers, const int64_t *units, size_t count);

typedef struct {
    uint64_t epoch, previous_epoch; /* of the row, now and before */
    int64_t capacity;               /* total - allocated when the epoch began */
    const item_terms_t *terms;
    bool closed; /* a SQL strategy rules */
    size_t staged_buyers;
    int64_t staged_units;
    const order_id_t *in_mysql; /* unsettled ids that MySQL has */
    size_t in_mysql_count;
} gate_rebuild_t;
typedef enum { GATE_REBUILT, GATE_REBUILD_OLD, GATE_REBUILD_STAGING } gate_rebuilt_t;
result_t gate_sync_rebuild(gate_sync_t *gate, uint16_t slot, str_t sku,
                           const gate_rebuild_t *rebuild, gate_rebuilt_t *out);

#endif
