#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "http/body.h"
#include "http/etag.h"
#include "http/fan.h"
#include "http/items.h"
#include "http/request_job.h"
#include "http/request_key.h"
#include "reconcile/pass.h"
#include "store/settings.h"

/* --- one item --- */

typedef struct {
    request_job_t request; /* first */
    item_ref_t ref;
    item_change_t change;
    change_origin_t origin;
    sync_result_t result;
    change_outcome_t outcome; /* of SYNC_READY */
    item_t item;
} change_request_t;

static void run_change(request_job_t *request, worker_t *worker)
{
    change_request_t *r = (change_request_t *)request;
    str_t sku = sku_str(&r->ref.sku);
    r->result = item_change(worker, &r->ref, &r->change, &r->origin, &r->item, &r->outcome);
    if (r->result != SYNC_READY || !CHANGE_IS_MADE(r->outcome))
        return;
    if (r->outcome == CHANGE_DONE || r->outcome == CHANGE_CREATED)
        LOG_ALWAYS(LOG_LEVEL_INFO, "item changed", LOG_BYTES("sku", sku),
                   LOG_INT("total", r->item.terms.total),
                   LOG_STR("strategy", strategy_name(r->item.terms.strategy)),
                   LOG_INT("epoch", r->item.epoch));
    announce_item_changed(worker->shard->announcements, sku, r->item.epoch);
}

/* With the ETag that the next request may name in If-Match. */
static void reply_item(exchange_t *exchange, int status, const item_t *item)
{
    char etag[VERSION_ETAG_SIZE];
    etag_of_version(etag, item->terms_version);
    reply_add_header(exchange, "etag", etag);
    reply_json(exchange, status, item_to_json(item));
}

static void reply_change(request_job_t *request, exchange_t *exchange)
{
    change_request_t *r = (change_request_t *)request;
    if (r->result != SYNC_READY) {
        reply_not_synced(exchange, r->result);
        return;
    }
    switch (r->outcome) {
    case CHANGE_CREATED:
        reply_item(exchange, 201, &r->item);
        break;
    case CHANGE_REPLAYED:
        reply_add_header(exchange, "idempotency-replayed", "true");
        reply_item(exchange, 200, &r->item);
        break;
    case CHANGE_DONE:
    case CHANGE_NONE:
        reply_item(exchange, 200, &r->item);
        break;
    case CHANGE_KEY_REUSED:
        reply_problem(exchange, PROBLEM_IDEMPOTENCY_KEY_REUSED,
                      "The key came with another change of this item; give a new one");
        break;
    case CHANGE_PRECONDITION_FAILED:
        reply_problem(exchange, PROBLEM_PRECONDITION_FAILED, PRECONDITION_DETAIL);
        break;
    case CHANGE_PRECONDITION_REQUIRED:
        reply_problem(exchange, PROBLEM_PRECONDITION_REQUIRED,
                      "The item has other terms: send If-Match with the ETag of those to replace, "
                      "or *");
        break;
    case CHANGE_TOTAL_OUT_OF_RANGE:
        reply_problem(exchange, PROBLEM_WRONG_STATE,
                      "total_delta: total would be below 0 or above 1000000000");
        break;
    case CHANGE_UNKNOWN_ITEM:
        reply_problem(exchange, PROBLEM_UNKNOWN_ITEM, NULL);
        break;
    case CHANGE_WRONG_STATE:
        reply_problem(exchange, PROBLEM_WRONG_STATE,
                      "total: it is below what is allocated or unsettled");
        break;
    case CHANGE_INVALID_WINDOW:
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "ends_at: the sale would end before it starts");
        break;
    }
}

/* A repeat of the key must ask for the same. What a flag does not set is no part of the request. */
static uint64_t digest_of(const item_change_t *change)
{
    const item_terms_t *terms = &change->terms;
    const uint64_t parts[] = {
        change->has_total,       change->has_total ? (uint64_t)terms->total : 0,
        change->has_delta,       (uint64_t)change->total_delta,
        change->has_limit,       change->has_limit ? terms->per_buyer_limit : 0,
        change->has_hold,        change->has_hold ? terms->hold_seconds : 0,
        change->has_starts,      change->has_starts ? terms->starts_at_ms : 0,
        change->has_ends,        change->has_ends ? terms->ends_at_ms : 0,
        change->has_strategy,    change->has_strategy ? (uint64_t)terms->strategy : 0,
        change->has_acknowledge, change->has_acknowledge ? (uint64_t)terms->acknowledge : 0};
    return XXH3_64bits(parts, sizeof(parts));
}

/* Who changes the item, and under which conditions. A key counts for PATCH: a PUT that is repeated
   has nothing left to change. */
static bool read_conditions(exchange_t *exchange, item_change_t *change, change_origin_t *origin)
{
    char bytes[KEY_BYTES_MAX];
    str_t key = STR_NONE;
    if (!read_precondition(exchange, &change->precondition) || !read_origin(exchange, origin) ||
        (!change->create && !request_key(exchange, bytes, &key)))
        return false;
    if (key.n != 0) {
        memcpy(origin->key, key.p, key.n);
        origin->digest = digest_of(change);
    }
    if (change->has_delta && key.n == 0 && change->precondition.match.count == 0) {
        reply_problem(exchange, PROBLEM_PRECONDITION_REQUIRED,
                      "total_delta: send If-Match with an ETag, or an Idempotency-Key, since a "
                      "repeat would add the units twice");
        return false;
    }
    return true;
}

static void change_item(exchange_t *exchange, const route_match_t *match, bool create)
{
    mistake_t mistake = {PROBLEM_NONE, ""};
    change_origin_t origin;
    item_change_t change = {.create = create};
    atomic_int *default_strategy = admin_of(exchange)->default_strategy;
    if (!is_sku(match->param)) {
        reply_problem(exchange, create ? PROBLEM_INVALID_REQUEST : PROBLEM_UNKNOWN_ITEM,
                      "sku: give 1 to 64 letters, digits or . _ : ~ - beginning with a letter or "
                      "digit");
        return;
    }
    cJSON *json =
        body_parse((str_t){exchange->req->entity.base, exchange->req->entity.len}, &mistake);
    bool ok = json != NULL && body_read_change(json, (strategy_id_t)atomic_load(default_strategy),
                                               &change, &mistake);
    cJSON_Delete(json);
    if (!ok) {
        reply_problem(exchange, mistake.problem, mistake.detail);
        return;
    }
    if (!read_conditions(exchange, &change, &origin))
        return;
    change_request_t *r = alloc_zero(1, sizeof(*r));
    r->request.run = run_change;
    r->request.reply = reply_change;
    r->ref = item_ref_of(match->param);
    r->change = change;
    r->origin = origin;
    request_job_submit_for_item(exchange, &r->ref, &r->request);
}

void handle_item_put(exchange_t *exchange, const route_match_t *match)
{
    change_item(exchange, match, true);
}

void handle_item_patch(exchange_t *exchange, const route_match_t *match)
{
    change_item(exchange, match, false);
}

/* --- the toggle: every item of every shard, and the default for new ones --- */

typedef struct {
    item_ref_t *items;
    size_t count, capacity;
} item_list_t;

typedef struct {
    unsigned changed, same, failed; /* items; `same`: had the strategy already */
    unsigned gone;                  /* deleted before they were changed */
    bool complete;                  /* every item of the shard was tried */
} shard_toggle_t;

typedef struct {
    fan_t fan; /* first */
    strategy_id_t strategy;
    change_origin_t origin; /* of the change of each item */
    shard_toggle_t shards[];
} toggle_request_t;

static void collect_item(void *context, const item_t *item)
{
    item_list_t *list = context;
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        list->items = alloc_resize(list->items, list->capacity, sizeof(*list->items));
    }
    list->items[list->count++] = item->ref;
}

/* Checks that the shard still answers: if it fell silent during the toggle, each of its items would
   wait for a time-out. */
static bool shard_answers(worker_t *worker)
{
    uint64_t now_ms;
    return shard_clock_read(worker->db, &now_ms) == RESULT_DONE;
}

static void toggle_item(const toggle_request_t *r, shard_toggle_t *own, worker_t *worker,
                        const item_ref_t *ref)
{
    item_change_t change = {.has_strategy = true, .terms = {.strategy = r->strategy}};
    item_t item;
    change_outcome_t outcome;
    sync_result_t result = item_change(worker, ref, &change, &r->origin, &item, &outcome);
    if (result == SYNC_READY && CHANGE_IS_MADE(outcome)) {
        ++*(outcome == CHANGE_NONE ? &own->same : &own->changed);
        announce_item_changed(worker->shard->announcements, sku_str(&ref->sku), item.epoch);
    } else if (result == SYNC_UNKNOWN_ITEM ||
               (result == SYNC_READY && outcome == CHANGE_UNKNOWN_ITEM)) {
        ++own->gone;
    } else {
        ++own->failed;
        own->complete = shard_answers(worker);
    }
}

/* The first shard's is the one that is followed. */
static bool save_default(const toggle_request_t *r, unsigned shard, worker_t *worker)
{
    change_origin_t origin = r->origin;
    uint16_t slot = worker->shard->config->shards[shard].slot_first;
    origin.id = order_id_issue(slot, remote_clock_now_ms(&worker->shard->clock));
    return settings_save_default_strategy(worker->db, &worker->sql, r->strategy,
                                          shard == 0 ? &origin : NULL) == RESULT_DONE;
}

/* Items whose rows are locked come last, because each of them waits for its lock. */
static void run_toggle(fan_t *fan, unsigned shard, worker_t *worker)
{
    toggle_request_t *r = (toggle_request_t *)fan;
    shard_toggle_t *own = &r->shards[shard];
    item_list_t list = {0};
    size_t locked = 0;
    own->complete = save_default(r, shard, worker) &&
                    item_scan(worker->db, &worker->sql, 0, collect_item, &list) == RESULT_DONE;
    FAILPOINT("toggle_items_read");
    for (size_t i = 0; own->complete && i < list.count; ++i) {
        const item_ref_t *ref = &list.items[i];
        if (reconcile_row_is_free(worker, ref))
            toggle_item(r, own, worker, ref);
        else
            list.items[locked++] = *ref;
    }
    for (size_t i = 0; own->complete && i < locked; ++i)
        toggle_item(r, own, worker, &list.items[i]);
    /* The answer counts items: each of the shard once, whether its row was locked or not. */
    assert(!own->complete || own->changed + own->same + own->gone + own->failed == list.count);
    free(list.items);
}

/* Lists the failures by shard; "": there are none. */
static void sum_up(const toggle_request_t *r, const http_context_t *http, unsigned *changed,
                   unsigned *same, char *failed, size_t size)
{
    size_t n = 0;
    *changed = *same = 0;
    failed[0] = '\0';
    for (unsigned i = 0; i < http->map->shards_count; ++i) {
        bool answered = fan_has_answer(&r->fan, i);
        const shard_toggle_t *own = &r->shards[i];
        *changed += answered ? own->changed : 0;
        *same += answered ? own->same : 0;
        if ((answered && own->complete && own->failed == 0) || n >= size)
            continue;
        const char *name = http->config->shards[i].name;
        const char *comma = n == 0 ? "" : ", ";
        if (answered && own->complete)
            n += (size_t)snprintf(failed + n, size - n, "%s%s: %u items", comma, name, own->failed);
        else
            n += (size_t)snprintf(failed + n, size - n, "%s%s %s", comma, name,
                                  answered ? "is away (the log says why)" : "does not answer");
    }
}

static void reply_toggle(fan_t *fan, exchange_t *exchange)
{
    toggle_request_t *r = (toggle_request_t *)fan;
    atomic_int *default_strategy = admin_of(exchange)->default_strategy;
    char failed[256], detail[400];
    unsigned changed, same;
    sum_up(r, exchange->http, &changed, &same, failed, sizeof(failed));
    if (failed[0] != '\0') {
        snprintf(detail, sizeof(detail),
                 "Changed: %u items. Not changed: %s. The same call again changes the rest",
                 changed + same, failed);
        reply_problem(exchange, PROBLEM_UNAVAILABLE, detail);
        return;
    }
    bool other = atomic_exchange(default_strategy, (int)r->strategy) != (int)r->strategy;
    if (other || changed != 0)
        LOG_ALWAYS(LOG_LEVEL_INFO, "strategy changed",
                   LOG_STR("strategy", strategy_name(r->strategy)), LOG_INT("items", changed));
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "strategy", strategy_name(r->strategy));
    cJSON_AddNumberToObject(json, "items", changed + same);
    reply_json(exchange, 200, json);
}

void handle_strategy_put(exchange_t *exchange, const route_match_t *match)
{
    (void)match;
    mistake_t mistake = {PROBLEM_NONE, ""};
    strategy_id_t strategy;
    cJSON *json =
        body_parse((str_t){exchange->req->entity.base, exchange->req->entity.len}, &mistake);
    bool ok = json != NULL && body_read_strategy(json, &strategy, &mistake);
    cJSON_Delete(json);
    if (!ok) {
        reply_problem(exchange, mistake.problem, mistake.detail);
        return;
    }
    change_origin_t origin;
    if (!read_origin(exchange, &origin))
        return;
    unsigned shards = exchange->http->map->shards_count;
    toggle_request_t *r = alloc_zero(1, sizeof(*r) + shards * sizeof(r->shards[0]));
    r->fan.run = run_toggle;
    r->fan.reply = reply_toggle;
    r->strategy = strategy;
    r->origin = origin;
    fan_start(exchange, &r->fan);
}
