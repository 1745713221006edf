/*
 * The audit: are the promises kept? Computed from MySQL and Redis themselves, on connections of
 * its own, so that the command, the admin call and a service in full traffic share one path.
 *
 *   A  Per item, the units of its live orders are what its row says is allocated, and that is
 *      between 0 and total. Read in one snapshot of the shard, so it is exact under traffic.
 *
 *   B  Per item of the lua and watch strategies, what its gate has available is total - allocated
 *      - unsettled, where unsettled counts only orders that MySQL does not have yet; and the
 *      gate's counters say what `unsettled` really holds. Gate and MySQL cannot be read in one
 *      moment, so MySQL is read between two looks at a gate that did not change, and a
 *      difference counts only if it stays. A gate that is missing, foreign or of another epoch is
 *      "pending_rebuild" (the next purchase rebuilds it), one that did not hold still for two
 *      seconds is "busy": neither is a violation, and neither is known to be right.
 *
 *   C  No buyer has more live units of an item than its limit. A lowered limit leaves earlier
 *      orders alone and no history of limits is kept. So a buyer past the limit is a violation
 *      only if one of the live orders is of the item's present epoch (and was issued in it, not
 *      carried over by a rebuild: the time in its id is past the epoch, which is a time too); all
 *      others are counted as "grandfathered". Where no limit was lowered that must be 0.
 *
 *   D  No two orders have the same sku, buyer and key; and the winner that the loser of a key
 *      names is there.
 *
 *   E  Each held order has a reminder in `holds` that does not come after its deadline: without one
 *      nobody would notice that its time is over.
 *
 * Shards are looked at side by side, and what is read of one (A, C, D, E) is of one snapshot of it,
 * however many statements it takes: so those are exact under traffic. No invariant spans shards.
 *
 * The JSON: {"ok", "invariants": [{"id", "name", "ok", "checked", "violations_total",
 * "violations": [the first 20, with their numbers], "error" if it could not look}], "totals"}.
 * A name in it that is not printable ASCII has \xNN in place of each other byte.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_H
#define HOLDFAST_RECONCILE_AUDIT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "config/config.h"

struct prober;

/* The exit status of `holdfast audit`. A promise that was seen broken outranks one not seen. */
typedef enum { AUDIT_OK = 0, AUDIT_BROKEN = 1, AUDIT_BLIND = 2 } audit_verdict_t;

/* Called some times a second by whoever waits for the run; false: stop it. `line` says for each
   shard which part it is at and how far. */
typedef bool (*audit_watch_cb)(void *context, const char *line);

/*
 * Blocks, for seconds on a large shard. The JSON is the caller's, and never NULL. The prober says
 * which shard is silent: after some seconds that one is given up, and its thread is left behind in
 * its read until that ends.
 */
cJSON *audit_run(const config_t *config, struct prober *prober, audit_watch_cb watch, void *context,
                 audit_verdict_t *verdict);
/* Threads that are left behind: while there are some, neither `config` nor the client library may
   go. */
unsigned audit_threads_left(void);

/* The command: prints the progress to standard error, each second, and the JSON to `out`; returns
   the verdict. */
int audit_main(const config_t *config, FILE *out);

#endif
