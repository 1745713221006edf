/*
 * Refreshes the views of items (engine/item_views.h): the owner loop of an item asks the servers
 * for all loops of the process.
 *
 *   NONE ─asked─▶ SOON ─old enough─▶ DUE ─budget─▶ READING ⇄ LOOKING ─▶ answered: NONE
 *                                                  (MySQL)   (Redis)
 *
 * What comes due in one turn of some ms shares one call to Redis (holdfast_look), and one SELECT
 * for each shard; one of each is under way at a time. Two questions about an item begin at least
 * items.max_age_ms apart (items.unknown_ms, if it is unknown), unless it has changed. In a second
 * at most items.refresh_per_second are begun, shared evenly by the loops. When that is not enough,
 * those that a reader waits for go first, since the others are shown meanwhile; items that are not
 * in memory get at most half of it while others are due. Each kind is first come, first served.
 *
 * The answer is what a buyer would find. Under lua and watch these are the units of the gate, if it
 * is intact and has the epoch of the row. The row's own number is shown only if a look at the gate
 * *after* the row was read has shown that there is no such gate: it does not know what is
 * unsettled. Under the SQL strategies it is the row's. No row: the item is unknown. Whatever else
 * comes back, the server is *away*, and so it is after LATE_MS without an answer.
 *
 * Loop thread only; rows are read by jobs of the pool. Nothing blocks.
 */
#ifndef HOLDFAST_ENGINE_VIEW_REFRESH_H
#define HOLDFAST_ENGINE_VIEW_REFRESH_H

#include "engine/item_view.h"

typedef struct view_refreshes view_refreshes_t;

view_refreshes_t *view_refreshes_new(item_views_t *views);
void view_refreshes_free(view_refreshes_t *refreshes);
/* No refresh is under way. */
bool view_refreshes_are_idle(const view_refreshes_t *refreshes);

/* Asks the owner loop of the view's item for news. They come to item_view_take(), never inside this
   call; view->asked is set until then. `waited`: a reader waits for them. It may ask again with
   that, before the news of the first question. */
void view_refresh_ask(item_views_t *views, item_view_t *view, bool waited, uint64_t now_ms);
/* The view's item has changed: what is being read may be old. Only on the owner loop has it an
   effect. */
void view_refresh_again(item_view_t *view);
/* More items are due at the view's owner loop than may be looked up. Any loop. */
bool view_refresh_is_crowded(const item_views_t *views, const item_view_t *view);

/* Nothing of the view is under way here, so that it may be forgotten. */
bool view_refresh_is_idle(const item_view_t *view);
void view_refresh_forget(item_view_t *view);

#endif
