/*
 * Blocking calls to the gate, for pool threads and the reconciler: everything that is not on the
 * path of a purchase.
 *
 * The caller owns a gate_sync_t; one thread at a time may use it. Each call blocks for
 * redis.timeout_ms at most per wait. A call without an answer drops the connection, and the next
 * call connects again. After gate_sync_follow() a call returns RESULT_AWAY at once while the health
 * of the gate is hopeless, and ends its wait as soon as the health becomes hopeless.
 *
 * Each call returns a result_t. A result other than RESULT_DONE is already logged and counted (the
 * loops' connections log that the health is hopeless):
 *
 *   away     no connection, or an error that Redis returns before it runs a call:
 *            nothing has changed
 *   refused  the same, but for this call only: the user lacks a permission, or the
 *            functions are missing
 *   unknown  no answer, a malformed answer, or any other error: all of the call, a part of
 *            it or none of it has run. gate_sync_error_is_reply() shows whether Redis answered
 *
 * gate_sync_error() has the text of the error. Output arguments are valid after RESULT_DONE only.
 * Times are ms since 1970 UTC by the clock of Redis.
 */
#ifndef HOLDFAST_GATE_GATE_SYNC_H
#define HOLDFAST_GATE_GATE_SYNC_H

#include "gate/gate.h"
#include "gate/health.h"

typedef struct gate_sync gate_sync_t;

/* Does not connect. `config` outlives the result. */
gate_sync_t *gate_sync_new(const config_t *config);
void gate_sync_free(gate_sync_t *gate);
/* From now on no call is sent while `health` is hopeless. `health` outlives `gate`. */
void gate_sync_follow(gate_sync_t *gate, gate_health_t *health);
/* Connects, and loads the functions library (REPLACE) if Redis has none or an older one. A Redis of
   another deployment is RESULT_AWAY. Every other call connects in the same way if there is no
   connection. */
result_t gate_sync_connect(gate_sync_t *gate);
/* The text of the last failed call: the error of Redis, or the reason why the connection failed.
   Borrowed until the next call. */
const char *gate_sync_error(const gate_sync_t *gate);
/* Is gate_sync_error() an error reply of Redis? If so, Redis answers calls. */
bool gate_sync_error_is_reply(const gate_sync_t *gate);

/* The settings of Redis that decide whether acknowledged writes survive a crash. */
#define GATE_SETTING_SIZE 32
typedef struct {
    char appendonly[GATE_SETTING_SIZE], appendfsync[GATE_SETTING_SIZE];
    char no_appendfsync_on_rewrite[GATE_SETTING_SIZE], maxmemory_policy[GATE_SETTING_SIZE];
} gate_settings_t;

/* If the user may not run CONFIG, the call fails with an error reply:
   gate_sync_error_is_reply(). */
result_t gate_sync_settings(gate_sync_t *gate, gate_settings_t *out);

/* The content of a gate at one moment. */
typedef struct {
    gate_item_t answer; /* GATE_ITEM_OK, _MISSING or _FOREIGN */
    uint64_t epoch;
    bool closed;
    int64_t capacity, reserved, unreserved, settled, released;
    int64_t unsettled_units; /* counted in `unsettled`, under this epoch */
    int64_t held_orders;     /* under any epoch */
    uint64_t now_ms;         /* the clock of Redis */
    uint64_t per_buyer_limit, starts_at_ms, ends_at_ms, frozen_until_ms;
    int64_t known_buyers, buyers; /* fields of `buyers`: the stored counter, and the real number */
    /* until then a process counts as loading the table of buyers; 0: the table is whole */
    uint64_t loading_until_ms;
} gate_state_t;

static inline int64_t gate_available(const gate_state_t *state)
{
    return state->capacity - state->reserved + state->unreserved + state->released;
}

static inline int64_t gate_unsettled(const gate_state_t *state)
{
    return state->reserved - state->unreserved - state->settled;
}

/* The answer that reserve would return to a caller with `epoch`, and the epoch of the gate (0: no
   gate). Changes nothing. */
result_t gate_sync_peek(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                        gate_item_t *answer, uint64_t *gate_epoch);
/* Reads the whole state of one gate. */
result_t gate_sync_inspect(gate_sync_t *gate, const item_ref_t *item, gate_state_t *out);
/* The ids of the item's unsettled orders. The caller frees `*ids`. */
result_t gate_sync_unsettled_ids(gate_sync_t *gate, const item_ref_t *item, order_id_t **ids,
                                 size_t *count);
/* The buyers of the item's unsettled orders, each once, for `each`. A name is borrowed until `each`
   returns. */
result_t gate_sync_unsettled_buyers(gate_sync_t *gate, const item_ref_t *item,
                                    void (*each)(void *context, str_t buyer), void *context);
/* The record of one unsettled order. RESULT_DONE with `*found` false: there is no such record.
   `record` is borrowed from `*text`, which the caller frees. */
result_t gate_sync_unsettled_get(gate_sync_t *gate, const order_id_t *id, gate_record_t *record,
                                 char **text, bool *found);

/* The incarnation (unique name) of a process, as stored in records. */
typedef struct {
    char bytes[GATE_OWNER_MAX];
    uint8_t length;
} gate_owner_t;

/* Does any of these slots have unsettled orders? */
result_t gate_sync_any_unsettled(gate_sync_t *gate, const uint16_t *slots, unsigned count,
                                 bool *any);
/* The owners of the unsettled orders in a slot. Fills up to `max`. */
result_t gate_sync_owners(gate_sync_t *gate, uint16_t slot, gate_owner_t *owners, unsigned max,
                          unsigned *count);
/* Does this process send its heartbeat (engine/engine.h)? */
result_t gate_sync_is_alive(gate_sync_t *gate, const gate_owner_t *owner, bool *alive);
/* Calls `each` for up to `max` unsettled orders of a slot whose owner is one of `gone` or whose
   commit deadline has passed. For an entry that is malformed, `id` and `record` are both NULL; it
   counts towards `max` all the same. */
result_t gate_sync_orphans(
    gate_sync_t *gate, uint16_t slot, const gate_owner_t *gone, unsigned gone_count, unsigned max,
    void (*each)(void *context, const order_id_t *id, const gate_record_t *record), void *context);

typedef enum { GATE_RELEASE_DONE, GATE_RELEASE_NEWER, GATE_RELEASE_LATER } gate_release_t;
/* Gives the units of these releases back. All must be of one item and one epoch. */
result_t gate_sync_release(gate_sync_t *gate, const release_t *releases, unsigned count,
                           gate_release_t *out);

/* Freezes the gate for `ms`: it admits nothing until `*until_ms`. `*epoch` 0: there is no gate, or
   another change has frozen it. */
result_t gate_sync_freeze(gate_sync_t *gate, const item_ref_t *item, uint32_t ms,
                          int64_t *unsettled, uint64_t *epoch, uint64_t *until_ms);
/* Is the freeze that ends at `*until_ms` still in force? If so, it is extended to at least `ms`
   from now (0: not extended), and `*until_ms` is its new end. */
result_t gate_sync_frozen(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch, uint32_t ms,
                          uint64_t *until_ms, bool *frozen, int64_t *unsettled);
/* Ends the freeze whose end is `until_ms`, and no other. */
result_t gate_sync_thaw(gate_sync_t *gate, const item_ref_t *item, uint64_t until_ms);

/* Removes the gate and its buyers. A rebuild writes them again from MySQL. */
result_t gate_sync_forget(gate_sync_t *gate, const item_ref_t *item);

/* A part of an item's table of buyers: live units, as read in one snapshot of MySQL. Some thousands
   of buyers at most. */
typedef struct {
    const str_t *buyers;
    const int64_t *units;
    size_t count;
    /* `released_total` of the item's row in that snapshot; 0 if it was the same when the epoch
       began */
    uint64_t sequence;
} gate_buyers_t;

/* Writes a part of the table for a rebuild under `epoch`. */
result_t gate_sync_stage(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                         const gate_buyers_t *part);

typedef struct {
    uint64_t epoch, previous_epoch; /* of the item's row: the new epoch and the one before */
    int64_t capacity;               /* units: total - allocated when the epoch began */
    const item_terms_t *terms;
    bool closed; /* a SQL strategy sells the item: the gate admits nothing */
    /* unsettled ids that MySQL has: those that are rejected there come last */
    const order_id_t *in_mysql;
    size_t in_mysql_count, rejected_count;
    /* for gate_sync_rebuild() */
    size_t staged_buyers;
    int64_t staged_units;
    bool whole; /* all buyers are staged; else the gate will be loading */
    /* for gate_sync_renew(): units that MySQL has released and committed under the previous
       epoch */
    int64_t released, committed;
} gate_rebuild_t;

typedef enum {
    GATE_RENEWED, /* and its table of buyers is whole */
    GATE_RENEWED_LOADING,
    GATE_RENEW_OLD,   /* the gate has a higher epoch */
    GATE_RENEW_LATER, /* releases are on their way to the gate: call again */
    GATE_RENEW_UNFIT  /* its table of buyers cannot be kept: rebuild it */
} gate_renewed_t;
/* Gives an intact gate its next epoch; it keeps its table of buyers. All or nothing. */
result_t gate_sync_renew(gate_sync_t *gate, const item_ref_t *item, const gate_rebuild_t *rebuild,
                         gate_renewed_t *out);

typedef enum {
    GATE_LOADED,
    GATE_LOAD_WHOLE, /* nothing is missing */
    GATE_LOAD_STALE  /* there is no intact gate of this epoch */
} gate_load_t;
/* Adds these buyers to the table of a gate that is loading; those who are in it stay as they are.
   `loader_ms`: the caller loads the whole table, and counts as doing so for this time; 0: it loads
   these buyers only. `last`: all buyers were read by now. `*has_loader`: after this call a process
   counts as loading the table, or it is whole. May be repeated after any result. */
result_t gate_sync_load(gate_sync_t *gate, const item_ref_t *item, uint64_t epoch,
                        const gate_buyers_t *part, uint32_t loader_ms, bool last, gate_load_t *out,
                        bool *has_loader);

typedef enum { GATE_REBUILT, GATE_REBUILD_OLD, GATE_REBUILD_STAGING } gate_rebuilt_t;
/* Replaces the gate in one step. GATE_REBUILD_OLD: the gate has a higher epoch.
   GATE_REBUILD_STAGING: the staged buyers are not complete; stage them again. */
result_t gate_sync_rebuild(gate_sync_t *gate, const item_ref_t *item, const gate_rebuild_t *rebuild,
                           gate_rebuilt_t *out);

#endif
