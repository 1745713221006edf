/*
 * What the parts of an audit share; private to reconcile/audit*.c.
 *
 * An audit_t is that of one shard and belongs to one thread. audit_store.c looks at the shard's
 * rows (A, C, D, E) and leaves its items behind for audit_gate.c (B).
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
    int64_t violations_total; /* of which the first are in `violations` */
    cJSON *violations;
    char error[320]; /* not "": something could not be looked at */
} invariant_t;

typedef struct {
    item_t item;
    int64_t live_orders, live_units; /* sums over its orders, of the same snapshot */
    int64_t quantity_max;            /* of one live order */
} audit_item_t;

/* How far it is; any thread reads. */
typedef struct {
    _Atomic(const char *) part; /* a literal */
    _Atomic int64_t done, of;   /* of: as estimated; 0: not known */
    atomic_bool stop;           /* set by others: end soon, with an error */
} audit_progress_t;

typedef struct {
    invariant_t invariants[AUDIT_INVARIANTS];
    int64_t items, orders, live_orders, live_units, unsettled;
    int64_t pending_rebuild, busy; /* of B */
    int64_t grandfathered;         /* of C */
    int64_t held_orders, losers;   /* held ones; those whose key another order has */
    bool strays;                   /* live orders of items that are not there */
    audit_progress_t *progress;
    gate_sync_t *gate;
    sql_t sql; /* scratch */
    db_t *db;
    audit_item_t *shard_items; /* by sku and bucket */
    size_t shard_items_count, shard_items_capacity;
} audit_t;

/* Takes `numbers`. */
void audit_violation(audit_t *audit, audit_id_t id, cJSON *numbers);
/* Only the first of an invariant is kept. */
void audit_cannot_look(audit_t *audit, audit_id_t id, const char *error);
/* Makes {"sku", "bucket"}. */
cJSON *audit_numbers_of(str_t sku, uint64_t bucket);
/* Adds a text from a store, whatever bytes it has. */
void audit_add_text(cJSON *object, const char *name, str_t text);

void audit_begin_part(audit_t *audit, const char *part, int64_t of);
/* What follows on audit->db is of one moment, until db_rollback(). */
result_t audit_snapshot(audit_t *audit);

/* A, C, D and E on audit->db; fills shard_items. False: MySQL did not let it look. */
bool audit_store(audit_t *audit);
/* B for shard_items. */
void audit_gates(audit_t *audit);

#endif
