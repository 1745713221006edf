/*
 * Types and helpers that the parts of an audit share; private to reconcile/audit*.c.
 *
 * An audit_t belongs to one shard and to one thread; all functions here block on servers or run on
 * that thread only. audit_store.c checks the shard's rows (A, C, D, E) and leaves the items in
 * `shard_items` for audit_gate.c (B).
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_PARTS_H
#define HOLDFAST_RECONCILE_AUDIT_PARTS_H

#include <cjson/cJSON.h>
#include <stdatomic.h>

#include "gate/gate_sync.h"
#include "store/items.h"

typedef enum { AUDIT_A, AUDIT_B, AUDIT_C, AUDIT_D, AUDIT_E, AUDIT_INVARIANTS } audit_id_t;

typedef struct {
    int64_t checked;          /* items, or orders */
    int64_t violations_total; /* all; `violations` has only the first ones */
    cJSON *violations;
    char error[320]; /* not "": something could not be read */
} invariant_t;

typedef struct {
    item_t item;
    int64_t live_orders, live_units; /* sums over its orders, of the same snapshot */
    int64_t quantity_max;            /* of one live order */
} audit_item_t;

/* The progress of one shard. The shard's thread writes it, except `stop`; any thread reads it. */
typedef struct {
    _Atomic(const char *) part; /* a literal */
    _Atomic int64_t done, of;   /* orders or items; `of` is an estimate, 0: not known */
    atomic_bool stop;           /* set by the thread that runs the audit: end soon, with an error */
} audit_progress_t;

typedef struct {
    invariant_t invariants[AUDIT_INVARIANTS];
    int64_t items, orders, live_orders, live_units, unsettled;
    int64_t pending_rebuild, busy; /* of B */
    int64_t grandfathered;         /* of C */
    int64_t held_orders, losers;   /* held orders; orders whose key belongs to another order */
    bool strays;                   /* there are live orders of items that have no row */
    audit_progress_t *progress;
    gate_sync_t *gate;
    sql_t sql; /* scratch */
    db_t *db;
    audit_item_t *shard_items; /* by sku and bucket */
    size_t shard_items_count, shard_items_capacity;
} audit_t;

/* Counts a violation of `id`. Takes ownership of `numbers`; drops them if the list is full. */
void audit_violation(audit_t *audit, audit_id_t id, cJSON *numbers);
/* Records that a part of `id` could not be read. Only the first error of an invariant is kept. */
void audit_cannot_read(audit_t *audit, audit_id_t id, const char *error);
/* Makes {"sku", "bucket"}; the caller owns it. */
cJSON *audit_numbers_of(str_t sku, uint64_t bucket);
/* Adds a text from a store as a member; \xNN replaces bytes that are not printable ASCII. */
void audit_add_text(cJSON *object, const char *name, str_t text);

void audit_begin_part(audit_t *audit, const char *part, int64_t of);
/* Opens a transaction with a snapshot: all later reads on audit->db are of one moment, until
   db_rollback(). */
result_t audit_snapshot(audit_t *audit);

/* Checks A, C, D and E on audit->db and fills shard_items. Blocks. False: MySQL was away or refused
   a statement, or the run was stopped. */
bool audit_store(audit_t *audit);
/* Checks B for shard_items. Blocks. Failures go to the invariant's `error`. */
void audit_gates(audit_t *audit);

#endif
