#include "work/prober.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/fatal.h"
#include "base/log.h"
#include "base/pacer.h"
#include "gate/gate_sync.h"
#include "sale/shard_map.h"
#include "store/canary.h"
#include "store/db.h"

/* A server is silent if a probe of it has no answer after this time. */
#define SILENT_MS 2500
/* The same for a canary, which may wait for some locks before it answers. */
#define TRIAL_MS 5000
/* Time-out of a probe's connection; after it the connection is closed and made anew. */
#define MYSQL_TIMEOUT_MS 3000
#define REDIS_TIMEOUT_MS 2000
/* A probe that ended after this time without an answer met silence; a shorter one was refused a
   connection. */
#define SLOW_MS 1500
/* The first probe of Redis waits at most this often, and this long each time, until a shard has
   returned the deployment of this service. */
#define DEPLOYMENT_WAITS 50
#define DEPLOYMENT_WAIT_MS 20
/* The interval between two counts of a shard's items is this many times as long as a count, so that
   counting takes a hundredth of the time, or a thousandth while Redis admits: then the answer does
   not depend on the count. */
#define COUNT_SHARE 100
#define COUNT_SHARE_SPARE 1000
/* No item can have this name: see is_sku(). */
#define PROBE_SKU "!probe"

/* The published record of a server. All times are monotonic; 0: never. */
typedef struct {
    health_state_t state; /* of the last probe that ended */
    char reason[256];     /* of that probe */
    /* when the probe under way began or had its last answer; 0: none is under way */
    uint64_t begun_ms;
    uint64_t answered_ms; /* when the server last answered anything */
    uint64_t changed_ms;  /* when `state` became what it is */
    uint64_t silent_ms;   /* when the first probe of the present run of silent probes began */
    bool trying;          /* the probe under way has its first answer, and goes on to a canary */
    bool mute;            /* the last probe had no answer at all, not even a refusal to connect */
    bool probed, answers, counted_items;
    uint64_t items, sql_items;
} record_t;

typedef struct {
    prober_t *prober;
    const char *name;
    const config_server_t *server; /* NULL: Redis */
    pthread_t thread;
    pacer_t pacer;
    pthread_mutex_t mutex; /* over `record` */
    record_t record;
    /* monotonic; is_late() from here on; UINT64_MAX: no probe is under way */
    _Atomic uint64_t late_ms;
    uint64_t counted_ms, count_took_ms; /* used by the thread only */
} target_t;

struct prober {
    const config_t *config;
    config_t brief; /* with time-outs for a probe */
    bool writes;
    uint64_t started_ms;
    _Atomic uint64_t generation;
    unsigned count;
    target_t targets[]; /* the shards, then Redis */
};

const char *health_state_name(health_state_t state)
{
    static const char *const names[] = {"unknown", "ok", "away"};
    return names[state];
}

/* --- publishing --- */

static void note_begin(target_t *target)
{
    pthread_mutex_lock(&target->mutex);
    target->record.begun_ms = clock_mono_ms();
    target->record.trying = false;
    atomic_store(&target->late_ms, target->record.begun_ms + SILENT_MS + 1);
    pthread_mutex_unlock(&target->mutex);
}

/* The server has answered the first question; the probe goes on. */
static void note_answer(target_t *target)
{
    pthread_mutex_lock(&target->mutex);
    target->record.begun_ms = target->record.answered_ms = clock_mono_ms();
    target->record.trying = true;
    atomic_store(&target->late_ms, target->record.begun_ms + TRIAL_MS + 1);
    pthread_mutex_unlock(&target->mutex);
}

static void note_items(target_t *target, uint64_t items, uint64_t sql_items)
{
    record_t *record = &target->record;
    pthread_mutex_lock(&target->mutex);
    bool changed = !record->counted_items || record->sql_items != sql_items;
    record->counted_items = true;
    record->items = items;
    record->sql_items = sql_items;
    pthread_mutex_unlock(&target->mutex);
    if (changed)
        atomic_fetch_add(&target->prober->generation, 1);
}

static void log_change(const target_t *target, const record_t *now)
{
    if (now->silent_ms != 0)
        LOG_WARN("a server is silent", LOG_STR("server", target->name),
                 LOG_STR("reason", now->reason));
    else if (now->state == HEALTH_AWAY)
        LOG_WARN("a server is away", LOG_STR("server", target->name),
                 LOG_STR("reason", now->reason));
    else
        LOG_INFO("a server is healthy", LOG_STR("server", target->name));
}

/* `answered`: the server itself answered; false: nothing came, or there was no server. */
static void note_end(target_t *target, health_state_t state, const char *reason, bool answered)
{
    record_t *record = &target->record;
    uint64_t now = clock_mono_ms();
    pthread_mutex_lock(&target->mutex);
    record->mute = !answered && !record->trying && now - record->begun_ms >= SLOW_MS;
    if (!answered && now - record->begun_ms >= SLOW_MS) {
        state = HEALTH_UNKNOWN;
        if (record->silent_ms == 0)
            record->silent_ms = record->begun_ms;
    } else {
        record->silent_ms = 0;
    }
    /* A server that is available from the start is not logged. */
    bool changed = record->state != state,
         logged = changed && (record->probed || state != HEALTH_OK),
         shown = changed || !record->probed || strcmp(record->reason, reason) != 0;
    record->begun_ms = 0;
    atomic_store(&target->late_ms, UINT64_MAX);
    record->probed = true;
    record->answers = answered;
    if (answered)
        record->answered_ms = now;
    if (changed)
        record->changed_ms = now;
    record->state = state;
    snprintf(record->reason, sizeof(record->reason), "%s", reason);
    const record_t copy = *record;
    pthread_mutex_unlock(&target->mutex);
    if (shown)
        atomic_fetch_add(&target->prober->generation, 1);
    if (logged)
        log_change(target, &copy);
}

/* --- reading --- */

static bool is_late(const record_t *record, uint64_t now)
{
    return record->begun_ms != 0 &&
           now - record->begun_ms > (record->trying ? TRIAL_MS : SILENT_MS);
}

/* Since when the server's state is not known; 0: it is known. */
static uint64_t silent_since(const record_t *record, uint64_t now)
{
    if (record->silent_ms != 0)
        return record->silent_ms;
    return is_late(record, now) ? record->begun_ms : 0;
}

static bool is_mute(const record_t *record, uint64_t now)
{
    return is_late(record, now) ? !record->trying : record->mute;
}

static void describe_silence(const record_t *record, uint64_t ms, health_t *out)
{
    snprintf(out->reason, sizeof(out->reason), "%s for %llu ms%s%.150s",
             out->silent ? "no answer" : "it answers, but a trial order has had no end",
             (unsigned long long)ms,
             record->reason[0] == '\0' ? "" : "; the last error: ", record->reason);
}

static void read_target(target_t *target, health_t *out)
{
    pthread_mutex_lock(&target->mutex);
    const record_t record = target->record;
    pthread_mutex_unlock(&target->mutex);
    uint64_t now = clock_mono_ms(), silent = silent_since(&record, now), since = record.changed_ms;
    *out = (health_t){.state = record.state,
                      .probed = record.probed,
                      .answers = record.answers && !is_mute(&record, now),
                      .has_answered = record.answered_ms != 0,
                      .answered_ms = now - record.answered_ms,
                      .counted_items = record.counted_items,
                      .items = record.items,
                      .sql_items = record.sql_items};
    if (silent != 0) {
        out->state = HEALTH_UNKNOWN;
        out->probed = true;
        out->silent = is_mute(&record, now);
        describe_silence(&record, now - silent, out);
        since = silent;
    } else if (!record.probed) {
        snprintf(out->reason, sizeof(out->reason), "it has not been probed yet");
        since = target->prober->started_ms;
    } else {
        memcpy(out->reason, record.reason, sizeof(out->reason));
    }
    out->since_ms = now - since;
}

static void read_none(health_t *out)
{
    *out = (health_t){.state = HEALTH_UNKNOWN, .silent = true};
    snprintf(out->reason, sizeof(out->reason), "it is not probed");
}

void prober_shard(prober_t *prober, unsigned shard, health_t *out)
{
    if (prober == NULL)
        read_none(out);
    else
        read_target(&prober->targets[shard], out);
}

void prober_redis(prober_t *prober, health_t *out)
{
    if (prober == NULL)
        read_none(out);
    else
        read_target(&prober->targets[prober->count - 1], out);
}

bool prober_shard_is_silent(prober_t *prober, unsigned shard)
{
    health_t health;
    prober_shard(prober, shard, &health);
    return health.silent;
}

uint64_t prober_generation(const prober_t *prober, uint64_t now_ms)
{
    uint64_t late = 0;
    if (prober == NULL)
        return 0;
    for (unsigned i = 0; i < prober->count; ++i)
        late = late * 2 + (atomic_load(&prober->targets[i].late_ms) <= now_ms);
    /* Spread, so that the two parts do not make up for each other. */
    return atomic_load(&prober->generation) * UINT64_C(0x9e3779b97f4a7c15) + late;
}

bool prober_has_probed_all(prober_t *prober)
{
    health_t health;
    for (unsigned i = 0; prober != NULL && i < prober->count; ++i) {
        read_target(&prober->targets[i], &health);
        if (!health.probed)
            return false;
    }
    return true;
}

/* --- a shard --- */

static void count_items(target_t *target, db_t *db)
{
    static const char text[] =
        "SELECT COUNT(*), SUM(strategy IN ('optimistic', 'serializable') OR gate_down) "
        "FROM inventory";
    const sql_t sql = {(char *)text, sizeof(text) - 1, 0};
    uint64_t begun = clock_mono_ms();
    health_t redis;
    prober_redis(target->prober, &redis);
    if (begun <
        target->counted_ms +
            target->count_took_ms * (redis.state == HEALTH_OK ? COUNT_SHARE_SPARE : COUNT_SHARE))
        return;
    if (db_query(db, &sql) == RESULT_DONE && db_next(db))
        note_items(target, db_u64(db, 0), db_u64(db, 1));
    target->counted_ms = clock_mono_ms();
    target->count_took_ms = target->counted_ms - begun;
}

/* Under FLUSH TABLES WITH READ LOCK a write would wait for up to a day. With this time-out the
   server reports the lock in a second. */
static result_t set_lock_timeout(db_t *db)
{
    return db_run(db, "SET SESSION lock_wait_timeout = 1");
}

/* The canaries of two services may meet. A canary whose wait for a lock timed out met the lock of
   another user: on rows or gaps that some items need (those are set aside, see work/writer.h), or
   on a whole table. Statements that touch no row meet only the latter. */
static result_t try_canary(db_t *db, sql_t *sql)
{
    result_t result = canary_run(db, sql);
    if (result == RESULT_RETRY && !db_error_is_lock(db))
        result = canary_run(db, sql);
    if (result == RESULT_RETRY && db_error_is_lock(db))
        result = db_run(db, "UPDATE inventory SET total = total WHERE FALSE; "
                            "UPDATE orders SET quantity = quantity WHERE FALSE; "
                            "UPDATE holds SET order_id = order_id WHERE FALSE");
    return result;
}

static void probe_shard(target_t *target, db_t *db, sql_t *sql)
{
    note_begin(target);
    db_refresh(db);
    result_t result = set_lock_timeout(db);
    bool answered = result == RESULT_DONE;
    if (answered) {
        note_answer(target);
        if (target->prober->writes)
            result = try_canary(db, sql);
    }
    if (result == RESULT_DONE && target->prober->writes)
        count_items(target, db);
    char reason[sizeof(target->record.reason)];
    snprintf(reason, sizeof(reason), "%s", result == RESULT_DONE ? "" : db_error(db));
    note_end(target, result == RESULT_DONE ? HEALTH_OK : HEALTH_AWAY, reason,
             answered && result != RESULT_UNKNOWN);
}

static void *shard_thread(void *arg)
{
    target_t *target = arg;
    sql_t sql = {NULL, 0, 0};
    db_t *db = db_new(&target->prober->brief, target->server);
    do
        probe_shard(target, db, &sql);
    while (pacer_wait(&target->pacer, target->prober->config->reconcile.probe_interval_ms));
    sql_free(&sql);
    db_free(db);
    db_thread_end();
    return NULL;
}

/* --- Redis --- */

/* A reserve call of no orders, for an item that cannot exist. It changes nothing, and Redis refuses
   it whenever it would refuse that of a buyer (no memory, no replicas, read-only...). */
static result_t call_redis(prober_t *prober, gate_sync_t *gate)
{
    const item_ref_t probe = item_ref_of(STR(PROBE_SKU));
    gate_item_t answer;
    uint64_t epoch;
    result_t result = gate_sync_connect(gate);
    if (result == RESULT_DONE && prober->writes)
        result = gate_sync_peek(gate, &probe, 1, &answer, &epoch);
    return result;
}

static void probe_redis(target_t *target, gate_sync_t *gate)
{
    note_begin(target);
    bool ok = call_redis(target->prober, gate) == RESULT_DONE;
    note_end(target, ok ? HEALTH_OK : HEALTH_AWAY, ok ? "" : gate_sync_error(gate),
             ok || gate_sync_error_is_reply(gate));
}

/* Until a shard has returned the deployment of this service, every Redis seems to belong to another
   one. */
static void await_deployment(target_t *target)
{
    const deployment_t *deployment = target->prober->config->deployment;
    for (unsigned i = 0; i < DEPLOYMENT_WAITS && deployment_name(deployment) == NULL; ++i)
        if (!pacer_wait(&target->pacer, DEPLOYMENT_WAIT_MS))
            return;
}

static void *redis_thread(void *arg)
{
    target_t *target = arg;
    gate_sync_t *gate = gate_sync_new(&target->prober->brief);
    await_deployment(target);
    do
        probe_redis(target, gate);
    while (pacer_wait(&target->pacer, target->prober->config->reconcile.probe_interval_ms));
    gate_sync_free(gate);
    return NULL;
}

/* --- all of them --- */

static void add_target(prober_t *prober, const char *name, const config_server_t *server)
{
    target_t *target = &prober->targets[prober->count++];
    *target = (target_t){.prober = prober, .name = name, .server = server};
    pthread_mutex_init(&target->mutex, NULL);
    pacer_init(&target->pacer);
    target->record.begun_ms = clock_mono_ms();
    target->late_ms = target->record.begun_ms + SILENT_MS + 1;
}

static void start_target(target_t *target)
{
    int error = pthread_create(&target->thread, NULL,
                               target->server == NULL ? redis_thread : shard_thread, target);
    if (error != 0)
        FATAL("a thread that probes a server", error);
}

/* The thread of a target reads the records of others, so no thread starts before all targets are
   there. */
prober_t *prober_start(const config_t *config, bool writes)
{
    unsigned shards = config->shards_count;
    prober_t *prober = alloc_zero(1, sizeof(*prober) + (shards + 1) * sizeof(prober->targets[0]));
    prober->config = config;
    prober->brief = *config; /* borrows all that it owns */
    prober->brief.mysql.timeout_ms = MYSQL_TIMEOUT_MS;
    prober->brief.redis.timeout_ms = REDIS_TIMEOUT_MS;
    prober->writes = writes;
    prober->started_ms = clock_mono_ms();
    for (unsigned i = 0; i < shards; ++i)
        add_target(prober, config->shards[i].name, shard_primary(&config->shards[i]));
    add_target(prober, "redis", NULL);
    for (unsigned i = 0; i < prober->count; ++i) {
        start_target(&prober->targets[i]);
        FAILPOINT("prober_starts");
    }
    return prober;
}

void prober_end(prober_t *prober)
{
    for (unsigned i = 0; i < prober->count; ++i)
        pacer_stop(&prober->targets[i].pacer);
}

void prober_stop(prober_t *prober)
{
    prober_end(prober);
    for (unsigned i = 0; i < prober->count; ++i) {
        pthread_join(prober->targets[i].thread, NULL);
        pthread_mutex_destroy(&prober->targets[i].mutex);
        pacer_dispose(&prober->targets[i].pacer);
    }
    free(prober);
}
