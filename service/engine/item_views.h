/*
 * What a loop shows of the items: GET /v1/items/{sku} is answered from memory.
 *
 * Each loop has a view of each item that its clients read: the terms and the units that a buyer
 * would find, as rendered text, and when they were read from the servers. A view that is young
 * enough (engine/view_rules.h) answers at once: a lookup in a table, no lock, no call. When it gets
 * old and is read, the loop asks the item's owner loop, which refreshes it for all loops
 * (engine/view_refresh.h):
 *
 *                    a client reads           the owner loop answers
 *   EMPTY ─────────────────────────▶ asked ──────────────────────────▶ KNOWN or ABSENT
 *                                      ▲                                     │
 *                                      └────────── read when it is old ──────┘
 *
 * A view that nobody reads is not refreshed; its next reader waits for a refresh. A change of the
 * item, announced on this node, makes its views outdated at once: the next reader waits. A view
 * that was not read for 10 to 20 s is forgotten. Views are bounded in number, those of unknown
 * items more closely; so are the readers that wait.
 *
 * No purchase, no limit and no audit uses a view: it may be old (tests/layers). The loop owns its
 * views and uses them on its thread only. Nothing blocks.
 */
#ifndef HOLDFAST_ENGINE_ITEM_VIEWS_H
#define HOLDFAST_ENGINE_ITEM_VIEWS_H

#include "engine/engine.h"
#include "engine/view_rules.h"

struct item_view;
typedef struct item_views item_views_t;

/* What a reader receives. The strings are borrowed from the view until the loop's next turn. */
typedef struct {
    view_verdict_t verdict;
    struct item_view *view; /* of VIEW_WAIT */
    str_t body, etag;       /* of VIEW_SHOWN */
    uint32_t age_ms;        /* likewise */
    const char *away;       /* likewise: the server without which the value is old; NULL: none */
} item_answer_t;

/* A reader that waits. It owns the struct and keeps it until `ready` is called, or until it calls
   item_views_forget_reader(). */
typedef struct item_reader {
    h2o_linklist_t link;    /* in the view's list */
    h2o_linklist_t by_time; /* in the loop's list */
    uint64_t since_ms;
    item_views_t *views;
    struct item_view *view;
    /* Called once, on the loop; never inside item_views_wait(). The verdict is not VIEW_WAIT. */
    void (*ready)(struct item_reader *reader, const item_answer_t *answer);
} item_reader_t;

item_views_t *item_views_new(engine_loop_t *engine);
/* Only when item_views_are_idle(). */
void item_views_free(item_views_t *views);
/* No reader waits, and nothing is under way for this loop or for another. */
bool item_views_are_idle(const item_views_t *views);

/* What is known of the item at `now_ms` (monotonic); `sku` is_sku(). */
item_answer_t item_views_read(item_views_t *views, str_t sku, uint64_t now_ms);
/* After VIEW_WAIT, in the same turn: the reader waits for the view, for orders.answer_deadline_ms
   at most. The caller has set reader->ready. */
void item_views_wait(item_views_t *views, struct item_view *view, item_reader_t *reader,
                     uint64_t now_ms);
void item_views_forget_reader(item_reader_t *reader);

/* The item's row has changed, or units came back; `epoch` is the row's, or above that of a row that
   was deleted. A newer epoch makes the view outdated. */
void item_views_changed(item_views_t *views, str_t sku, uint64_t epoch);

#endif
