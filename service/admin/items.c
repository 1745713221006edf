/*
 * GET /v1/items: a page of each shard, read in parallel, then merged. The texts of the items are
 * written on pool threads: the loop, which also sells, only joins them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "admin/handlers.h"
#include "admin/page_merge.h"
#include "base/alloc.h"
#include "base/text.h"
#include "http/body.h"
#include "http/fan.h"
#include "http/items.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 1000

/* What a shard has read. */
typedef struct {
    bool read;
    page_part_t part;
    sku_t *skus;  /* of the part */
    size_t *ends; /* where the text of each item ends */
    text_t text;  /* of all of them */
} shard_items_t;

typedef struct {
    fan_t fan; /* first */
    sku_t after, prefix;
    item_filter_t filter; /* `after` and `prefix` are borrowed from here */
    unsigned shards_count;
    shard_items_t shards[];
} list_request_t;

cJSON *item_details_to_json(const item_t *item)
{
    cJSON *json = item_to_json(item);
    cJSON_AddNumberToObject(json, "allocated", (double)item_allocated(item));
    cJSON_AddNumberToObject(json, "epoch", (double)item->epoch);
    cJSON_AddNumberToObject(json, "version", (double)item->version);
    cJSON_AddNumberToObject(json, "slot", item->ref.slot);
    cJSON_AddBoolToObject(json, "rebuilding", item->rebuilding);
    cJSON_AddBoolToObject(json, "gate_down", item->gate_down);
    cJSON_AddItemToObject(json, "created_at", time_to_json(item->created_at_ms));
    cJSON_AddItemToObject(json, "updated_at", time_to_json(item->updated_at_ms));
    return json;
}

/* --- on a pool thread --- */

static void add_item(void *context, const item_t *item)
{
    shard_items_t *own = context;
    if (!is_sku(item_sku(item)))
        return; /* a row that was inserted by hand, and that no call can name */
    cJSON *json = item_details_to_json(item);
    char *text = alloc_check(cJSON_PrintUnformatted(json));
    cJSON_Delete(json);
    text_add(&own->text, str_of(text));
    free(text);
    own->skus[own->part.count] = item->ref.sku;
    own->ends[own->part.count++] = own->text.n;
}

static void run_list(fan_t *fan, unsigned shard, worker_t *worker)
{
    list_request_t *r = (list_request_t *)fan;
    shard_items_t *own = &r->shards[shard];
    own->skus = alloc_zero(r->filter.most, sizeof(*own->skus));
    own->ends = alloc_zero(r->filter.most, sizeof(*own->ends));
    own->part.skus = own->skus;
    own->read = item_page(worker->db, &worker->sql, &r->filter, add_item, own, &own->part.up_to) ==
                RESULT_DONE;
}

/* --- on the loop --- */

static bool has_read(const list_request_t *r, unsigned shard)
{
    return fan_has_answer(&r->fan, shard) && r->shards[shard].read;
}

static void add_texts(text_t *out, const list_request_t *r, const unsigned *shard_of,
                      const page_pick_t *picks, unsigned count)
{
    text_add(out, STR("{\"items\":["));
    for (unsigned i = 0; i < count; ++i) {
        const shard_items_t *own = &r->shards[shard_of[picks[i].part]];
        size_t from = picks[i].index == 0 ? 0 : own->ends[picks[i].index - 1];
        if (i != 0)
            text_add(out, STR(","));
        text_add(out, (str_t){own->text.p + from, own->ends[picks[i].index] - from});
    }
    text_add(out, STR("]"));
}

/* Names of shards need no escapes: config/check_shards.c. */
static void add_end(text_t *out, const list_request_t *r, const config_t *config, const sku_t *next)
{
    char cursor[PAGE_CURSOR_SIZE];
    page_cursor_write(cursor, next);
    text_add(out, STR(",\"next_cursor\":"));
    if (next->length == 0) {
        text_add(out, STR("null"));
    } else {
        text_add(out, STR("\""));
        text_add(out, str_of(cursor));
        text_add(out, STR("\""));
    }
    text_add(out, STR(",\"unknown_of\":["));
    for (unsigned i = 0, named = 0; i < r->shards_count; ++i) {
        if (has_read(r, i))
            continue;
        text_add(out, named++ == 0 ? STR("\"") : STR(",\""));
        text_add(out, str_of(config->shards[i].name));
        text_add(out, STR("\""));
    }
    text_add(out, STR("]}"));
}

static void reply_page(list_request_t *r, exchange_t *exchange, const page_part_t *parts,
                       const unsigned *shard_of, unsigned parts_count)
{
    unsigned most = r->filter.most - 1; /* one more was read, which shows that there are more */
    page_pick_t *picks = alloc_zero(most, sizeof(*picks));
    text_t text = {0};
    sku_t next;
    unsigned count = page_merge(parts, parts_count, most, picks, &next);
    add_texts(&text, r, shard_of, picks, count);
    add_end(&text, r, exchange->http->config, &next);
    reply_text(exchange, 200, "application/json", text_str(&text));
    text_free(&text);
    free(picks);
}

static void reply_list(fan_t *fan, exchange_t *exchange)
{
    list_request_t *r = (list_request_t *)fan;
    page_part_t *parts = alloc_zero(r->shards_count, sizeof(*parts));
    unsigned *shard_of = alloc_zero(r->shards_count, sizeof(*shard_of)), count = 0;
    for (unsigned i = 0; i < r->shards_count; ++i)
        if (has_read(r, i)) {
            shard_of[count] = i;
            parts[count++] = r->shards[i].part;
        }
    if (count == 0)
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "No shard answers");
    else
        reply_page(r, exchange, parts, shard_of, count);
    free(parts);
    free(shard_of);
}

static void dispose_list(fan_t *fan)
{
    list_request_t *r = (list_request_t *)fan;
    for (unsigned i = 0; i < r->shards_count; ++i) {
        free(r->shards[i].skus);
        free(r->shards[i].ends);
        text_free(&r->shards[i].text);
    }
}

/* --- the query --- */

/* The value of a parameter that is a word, decoded: STR_NONE if it is absent. `bytes` has room for
   SKU_BYTES_MAX. False: no such word. */
static bool read_word(str_t query, const char *name, char *bytes, str_t *out)
{
    str_t value;
    *out = STR_NONE;
    if (!query_value(query, name, &value) || value.n > 3 * SKU_BYTES_MAX)
        return false;
    if (value.p == NULL)
        return true;
    char decoded[3 * SKU_BYTES_MAX];
    size_t n;
    if (!percent_decode(value, decoded, &n) || n > SKU_BYTES_MAX)
        return false;
    memcpy(bytes, decoded, n);
    *out = (str_t){bytes, n};
    return true;
}

/* Returns the name of the parameter with a mistake and what it takes, or NULL. */
static const char *read_filter(str_t query, list_request_t *r)
{
    char bytes[SKU_BYTES_MAX];
    str_t word;
    if (!query_value(query, "cursor", &word) ||
        (word.p != NULL && !page_cursor_read(word, &r->after)))
        return "cursor: give the next_cursor of a page, once";
    if (!read_word(query, "prefix", bytes, &word) || (word.p != NULL && !is_sku(word)))
        return "prefix: give the first 1 to 64 characters of a sku, once";
    sku_set(&r->prefix, word);
    r->filter.strategy = r->filter.open = -1;
    if (!read_word(query, "strategy", bytes, &word) ||
        (word.p != NULL && (r->filter.strategy = strategy_parse(word.p, word.n)) < 0))
        return "strategy: give lua, watch, optimistic or serializable, once";
    if (!read_word(query, "open", bytes, &word) ||
        (word.p != NULL && !str_eq(word, STR("true")) && !str_eq(word, STR("false"))))
        return "open: give true or false, once";
    if (word.p != NULL)
        r->filter.open = str_eq(word, STR("true"));
    return NULL;
}

void handle_items_list(exchange_t *exchange, const route_match_t *match)
{
    const http_context_t *http = exchange->http;
    unsigned most, shards = http->map->shards_count;
    if (!query_limit(exchange, match->query, (page_size_t){PAGE_DEFAULT, PAGE_MAX}, &most))
        return;
    list_request_t *r = alloc_zero(1, sizeof(*r) + shards * sizeof(r->shards[0]));
    const char *mistake = read_filter(match->query, r);
    if (mistake != NULL) {
        reply_problem(exchange, PROBLEM_INVALID_REQUEST, mistake);
        free(r);
        return;
    }
    r->filter.after = sku_str(&r->after);
    r->filter.prefix = sku_str(&r->prefix);
    r->filter.most = most + 1;
    r->shards_count = shards;
    r->fan.run = run_list;
    r->fan.reply = reply_list;
    r->fan.dispose = dispose_list;
    r->fan.deadline_ms = http->config->orders.answer_deadline_ms;
    fan_start(exchange, &r->fan);
}
