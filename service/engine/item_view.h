/*
 * One view of an item, shared by engine/item_views.c (the readers' side) and engine/view_refresh.c
 * (the owner loop's side). Loop thread only; the loop's item_views_t owns it.
 */
#ifndef HOLDFAST_ENGINE_ITEM_VIEW_H
#define HOLDFAST_ENGINE_ITEM_VIEW_H

#include <uthash.h>

#include "engine/item_views.h"

struct view_refresh;

typedef struct item_view {
    UT_hash_handle hh; /* by sku */
    item_ref_t ref;
    view_state_t state;
    bool asked;         /* the owner loop has been asked, and has not answered */
    bool waited;        /* the owner loop knows that a reader waits */
    uint64_t announced; /* the highest epoch that was announced; 0: none */
    uint64_t used_ms;   /* monotonic; last read, or last question of another loop */
    uint64_t listed_ms; /* monotonic; when it went to the end of views->listed */
    h2o_linklist_t listed;
    h2o_linklist_t absent;  /* in views->absent, if it is EMPTY or ABSENT */
    h2o_linklist_t readers; /* item_reader_t */
    item_shown_t shown;     /* of KNOWN, as is the text */
    char *text;             /* NULL: none */
    size_t text_length;
    char etag[ITEM_ETAG_SIZE];
    struct view_refresh *refresh; /* on the owner loop only; NULL: was never refreshed here */
} item_view_t;

struct item_views {
    engine_loop_t *engine;
    item_view_t *table;
    unsigned count, absent_count, readers_count;
    unsigned asks;          /* questions to other loops without an answer */
    h2o_linklist_t listed;  /* all views, listed longest ago first */
    h2o_linklist_t absent;  /* those that hold no item, oldest first */
    h2o_linklist_t by_time; /* readers, waiting longest first */
    loop_timer_t sweep, deadline;
    struct view_refreshes *refreshes;
};

/* The view of the item; makes it if there is none. NULL: there are too many. */
item_view_t *item_views_get(item_views_t *views, str_t sku, uint64_t now_ms);
item_view_t *item_views_find(const item_views_t *views, str_t sku);

/* The owner loop's answer to a question. */
typedef struct {
    view_content_t content;
    const char *away; /* a server is away, and the content is the last that is known; NULL: it is
                         new */
    uint64_t read_ms;
    item_shown_t shown; /* of KNOWN */
} view_news_t;

/* Takes the news into the view and answers its readers. Not inside item_views_read(). */
void item_view_take(item_views_t *views, item_view_t *view, const view_news_t *news,
                    uint64_t now_ms);

#endif
