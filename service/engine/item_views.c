#include "engine/item_views.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/item_view.h"
#include "engine/view_refresh.h"
#include "metrics/metrics.h"

/* Views of a loop; and those of them that hold no item: unknown ones, and those not read yet. */
#define VIEWS_MAX 100000
#define ABSENT_MAX 4096
/* Readers of a loop that wait. */
#define READERS_MAX 16384
/* A view that was not read for this long is forgotten; it is looked for at this interval. */
#define IDLE_MS 10000
#define SWEEP_MS 1024
/* Views that one sweep looks at, at most: the loop stands still meanwhile. */
#define SWEEP_MAX 4096
/* The deadlines of readers are looked at in this interval. */
#define DEADLINE_CHECK_MS 64

/* --- the table --- */

item_view_t *item_views_find(const item_views_t *views, str_t sku)
{
    item_view_t *view;
    HASH_FIND(hh, views->table, sku.p, sku.n, view);
    return view;
}

static bool is_idle(item_view_t *view)
{
    return !view->asked && h2o_linklist_is_empty(&view->readers) && view_refresh_is_idle(view);
}

static void leave_absent(item_views_t *views, item_view_t *view)
{
    if (!h2o_linklist_is_linked(&view->absent))
        return;
    h2o_linklist_unlink(&view->absent);
    --views->absent_count;
}

/* Goes to the end of the list. */
static void join_absent(item_views_t *views, item_view_t *view)
{
    leave_absent(views, view);
    h2o_linklist_insert(&views->absent, &view->absent);
    ++views->absent_count;
}

static void forget(item_views_t *views, item_view_t *view)
{
    assert(is_idle(view));
    leave_absent(views, view);
    h2o_linklist_unlink(&view->listed);
    HASH_DEL(views->table, view);
    --views->count;
    METRIC_ADD(item_views, -1);
    view_refresh_forget(view);
    free(view->text);
    free(view);
}

/* Makes room for one more view. False: none of those that would go is idle. */
static bool make_room(item_views_t *views)
{
    item_view_t *first = NULL;
    if (views->absent_count >= ABSENT_MAX)
        first = H2O_STRUCT_FROM_MEMBER(item_view_t, absent, views->absent.next);
    else if (views->count >= VIEWS_MAX)
        first = H2O_STRUCT_FROM_MEMBER(item_view_t, listed, views->listed.next);
    if (first == NULL)
        return true;
    METRIC_INC(item_views_dropped_total);
    if (!is_idle(first))
        return false;
    forget(views, first);
    return true;
}

static void on_sweep(loop_timer_t *timer);

static void list_view(item_views_t *views, item_view_t *view, uint64_t now_ms)
{
    view->listed_ms = now_ms;
    h2o_linklist_insert(&views->listed, &view->listed);
}

item_view_t *item_views_get(item_views_t *views, str_t sku, uint64_t now_ms)
{
    item_view_t *view = item_views_find(views, sku);
    if (view != NULL || !make_room(views))
        return view;
    view = alloc_zero(1, sizeof(*view));
    view->ref = item_ref_of(sku);
    view->used_ms = now_ms;
    h2o_linklist_init_anchor(&view->readers);
    HASH_ADD_KEYPTR(hh, views->table, view->ref.sku.bytes, view->ref.sku.length, view);
    list_view(views, view, now_ms);
    join_absent(views, view);
    METRIC_ADD(item_views, 1);
    if (views->count++ == 0)
        loop_timer_start(views->engine->loop, &views->sweep, SWEEP_MS, on_sweep);
    return view;
}

/* Looks only at views that were listed long ago; one that was used since goes to the end. */
static void on_sweep(loop_timer_t *timer)
{
    item_views_t *views = H2O_STRUCT_FROM_MEMBER(item_views_t, sweep, timer);
    uint64_t now_ms = clock_mono_ms();
    for (unsigned looks = 0; looks < SWEEP_MAX && views->count != 0; ++looks) {
        item_view_t *view = H2O_STRUCT_FROM_MEMBER(item_view_t, listed, views->listed.next);
        if (now_ms - view->listed_ms < IDLE_MS)
            break;
        if (is_idle(view) && now_ms - view->used_ms >= IDLE_MS) {
            forget(views, view);
        } else {
            h2o_linklist_unlink(&view->listed);
            list_view(views, view, now_ms);
        }
    }
    if (views->count != 0)
        loop_timer_start(views->engine->loop, &views->sweep, SWEEP_MS, on_sweep);
}

/* --- readers --- */

static item_answer_t answer_of(item_view_t *view, view_verdict_t verdict, const config_t *config,
                               uint64_t now_ms)
{
    item_answer_t answer = {.verdict = verdict, .view = view};
    if (verdict != VIEW_SHOWN)
        return answer;
    uint64_t age_ms = now_ms > view->state.read_ms ? now_ms - view->state.read_ms : 0;
    answer.body = (str_t){view->text, view->text_length};
    answer.etag = (str_t){view->etag, ITEM_ETAG_SIZE};
    answer.age_ms = (uint32_t)age_ms;
    if (view->state.away != NULL && age_ms > config->items.max_age_ms) {
        METRIC_INC(item_views_stale_total);
        answer.away = view->state.away;
    }
    return answer;
}

item_answer_t item_views_read(item_views_t *views, str_t sku, uint64_t now_ms)
{
    const config_t *config = views->engine->node->config;
    item_view_t *view = item_views_get(views, sku, now_ms);
    if (view == NULL)
        return (item_answer_t){.verdict = VIEW_BUSY};
    view->used_ms = now_ms;
    bool crowded = false;
    view_verdict_t verdict = view_verdict(&view->state, config, crowded, now_ms);
    if (verdict == VIEW_WAIT && (crowded = view_refresh_is_crowded(views, view)))
        verdict = view_verdict(&view->state, config, crowded, now_ms);
    bool waits = verdict == VIEW_WAIT;
    if (view->asked ? waits && !view->waited : view_is_due(&view->state, config, now_ms)) {
        view_refresh_ask(views, view, waits, now_ms);
        /* It may know that a server is away. */
        verdict = view_verdict(&view->state, config, crowded, now_ms);
    }
    if (verdict == VIEW_WAIT && views->readers_count >= READERS_MAX)
        verdict = VIEW_BUSY;
    return answer_of(view, verdict, config, now_ms);
}

static void on_deadline_check(loop_timer_t *timer);

static void check_deadlines_later(item_views_t *views)
{
    if (!h2o_timeout_is_linked(&views->deadline.entry) && views->readers_count != 0)
        loop_timer_start(views->engine->loop, &views->deadline, DEADLINE_CHECK_MS,
                         on_deadline_check);
}

void item_views_wait(item_views_t *views, item_view_t *view, item_reader_t *reader, uint64_t now_ms)
{
    assert(view->asked);
    reader->view = view;
    reader->views = views;
    reader->since_ms = now_ms;
    reader->link = reader->by_time = (h2o_linklist_t){NULL, NULL};
    h2o_linklist_insert(&view->readers, &reader->link);
    h2o_linklist_insert(&views->by_time, &reader->by_time);
    ++views->readers_count;
    METRIC_INC(item_views_waited_total);
    check_deadlines_later(views);
}

void item_views_forget_reader(item_reader_t *reader)
{
    h2o_linklist_unlink(&reader->link);
    h2o_linklist_unlink(&reader->by_time);
    --reader->views->readers_count;
}

static void on_deadline_check(loop_timer_t *timer)
{
    item_views_t *views = H2O_STRUCT_FROM_MEMBER(item_views_t, deadline, timer);
    uint64_t now_ms = clock_mono_ms();
    while (!h2o_linklist_is_empty(&views->by_time)) {
        item_reader_t *reader = H2O_STRUCT_FROM_MEMBER(item_reader_t, by_time, views->by_time.next);
        if (now_ms - reader->since_ms < views->engine->node->config->orders.answer_deadline_ms)
            break;
        item_views_forget_reader(reader);
        reader->ready(reader, &(item_answer_t){.verdict = VIEW_BUSY});
    }
    check_deadlines_later(views);
}

/* --- news --- */

static void render(item_view_t *view, const item_shown_t *shown)
{
    char text[ITEM_JSON_MAX];
    str_t made = item_json(text, sku_str(&view->ref.sku), shown);
    if (view->text == NULL || view->text_length != made.n) {
        free(view->text);
        view->text = alloc_bytes(made.n);
    }
    memcpy(view->text, made.p, made.n);
    view->text_length = made.n;
    item_etag(view->etag, made);
    view->shown = *shown;
}

static bool is_shown(const item_view_t *view, const item_shown_t *shown)
{
    const item_terms_t *a = &view->shown.terms, *b = &shown->terms;
    return view->text != NULL && view->shown.epoch == shown->epoch &&
           view->shown.available == shown->available && a->total == b->total &&
           a->per_buyer_limit == b->per_buyer_limit && a->hold_seconds == b->hold_seconds &&
           a->starts_at_ms == b->starts_at_ms && a->ends_at_ms == b->ends_at_ms &&
           a->strategy == b->strategy && a->acknowledge == b->acknowledge;
}

static void take_content(item_views_t *views, item_view_t *view, const view_news_t *news)
{
    view->state = (view_state_t){.content = news->content, .read_ms = news->read_ms};
    if (news->content == VIEW_ABSENT) {
        join_absent(views, view);
        return;
    }
    leave_absent(views, view);
    if (!is_shown(view, &news->shown))
        render(view, &news->shown);
}

/* The owner loop's last value may be newer than this loop's. */
static void take_failure(item_views_t *views, item_view_t *view, const view_news_t *news,
                         uint64_t now_ms)
{
    bool is_older = view->state.content == VIEW_KNOWN && view->state.read_ms >= news->read_ms;
    if (news->content == VIEW_KNOWN && !is_older && news->shown.epoch >= view->announced)
        take_content(views, view, news);
    view->state.away = news->away;
    view->state.away_ms = now_ms;
}

/* A value that was just read is shown, however long the reading took. */
static view_verdict_t verdict_on(const item_view_t *view, const view_news_t *news,
                                 const config_t *config, uint64_t now_ms)
{
    if (news->away == NULL)
        return news->content == VIEW_KNOWN ? VIEW_SHOWN : VIEW_UNKNOWN;
    view_verdict_t verdict = view_verdict(&view->state, config, false, now_ms);
    return verdict == VIEW_WAIT ? VIEW_AWAY : verdict;
}

void item_view_take(item_views_t *views, item_view_t *view, const view_news_t *news,
                    uint64_t now_ms)
{
    const config_t *config = views->engine->node->config;
    h2o_linklist_t readers;
    view->asked = false;
    if (news->away == NULL)
        take_content(views, view, news);
    else
        take_failure(views, view, news, now_ms);
    item_answer_t answer = answer_of(view, verdict_on(view, news, config, now_ms), config, now_ms);
    /* The list is detached first: nothing that `ready` does may reach this loop. */
    h2o_linklist_init_anchor(&readers);
    h2o_linklist_insert_list(&readers, &view->readers);
    while (!h2o_linklist_is_empty(&readers)) {
        item_reader_t *reader = H2O_STRUCT_FROM_MEMBER(item_reader_t, link, readers.next);
        item_views_forget_reader(reader);
        reader->ready(reader, &answer);
    }
}

void item_views_changed(item_views_t *views, str_t sku, uint64_t epoch)
{
    item_view_t *view = item_views_find(views, sku);
    if (view == NULL || epoch <= view->announced ||
        (view->state.content == VIEW_KNOWN && epoch <= view->shown.epoch))
        return;
    view->announced = epoch;
    view->state.outdated = true;
    view_refresh_again(view);
}

/* --- opening and closing --- */

item_views_t *item_views_new(engine_loop_t *engine)
{
    item_views_t *views = alloc_zero(1, sizeof(*views));
    views->engine = engine;
    h2o_linklist_init_anchor(&views->listed);
    h2o_linklist_init_anchor(&views->absent);
    h2o_linklist_init_anchor(&views->by_time);
    views->refreshes = view_refreshes_new(views);
    return views;
}

bool item_views_are_idle(const item_views_t *views)
{
    return views->asks == 0 && views->readers_count == 0 &&
           view_refreshes_are_idle(views->refreshes);
}

void item_views_free(item_views_t *views)
{
    item_view_t *view, *next;
    assert(item_views_are_idle(views));
    loop_timer_stop(&views->sweep);
    loop_timer_stop(&views->deadline);
    HASH_ITER(hh, views->table, view, next)
    {
        forget(views, view);
    }
    view_refreshes_free(views->refreshes);
    free(views);
}
