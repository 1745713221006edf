#include "reconcile/orphans.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/aside.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "metrics/metrics.h"
#include "work/writer.h"

/* An owner is gone for so long before its orders are taken over: a Redis that has just come back
   has received no heartbeat yet. */
#define GONE_MS 500
/* An order of this process past its deadline may still be queued for MySQL here. */
#define OWN_WATCHED_MS 4000
/* An order so long past its deadline whose owner lives: the owner has lost it. A reserve call that
   was delayed and sent again may arrive after its order was settled; it then admits the order
   anew. */
#define LIVING_WATCHED_MS 8000
/* An order that was taken over and is still there after so long is taken over once more. */
#define AGAIN_MS 5000
/* Records of a slot that one call returns; more, if none of these can be taken over now. */
#define READ_MAX 2048
#define READ_MORE_MAX 65536
/* Orders of a shard that are taken over and not yet written, at most; and at most this part of the
   permits, so that the sale keeps the rest. */
#define UNDER_WAY_MAX 1024
#define UNDER_WAY_PART 4
/* A pass may wait for the end of orders until this time has passed since it began, or until none
   has ended for so long. */
#define PASS_MS 500
#define ROOM_MS 200
/* Then it still takes over so many of each slot: the orders that do not end may be of others. */
#define SLOT_MIN 64
/* One call finds out whether any of so many slots has unsettled orders. */
#define SLOTS_A_CALL 64
/* One pass of so many forgets the orders that it has not seen. */
#define FORGET_PASSES 16
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

typedef struct {
    gate_owner_t name;
    uint64_t gone_ms; /* monotonic: since when it sends no heartbeat; 0: it lives */
    unsigned pass;    /* in which its heartbeat was last read; 0: never */
} owner_t;

struct orphans {
    sighting_t *sightings; /* uthash by id */
    unsigned pass;
    uint64_t until_ms; /* monotonic: this pass waits until then */
    bool crowded;      /* orders that were taken over do not end: this pass waits no more */
    bool left;         /* orders may be left only because the time of the pass was over */
    /* Orders taken over in this pass, for this slot, and in the present call; records that the call
       returned. */
    unsigned adopted, of_slot, of_call, met;
    aside_t *aside; /* slots */
    worker_t *worker;
    owner_t owners[OWNERS_MAX];
    gate_owner_t gone[OWNERS_MAX]; /* those whose orders are taken over in this pass */
    unsigned gone_count;
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

static str_t owner_str(const gate_owner_t *owner)
{
    return (str_t){owner->bytes, owner->length};
}

/* Returns the entry of an owner, if need be in place of one that this pass has not met; NULL: there
   is no room. */
static owner_t *owner_of(orphans_t *orphans, const gate_owner_t *name)
{
    owner_t *spare = NULL;
    for (unsigned i = 0; i < OWNERS_MAX; ++i) {
        owner_t *owner = &orphans->owners[i];
        if (owner->pass != 0 && str_eq(owner_str(&owner->name), owner_str(name)))
            return owner;
        if (owner->pass != orphans->pass && (spare == NULL || owner->pass < spare->pass))
            spare = owner;
    }
    if (spare != NULL)
        *spare = (owner_t){.name = *name};
    return spare;
}

/* An owner counts as alive unless Redis reports that it is not: after an error its orders are left
   alone in this pass. */
static void read_heartbeat(orphans_t *orphans, const gate_owner_t *name)
{
    bool alive = true;
    uint64_t now = clock_mono_ms();
    if (str_eq(owner_str(name), str_of(orphans->worker->shard->incarnation)))
        return;
    owner_t *owner = owner_of(orphans, name);
    if (owner == NULL || owner->pass == orphans->pass ||
        gate_sync_is_alive(orphans->worker->gate, name, &alive) != RESULT_DONE)
        return;
    owner->pass = orphans->pass;
    if (alive)
        owner->gone_ms = 0;
    else if (owner->gone_ms == 0)
        owner->gone_ms = now;
    if (!alive && now - owner->gone_ms >= GONE_MS)
        orphans->gone[orphans->gone_count++] = *name;
}

static bool is_gone(const orphans_t *orphans, str_t name)
{
    for (unsigned i = 0; i < orphans->gone_count; ++i)
        if (str_eq(owner_str(&orphans->gone[i]), name))
            return true;
    return false;
}

/* --- a slot --- */

static bool is_stopping(const orphans_t *orphans)
{
    return repair_queue_is_stopping(&orphans->worker->shard->repairs);
}

/* Returns whether this pass may wait, or read more of a slot. */
static bool has_time(orphans_t *orphans)
{
    if (orphans->crowded || is_stopping(orphans))
        return false;
    if (clock_mono_ms() < orphans->until_ms)
        return true;
    orphans->left = true;
    return false;
}

/* Returns whether another order can be taken over. If too many are under way, waits until one has
   ended. */
static bool has_room(orphans_t *orphans)
{
    shard_t *shard = orphans->worker->shard;
    unsigned most = shard->config->mysql.writer_queue_max / UNDER_WAY_PART + 1;
    uint64_t start_ms = clock_mono_ms();
    most = most < UNDER_WAY_MAX ? most : UNDER_WAY_MAX;
    while (atomic_load(&shard->orphans_under_way) >= most) {
        if (clock_mono_ms() - start_ms >= ROOM_MS)
            orphans->crowded = true;
        if (!has_time(orphans))
            return false;
        usleep(1000);
    }
    return true;
}

static uint64_t watched_ms(const orphans_t *orphans, str_t owner)
{
    if (str_eq(owner, str_of(orphans->worker->shard->incarnation)))
        return OWN_WATCHED_MS;
    return is_gone(orphans, owner) ? 0 : LIVING_WATCHED_MS;
}

static void on_record(void *context, const order_id_t *id, const gate_record_t *record)
{
    orphans_t *orphans = context;
    ++orphans->met;
    if (record == NULL)
        return;
    sighting_t *sighting = sight(orphans, id);
    uint64_t now = clock_mono_ms();
    if (now - sighting->since_ms < watched_ms(orphans, record->owner) ||
        (sighting->adopted_ms != 0 && now - sighting->adopted_ms < AGAIN_MS))
        return;
    if (!has_room(orphans) && orphans->of_slot >= SLOT_MIN)
        return;
    sighting->adopted_ms = now;
    ++orphans->adopted;
    ++orphans->of_slot;
    ++orphans->of_call;
    METRIC_INC(orphans_adopted_total);
    FAILPOINT("orphan_adopted");
    atomic_fetch_add(&orphans->worker->shard->orphans_under_way, 1);
    announce_order_orphaned(orphans->worker->shard->announcements, id, record);
}

/* Reads the records of a slot until it has met all of them or has no more time. Orders that
   were taken over and have not ended, and invalid records, may fill a whole answer; then more
   are read. */
static result_t scan_records(orphans_t *orphans, uint16_t slot)
{
    result_t call;
    unsigned max = READ_MAX;
    bool full;
    /* Else the orders that this process is about to commit would be taken over under it. */
    assert(!is_gone(orphans, str_of(orphans->worker->shard->incarnation)));
    orphans->of_slot = 0;
    do {
        orphans->met = orphans->of_call = 0;
        call = gate_sync_orphans(orphans->worker->gate, slot, orphans->gone, orphans->gone_count,
                                 max, on_record, orphans);
        full = call == RESULT_DONE && orphans->met == max;
        if (orphans->of_call == 0)
            max *= 4;
    } while (full && max <= READ_MORE_MAX && has_time(orphans));
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

/* A pass over some slots: over each of them if any has orders, as at rest none has. An error counts
   as orders: the call for the slot meets it too. False: Redis is away, so the pass ends. */
static bool pass_over_slots(orphans_t *orphans, const uint16_t *slots, unsigned count)
{
    bool any = true;
    if (gate_sync_any_unsettled(orphans->worker->gate, slots, count, &any) != RESULT_DONE)
        any = true;
    for (unsigned i = 0; i < count; ++i)
        if (is_stopping(orphans) || ((any || aside_has(orphans->aside, key_of_slot(&slots[i]))) &&
                                     !pass_over_slot(orphans, slots[i])))
            return false;
    return true;
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
    orphans->left = false;
    if (writer_is_away(worker->shard->writer))
        return 0; /* MySQL is away: an order taken over now could not be written */
    unsigned count = all_slots(worker, slots);
    ++orphans->pass;
    orphans->adopted = orphans->gone_count = 0;
    orphans->crowded = false;
    orphans->until_ms = clock_mono_ms() + PASS_MS;
    orphans->worker = worker;
    for (unsigned i = 0; i < count; i += SLOTS_A_CALL)
        if (!pass_over_slots(orphans, slots + i,
                             i + SLOTS_A_CALL < count ? SLOTS_A_CALL : count - i))
            return orphans->adopted; /* the sightings are kept for the next pass */
    if (orphans->pass % FORGET_PASSES == 0)
        forget_unseen(orphans, orphans->pass);
    if (orphans->adopted != 0)
        LOG_INFO("orphans were taken over", LOG_INT("shard", worker->shard->index),
                 LOG_INT("orders", orphans->adopted));
    return orphans->adopted;
}

bool orphans_are_left(const orphans_t *orphans)
{
    return orphans->left;
}
