/*
 * Rules of what is shown of an item: how old it may be, when it is looked up anew, how many items
 * are looked up in a second, and its text. Pure; time is a value, in ms of the monotonic clock; any
 * thread; nothing blocks or fails.
 */
#ifndef HOLDFAST_ENGINE_VIEW_RULES_H
#define HOLDFAST_ENGINE_VIEW_RULES_H

#include "sale/item.h"

/* While more items are due than may be looked up, a view may be so old. */
#define VIEW_CROWDED_AGE_MS 2000
/* A failure to look an item up says so long that a server is away. */
#define VIEW_AWAY_MS 1000
/* A view is asked for anew at most so long before it is too old; it is looked up when it is. */
#define VIEW_LEAD_MS 50

typedef enum {
    VIEW_SHOWN,
    VIEW_UNKNOWN, /* MySQL said a moment ago that there is no such item */
    VIEW_AWAY,    /* a server that the item needs is away, and no value is young enough */
    VIEW_WAIT,    /* a refresh is under way */
    VIEW_BUSY     /* too many readers wait, or too many items are looked up; or no answer in time */
} view_verdict_t;

typedef enum { VIEW_EMPTY, VIEW_KNOWN, VIEW_ABSENT } view_content_t;

typedef struct {
    view_content_t content;
    bool outdated;    /* the item has changed since: what is known of it is not shown any more */
    uint64_t read_ms; /* the servers were asked no earlier; of KNOWN and ABSENT */
    const char *away; /* the server for which the last refresh failed; NULL: it succeeded */
    uint64_t away_ms; /* when it failed */
} view_state_t;

/* What to answer. `crowded`: more items are due than may be looked up. */
view_verdict_t view_verdict(const view_state_t *state, const config_t *config, bool crowded,
                            uint64_t now_ms);
/* The age at which the item is looked up anew. */
uint32_t view_life_ms(const view_state_t *state, const config_t *config);
/* The owner loop is to be asked for a refresh. */
bool view_is_due(const view_state_t *state, const config_t *config, uint64_t now_ms);

/* How many items may be looked up: `per_second`, and after a pause those of 20 ms at once. */
typedef struct {
    uint64_t per_second;
    uint64_t tokens; /* thousandths */
    uint64_t filled_ms;
} view_budget_t;

void view_budget_init(view_budget_t *budget, uint32_t per_second, uint64_t now_ms);
void view_budget_fill(view_budget_t *budget, uint64_t now_ms);
/* False: none is left for now. */
bool view_budget_take(view_budget_t *budget);

/* What is shown of an item. */
typedef struct {
    item_terms_t terms;
    int64_t available;
    uint64_t epoch; /* not shown */
} item_shown_t;

/* That of a row: total - allocated. */
item_shown_t item_shown_of_row(const item_t *row);
/* Cuts `available` to 0 and the total: a gate and a row are not read at one moment. */
void item_shown_set_available(item_shown_t *shown, int64_t available);

/* The most bytes of the text of an item, and of its ETag. */
#define ITEM_JSON_MAX (512 + SKU_BYTES_MAX)
#define ITEM_ETAG_SIZE 18
/* Writes the item as the API shows it into `text`, which has ITEM_JSON_MAX bytes, and returns it.
   The SKU is of the kind that needs no escapes in JSON. */
str_t item_json(char *text, str_t sku, const item_shown_t *shown);
/* Writes the strong ETag of the text, with its quotes, into `out` (ITEM_ETAG_SIZE bytes). */
str_t item_etag(char *out, str_t text);

#endif
