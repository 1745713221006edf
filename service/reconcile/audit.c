#include "reconcile/audit.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fatal.h"
#include "reconcile/audit_parts.h"
#include "sale/shard_map.h"
#include "store/long_timeouts.h"
#include "work/prober.h"

#define STATEMENT_S 120
#define VIOLATIONS_SHOWN 20
/* The memory for the sums of buyers and keys of all shards. */
#define SUMS_BYTES (128 << 20)

static const struct {
    const char *id, *name;
} invariants[AUDIT_INVARIANTS] = {
    {"A", "live orders = allocated <= total"},
    {"B", "gate available = total - allocated - unsettled"},
    {"C", "no buyer past the limit"},
    {"D", "one order per key"},
    {"E", "a reminder for each held order"},
};

void audit_violation(audit_t *audit, audit_id_t id, cJSON *numbers)
{
    invariant_t *invariant = &audit->invariants[id];
    if (invariant->violations_total++ < VIOLATIONS_SHOWN)
        cJSON_AddItemToArray(invariant->violations, numbers);
    else
        cJSON_Delete(numbers);
}

void audit_cannot_read(audit_t *audit, audit_id_t id, const char *error)
{
    invariant_t *invariant = &audit->invariants[id];
    if (invariant->error[0] == '\0')
        snprintf(invariant->error, sizeof(invariant->error), "%s", error);
}

void audit_add_text(cJSON *object, const char *name, str_t text)
{
    char out[BUYER_BYTES_MAX * 4 + 1], *at = out;
    size_t n = text.n < BUYER_BYTES_MAX ? text.n : BUYER_BYTES_MAX;
    for (size_t i = 0; i < n; ++i) {
        unsigned char c = (unsigned char)text.p[i];
        at += sprintf(at, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
    }
    *at = '\0';
    cJSON_AddStringToObject(object, name, out);
}

void audit_add_id(cJSON *object, const char *name, order_id_t id)
{
    char text[ORDER_ID_TEXT + 1];
    order_id_format(text, &id);
    cJSON_AddStringToObject(object, name, text);
}

cJSON *audit_numbers_of(str_t sku, uint64_t bucket)
{
    cJSON *numbers = cJSON_CreateObject();
    audit_add_text(numbers, "sku", sku);
    cJSON_AddNumberToObject(numbers, "bucket", (double)bucket);
    return numbers;
}

static bool invariant_ok(const invariant_t *invariant)
{
    return invariant->violations_total == 0 && invariant->error[0] == '\0';
}

/* Moves the violations into the JSON. */
static cJSON *describe_invariant(audit_t *audit, audit_id_t id)
{
    invariant_t *invariant = &audit->invariants[id];
    cJSON *out = cJSON_CreateObject();
    cJSON_AddStringToObject(out, "id", invariants[id].id);
    cJSON_AddStringToObject(out, "name", invariants[id].name);
    cJSON_AddBoolToObject(out, "ok", invariant_ok(invariant));
    cJSON_AddNumberToObject(out, "checked", (double)invariant->checked);
    if (id == AUDIT_B) {
        cJSON_AddNumberToObject(out, "pending_rebuild", (double)audit->pending_rebuild);
        cJSON_AddNumberToObject(out, "busy", (double)audit->busy);
    }
    if (id == AUDIT_C)
        cJSON_AddNumberToObject(out, "grandfathered", (double)audit->grandfathered);
    if (invariant->error[0] != '\0')
        audit_add_text(out, "error", str_of(invariant->error));
    cJSON_AddNumberToObject(out, "violations_total", (double)invariant->violations_total);
    cJSON_AddItemToObject(out, "violations", invariant->violations);
    invariant->violations = NULL;
    return out;
}

static cJSON *describe(audit_t *audit, audit_verdict_t verdict)
{
    cJSON *out = cJSON_CreateObject(), *list = cJSON_CreateArray(), *totals = cJSON_CreateObject();
    cJSON_AddBoolToObject(out, "ok", verdict == AUDIT_OK);
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        cJSON_AddItemToArray(list, describe_invariant(audit, (audit_id_t)id));
    cJSON_AddItemToObject(out, "invariants", list);
    cJSON_AddNumberToObject(totals, "items", (double)audit->items);
    cJSON_AddNumberToObject(totals, "orders", (double)audit->orders);
    cJSON_AddNumberToObject(totals, "live_orders", (double)audit->live_orders);
    cJSON_AddNumberToObject(totals, "live_units", (double)audit->live_units);
    cJSON_AddNumberToObject(totals, "unsettled", (double)audit->unsettled);
    cJSON_AddItemToObject(out, "totals", totals);
    return out;
}

static audit_verdict_t judge(const audit_t *audit)
{
    audit_verdict_t verdict = AUDIT_OK;
    for (int id = 0; id < AUDIT_INVARIANTS; ++id) {
        if (audit->invariants[id].violations_total != 0)
            return AUDIT_BROKEN;
        if (audit->invariants[id].error[0] != '\0')
            verdict = AUDIT_BLIND;
    }
    return verdict;
}

/* --- one shard, in a thread of its own --- */

/* A shard that is silent for so long is given up. */
#define SILENT_MAX_MS 5000
/* A thread that does not end within this time of a stop is left behind. */
#define STOP_MAX_MS 1000
/* The interval at which the waiting thread checks the shards. */
#define CHECK_US (10 * 1000)

/* Two threads use it: the shard's, and the one that waits for it. Either may leave first, since a
   thread may be left behind; the second to leave frees it. */
typedef struct {
    audit_t audit;
    audit_progress_t progress;
    const char *name;
    const config_server_t *server;
    config_t config;
    atomic_int users;
    atomic_bool audited; /* `audit` is complete */
    bool given_up;       /* by the thread that waits */
} part_t;

static atomic_uint threads_left;

unsigned audit_threads_left(void)
{
    return atomic_load(&threads_left);
}

void audit_begin_part(audit_t *audit, const char *part, int64_t of)
{
    atomic_store(&audit->progress->part, part);
    atomic_store(&audit->progress->done, 0);
    atomic_store(&audit->progress->of, of);
}

static part_t *part_new(const config_t *config, const config_shard_t *shard)
{
    part_t *part = alloc_zero(1, sizeof(*part));
    part->name = shard->name;
    part->server = shard_primary(shard);
    part->config = config_with_long_timeouts(config, STATEMENT_S);
    part->audit.progress = &part->progress;
    part->audit.sums_bytes = SUMS_BYTES / config->shards_count;
    audit_begin_part(&part->audit, "connecting", 0);
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        part->audit.invariants[id].violations = cJSON_CreateArray();
    atomic_init(&part->users, 2);
    return part;
}

static void part_leave(part_t *part)
{
    if (atomic_fetch_sub(&part->users, 1) != 1)
        return;
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        cJSON_Delete(part->audit.invariants[id].violations);
    sql_free(&part->audit.sql);
    free(part->audit.shard_items);
    free(part->audit.open.buyers.ids);
    free(part->audit.open.keys.ids);
    free(part->audit.open.rejected.ids);
    free(part->audit.open.held);
    free(part);
}

static void cannot_read_all(audit_t *audit, const char *error)
{
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        audit_cannot_read(audit, (audit_id_t)id, error);
}

static void *part_thread(void *arg)
{
    part_t *part = arg;
    audit_t *audit = &part->audit;
    audit->gate = gate_sync_new(&part->config);
    audit->db = db_new(&part->config, part->server);
    if (audit_store(audit))
        audit_gates(audit);
    else
        cannot_read_all(audit,
                        atomic_load(&part->progress.stop) ? "it was stopped" : db_error(audit->db));
    audit_begin_part(audit, "done", 0);
    atomic_store(&part->audited, true);
    audit_pace_look_on(&audit->pace, audit->db, &audit->sql, &part->progress.stop);
    db_free(audit->db);
    gate_sync_free(audit->gate);
    db_thread_end();
    atomic_fetch_sub(&threads_left, 1);
    part_leave(part);
    return NULL;
}

static void part_start(part_t *part)
{
    pthread_t thread;
    atomic_fetch_add(&threads_left, 1);
    int error = pthread_create(&thread, NULL, part_thread, part);
    if (error != 0)
        FATAL("a thread of the audit", error);
    pthread_detach(thread);
}

/* --- all shards --- */

typedef struct {
    prober_t *prober;
    audit_watch_cb watch;
    void *context;
    uint64_t stopped_ms; /* when the stop was requested; monotonic */
    unsigned count;
    char (*silent)[320]; /* why a shard was given up */
    part_t **parts;
} run_t;

/* Returns whether to give up the shard: it has been silent for too long, or has not ended after a
   stop. */
static bool is_hopeless(const run_t *run, unsigned shard)
{
    health_t health;
    prober_shard(run->prober, shard, &health);
    bool silent = health.silent && health.since_ms > SILENT_MAX_MS;
    if (silent)
        snprintf(run->silent[shard], sizeof(run->silent[0]), "%s: %s", run->parts[shard]->name,
                 health.reason);
    else if (run->stopped_ms != 0 && clock_mono_ms() - run->stopped_ms > STOP_MAX_MS)
        snprintf(run->silent[shard], sizeof(run->silent[0]), "it was stopped");
    else
        return false;
    return true;
}

/* Returns true when every shard is audited or given up. */
static bool are_all_audited(run_t *run)
{
    bool open = false;
    for (unsigned i = 0; i < run->count; ++i) {
        part_t *part = run->parts[i];
        if (atomic_load(&part->audited) || part->given_up)
            continue;
        part->given_up = is_hopeless(run, i);
        open = open || !part->given_up;
    }
    return !open;
}

static void format_progress(const run_t *run, char *line, size_t size)
{
    size_t n = 0;
    line[0] = '\0';
    for (unsigned i = 0; i < run->count && n < size; ++i) {
        const audit_progress_t *at = &run->parts[i]->progress;
        long long done = atomic_load(&at->done), of = atomic_load(&at->of);
        n += (size_t)snprintf(line + n, size - n, "%s%s: %s", i == 0 ? "" : "; ",
                              run->parts[i]->name,
                              run->parts[i]->given_up ? "given up" : atomic_load(&at->part));
        if (of > 0 && n < size)
            n += (size_t)snprintf(line + n, size - n, " %lld of about %lld", done, of);
    }
}

static void stop_parts(run_t *run)
{
    run->stopped_ms = clock_mono_ms();
    for (unsigned i = 0; i < run->count; ++i)
        atomic_store(&run->parts[i]->progress.stop, true);
}

static void wait_for_parts(run_t *run)
{
    char line[1024];
    while (!are_all_audited(run)) {
        usleep(CHECK_US);
        format_progress(run, line, sizeof(line));
        if (run->watch == NULL || run->watch(run->context, line) || run->stopped_ms != 0)
            continue;
        stop_parts(run);
    }
}

/* They only look for a sale any more, except those that are to be left behind. */
static void wait_for_threads(run_t *run)
{
    stop_parts(run);
    for (unsigned i = 0; i < run->count; ++i)
        while (!run->parts[i]->given_up && atomic_load(&run->parts[i]->users) != 1 &&
               clock_mono_ms() - run->stopped_ms <= STOP_MAX_MS)
            usleep(1000);
}

/* Adds the result of one shard; its violations move to `sum`. */
static void add_part(audit_t *sum, audit_t *part)
{
    cJSON *violation;
    for (int id = 0; id < AUDIT_INVARIANTS; ++id) {
        invariant_t *to = &sum->invariants[id], *from = &part->invariants[id];
        int64_t before = to->violations_total;
        to->checked += from->checked;
        while ((violation = cJSON_DetachItemFromArray(from->violations, 0)) != NULL)
            audit_violation(sum, (audit_id_t)id, violation);
        to->violations_total = before + from->violations_total;
        if (from->error[0] != '\0')
            audit_cannot_read(sum, (audit_id_t)id, from->error);
    }
    sum->items += part->items;
    sum->orders += part->orders;
    sum->live_orders += part->live_orders;
    sum->live_units += part->live_units;
    sum->unsettled += part->unsettled;
    sum->pending_rebuild += part->pending_rebuild;
    sum->busy += part->busy;
    sum->grandfathered += part->grandfathered;
}

static void add_up(run_t *run, audit_t *sum)
{
    for (unsigned i = 0; i < run->count; ++i) {
        if (run->parts[i]->given_up)
            cannot_read_all(sum, run->silent[i]);
        else
            add_part(sum, &run->parts[i]->audit);
        part_leave(run->parts[i]);
    }
}

cJSON *audit_run(const config_t *config, prober_t *prober, audit_watch_cb watch, void *context,
                 audit_verdict_t *verdict)
{
    audit_t sum = {.items = 0};
    run_t run = {.prober = prober,
                 .watch = watch,
                 .context = context,
                 .count = config->shards_count,
                 .silent = alloc_zero(config->shards_count, sizeof(run.silent[0])),
                 .parts = alloc_zero(config->shards_count, sizeof(run.parts[0]))};
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        sum.invariants[id].violations = cJSON_CreateArray();
    for (unsigned i = 0; i < run.count; ++i) {
        run.parts[i] = part_new(config, &config->shards[i]);
        if ((run.parts[i]->given_up = is_hopeless(&run, i)))
            part_leave(run.parts[i]); /* no thread for it */
        else
            part_start(run.parts[i]);
    }
    wait_for_parts(&run);
    wait_for_threads(&run);
    add_up(&run, &sum);
    *verdict = judge(&sum);
    cJSON *out = describe(&sum, *verdict);
    free(run.silent);
    free(run.parts);
    return out;
}

/* --- the command --- */

typedef struct {
    bool terminal;
    uint64_t printed_ms;
} progress_t;

/* Prints a line a second; on a terminal each overwrites the last one. */
static bool print_progress(void *context, const char *line)
{
    progress_t *progress = context;
    uint64_t now = clock_mono_ms();
    if (now - progress->printed_ms < 1000)
        return true;
    progress->printed_ms = now;
    fprintf(stderr, progress->terminal ? "\r\033[K%s" : "%s\n", line);
    fflush(stderr);
    return true;
}

int audit_main(const config_t *config, FILE *out)
{
    audit_verdict_t verdict;
    progress_t progress = {isatty(STDERR_FILENO) != 0, clock_mono_ms()};
    prober_t *prober = prober_start(config, false);
    cJSON *json = audit_run(config, prober, print_progress, &progress, &verdict);
    char *text = alloc_check(cJSON_Print(json));
    if (progress.terminal)
        fputs("\r\033[K", stderr);
    fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(json);
    if (audit_threads_left() != 0) { /* one hangs in the read of a silent server */
        fflush(out);
        _exit((int)verdict);
    }
    prober_stop(prober);
    return (int)verdict;
}
