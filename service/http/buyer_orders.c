/*
 * A buyer's orders: a page of each shard, read in parallel, then merged.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "http/body.h"
#include "http/fan.h"
#include "http/orders.h"
#include "http/request_job.h"

#define PAGE_DEFAULT 20
#define PAGE_MAX 100

typedef struct {
    bool read;
    unsigned count;
    order_t orders[PAGE_MAX + 1]; /* newest first; one more than a page, which shows that there are
                                     more */
} shard_page_t;

typedef struct {
    fan_t fan; /* first */
    buyer_t buyer;
    order_id_t before;
    unsigned page;
    shard_page_t shards[];
} list_request_t;

static int newest_first(const void *a, const void *b)
{
    const order_t *x = *(const order_t *const *)a, *y = *(const order_t *const *)b;
    return memcmp(y->id.bytes, x->id.bytes, sizeof(x->id.bytes));
}

static void run_list(fan_t *fan, unsigned shard, worker_t *worker)
{
    list_request_t *r = (list_request_t *)fan;
    shard_page_t *page = &r->shards[shard];
    page->read = order_page_of_buyer(worker->db, &worker->sql, buyer_str(&r->buyer), &r->before,
                                     r->page + 1, page->orders, &page->count) == RESULT_DONE;
}

/* Merges the orders of all shards, newest first. The caller frees the result. */
static const order_t **merge(const list_request_t *r, unsigned shards, unsigned *count)
{
    const order_t **all = alloc_zero(1, (shards * (size_t)(PAGE_MAX + 1) + 1) * sizeof(order_t *));
    *count = 0;
    for (unsigned i = 0; i < shards; ++i)
        for (unsigned j = 0; j < r->shards[i].count; ++j)
            all[(*count)++] = &r->shards[i].orders[j];
    qsort(all, *count, sizeof(all[0]), newest_first);
    return all;
}

static cJSON *page_to_json(engine_loop_t *engine, const list_request_t *r, unsigned shards)
{
    char cursor[ORDER_ID_TEXT + 1];
    unsigned count;
    const order_t **all = merge(r, shards, &count);
    bool more = count > r->page;
    cJSON *json = cJSON_CreateObject();
    cJSON *orders = cJSON_AddArrayToObject(json, "orders");
    count = more ? r->page : count;
    for (unsigned i = 0; i < count; ++i) {
        orders_in_hand_seen(engine, all[i]);
        cJSON_AddItemToArray(orders, order_to_json(all[i]));
    }
    if (more) {
        order_id_format(cursor, &all[count - 1]->id);
        cJSON_AddStringToObject(json, "next_cursor", cursor);
    } else {
        cJSON_AddNullToObject(json, "next_cursor");
    }
    free(all);
    return json;
}

static void reply_list(fan_t *fan, exchange_t *exchange)
{
    list_request_t *r = (list_request_t *)fan;
    const http_context_t *http = exchange->http;
    char detail[160];
    for (unsigned i = 0; i < http->map->shards_count; ++i) {
        if (fan_has_answer(fan, i) && r->shards[i].read)
            continue;
        snprintf(detail, sizeof(detail), "%.100s %s", http->config->shards[i].name,
                 fan_has_answer(fan, i) ? "is away" : "does not answer");
        reply_problem(exchange, PROBLEM_UNAVAILABLE, detail);
        return;
    }
    reply_json(exchange, 200, page_to_json(exchange->engine, r, http->map->shards_count));
}

/* False: the parameter is present and not valid. */
static bool read_limit(str_t text, unsigned *out)
{
    *out = PAGE_DEFAULT;
    if (text.p == NULL)
        return true;
    *out = 0;
    if (text.n > 3)
        return false;
    for (size_t i = 0; i < text.n; ++i) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(text.p[i] - '0');
    }
    return *out >= 1 && *out <= PAGE_MAX;
}

void handle_buyer_orders(exchange_t *exchange, const route_match_t *match)
{
    unsigned page;
    order_id_t before = ORDER_ID_NONE;
    str_t cursor, limit;
    if (!is_buyer_id(match->param)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "buyer_id: give 1 to 128 bytes of UTF-8 without control characters");
        return;
    }
    if (!query_value(match->query, "limit", &limit) || !read_limit(limit, &page)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "limit: give a number from 1 to 100, once");
        return;
    }
    if (!query_value(match->query, "cursor", &cursor) ||
        (cursor.p != NULL && !order_id_parse(cursor, &before))) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "cursor: give the next_cursor of a page, once");
        return;
    }
    const http_context_t *http = exchange->http;
    list_request_t *r = alloc_zero(1, sizeof(*r) + http->map->shards_count * sizeof(r->shards[0]));
    r->fan.run = run_list;
    r->fan.reply = reply_list;
    r->fan.deadline_ms = http->config->orders.answer_deadline_ms;
    buyer_set(&r->buyer, match->param);
    r->before = before;
    r->page = page;
    fan_start(exchange, &r->fan);
}
