#include "reconcile/orphans.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/aside.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "work/writer.h"

/* An order is taken over after so long without an owner: a Redis that has just come back has
   received no heartbeat yet. */
#define WATCHED_MS 500
/* An order of this process past its deadline may still be queued for MySQL here. */
#define OWN_WATCHED_MS 4000
/* An order so long past its deadline whose owner lives: the owner has lost it. A reserve call that
   was delayed and sent again may arrive after its order was settled; it then admits the order
   anew. */
#define LIVING_WATCHED_MS 8000
/* An order that was taken over and is still there after so long is taken over once more. */
#define AGAIN_MS 5000
/* Records read in one slot and pass; more, if all of these were taken over before. */
#define SLOT_MAX 256
#define SLOT_MORE_MAX 65536
/* A slot without items may contain orders of an item that was deleted. So one pass of so many reads
   all slots. */
#define ALL_SLOTS_PASSES 16
/* Backoff of slots that are set aside. */
#define ASIDE_BASE_MS 1000
#define ASIDE_CAP_MS 10000
/* Processes whose heartbeat is read in one pass; more cannot own orders at one time. */
#define OWNERS_MAX 64

typedef struct {
    UT_hash_handle hh;
    order_id_t id;
    uint64_t since_ms;   /* monotonic: first seen */
    uint64_t adopted_ms; /* monotonic: taken over; 0: not yet */
    unsigned pass;       /* in which it was last seen */
} sighting_t;

struct orphans {
    sighting_t *sightings; /* uthash by id */
    unsigned pass;
    unsigned adopted; /* in this pass */
    unsigned met,
        fresh;      /* in the present call: records, and those that were not taken over before */
    aside_t *aside; /* slots */
    worker_t *worker;
    gate_owner_t gone[OWNERS_MAX], living[OWNERS_MAX]; /* as read in this pass */
    unsigned gone_count, living_count;
};

orphans_t *orphans_new(void)
{
    orphans_t *orphans = alloc_zero(1, sizeof(*orphans));
    orphans->aside = aside_new(ASIDE_BASE_MS, ASIDE_CAP_MS);
    return orphans;
}

/* Forgets the orders that the pass with this number did not see. */
static void forget_unseen(orphans_t *orphans, unsigned pass)
{
    sighting_t *sighting, *next;
    HASH_ITER(hh, orphans->sightings, sighting, next)
    {
        if (sighting->pass != pass) {
            HASH_DEL(orphans->sightings, sighting);
            free(sighting);
        }
    }
}

void orphans_free(orphans_t *orphans)
{
    forget_unseen(orphans, orphans->pass + 1);
    assert(orphans->sightings == NULL);
    METRIC_ADD(orphans_set_aside, -(int64_t)aside_count(orphans->aside));
    aside_free(orphans->aside);
    free(orphans);
}

static sighting_t *sight(orphans_t *orphans, const order_id_t *id)
{
    sighting_t *sighting;
    HASH_FIND(hh, orphans->sightings, id->bytes, sizeof(id->bytes), sighting);
    if (sighting == NULL) {
        sighting = alloc_zero(1, sizeof(*sighting));
        sighting->id = *id;
        sighting->since_ms = clock_mono_ms();
        HASH_ADD(hh, orphans->sightings, id.bytes, sizeof(id->bytes), sighting);
    }
    sighting->pass = orphans->pass;
    return sighting;
}

/* --- owners --- */

static bool is_among(const gate_owner_t *owners, unsigned count, str_t name)
{
    for (unsigned i = 0; i < count; ++i)
        if (str_eq((str_t){owners[i].bytes, owners[i].length}, name))
            return true;
    return false;
}

/* An owner counts as alive unless Redis reports that it is not: after an error its orders are left
   alone in this pass. */
static void read_heartbeat(orphans_t *orphans, const gate_owner_t *owner)
{
    bool alive = true;
    str_t name = {owner->bytes, owner->length};
    if (str_eq(name, str_of(orphans->worker->shard->incarnation)) ||
        is_among(orphans->gone, orphans->gone_count, name) ||
        is_among(orphans->living, orphans->living_count, name))
        return;
    if (gate_sync_is_alive(orphans->worker->gate, owner, &alive) != RESULT_DONE)
        return;
    if (alive && orphans->living_count < OWNERS_MAX)
        orphans->living[orphans->living_count++] = *owner;
    else if (!alive && orphans->gone_count < OWNERS_MAX)
        orphans->gone[orphans->gone_count++] = *owner;
}

/* --- a slot --- */

static uint64_t watched_ms(const orphans_t *orphans, str_t owner)
{
    if (str_eq(owner, str_of(orphans->worker->shard->incarnation)))
        return OWN_WATCHED_MS;
    return is_among(orphans->gone, orphans->gone_count, owner) ? WATCHED_MS : LIVING_WATCHED_MS;
}

static void on_record(void *context, const order_id_t *id, const gate_record_t *record)
{
    orphans_t *orphans = context;
    ++orphans->met;
    if (record == NULL)
        return;
    sighting_t *sighting = sight(orphans, id);
    uint64_t now = clock_mono_ms();
    orphans->fresh += sighting->adopted_ms == 0;
    if (now - sighting->since_ms < watched_ms(orphans, record->owner) ||
        (sighting->adopted_ms != 0 && now - sighting->adopted_ms < AGAIN_MS))
        return;
    sighting->adopted_ms = now;
    ++orphans->adopted;
    METRIC_INC(orphans_adopted_total);
    FAILPOINT("orphan_adopted");
    announce_order_orphaned(orphans->worker->shard->announcements, id, record);
}

/* Reads the records of a slot. Orders that were taken over and have not ended, and invalid records,
   may fill a whole answer; then more are read. */
static result_t scan_records(orphans_t *orphans, uint16_t slot)
{
    result_t call;
    unsigned max = SLOT_MAX;
    bool full;
    /* Else the orders that this process is about to commit would be taken over under it. */
    assert(
        !is_among(orphans->gone, orphans->gone_count, str_of(orphans->worker->shard->incarnation)));
    do {
        orphans->met = orphans->fresh = 0;
        call = gate_sync_orphans(orphans->worker->gate, slot, orphans->gone, orphans->gone_count,
                                 max, on_record, orphans);
        full = call == RESULT_DONE && orphans->met == max && orphans->fresh == 0;
        max *= 4;
    } while (full && max <= SLOT_MORE_MAX);
    return call;
}

static result_t scan_slot(orphans_t *orphans, uint16_t slot)
{
    gate_sync_t *gate = orphans->worker->gate;
    gate_owner_t owners[OWNERS_MAX];
    unsigned count;
    result_t call = gate_sync_owners(gate, slot, owners, OWNERS_MAX, &count);
    if (call != RESULT_DONE || count == 0)
        return call;
    for (unsigned i = 0; i < count; ++i)
        read_heartbeat(orphans, &owners[i]);
    return scan_records(orphans, slot);
}

static str_t key_of_slot(const uint16_t *slot)
{
    return (str_t){(const char *)slot, sizeof(*slot)};
}

static void put_aside(orphans_t *orphans, uint16_t slot)
{
    uint64_t now = clock_mono_ms();
    str_t key = key_of_slot(&slot);
    if (aside_put(orphans->aside, key, NULL, 0, now) == 1)
        METRIC_ADD(orphans_set_aside, 1);
    METRIC_INC(orphans_set_aside_total);
    LOG_WARN("the unsettled orders of a slot cannot be read; the slot is set aside",
             LOG_INT("slot", slot), LOG_STR("error", gate_sync_error(orphans->worker->gate)),
             LOG_INT("retry_ms", aside_wait_ms(orphans->aside, key, now)));
}

/* False: Redis is away, so the pass ends. */
static bool pass_over_slot(orphans_t *orphans, uint16_t slot)
{
    str_t key = key_of_slot(&slot);
    if (aside_waits(orphans->aside, key, clock_mono_ms()))
        return true;
    if (!FAILPOINT_FAILS("orphans_slot") && scan_slot(orphans, slot) == RESULT_DONE) {
        if (aside_drop(orphans->aside, key))
            METRIC_ADD(orphans_set_aside, -1);
        return true;
    }
    if (gate_sync_connect(orphans->worker->gate) != RESULT_DONE)
        return false;
    put_aside(orphans, slot);
    return true;
}

/* Reads the slots that have items. */
static unsigned read_slots(worker_t *worker, uint16_t *slots)
{
    const sql_t sql = {(char *)"SELECT DISTINCT slot FROM inventory", 35, 0};
    unsigned count = 0;
    if (db_query(worker->db, &sql) != RESULT_DONE)
        return 0;
    while (db_next(worker->db) && count < SLOT_COUNT)
        slots[count++] = (uint16_t)db_u64(worker->db, 0);
    return count;
}

static unsigned all_slots(const worker_t *worker, uint16_t *slots)
{
    unsigned count = 0;
    for (unsigned slot = 0; slot < SLOT_COUNT; ++slot)
        if (worker->shard->map->shard_of_slot[slot] == worker->shard->index)
            slots[count++] = (uint16_t)slot;
    assert(count != 0); /* every shard holds a range of slots */
    return count;
}

unsigned orphans_pass(orphans_t *orphans, worker_t *worker)
{
    uint16_t slots[SLOT_COUNT];
    assert(orphans->worker == NULL || orphans->worker == worker); /* sightings are of one shard */
    if (writer_is_away(worker->shard->writer))
        return 0; /* MySQL is away: an order taken over now could not be written */
    bool all = ++orphans->pass % ALL_SLOTS_PASSES == 0;
    unsigned count = all ? all_slots(worker, slots) : read_slots(worker, slots);
    orphans->adopted = orphans->gone_count = orphans->living_count = 0;
    orphans->worker = worker;
    for (unsigned i = 0; i < count; ++i)
        if (!pass_over_slot(orphans, slots[i]))
            return orphans->adopted; /* the sightings are kept for the next pass */
    if (all)                         /* otherwise slots without items were not read */
        forget_unseen(orphans, orphans->pass);
    if (orphans->adopted != 0)
        LOG_INFO("orphans were taken over", LOG_INT("shard", worker->shard->index),
                 LOG_INT("orders", orphans->adopted));
    return orphans->adopted;
}
