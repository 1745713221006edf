/*
 * GET /v1/live: the items with the most answers in the last second, of this process. Each loop is
 * asked by a message, counts its own, and sends the message back.
 */
#include <stdlib.h>

#include "admin/handlers.h"
#include "base/alloc.h"
#include "engine/live.h"

#define ITEMS_DEFAULT 20

struct live_request;

/* What a loop tells. The loop that has the message owns it. */
typedef struct {
    loop_message_t message;
    struct live_request *request;
    engine_loop_t *engine;
    unsigned count;
    bool all;
    live_figure_t figures[LIVE_MAX];
} live_part_t;

typedef struct live_request {
    exchange_t *exchange;  /* NULL: the client has disconnected */
    engine_loop_t *engine; /* of the exchange */
    unsigned most;
    unsigned open; /* messages that are not back */
    unsigned parts_count;
    live_part_t parts[];
} live_request_t;

/* --- the answer --- */

static int by_name(const void *a, const void *b)
{
    const live_figure_t *x = a, *y = b;
    return str_compare(sku_str(&x->sku), sku_str(&y->sku));
}

static int by_answers(const void *a, const void *b)
{
    const live_figure_t *x = a, *y = b;
    return (x->answers < y->answers) - (x->answers > y->answers);
}

static void add_up(live_figure_t *sum, const live_figure_t *more)
{
    for (unsigned i = 0; i < HEARD_KINDS; ++i)
        sum->heard[i] += more->heard[i];
    sum->answers += more->answers;
    if (!more->owned)
        return;
    sum->owned = true;
    sum->strategy = more->strategy;
    sum->under_way = more->under_way;
    sum->being_written = more->being_written;
}

/* One figure for each item, the busiest first. The caller frees the result. */
static live_figure_t *join(const live_request_t *r, unsigned *count, bool *all)
{
    live_figure_t *figures = alloc_zero(r->parts_count * LIVE_MAX + 1, sizeof(*figures));
    unsigned n = 0, kept = 0;
    *all = true;
    for (unsigned i = 0; i < r->parts_count; ++i) {
        memcpy(figures + n, r->parts[i].figures, r->parts[i].count * sizeof(*figures));
        n += r->parts[i].count;
        *all = *all && r->parts[i].all;
    }
    qsort(figures, n, sizeof(*figures), by_name);
    for (unsigned i = 0; i < n; ++i) {
        if (kept != 0 && by_name(&figures[kept - 1], &figures[i]) == 0)
            add_up(&figures[kept - 1], &figures[i]);
        else
            figures[kept++] = figures[i];
    }
    qsort(figures, kept, sizeof(*figures), by_answers);
    *all = *all && kept <= r->most;
    *count = kept < r->most ? kept : r->most;
    return figures;
}

static cJSON *figure_to_json(const live_figure_t *figure)
{
    char sku[SKU_BYTES_MAX + 1] = "";
    memcpy(sku, figure->sku.bytes, figure->sku.length);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "sku", sku);
    if (figure->owned) {
        cJSON_AddStringToObject(json, "strategy", strategy_name(figure->strategy));
        cJSON_AddNumberToObject(json, "under_way", figure->under_way);
        cJSON_AddNumberToObject(json, "being_written", figure->being_written);
    } else { /* nothing of it has reached its owner in the last second */
        cJSON_AddNullToObject(json, "strategy");
        cJSON_AddNullToObject(json, "under_way");
        cJSON_AddNullToObject(json, "being_written");
    }
    cJSON *heard = cJSON_AddObjectToObject(json, "heard_per_second");
    for (unsigned i = 0; i < HEARD_KINDS; ++i)
        cJSON_AddNumberToObject(heard, heard_name((heard_t)i), figure->heard[i]);
    return json;
}

static void reply_live(live_request_t *r)
{
    const char *name = r->exchange->http->config->node.name;
    unsigned count;
    bool all;
    live_figure_t *figures = join(r, &count, &all);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "node", name != NULL ? name : "");
    cJSON *items = cJSON_AddArrayToObject(json, "items");
    for (unsigned i = 0; i < count; ++i)
        cJSON_AddItemToArray(items, figure_to_json(&figures[i]));
    cJSON_AddBoolToObject(json, "complete", all);
    free(figures);
    r->exchange->on_gone = NULL;
    reply_json(r->exchange, 200, json);
}

/* --- the messages --- */

static void on_gone(void *waiting)
{
    ((live_request_t *)waiting)->exchange = NULL;
}

static void on_back(loop_message_t *message)
{
    live_request_t *r = H2O_STRUCT_FROM_MEMBER(live_part_t, message, message)->request;
    if (--r->open != 0)
        return;
    --r->engine->jobs;
    if (r->exchange != NULL)
        reply_live(r);
    free(r);
}

static void on_asked(loop_message_t *message)
{
    live_part_t *part = H2O_STRUCT_FROM_MEMBER(live_part_t, message, message);
    part->count = live_busiest(part->engine, clock_mono_ms(), part->figures, &part->all);
    part->message.run = on_back;
    loop_post(part->request->engine->loop, &part->message);
}

void handle_live(exchange_t *exchange, const route_match_t *match)
{
    const node_t *node = exchange->engine->node;
    unsigned most, loops = node->loops_count;
    if (!query_limit(exchange, match->query, (page_size_t){ITEMS_DEFAULT, LIVE_MAX}, &most))
        return;
    live_request_t *r = alloc_zero(1, sizeof(*r) + loops * sizeof(r->parts[0]));
    r->exchange = exchange;
    r->engine = exchange->engine;
    r->most = most;
    r->open = r->parts_count = loops;
    exchange->on_gone = on_gone;
    exchange->waiting = r;
    ++r->engine->jobs; /* the loop does not end before the answers are back */
    for (unsigned i = 0; i < loops; ++i) {
        live_part_t *part = &r->parts[i];
        part->message.run = on_asked;
        part->request = r;
        part->engine = node->loops[i];
        loop_post(part->engine->loop, &part->message);
    }
}
