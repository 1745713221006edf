#include "reconcile/change.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "reconcile/freeze.h"
#include "reconcile/sync.h"

/* How long a change is retried: under a SQL strategy it competes with every buyer for the row. */
#define CHANGE_TIMEOUT_MS 15000

typedef struct {
    worker_t *worker;
    const item_ref_t *ref;
    const item_change_t *change;
    change_origin_t origin; /* with the id of this change */
    /* An attempt has failed before this one, and may have committed the change all the same. */
    bool is_repeat;
    bool again; /* out: the item changed during the attempt; try again */
    item_t *out;
    change_outcome_t *outcome;
} changing_t;

static item_terms_t merge(const item_terms_t *now, const item_change_t *change)
{
    item_terms_t terms = *now;
    if (change->has_delta)
        terms.total += change->total_delta;
    if (change->has_total)
        terms.total = change->terms.total;
    if (change->has_limit)
        terms.per_buyer_limit = change->terms.per_buyer_limit;
    if (change->has_hold)
        terms.hold_seconds = change->terms.hold_seconds;
    if (change->has_starts)
        terms.starts_at_ms = change->terms.starts_at_ms;
    if (change->has_ends)
        terms.ends_at_ms = change->terms.ends_at_ms;
    if (change->has_strategy)
        terms.strategy = change->terms.strategy;
    if (change->has_acknowledge)
        terms.acknowledge = change->terms.acknowledge;
    return terms;
}

static bool terms_equal(const item_terms_t *a, const item_terms_t *b)
{
    return a->total == b->total && a->per_buyer_limit == b->per_buyer_limit &&
           a->hold_seconds == b->hold_seconds && a->starts_at_ms == b->starts_at_ms &&
           a->ends_at_ms == b->ends_at_ms && a->strategy == b->strategy &&
           a->acknowledge == b->acknowledge;
}

static bool window_is_valid(const item_terms_t *terms)
{
    return terms->starts_at_ms == 0 || terms->ends_at_ms == 0 ||
           terms->starts_at_ms < terms->ends_at_ms;
}

/* Computes the totals of a new row from the orders of the name, since totals follow rows. Finished
   orders are those of an item that was deleted. Live ones exist only if a user has deleted the row
   by hand. No order can arrive meanwhile, since there is no row to allocate it in. */
static result_t insert_row(worker_t *worker, const item_ref_t *ref, const item_terms_t *terms)
{
    str_t sku = sku_str(&ref->sku);
    sql_reset(&worker->sql);
    sql_add(&worker->sql,
            "INSERT INTO inventory SET sku = %s, bucket = %u, slot = %u, created_at = NOW(3), "
            "updated_at = NOW(3), epoch = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), "
            "terms_version = CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED), "
            "allocated_total = (SELECT COALESCE(SUM(quantity + given_back), 0) FROM orders WHERE "
            "sku = %s AND state <> 'rejected'), "
            "released_total = (SELECT COALESCE(SUM(given_back + "
            "IF(state IN ('cancelled', 'expired'), quantity, 0)), 0) FROM orders WHERE sku = %s "
            "AND state <> 'rejected')",
            sku, (uint64_t)ref->bucket, (uint64_t)ref->slot, sku, sku);
    item_add_terms(&worker->sql, terms);
    return db_exec(worker->db, &worker->sql, NULL, 0);
}

static result_t insert_item(worker_t *worker, const item_ref_t *ref, const item_terms_t *terms,
                            const change_origin_t *origin)
{
    item_t item;
    bool found;
    result_t result = db_run(worker->db, "START TRANSACTION");
    if (result == RESULT_DONE)
        result = insert_row(worker, ref, terms);
    if (result == RESULT_DONE)
        result = item_read(worker->db, &worker->sql, ref, false, &item, &found);
    if (result == RESULT_DONE)
        result = change_insert(worker->db, &worker->sql, origin, ref, item.epoch, NULL, terms);
    if (result != RESULT_DONE) {
        db_rollback(worker->db);
        return result;
    }
    FAILPOINT("item_inserted");
    return db_commit(worker->db);
}

sync_result_t freeze_and_drain(worker_t *worker, rebuild_t *rebuild)
{
    const item_t *item = &rebuild->item;
    uint64_t epoch, deadline = clock_mono_ms() + DRAIN_TIMEOUT_MS;
    bool frozen = true;
    assert(!rebuild->needs_freeze); /* a second freeze would lose the first one's deadline, and with
                                       it the means to end it */
    if (gate_sync_freeze(worker->gate, &item->ref, FREEZE_MS, &rebuild->unsettled_max, &epoch,
                         &rebuild->frozen_until_ms) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    /* The gate froze under another epoch than the row has, so its units are not those of this row.
       The freeze ends by itself. */
    if (epoch != item->epoch)
        return SYNC_BUSY;
    rebuild->needs_freeze = true;
    FAILPOINT("rebuild_frozen");
    while (rebuild->unsettled_max != 0 && clock_mono_ms() < deadline) {
        usleep(5000);
        if (gate_sync_frozen(worker->gate, &item->ref, epoch, 0, &rebuild->frozen_until_ms, &frozen,
                             &rebuild->unsettled_max) != RESULT_DONE)
            return SYNC_GATE_AWAY;
        if (!frozen)
            return SYNC_BUSY;
    }
    return SYNC_READY;
}

/* Checks whether `total` is below the sold and unsettled units. Reads the row again: orders were
   sold during the drain. */
static sync_result_t check_total(worker_t *worker, rebuild_t *rebuild, bool *too_low)
{
    bool found;
    item_t now;
    result_t result = item_read(worker->db, &worker->sql, &rebuild->item.ref, false, &now, &found);
    if (result != RESULT_DONE)
        return sync_of_store(result);
    if (!found || now.epoch != rebuild->item.epoch)
        return SYNC_BUSY;
    *too_low = item_allocated(&now) + rebuild->unsettled_max > rebuild->terms->total;
    return SYNC_READY;
}

/* Buyers of an `accepted` item received 202 as soon as the gate had admitted them. A SQL strategy
   has no record of their units and would sell them again; so all of these orders must reach MySQL
   first. */
static bool leaves_accepted(const item_t *before, const item_terms_t *after)
{
    return item_uses_gate(before) && before->terms.acknowledge == ACKNOWLEDGE_ACCEPTED &&
           (!strategy_uses_gate(after->strategy) || after->acknowledge != ACKNOWLEDGE_ACCEPTED);
}

/* Finds out from the gate what has to be certain before the row is changed. A gate that is away
   cannot report the orders that it has admitted: a change that leaves the gate then goes ahead, and
   these orders stay in Redis until it is back. */
static sync_result_t prepare_gate(worker_t *worker, rebuild_t *rebuild, bool *too_low)
{
    const item_t *item = &rebuild->item;
    bool lowers = rebuild->terms->total < item->terms.total;
    bool drains = leaves_accepted(item, rebuild->terms);
    sync_result_t step = SYNC_READY;
    if (lowers && item->gate_down)
        return SYNC_GATE_AWAY; /* the units that the gate has admitted cannot be read */
    if (item_uses_gate(item) && !rebuild->row_only && (lowers || drains))
        step = freeze_and_drain(worker, rebuild);
    if (step == SYNC_GATE_AWAY && !lowers) {
        rebuild->needs_freeze = false;
        return SYNC_READY;
    }
    if (step == SYNC_READY && drains && rebuild->unsettled_max != 0)
        return SYNC_BUSY;
    return step == SYNC_READY && lowers ? check_total(worker, rebuild, too_low) : step;
}

static sync_result_t change_once(worker_t *worker, rebuild_t *rebuild, uint64_t gate_epoch,
                                 bool *too_low)
{
    *too_low = false;
    sync_result_t step = prepare_gate(worker, rebuild, too_low);
    if (step == SYNC_READY && !*too_low)
        return rebuild_run(worker, rebuild, gate_epoch);
    rebuild_thaw(worker, rebuild);
    return step;
}

static sync_result_t create_item(changing_t *c)
{
    const item_change_t *change = c->change;
    change_outcome_t *outcome = c->outcome;
    *outcome = !change->create                                 ? CHANGE_UNKNOWN_ITEM
               : !window_is_valid(&change->terms)              ? CHANGE_INVALID_WINDOW
               : !precondition_holds(&change->precondition, 0) ? CHANGE_PRECONDITION_FAILED
                                                               : CHANGE_CREATED;
    if (*outcome != CHANGE_CREATED)
        return SYNC_READY;
    result_t result = insert_item(c->worker, c->ref, &change->terms, &c->origin);
    if (result != RESULT_REFUSED)
        return sync_of_store(result);
    if (db_error_is_duplicate(c->worker->db))
        return SYNC_BUSY;          /* another caller has created it meanwhile */
    *outcome = CHANGE_WRONG_STATE; /* orders of an item of that name have more units than `total` */
    return SYNC_READY;
}

/* Nobody has bought the item, and it has no gate: until the first buyer comes it needs none. If
   he has come, and has it built now, a change of the row alone would make that gate an old one. */
static bool may_lack_gate(gate_item_t answer, const item_t *item)
{
    return answer == GATE_ITEM_MISSING && item->allocated_total == 0 && !item->gate_down &&
           !item->rebuilding;
}

/* Whether only the row has to be changed. A gate that was deleted by hand may have left orders that
   the change must count. */
static sync_result_t needs_row_only(worker_t *worker, gate_item_t answer, const item_t *item,
                                    bool *row_only)
{
    order_id_t *ids;
    size_t count;
    *row_only = false;
    if (!may_lack_gate(answer, item))
        return SYNC_READY;
    if (gate_sync_unsettled_ids(worker->gate, &item->ref, &ids, &count) != RESULT_DONE)
        return SYNC_GATE_AWAY;
    free(ids);
    *row_only = count == 0;
    return SYNC_READY;
}

/* Changes a row that exists and has other terms. */
static sync_result_t change_terms(changing_t *c, const item_terms_t *terms, uint64_t gate_epoch,
                                  bool row_only)
{
    bool too_low;
    item_t *out = c->out;
    rebuild_t rebuild = {.item = *out, .terms = terms, .origin = &c->origin, .row_only = row_only};
    sync_result_t result = change_once(c->worker, &rebuild, gate_epoch, &too_low);
    *out = rebuild.item;
    *c->outcome = too_low ? CHANGE_WRONG_STATE : CHANGE_DONE;
    if (too_low)
        return SYNC_READY;
    /* If Redis went away after the row was changed, the change is made; the gate is rebuilt when
       Redis is back. */
    return result == SYNC_GATE_AWAY && terms_equal(terms, &out->terms) ? SYNC_READY : result;
}

/* Whether an earlier attempt has made the change. The row was read before: if it shows the change,
   so does this. If there is no row, the item was deleted since. */
static sync_result_t is_made_already(const changing_t *c, bool row_is_there, bool *made)
{
    bool created = false;
    worker_t *worker = c->worker;
    *made = false;
    if (!c->is_repeat)
        return SYNC_READY;
    result_t result = change_find(worker->db, &worker->sql, &c->origin.id, made, &created);
    if (*made)
        *c->outcome = !row_is_there ? CHANGE_UNKNOWN_ITEM : created ? CHANGE_CREATED : CHANGE_DONE;
    return sync_of_store(result);
}

/* Whether an earlier request with this key has changed the item. The row was read before. */
static sync_result_t is_replay(const changing_t *c, bool *replay)
{
    uint64_t digest = 0;
    worker_t *worker = c->worker;
    *replay = false;
    if (c->origin.key[0] == '\0')
        return SYNC_READY;
    result_t result =
        change_find_key(worker->db, &worker->sql, c->ref, c->origin.key, replay, &digest);
    if (*replay)
        *c->outcome = digest == c->origin.digest ? CHANGE_REPLAYED : CHANGE_KEY_REUSED;
    return sync_of_store(result);
}

/* Only a gate that agrees with the row can report what is unsettled: it is rebuilt first. The terms
   may change meanwhile, and those that are to be set follow from the ones that were read. */
static sync_result_t agree_first(changing_t *c)
{
    uint64_t version = c->out->terms_version;
    sync_result_t result = item_agree(c->worker, c->ref, c->out);
    bool deleted = result == SYNC_UNKNOWN_ITEM && c->change->create;
    c->again = deleted || (result == SYNC_READY && version != c->out->terms_version);
    return c->again ? SYNC_BUSY : result;
}

/* Decides about the row that was read. CHANGE_DONE: it is to get these terms. */
static change_outcome_t decide(const changing_t *c, const item_terms_t *terms)
{
    const item_change_t *change = c->change;
    if (!precondition_holds(&change->precondition, c->out->terms_version))
        return CHANGE_PRECONDITION_FAILED;
    if (terms->total < 0 || terms->total > ITEM_TOTAL_MAX)
        return CHANGE_TOTAL_OUT_OF_RANGE;
    if (!window_is_valid(terms))
        return CHANGE_INVALID_WINDOW;
    if (terms_equal(terms, &c->out->terms))
        return CHANGE_NONE;
    return change->create && !change->precondition.match.present ? CHANGE_PRECONDITION_REQUIRED
                                                                 : CHANGE_DONE;
}

/* Changes the row that was read, if that is needed. `peeked`: Redis has answered. */
static sync_result_t change_row(changing_t *c, bool peeked, gate_item_t answer, uint64_t gate_epoch)
{
    bool row_only = false;
    item_t *out = c->out;
    item_terms_t terms = merge(&out->terms, c->change);
    *c->outcome = decide(c, &terms);
    if (*c->outcome != CHANGE_DONE)
        return SYNC_READY;
    if (peeked)
        peeked = needs_row_only(c->worker, answer, out, &row_only) == SYNC_READY;
    if (peeked && !row_only && !gate_agrees(answer, gate_epoch, out)) {
        sync_result_t result = agree_first(c);
        if (result != SYNC_READY)
            return result;
    }
    sync_result_t result = change_terms(c, &terms, gate_epoch, row_only);
    c->again = result == SYNC_BUSY;
    return result;
}

/* One read and one attempt. */
static sync_result_t try_change(changing_t *c)
{
    uint64_t gate_epoch;
    gate_item_t answer;
    bool made;
    sync_result_t result = item_peek(c->worker, c->ref, c->out, &answer, &gate_epoch);
    bool peeked = result == SYNC_READY, absent = result == SYNC_UNKNOWN_ITEM;
    FAILPOINT("change_peeked");
    c->again = result == SYNC_BUSY;
    if (!peeked && !absent && result != SYNC_GATE_AWAY)
        return result;
    sync_result_t looked_up = is_made_already(c, !absent, &made);
    c->again = looked_up == SYNC_BUSY;
    if (made || looked_up != SYNC_READY)
        return looked_up;
    if (absent) {
        result = create_item(c);
        c->again = result == SYNC_BUSY;
        return result;
    }
    looked_up = is_replay(c, &made);
    c->again = looked_up == SYNC_BUSY;
    return made || looked_up != SYNC_READY ? looked_up : change_row(c, peeked, answer, gate_epoch);
}

/* Completes a rebuild that a lost race has left, and builds the gate of a new item that finds one
   of an earlier item of its name. The row of a new item may be deleted or out of reach before it is
   read for the first time: SYNC_BUSY. */
static sync_result_t finish_change(worker_t *worker, const item_ref_t *ref,
                                   change_outcome_t outcome, item_t *out)
{
    uint64_t gate_epoch;
    gate_item_t answer;
    if (outcome == CHANGE_CREATED) {
        FAILPOINT("item_created");
        out->epoch = 0; /* no row has this epoch */
    }
    bool peeked = item_peek(worker, ref, out, &answer, &gate_epoch) == SYNC_READY;
    if (!peeked || !(may_lack_gate(answer, out) || gate_agrees(answer, gate_epoch, out)))
        item_agree(worker, ref, out);
    return outcome == CHANGE_CREATED && out->epoch == 0 ? SYNC_BUSY : SYNC_READY;
}

sync_result_t item_change(worker_t *worker, const item_ref_t *ref, const item_change_t *change,
                          const change_origin_t *origin, item_t *out, change_outcome_t *outcome)
{
    uint64_t deadline = clock_mono_ms() + CHANGE_TIMEOUT_MS;
    sync_result_t result = SYNC_BUSY;
    changing_t c = {.worker = worker,
                    .ref = ref,
                    .change = change,
                    .origin = *origin,
                    .again = true,
                    .out = out,
                    .outcome = outcome};
    c.origin.id = order_id_issue(ref->slot, remote_clock_now_ms(&worker->shard->clock));
    for (unsigned tries = 0; c.again && clock_mono_ms() < deadline; ++tries) {
        if (tries != 0)
            usleep(random_backoff(2000, 20000, tries));
        c.is_repeat = tries != 0;
        result = try_change(&c);
    }
    return result == SYNC_READY && CHANGE_IS_MADE(*outcome)
               ? finish_change(worker, ref, *outcome, out)
               : result;
}
