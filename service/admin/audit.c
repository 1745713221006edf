#include <stdlib.h>

#include "admin/handlers.h"
#include "http/call.h"
#include "reconcile/audit.h"

typedef struct {
    call_t call; /* first */
    cJSON *report;
} audit_call_t;

static void run_audit(call_t *call, worker_t *worker)
{
    audit_call_t *c = (audit_call_t *)call;
    audit_verdict_t verdict; /* the report says it too */
    c->report = audit_run(worker->node->config, &verdict);
}

static void reply_audit(call_t *call, exchange_t *exchange)
{
    audit_call_t *c = (audit_call_t *)call;
    cJSON *report = c->report;
    c->report = NULL;
    reply_json(exchange, 200, report);
}

static void dispose_audit(call_t *call)
{
    cJSON_Delete(((audit_call_t *)call)->report);
}

void handle_audit(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    audit_call_t *c = call_new(sizeof(*c));
    c->call.run = run_audit;
    c->call.reply = reply_audit;
    c->call.dispose = dispose_audit;
    call_submit(exchange, 0, &c->call);
}
