#include "reconcile/orphans.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/log.h"
#include "engine/engine.h"
#include "metrics/metrics.h"

/* Seen overdue and without an owner for so long, then taken over. */
#define WATCHED_MS 2000
/* An own order may still wait in this process's writer; it is taken up again only after this. */
#define OWN_WATCHED_MS 20000
/* Taken over and still there after so long: once more. */
#define AGAIN_MS 10000
/* Looked at in one slot and pass. */
#define SLOT_MAX 256

typedef struct {
    UT_hash_handle hh;
    order_id_t id;
    uint64_t since_ms;   /* monotonic: first seen so */
    uint64_t adopted_ms; /* 0: not yet */
    unsigned pass;       /* last seen in */
} sighting_t;

struct orphans {
    sighting_t *sightings; /* uthash by id */
    unsigned pass;
    unsigned adopted; /* in this pass */
    worker_t *worker;
    char owner[64]; /* the owner that was asked for last, and what was heard */
    bool owner_alive;
};

orphans_t *orphans_new(void)
{
    orphans_t *orphans = calloc(1, sizeof(*orphans));
    if (orphans == NULL)
        abort();
    return orphans;
}

/* Forgets those that the pass with this number did not see. */
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
    free(orphans);
}

static sighting_t *sight(orphans_t *orphans, const order_id_t *id)
{
    sighting_t *sighting;
    HASH_FIND(hh, orphans->sightings, id->bytes, sizeof(id->bytes), sighting);
    if (sighting == NULL) {
        if ((sighting = calloc(1, sizeof(*sighting))) == NULL)
            abort();
        sighting->id = *id;
        sighting->since_ms = clock_mono_ms();
        HASH_ADD(hh, orphans->sightings, id.bytes, sizeof(id->bytes), sighting);
    }
    sighting->pass = orphans->pass;
    return sighting;
}

/* In doubt, alive: then nothing is done in this pass. */
static bool owner_is_alive(orphans_t *orphans, str_t owner)
{
    if (owner.n >= sizeof(orphans->owner))
        return true;
    if (str_eq(owner, str_of(orphans->owner)))
        return orphans->owner_alive;
    bool alive = true;
    if (gate_sync_is_alive(orphans->worker->gate, owner, &alive) != GATE_CALL_OK)
        return true;
    memcpy(orphans->owner, owner.p, owner.n);
    orphans->owner[owner.n] = '\0';
    orphans->owner_alive = alive;
    return alive;
}

static void look_at(void *context, const order_id_t *id, const gate_record_t *record)
{
    orphans_t *orphans = context;
    node_t *node = orphans->worker->node;
    bool own = str_eq(record->owner, str_of(node->incarnation));
    if (!own && owner_is_alive(orphans, record->owner))
        return; /* not sighted: should its owner go later, the watch begins then */
    sighting_t *sighting = sight(orphans, id);
    uint64_t now = clock_mono_ms();
    if (now - sighting->since_ms < (own ? OWN_WATCHED_MS : WATCHED_MS) ||
        (sighting->adopted_ms != 0 && now - sighting->adopted_ms < AGAIN_MS))
        return;
    sighting->adopted_ms = now;
    ++orphans->adopted;
    METRIC_INC(orphans_adopted_total);
    engine_adopt(node, id, record);
}

/* Slots that have items: elsewhere nothing can be unsettled. */
static unsigned read_slots(worker_t *worker, uint16_t *slots)
{
    const sql_t sql = {(char *)"SELECT DISTINCT slot FROM inventory", 35, 0};
    unsigned count = 0;
    if (db_query(worker->db, &sql) != DB_OK)
        return 0;
    while (db_next(worker->db) && count < SLOT_COUNT)
        slots[count++] = (uint16_t)db_u64(worker->db, 0);
    return count;
}

unsigned orphans_pass(orphans_t *orphans, worker_t *worker)
{
    uint16_t slots[SLOT_COUNT];
    unsigned count = read_slots(worker, slots);
    ++orphans->pass;
    orphans->adopted = 0;
    orphans->worker = worker;
    orphans->owner[0] = '\0';
    for (unsigned i = 0; i < count; ++i)
        if (gate_sync_overdue(worker->gate, slots[i], SLOT_MAX, look_at, orphans) != GATE_CALL_OK)
            return orphans->adopted; /* Redis is away: what was seen is kept */
    forget_unseen(orphans, orphans->pass);
    if (orphans->adopted != 0)
        LOG_INFO("took over orders whose owner is gone", LOG_INT("shard", worker->shard),
                 LOG_INT("orders", orphans->adopted));
    return orphans->adopted;
}
