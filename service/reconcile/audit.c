#include "reconcile/audit.h"

#include <stdlib.h>

#include "reconcile/audit_parts.h"
#include "shards/shard_map.h"
#include "store/patient.h"

#define STATEMENT_S 120
#define VIOLATIONS_SHOWN 20

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

void audit_cannot_look(audit_t *audit, audit_id_t id, const char *error)
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

cJSON *audit_numbers_of(str_t sku, uint64_t bucket)
{
    cJSON *numbers = cJSON_CreateObject();
    audit_add_text(numbers, "sku", sku);
    cJSON_AddNumberToObject(numbers, "bucket", (double)bucket);
    return numbers;
}

db_result_t audit_snapshot(audit_t *audit)
{
    db_result_t result = db_run(audit->db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return result != DB_OK ? result
                           : db_run(audit->db, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
}

static void look_at_shard(audit_t *audit, const config_t *config, const config_shard_t *shard)
{
    audit->db = db_new(config, shard_primary(shard));
    audit->shard_items_count = 0;
    if (audit_store(audit))
        audit_gates(audit);
    else
        for (int id = 0; id < AUDIT_INVARIANTS; ++id)
            audit_cannot_look(audit, (audit_id_t)id, db_error(audit->db));
    db_free(audit->db);
}

static bool invariant_ok(const invariant_t *invariant)
{
    return invariant->violations_total == 0 && invariant->error[0] == '\0';
}

/* Gives the violations away. */
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

cJSON *audit_run(const config_t *config, audit_verdict_t *verdict)
{
    const config_t patient = config_patient(config, STATEMENT_S);
    audit_t audit = {.gate = gate_sync_new(config)};
    for (int id = 0; id < AUDIT_INVARIANTS; ++id)
        audit.invariants[id].violations = cJSON_CreateArray();
    for (unsigned i = 0; i < config->shards_count; ++i)
        look_at_shard(&audit, &patient, &config->shards[i]);
    *verdict = judge(&audit);
    cJSON *out = describe(&audit, *verdict);
    gate_sync_free(audit.gate);
    sql_free(&audit.sql);
    free(audit.shard_items);
    return out;
}

int audit_main(const config_t *config, FILE *out)
{
    audit_verdict_t verdict;
    cJSON *json = audit_run(config, &verdict);
    char *text = cJSON_Print(json);
    if (text == NULL)
        abort();
    fprintf(out, "%s\n", text);
    free(text);
    cJSON_Delete(json);
    return (int)verdict;
}
