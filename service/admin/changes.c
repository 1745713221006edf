/*
 * The record of changes: a page of each shard, read in parallel, then merged, newest first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "http/body.h"
#include "http/fan.h"
#include "http/page.h"

typedef struct {
    order_id_t id;
    cJSON *json;
} listed_t;

typedef struct {
    bool read;
    unsigned count;
    listed_t rows[PAGE_MAX + 1]; /* one more than a page, which shows that there are more */
} shard_changes_t;

typedef struct {
    fan_t fan; /* first */
    page_t page;
    uint64_t since_ms;
    /* of the filters; without one: empty */
    char sku[PARAM_BYTES_MAX], who[PARAM_BYTES_MAX];
    size_t sku_length, who_length;
    unsigned shards_count;
    shard_changes_t shards[];
} changes_request_t;

/* --- a shard's page, on a pool thread --- */

static void add_text(cJSON *json, const char *name, str_t text)
{
    char copy[REASON_BYTES_MAX + 1]; /* of the longest text */
    if (text.p == NULL) {
        cJSON_AddNullToObject(json, name);
        return;
    }
    snprintf(copy, sizeof(copy), "%.*s", STR_ARG(text));
    cJSON_AddStringToObject(json, name, copy);
}

/* NULL too if a text that somebody has edited by hand is no JSON. */
static void add_terms(cJSON *json, const char *name, str_t terms)
{
    cJSON *object = terms.p == NULL ? NULL : cJSON_ParseWithLength(terms.p, terms.n);
    cJSON_AddItemToObject(json, name, object == NULL ? cJSON_CreateNull() : object);
}

static cJSON *change_to_json(const change_row_t *row)
{
    char id[ORDER_ID_TEXT + 1];
    cJSON *json = alloc_check(cJSON_CreateObject());
    order_id_format(id, &row->id);
    cJSON_AddStringToObject(json, "id", id);
    cJSON_AddItemToObject(json, "at", time_to_json(order_id_time_ms(&row->id)));
    cJSON_AddStringToObject(json, "action",
                            row->before.p == NULL  ? "create"
                            : row->after.p == NULL ? "delete"
                                                   : "change");
    add_text(json, "sku", row->sku);
    add_text(json, "who", row->who);
    add_text(json, "request_id", row->request_id);
    add_text(json, "reason", row->reason);
    if (row->epoch == 0)
        cJSON_AddNullToObject(json, "epoch");
    else
        cJSON_AddNumberToObject(json, "epoch", (double)row->epoch);
    add_terms(json, "old", row->before);
    add_terms(json, "new", row->after);
    return json;
}

static void take_row(void *context, const change_row_t *row)
{
    shard_changes_t *own = context;
    own->rows[own->count++] = (listed_t){row->id, change_to_json(row)};
}

static void run_changes(fan_t *fan, unsigned shard, worker_t *worker)
{
    changes_request_t *r = (changes_request_t *)fan;
    shard_changes_t *own = &r->shards[shard];
    const change_query_t query = {
        .before = r->page.before,
        .since_ms = r->since_ms,
        .sku = r->sku_length == 0 ? STR_NONE : (str_t){r->sku, r->sku_length},
        .who = r->who_length == 0 ? STR_NONE : (str_t){r->who, r->who_length}};
    own->read = change_list(worker->db, &worker->sql, &query, r->page.limit + 1, take_row, own) ==
                RESULT_DONE;
}

/* --- the answer --- */

static int newest_first(const void *a, const void *b)
{
    const listed_t *x = *(listed_t *const *)a, *y = *(listed_t *const *)b;
    return memcmp(y->id.bytes, x->id.bytes, sizeof(x->id.bytes));
}

/* Takes the rows of this page out of the request, which frees the others. */
static cJSON *changes_to_json(changes_request_t *r, unsigned shards)
{
    unsigned count = 0, limit = r->page.limit;
    listed_t **all = alloc_zero(shards, (PAGE_MAX + 1) * sizeof(*all));
    for (unsigned i = 0; i < shards; ++i)
        for (unsigned j = 0; j < r->shards[i].count; ++j)
            all[count++] = &r->shards[i].rows[j];
    qsort(all, count, sizeof(all[0]), newest_first);
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "changes");
    for (unsigned i = 0; i < count && i < limit; ++i) {
        cJSON_AddItemToArray(list, all[i]->json);
        all[i]->json = NULL;
    }
    page_add_cursor(json, count > limit ? &all[limit - 1]->id : NULL);
    free(all);
    return json;
}

static void reply_changes(fan_t *fan, exchange_t *exchange)
{
    changes_request_t *r = (changes_request_t *)fan;
    unsigned shards = exchange->http->map->shards_count;
    for (unsigned i = 0; i < shards; ++i) {
        if (!fan_has_answer(fan, i) || !r->shards[i].read) {
            page_reply_missing(exchange, i, fan_has_answer(fan, i));
            return;
        }
    }
    reply_json(exchange, 200, changes_to_json(r, shards));
}

static void dispose_changes(fan_t *fan)
{
    changes_request_t *r = (changes_request_t *)fan;
    for (unsigned i = 0; i < r->shards_count; ++i)
        for (unsigned j = 0; j < r->shards[i].count; ++j)
            cJSON_Delete(r->shards[i].rows[j].json);
}

/* --- the question --- */

/* Reads a filter. False: it is present and not valid. */
static bool read_filter(str_t query, const char *name, char *out, size_t *length)
{
    str_t value;
    *length = 0;
    if (!query_value(query, name, &value))
        return false;
    if (value.p == NULL)
        return true;
    return value.n <= PARAM_BYTES_MAX && percent_decode(value, out, length) && *length != 0;
}

static bool read_since(str_t query, uint64_t *since_ms)
{
    char text[PARAM_BYTES_MAX];
    size_t length;
    *since_ms = 0;
    return read_filter(query, "since", text, &length) &&
           (length == 0 || time_parse_rfc3339(text, length, since_ms) == 0);
}

static const char *read_filters(changes_request_t *r, str_t query)
{
    if (!read_filter(query, "sku", r->sku, &r->sku_length) ||
        (r->sku_length != 0 && !is_sku((str_t){r->sku, r->sku_length})))
        return "sku: give the sku of an item, once";
    if (!read_filter(query, "who", r->who, &r->who_length) || r->who_length > WHO_BYTES_MAX)
        return "who: give the name of a token, once";
    if (!read_since(query, &r->since_ms))
        return "since: give a time like 2026-01-31T12:00:00Z, once";
    return NULL;
}

void handle_changes(exchange_t *exchange, const route_match_t *match)
{
    page_t page;
    if (!page_read(exchange, match->query, &page))
        return;
    unsigned shards = exchange->http->map->shards_count;
    changes_request_t *r = alloc_zero(1, sizeof(*r) + shards * sizeof(r->shards[0]));
    const char *mistake = read_filters(r, match->query);
    if (mistake != NULL) {
        free(r);
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, mistake);
        return;
    }
    r->fan.run = run_changes;
    r->fan.reply = reply_changes;
    r->fan.dispose = dispose_changes;
    r->fan.deadline_ms = exchange->http->config->orders.answer_deadline_ms;
    r->page = page;
    r->shards_count = shards;
    fan_start(exchange, &r->fan);
}
