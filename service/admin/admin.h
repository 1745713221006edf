/*
 * The admin listener: items, the toggle, status, audit, metrics. Every call wants
 * `Authorization: Bearer TOKEN`, compared in constant time.
 */
#ifndef HOLDFAST_ADMIN_ADMIN_H
#define HOLDFAST_ADMIN_ADMIN_H

#include "http/route.h"
#include "reconcile/audit_runner.h"
#include "reconcile/durability.h"
#include "reconcile/reconciler.h"

/* What its handlers look at and change. Made by serve, whole before server_start(), and there until
   server_end() has returned; each member may be used from any thread. */
typedef struct {
    const char *incarnation; /* of this process */
    unsigned loops_count;
    reconciler_t **reconcilers; /* one a shard */
    durability_watch_t *durability;
    audit_runner_t *audits;       /* NULL: none run */
    atomic_int *default_strategy; /* a strategy_id_t: of items created without one */
} admin_t;

/* For server_open(). They refuse a head without the token too. */
routes_t admin_routes(admin_t *admin);

#endif
