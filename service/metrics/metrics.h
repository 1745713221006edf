/*
 * The metrics of the process, and their text for Prometheus (exposition format 0.0.4).
 *
 * All are process-wide relaxed atomics. Any thread may count; nothing blocks. A scrape is not one
 * moment: another thread may count between two values. Names on the wire are "holdfast_" + the name
 * here, with the unit last.
 */
#ifndef HOLDFAST_METRICS_METRICS_H
#define HOLDFAST_METRICS_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "config/config.h"

/* type, name, help */
#define METRICS_PLAIN(X)                                                                           \
    X(gauge, http_connections, "Open client connections")                                          \
    X(counter, http_connections_refused_total, "Connections closed at once: connections_max")      \
    X(counter, http_connections_ended_total, "Connections ended: answers not read, or resets")     \
    X(counter, http_answers_cut_total, "Answers in parts that ended before their last part")       \
    X(counter, rate_limited_by_buyer_total, "Purchases refused by the rate limit of a buyer")      \
    X(counter, rate_limited_by_address_total,                                                      \
      "Purchases refused by the rate limit of a client address")                                   \
    X(counter, rate_limit_forgotten_total,                                                         \
      "Buyers and addresses forgotten before they had recovered")                                  \
    X(counter, mysql_refusals_total, "Statements and connections that MySQL refused")              \
    X(counter, mysql_conflicts_total, "Statements that met a lock, change or key of another")      \
    X(counter, mysql_lost_total, "Connections to MySQL that were lost or could not be made")       \
    X(counter, redis_refusals_total, "Calls that Redis answered with an error")                    \
    X(counter, redis_lost_total, "Calls to Redis without an answer, and failed connects")          \
    X(gauge, redis_connections, "Connections of the loops to Redis that are up")                   \
    X(counter, gate_rebuilds_total, "Gates rebuilt from MySQL")                                    \
    X(counter, gate_rebuild_failures_total, "Rebuilds that failed")                                \
    X(counter, tables_kept_total, "Tables of buyers that a gate kept in its next epoch")           \
    X(gauge, tables_loading, "Tables of buyers that this process is loading from MySQL")           \
    X(counter, buyers_loaded_total, "Buyers whose units the loader has read from MySQL")           \
    X(counter, buyers_loaded_on_demand_total,                                                      \
      "Buyers whose units were read from MySQL because they bought while the table was loading")   \
    X(counter, gate_calls_unknown_total, "Calls to Redis whose outcome is unknown")                \
    X(counter, gate_drift_total, "Orders that the gate admitted and the row refused")              \
    X(counter, gate_refusals_total, "Connections closed: Redis refused a call before it ran")      \
    X(counter, gate_local_refusals_total, "Sold-out answers without a call to the gate")           \
    X(counter, epoch_checks_total, "Reads of an item's epoch before a refusal with a key is sent") \
    X(gauge, item_views, "Items that the loops have in memory, to be shown")                       \
    X(counter, item_views_refreshed_total, "Views that were looked up anew")                       \
    X(counter, item_views_rows_total, "Rows that were read from MySQL for views")                  \
    X(counter, item_views_waited_total, "Reads of an item that waited for its view")               \
    X(counter, item_views_stale_total, "Reads of an item answered with Holdfast-Stale")            \
    X(counter, item_views_not_modified_total, "Reads of an item answered 304")                     \
    X(counter, item_views_dropped_total, "Views dropped or not made: too many")                    \
    X(counter, settled_total, "Orders taken out of unsettled after their COMMIT")                  \
    X(counter, unreserved_total, "Orders taken out of unsettled, their units given back")          \
    X(counter, releases_total, "Releases that a gate was notified of")                             \
    X(counter, releases_given_up_total, "Releases that no gate was notified of: it is rebuilt")    \
    X(counter, orders_expired_total, "Holds whose time ran out")                                   \
    X(gauge, expiry_set_aside, "Items and orders whose expiry fails and is tried again later")     \
    X(counter, expiry_set_aside_total, "Times that an item or order was set aside by expiry")      \
    X(counter, orders_committed_total, "Orders this process committed live")                       \
    X(counter, orders_rejected_total, "Orders this process committed as rejected")                 \
    X(counter, orders_readmitted_total, "Orders admitted again because the epoch had changed")     \
    X(counter, orphans_adopted_total, "Unsettled orders taken over from a process that has died")  \
    X(counter, reconciler_passes_total, "Passes over a shard, under its lease")                    \
    X(counter, reconciler_repairs_total, "Gates rebuilt because they disagreed with MySQL")        \
    X(gauge, reconciler_set_aside, "Items whose gate cannot be repaired and is tried again later") \
    X(counter, reconciler_set_aside_total, "Times that the reconciler set an item aside")          \
    X(gauge, reconciler_tracked, "Items used or unsettled that the next passes compare first")     \
    X(gauge, orphans_set_aside, "Slots whose orphans cannot be read and are tried again later")    \
    X(counter, orphans_set_aside_total,                                                            \
      "Times that a slot was set aside: its orphans cannot be read")                               \
    X(counter, stand_ins_total, "Items changed to the fallback because Redis was away")            \
    X(counter, restores_total, "Fallbacks that ended: the gate admits again")                      \
    X(counter, order_moves_failed_total,                                                           \
      "Confirms, cancels and extends that MySQL did not accept")                                   \
    X(counter, orders_unknown_total, "Answers 202 because the outcome was not known in time")      \
    X(counter, orders_replayed_total, "Repeats answered with the first order")                     \
    X(counter, order_reads_in_hand_total, "Reads of orders answered from memory: still reserved")  \
    X(counter, order_waits_total, "Reads of orders that waited for the order's end")               \
    X(counter, order_waits_refused_total,                                                          \
      "Reads of orders that could not wait: orders.waiters_max, or the process ends")              \
    X(gauge, order_waits, "Reads of orders that wait now")                                         \
    X(counter, order_polls_total, "SELECTs for orders of other nodes that are waited for")         \
    X(counter, queue_full_total, "Purchases refused because a queue was full")                     \
    X(gauge, purchases_in_flight, "Purchases that have not ended")                                 \
    X(counter, writer_commits_total, "Transactions that a writer committed")                       \
    X(counter, writer_bulk_inserts_total, "Batches whose orders were inserted in bulk")            \
    X(counter, writer_version_misses_total, "Hot-row updates that found another version")          \
    X(counter, writer_conflicts_total, "Writer transactions run again: deadlock or lock wait")     \
    X(counter, writer_bisections_total, "Batches split to find an order MySQL refuses")            \
    X(counter, writer_lost_total, "Connections lost under a writer's transaction")                 \
    X(counter, writer_errors_total, "Errors of MySQL that are not about the values of an order")   \
    X(counter, writer_set_aside_total, "Orders set aside: a lock or an error that only they meet") \
    X(gauge, writer_set_aside_orders, "Orders that are set aside now, and are tried again")        \
    X(counter, sql_purchase_errors_total,                                                          \
      "Purchases by SQL strategies that met an error of MySQL")                                    \
    X(counter, canaries_total, "Trial transactions that check whether a shard takes orders")       \
    X(counter, pool_slow_jobs_total, "Jobs queued apart because their item delayed others")

/* One for each strategy: name, help */
#define METRICS_BY_STRATEGY(X)                                                                     \
    X(reserved_total, "Purchases that ended in a live order")                                      \
    X(refused_total, "Purchases refused for good")                                                 \
    X(aborts_total, "Attempts lost to a competing buyer: EXEC nil, version moved, deadlock")       \
    X(retries_total, "Attempts made again")

/* Histograms: name, help, kind of buckets */
#define METRICS_HISTOGRAMS(X)                                                                      \
    X(commit_seconds, "Duration of one writer transaction", SECONDS)                               \
    X(gate_call_seconds, "Duration of one reserve call", SECONDS)                                  \
    X(gate_batch_orders, "Buyers in one reserve call", COUNTS)                                     \
    X(writer_batch_orders, "Orders in one writer transaction", COUNTS)                             \
    X(rebuild_seconds, "Duration of one rebuild of a gate", SECONDS)                               \
    X(rebuild_lock_seconds, "Time for which a rebuild locks the row of the item", SECONDS)

typedef enum {
#define X(type_, name_, help_) METRIC_##name_,
    METRICS_PLAIN(X)
#undef X
        METRIC_COUNT
} metric_t;

typedef enum {
#define X(name_, help_) METRIC_BY_STRATEGY_##name_,
    METRICS_BY_STRATEGY(X)
#undef X
        METRIC_BY_STRATEGY_COUNT
} metric_by_strategy_t;

typedef enum {
#define X(name_, help_, kind_) HISTOGRAM_##name_,
    METRICS_HISTOGRAMS(X)
#undef X
        HISTOGRAM_COUNT
} histogram_t;

/* The routes of both listeners, as label values. */
/* Each run of clang-format aligns this list in another way, so it is switched off. */
/* clang-format off */
#define ROUTE_TABLE(X) \
    X(order_create) \
    X(order_get) \
    X(order_confirm) \
    X(order_cancel) \
    X(order_extend) \
    X(item_get) \
    X(buyer_orders) \
    X(healthz) \
    X(readyz) \
    X(items_list) \
    X(item_show) \
    X(item_orders) \
    X(item_put) \
    X(item_patch) \
    X(item_delete) \
    X(item_reconcile) \
    X(strategy_put) \
    X(changes) \
    X(live) \
    X(status) \
    X(audit) \
    X(metrics) \
    X(other)
/* clang-format on */
typedef enum {
#define X(name_) ROUTE_##name_,
    ROUTE_TABLE(X)
#undef X
        ROUTE_COUNT
} route_t;

extern _Atomic int64_t metric_values[METRIC_COUNT];
extern _Atomic int64_t metric_strategy_values[METRIC_BY_STRATEGY_COUNT][STRATEGY_COUNT];

#define METRIC_ADD(name_, n_)                                                                      \
    atomic_fetch_add_explicit(&metric_values[METRIC_##name_], (n_), memory_order_relaxed)
#define METRIC_INC(name_) METRIC_ADD(name_, 1)
#define METRIC_GET(name_) atomic_load_explicit(&metric_values[METRIC_##name_], memory_order_relaxed)
#define METRIC_STRATEGY_ADD(name_, strategy_, n_)                                                  \
    atomic_fetch_add_explicit(&metric_strategy_values[METRIC_BY_STRATEGY_##name_][strategy_],      \
                              (n_), memory_order_relaxed)

/* Adds one observation. `value` is in microseconds for a histogram of seconds, else a count. */
void metric_observe(histogram_t histogram, uint64_t value);
/* Counts one answer of a route, with the time in microseconds since its request arrived. */
void metric_request(route_t route, int status, uint64_t micros);

/* A value that its owner supplies at a scrape (queue depths). `type` is "gauge" or "counter";
   `label` NULL: no label. Strings are borrowed during metrics_render(). */
typedef struct {
    const char *type, *name, *help, *label, *label_value;
    int64_t value;
} metric_sample_t;

/* Returns the whole exposition as a malloc'ed, NUL-terminated string, which the caller frees. */
char *metrics_render(const metric_sample_t *samples, unsigned samples_count);

#endif
