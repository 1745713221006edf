/*
 * The audit checks whether the promises are kept. It computes them from MySQL and Redis, on
 * connections of its own. The command, the admin call and a service in full traffic share this one
 * path.
 *
 *   A  For each item, the units of its live orders equal the allocated units of its row, and these
 *      are between 0 and total. Both are read in one snapshot of the shard: exact under traffic.
 *
 *   B  For each item of the lua and watch strategies, its gate has available = total - allocated -
 *      unsettled. `unsettled` here counts only orders that MySQL does not have yet. The gate's
 *      counters also match the content of `unsettled`. Gate and MySQL cannot be read in one moment.
 *      So MySQL is read between two reads of a gate that did not change in between, and a
 *      difference counts only if it persists. A gate that is missing, foreign or of another epoch
 *      is "pending_rebuild": the next purchase rebuilds it. A gate that changed at every attempt
 *      for two seconds is "busy". Neither is a violation, and neither is confirmed to be right.
 *
 *   C  No buyer has more live units of an item than its limit. A lowered limit does not affect
 *      earlier orders, and no history of limits is kept; the row has only the epoch under which the
 *      limit was last lowered. So a buyer past the limit is a violation only if one of the live
 *      orders has this epoch or a later one and was issued since. (An order that a rebuild carried
 *      over was issued before: the time in its id is before the epoch, which is a time too.) All
 *      other buyers past the limit are counted as "grandfathered". Where no limit was lowered, that
 *      count must be 0.
 *
 *   D  No two orders have the same sku, buyer and key. If an order was rejected because another
 *      order has its key, that other order (the winner) exists.
 *
 *   E  Each held order has a reminder in `holds` that is not later than its deadline. Without a
 *      reminder the order would never expire.
 *
 * The shards are audited in parallel. A, C, D and E of one shard are read in one snapshot of it,
 * however many statements they take, so they are exact under traffic. No invariant spans shards.
 *
 * All orders are read once, and added up here (audit_scan.c). Memory, of all shards together: at
 * most 128 MB for the sums of buyers and keys, half as much again while that table grows (64 MB are
 * enough for three million buyers and keys); with more of them the orders are read again. Besides
 * some MB a shard, and up to 64 MB for held orders, of which it takes a million at a time. The
 * server sorts and keeps nothing.
 * While others write at any of the shards, the scans rest between their chunks, so that the sale
 * keeps the processor (audit_pace.h).
 *
 * The JSON: {"ok", "invariants": [{"id", "name", "ok", "checked", "violations_total", "violations":
 * [the first 20, with their numbers], "error" if something could not be read}], "totals"}. In a
 * name that is not printable ASCII, \xNN replaces each other byte.
 */
#ifndef HOLDFAST_RECONCILE_AUDIT_H
#define HOLDFAST_RECONCILE_AUDIT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "config/config.h"

struct prober;

/* The exit status of `holdfast audit`. AUDIT_BROKEN: at least one promise is broken. AUDIT_BLIND:
   no violation was found, but a part could not be read. */
typedef enum { AUDIT_OK = 0, AUDIT_BROKEN = 1, AUDIT_BLIND = 2 } audit_verdict_t;

/* Called on the thread that runs audit_run(), about every 10 ms, until all shards have ended or are
   given up. Returns false to stop the run. `line` names for each shard its present part and the
   progress; it is valid during the call only. */
typedef bool (*audit_watch_cb)(void *context, const char *line);

/*
 * Runs one audit. Blocks, for seconds on a large shard; for a thread that may do so. Any number may
 * run at a time. The caller owns the JSON; it is never NULL. `watch` may be NULL. There are no
 * errors besides *verdict: a part that could not be read has an "error" in the JSON.
 *
 * The prober reports which shard is silent. A shard that is silent for 5 s is given up; its thread
 * stays behind in its read until that ends. `prober` must outlive the call.
 */
cJSON *audit_run(const config_t *config, struct prober *prober, audit_watch_cb watch, void *context,
                 audit_verdict_t *verdict);
/* The number of shard threads that still run, among them those left behind. While it is not 0,
   neither `config` nor the client library may be freed. Any thread; does not block. */
unsigned audit_threads_left(void);

/* The command. Prints the progress to standard error once a second and the JSON to `out`; returns
   the verdict. Blocks. If a thread is left behind, it ends the process itself, with the verdict as
   status. */
int audit_main(const config_t *config, FILE *out);

#endif
