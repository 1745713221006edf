/*
 * A buyer's orders: a page of each shard, read in parallel, then merged.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "http/body.h"
#include "http/fan.h"
#include "http/orders.h"
#include "http/page.h"
#include "http/request_job.h"

typedef struct {
    bool read;
    unsigned count;
    order_t orders[PAGE_MAX + 1]; /* newest first; one more than a page, which shows that there are
                                     more */
} shard_page_t;

typedef struct {
    fan_t fan; /* first */
    buyer_t buyer;
    page_t page;
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
    page->read =
        order_page_of_buyer(worker->db, &worker->sql, buyer_str(&r->buyer), &r->page.before,
                            r->page.limit + 1, page->orders, &page->count) == RESULT_DONE;
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
    unsigned count;
    const order_t **all = merge(r, shards, &count);
    bool more = count > r->page.limit;
    cJSON *json = cJSON_CreateObject();
    cJSON *orders = cJSON_AddArrayToObject(json, "orders");
    count = more ? r->page.limit : count;
    for (unsigned i = 0; i < count; ++i) {
        orders_in_hand_seen(engine, all[i]);
        cJSON_AddItemToArray(orders, order_to_json(all[i]));
    }
    page_add_cursor(json, more ? &all[count - 1]->id : NULL);
    free(all);
    return json;
}

static void reply_list(fan_t *fan, exchange_t *exchange)
{
    list_request_t *r = (list_request_t *)fan;
    const http_context_t *http = exchange->http;
    for (unsigned i = 0; i < http->map->shards_count; ++i) {
        if (fan_has_answer(fan, i) && r->shards[i].read)
            continue;
        page_reply_missing(exchange, i, fan_has_answer(fan, i));
        return;
    }
    reply_json(exchange, 200, page_to_json(exchange->engine, r, http->map->shards_count));
}

void handle_buyer_orders(exchange_t *exchange, const route_match_t *match)
{
    page_t page;
    if (!is_buyer_id(match->param)) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST,
                      "buyer_id: give 1 to 128 bytes of UTF-8 without control characters");
        return;
    }
    if (exchange->buyer != NULL && !str_eq(match->param, buyer_str(&exchange->buyer->buyer))) {
        reply_problem(exchange, PROBLEM_FORBIDDEN, "The token is that of another buyer");
        return;
    }
    if (!page_read(exchange, match->query, &page))
        return;
    const http_context_t *http = exchange->http;
    list_request_t *r = alloc_zero(1, sizeof(*r) + http->map->shards_count * sizeof(r->shards[0]));
    r->fan.run = run_list;
    r->fan.reply = reply_list;
    r->fan.deadline_ms = http->config->orders.answer_deadline_ms;
    buyer_set(&r->buyer, match->param);
    r->page = page;
    fan_start(exchange, &r->fan);
}
