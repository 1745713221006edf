#include "reconcile/sync.h"

#include <assert.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "metrics/metrics.h"
#include "reconcile/rebuild.h"

/* How long item_sync() tries before it returns SYNC_BUSY. */
#define SYNC_TIMEOUT_MS 3000

bool gate_agrees(gate_item_t answer, uint64_t gate_epoch, const item_t *item)
{
    if (item->gate_down) /* the gate keeps its older epoch, on purpose */
        return true;
    if (item_uses_gate(item))
        return answer == GATE_ITEM_OK || answer == GATE_ITEM_FROZEN;
    return answer == GATE_ITEM_CLOSED || (answer == GATE_ITEM_MISSING && gate_epoch == 0);
}

static sync_result_t read_row(worker_t *worker, const item_ref_t *ref, item_t *item)
{
    bool found;
    result_t result = item_read(worker->db, &worker->sql, ref, false, item, &found);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    return found ? SYNC_READY : SYNC_UNKNOWN_ITEM;
}

static sync_result_t peek_at_gate(worker_t *worker, const item_t *item, gate_item_t *answer,
                                  uint64_t *gate_epoch)
{
    *gate_epoch = 0;
    *answer = GATE_ITEM_MISSING;
    result_t call = gate_sync_peek(worker->gate, &item->ref, item->epoch, answer, gate_epoch);
    return call == RESULT_DONE ? SYNC_READY : SYNC_GATE_AWAY;
}

sync_result_t item_peek(worker_t *worker, const item_ref_t *ref, item_t *item, gate_item_t *answer,
                        uint64_t *gate_epoch)
{
    sync_result_t seen = read_row(worker, ref, item);
    return seen == SYNC_READY ? peek_at_gate(worker, item, answer, gate_epoch) : seen;
}

/* The goal besides agreement, and the result. */
typedef struct {
    uint64_t epoch;       /* rebuild even if they agree, if the row has */
    bool restore;         /* and let the gate admit again */
    const lease_t *lease; /* or NULL */
    bool for_purchase;    /* see item_sync() */
    item_t *item;
    sync_result_t result; /* valid when an attempt returns true */
} goal_t;

static bool done(goal_t *goal, sync_result_t result)
{
    goal->result = result;
    return true;
}

/* A SQL strategy sells without Redis: an open gate of an older epoch admits nothing that commits.
   It is closed in the background, when Redis permits; the gate of an item with a fallback is left
   as it is. */
static bool leave_gate_out(worker_t *worker, goal_t *goal)
{
    /* Else its buyers would be sent to a gate of another epoch. */
    assert(!item_uses_gate(goal->item));
    if (!goal->item->gate_down)
        repair_queue_close(&worker->shard->repairs, item_sku(goal->item), goal->item->epoch);
    return done(goal, SYNC_READY);
}

static bool try_rebuild(worker_t *worker, goal_t *goal, rebuild_t *rebuild, uint64_t gate_epoch)
{
    sync_result_t step = rebuild_run(worker, rebuild, gate_epoch);
    *goal->item = rebuild->item;
    if (step == SYNC_GATE_AWAY && !item_uses_gate(goal->item))
        return leave_gate_out(worker, goal);
    if (step != SYNC_BUSY)
        return done(goal, step);
    if (rebuild->lease != NULL && !lease_is_held(rebuild->lease))
        return done(goal, SYNC_BUSY); /* another node has the lease now */
    return false;
}

/* An item with a gate strategy stops selling while Redis is away, unless it may change to the
   fallback. */
static bool without_gate(worker_t *worker, goal_t *goal)
{
    const config_t *config = worker->shard->config;
    if (!item_uses_gate(goal->item))
        return leave_gate_out(worker, goal);
    if (config->redis.on_gate_down != GATE_DOWN_OPTIMISTIC || !item_may_lose_gate(goal->item) ||
        gate_health_down_ms(worker->shard->gate_health) < config->redis.gate_down_after_ms)
        return done(goal, SYNC_GATE_AWAY);
    if (goal->item->rebuilding)
        return false;
    rebuild_t rebuild = {.item = *goal->item, .fallback = true};
    bool ended = try_rebuild(worker, goal, &rebuild, 0);
    if (ended && goal->result == SYNC_READY) {
        assert(goal->item->gate_down); /* or lua and watch would go on with a gate that is away */
        METRIC_INC(stand_ins_total);
        LOG_WARN("Redis is away: an item changes to the fallback, the optimistic strategy",
                 LOG_BYTES("sku", item_sku(goal->item)), LOG_INT("epoch", goal->item->epoch));
    }
    return ended;
}

/* Peeks for a purchase, unless half of the pool's threads do so already: while Redis is silent each
   would block until its time-out, and no thread would be left for other work. */
static sync_result_t peek_if_free(worker_t *worker, const item_t *item, gate_item_t *answer,
                                  uint64_t *gate_epoch)
{
    atomic_uint *peeks = &worker->shard->gate_peeks;
    unsigned max = (worker->shard->config->mysql.pool_threads + 1) / 2;
    sync_result_t seen = SYNC_BUSY;
    if (atomic_fetch_add(peeks, 1) < max)
        seen = peek_at_gate(worker, item, answer, gate_epoch);
    unsigned peeking = atomic_fetch_sub(peeks, 1);
    assert(peeking != 0); /* every thread that was counted leaves once */
    return seen;
}

static bool try_once(worker_t *worker, const item_ref_t *ref, goal_t *goal)
{
    gate_item_t answer;
    uint64_t gate_epoch;
    item_t *item = goal->item;
    sync_result_t seen = read_row(worker, ref, item);
    if (seen == SYNC_READY && goal->for_purchase) {
        if (!item_uses_gate(item))
            return leave_gate_out(worker, goal);
        seen = peek_if_free(worker, item, &answer, &gate_epoch);
        if (seen == SYNC_BUSY)
            return done(goal, SYNC_BUSY);
    } else if (seen == SYNC_READY) {
        seen = peek_at_gate(worker, item, &answer, &gate_epoch);
    }
    if (seen == SYNC_GATE_AWAY)
        return without_gate(worker, goal);
    if (seen == SYNC_BUSY)
        return false;
    if (seen != SYNC_READY)
        return done(goal, seen);
    bool forced = goal->epoch == item->epoch;
    if (!forced && gate_agrees(answer, gate_epoch, item))
        return done(goal, SYNC_READY);
    if (item->rebuilding)
        return false;
    rebuild_t rebuild = {.item = *item,
                         .lease = forced ? goal->lease : NULL,
                         .restore = forced && goal->restore,
                         .from_mysql = forced};
    return try_rebuild(worker, goal, &rebuild, gate_epoch);
}

static sync_result_t sync_until_agreed(worker_t *worker, const item_ref_t *ref, goal_t *goal)
{
    uint64_t deadline = clock_mono_ms() + SYNC_TIMEOUT_MS;
    /* A purchase builds a gate that is missing; what forces another epoch on a gate that agrees was
       decided under that epoch before. */
    assert(!goal->for_purchase || goal->epoch == 0);
    for (unsigned tries = 0; clock_mono_ms() < deadline; ++tries) {
        if (try_once(worker, ref, goal))
            return goal->result;
        usleep(random_backoff(2000, 30000, tries));
    }
    return SYNC_BUSY;
}

/* The id of an order and the window of its item use the servers' clocks, so these are read before
   an item is sold: this node's own clock may be wrong by any amount. A loop reads the clock of
   Redis when it connects to it; until then the shard's is used in its place. */
static sync_result_t read_clocks(worker_t *worker)
{
    shard_t *shard = worker->shard;
    remote_clock_t *clock = &shard->clock;
    if (!remote_clock_is_observed(clock)) {
        uint64_t sent = clock_mono_ms(), now_ms;
        result_t result = shard_clock_read(worker->db, &now_ms);
        if (result != RESULT_DONE)
            return result == RESULT_RETRY ? SYNC_BUSY : SYNC_STORE_AWAY;
        remote_clock_observe(clock, sent, now_ms);
    }
    remote_clock_guess_by(shard->gate_clock, clock);
    return SYNC_READY;
}

sync_result_t item_sync(worker_t *worker, const item_ref_t *ref, item_t *out)
{
    sync_result_t clocks = read_clocks(worker);
    if (clocks != SYNC_READY)
        return clocks;
    return sync_until_agreed(worker, ref, &(goal_t){.for_purchase = true, .item = out});
}

sync_result_t item_agree(worker_t *worker, const item_ref_t *ref, item_t *out)
{
    return sync_until_agreed(worker, ref, &(goal_t){.item = out});
}

sync_result_t item_rebuild(worker_t *worker, const item_ref_t *ref, uint64_t epoch,
                           const lease_t *lease, item_t *out)
{
    return sync_until_agreed(worker, ref, &(goal_t){.epoch = epoch, .lease = lease, .item = out});
}

sync_result_t item_restore(worker_t *worker, const item_ref_t *ref, uint64_t epoch,
                           const lease_t *lease, item_t *out)
{
    goal_t goal = {.epoch = epoch, .restore = true, .lease = lease, .item = out};
    return sync_until_agreed(worker, ref, &goal);
}
