#include "engine/view_refresh.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "metrics/metrics.h"

/* A turn comes at this interval while there is something to do. */
#define TURN_MS 2
/* The same while more is due than may be begun: a call for few items costs nearly as much. */
#define CROWDED_TURN_MS 8
/* Items in one call to Redis, which serves no other client meanwhile; rows in one SELECT. */
#define LOOK_MAX 128
#define ROWS_MAX 256
/* A server that has not answered for this long counts as away; checked at this interval. */
#define LATE_MS 500
#define LATE_CHECK_MS 32
/* How often a gate that is newer than the row makes the row be read again. */
#define ROUNDS_MAX 3

typedef enum {
    STEP_NONE,
    STEP_SOON,      /* asked for; not old enough yet */
    STEP_DUE,       /* waits for the budget */
    STEP_ROW_WAITS, /* goes with the next SELECT */
    STEP_READING,
    STEP_LOOK_WAITS, /* goes with the next call to Redis */
    STEP_LOOKING
} step_t;

/* The refreshing of one view, on its owner loop. */
typedef struct view_refresh {
    item_view_t *view;
    h2o_linklist_t link; /* in the list of its step */
    step_t step;
    uint64_t due_ms, begun_ms; /* monotonic; of the last refresh */
    bool again;                /* the item has changed since this refresh began */
    bool waited;               /* a reader waits for it */
    bool late;                 /* its askers were told that a server is away */
    bool has_row, row_is_new;  /* new: read in this refresh */
    bool needs_row;            /* the last look found no gate of the row's epoch */
    unsigned rounds;
    uint64_t row_read_ms;
    item_t row;
    h2o_linklist_t asks; /* ask_t of other loops */
} view_refresh_t;

/* What waits for the row of a shard, and the SELECT under way. */
typedef struct {
    h2o_linklist_t waiting, reading;
} shard_reads_t;

struct view_refreshes {
    item_views_t *views;
    view_budget_t budget;
    atomic_bool crowded; /* any loop reads it */
    bool new_first;      /* the next one to begin is of due_new */
    h2o_linklist_t soon; /* by due_ms */
    /* Each first come, first served: those that a reader waits for, those whose last value can
       still be shown, and those that this loop has no value of. */
    h2o_linklist_t due_waited, due, due_new;
    h2o_linklist_t look_waits, looking;
    shard_reads_t *shards;
    uint64_t looked_ms, late_checked_ms;
    unsigned active; /* refreshes whose step is not NONE */
    loop_timer_t turn;
};

/* A question of another loop, which posts it and gets it back with the answer. */
typedef struct {
    loop_message_t message;
    h2o_linklist_t link;
    item_views_t *origin, *owner;
    sku_t sku;
    uint64_t announced; /* what the origin had heard when it asked */
    uint64_t read_ms;   /* of the value that the origin has; 0: none */
    bool waited;        /* a reader waits there */
    view_news_t news;
} ask_t;

static const char away_redis[] = "redis";

static const char *name_of_shard(const item_views_t *views, unsigned shard)
{
    return views->engine->node->config->shards[shard].name;
}

static unsigned shard_of(const item_views_t *views, const item_view_t *view)
{
    return node_shard_of_slot(views->engine->node, view->ref.slot)->index;
}

static item_views_t *owner_of(const item_views_t *views, const item_view_t *view)
{
    return engine_owner_loop(views->engine->node, view->ref.slot)->views;
}

/* --- steps --- */

static void on_turn(loop_timer_t *timer);

static void turn_later(view_refreshes_t *refreshes)
{
    bool crowded = atomic_load_explicit(&refreshes->crowded, memory_order_relaxed);
    if (!h2o_timeout_is_linked(&refreshes->turn.entry))
        loop_timer_start(refreshes->views->engine->loop, &refreshes->turn,
                         crowded ? CROWDED_TURN_MS : TURN_MS, on_turn);
}

/* The only function that changes a step. `list` NULL: of NONE. */
static void move(view_refreshes_t *refreshes, view_refresh_t *refresh, step_t step,
                 h2o_linklist_t *list)
{
    assert((step == STEP_NONE) == (list == NULL));
    if (refresh->step == STEP_NONE)
        ++refreshes->active;
    else
        h2o_linklist_unlink(&refresh->link);
    refresh->step = step;
    if (list != NULL)
        h2o_linklist_insert(list, &refresh->link);
    else
        --refreshes->active;
    if (list != NULL)
        turn_later(refreshes);
}

static view_refresh_t *first_of(h2o_linklist_t *list)
{
    return h2o_linklist_is_empty(list) ? NULL
                                       : H2O_STRUCT_FROM_MEMBER(view_refresh_t, link, list->next);
}

static void wait_for_row(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    unsigned shard = shard_of(refreshes->views, refresh->view);
    move(refreshes, refresh, STEP_ROW_WAITS, &refreshes->shards[shard].waiting);
}

static void wait_for_look(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    move(refreshes, refresh, STEP_LOOK_WAITS, &refreshes->look_waits);
}

/* --- answers --- */

static void on_return(loop_message_t *message);

static void answer_ask(ask_t *ask, const view_news_t *news)
{
    ask->news = *news;
    ask->message.run = on_return;
    loop_post(ask->origin->engine->loop, &ask->message);
}

/* What this loop knows, if the item has not changed since. */
static view_news_t last_news(const item_view_t *view, const char *away)
{
    const view_state_t *state = &view->state;
    return (view_news_t){.content = state->outdated ? VIEW_EMPTY : state->content,
                         .away = away,
                         .read_ms = state->read_ms,
                         .shown = view->shown};
}

/* To this loop's own view, and to the loops that have asked. */
static void tell_all(view_refreshes_t *refreshes, view_refresh_t *refresh, const view_news_t *news,
                     uint64_t now_ms)
{
    while (!h2o_linklist_is_empty(&refresh->asks)) {
        ask_t *ask = H2O_STRUCT_FROM_MEMBER(ask_t, link, refresh->asks.next);
        h2o_linklist_unlink(&ask->link);
        answer_ask(ask, news);
    }
    item_view_take(refreshes->views, refresh->view, news, now_ms);
}

static void end(view_refreshes_t *refreshes, view_refresh_t *refresh, const view_news_t *news)
{
    assert(!refresh->again);
    move(refreshes, refresh, STEP_NONE, NULL);
    refresh->late = refresh->waited = false;
    METRIC_INC(item_views_refreshed_total);
    tell_all(refreshes, refresh, news, clock_mono_ms());
}

static void end_away(view_refreshes_t *refreshes, view_refresh_t *refresh, const char *away)
{
    refresh->again = false; /* what is known of the item stays outdated */
    view_news_t news = last_news(refresh->view, away);
    end(refreshes, refresh, &news);
}

/* --- what the servers said --- */

/* False: the item has changed since the refresh began, and is read again. */
static bool is_current(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    if (!refresh->again)
        return true;
    refresh->again = refresh->row_is_new = false;
    wait_for_row(refreshes, refresh);
    return false;
}

static void end_by_row(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    end(refreshes, refresh,
        &(view_news_t){.content = VIEW_KNOWN,
                       .read_ms = refresh->row_read_ms,
                       .shown = item_shown_of_row(&refresh->row)});
}

/* `row` NULL: there is no such item. */
static void take_row(view_refreshes_t *refreshes, view_refresh_t *refresh, const item_t *row,
                     uint64_t read_ms)
{
    refresh->has_row = row != NULL;
    if (!is_current(refreshes, refresh))
        return;
    refresh->row_read_ms = read_ms;
    if (row == NULL) {
        end(refreshes, refresh, &(view_news_t){.content = VIEW_ABSENT, .read_ms = read_ms});
        return;
    }
    refresh->row = *row;
    refresh->row_is_new = true;
    if (item_uses_gate(row))
        wait_for_look(refreshes, refresh);
    else
        end_by_row(refreshes, refresh);
}

static bool is_gate_of_row(const gate_seen_t *seen, const item_t *row)
{
    return (seen->answer == GATE_ITEM_OK || seen->answer == GATE_ITEM_FROZEN) &&
           seen->epoch == row->epoch;
}

static void take_look(view_refreshes_t *refreshes, view_refresh_t *refresh, const gate_seen_t *seen)
{
    if (!is_current(refreshes, refresh))
        return;
    refresh->needs_row = !is_gate_of_row(seen, &refresh->row);
    if (!refresh->needs_row) {
        item_shown_t shown = item_shown_of_row(&refresh->row);
        item_shown_set_available(&shown, seen->available);
        end(refreshes, refresh,
            &(view_news_t){.content = VIEW_KNOWN, .read_ms = refreshes->looked_ms, .shown = shown});
    } else if (refresh->row_is_new &&
               (seen->epoch <= refresh->row.epoch || refresh->rounds == ROUNDS_MAX)) {
        end_by_row(refreshes, refresh);
    } else {
        /* The row may be of before the gate's epoch, or of long ago. */
        ++refresh->rounds;
        wait_for_row(refreshes, refresh);
    }
}

/* --- MySQL --- */

typedef struct {
    job_t job;
    view_refreshes_t *refreshes;
    unsigned shard;
    result_t result;
    uint64_t read_ms;
    unsigned skus_count, rows_count;
    sku_t skus[ROWS_MAX];
    item_t rows[ROWS_MAX];
} rows_read_t;

static void on_row(void *context, const item_t *row)
{
    rows_read_t *read = context;
    assert(read->rows_count < read->skus_count); /* the key of a row is its sku */
    read->rows[read->rows_count++] = *row;
}

static void run_read(job_t *job, worker_t *worker)
{
    rows_read_t *read = H2O_STRUCT_FROM_MEMBER(rows_read_t, job, job);
    read->read_ms = clock_mono_ms();
    read->result =
        item_read_rows(worker->db, &worker->sql, read->skus, read->skus_count, on_row, read);
}

/* First those that have a row; what then is still being read has none. */
static void take_rows(view_refreshes_t *refreshes, const rows_read_t *read)
{
    h2o_linklist_t *reading = &refreshes->shards[read->shard].reading;
    for (unsigned i = 0; i < read->rows_count; ++i) {
        item_view_t *view = item_views_find(refreshes->views, item_sku(&read->rows[i]));
        if (view != NULL && view->refresh != NULL && view->refresh->step == STEP_READING)
            take_row(refreshes, view->refresh, &read->rows[i], read->read_ms);
    }
    for (view_refresh_t *refresh; (refresh = first_of(reading)) != NULL;)
        take_row(refreshes, refresh, NULL, read->read_ms);
}

static void fail_rows(view_refreshes_t *refreshes, unsigned shard)
{
    for (view_refresh_t *refresh; (refresh = first_of(&refreshes->shards[shard].reading)) != NULL;)
        end_away(refreshes, refresh, name_of_shard(refreshes->views, shard));
}

static void on_rows_read(job_t *job)
{
    rows_read_t *read = H2O_STRUCT_FROM_MEMBER(rows_read_t, job, job);
    view_refreshes_t *refreshes = read->refreshes;
    assert(refreshes->views->engine->jobs != 0);
    --refreshes->views->engine->jobs;
    METRIC_ADD(item_views_rows_total, read->rows_count);
    if (read->result == RESULT_DONE)
        take_rows(refreshes, read);
    else
        fail_rows(refreshes, read->shard);
    free(read);
}

/* One SELECT of the shard, unless one is under way. */
static void read_rows(view_refreshes_t *refreshes, unsigned shard)
{
    shard_reads_t *reads = &refreshes->shards[shard];
    view_refresh_t *refresh;
    if (h2o_linklist_is_empty(&reads->waiting) || !h2o_linklist_is_empty(&reads->reading))
        return;
    rows_read_t *read = alloc_zero(1, sizeof(*read));
    read->refreshes = refreshes;
    read->shard = shard;
    while (read->skus_count < ROWS_MAX && (refresh = first_of(&reads->waiting)) != NULL) {
        move(refreshes, refresh, STEP_READING, &reads->reading);
        refresh->again = false; /* this read begins after the change */
        read->skus[read->skus_count++] = refresh->view->ref.sku;
    }
    /* Not counted in a slot: it reads without a lock. */
    if (engine_submit(refreshes->views->engine, shard, &read->job, run_read, on_rows_read))
        return;
    METRIC_INC(queue_full_total);
    free(read);
    fail_rows(refreshes, shard);
}

/* --- Redis --- */

static void on_looked(void *context, const redisReply *reply)
{
    view_refreshes_t *refreshes = context;
    gate_seen_t seen;
    unsigned index = 0;
    for (view_refresh_t *refresh; (refresh = first_of(&refreshes->looking)) != NULL; ++index) {
        if (gate_look_read(reply, index, &seen))
            take_look(refreshes, refresh, &seen);
        else
            end_away(refreshes, refresh, away_redis);
    }
}

/* One call, unless one is under way. */
static void look(view_refreshes_t *refreshes)
{
    engine_loop_t *engine = refreshes->views->engine;
    const item_ref_t *items[LOOK_MAX];
    unsigned count = 0;
    view_refresh_t *refresh;
    if (h2o_linklist_is_empty(&refreshes->look_waits) ||
        !h2o_linklist_is_empty(&refreshes->looking))
        return;
    while (count < LOOK_MAX && (refresh = first_of(&refreshes->look_waits)) != NULL) {
        move(refreshes, refresh, STEP_LOOKING, &refreshes->looking);
        items[count++] = &refresh->view->ref;
    }
    gate_look(&engine->args, items, count);
    refreshes->looked_ms = clock_mono_ms();
    if (!redis_link_call(engine->gate, &engine->args, on_looked, refreshes))
        on_looked(refreshes, NULL);
}

/* --- turns --- */

static void begin(view_refreshes_t *refreshes, view_refresh_t *refresh, uint64_t now_ms)
{
    refresh->begun_ms = now_ms;
    refresh->row_is_new = false;
    refresh->rounds = 0;
    if (refresh->has_row && !refresh->needs_row && !refresh->view->state.outdated &&
        item_uses_gate(&refresh->row))
        wait_for_look(refreshes, refresh);
    else
        wait_for_row(refreshes, refresh);
}

static void join_due(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    bool is_new = refresh->view->state.content != VIEW_KNOWN;
    move(refreshes, refresh, STEP_DUE,
         is_new            ? &refreshes->due_new
         : refresh->waited ? &refreshes->due_waited
                           : &refreshes->due);
}

/* The next one that is due: new ones and others in turn. */
static view_refresh_t *next_due(view_refreshes_t *refreshes)
{
    view_refresh_t *new = first_of(&refreshes->due_new), *old = first_of(&refreshes->due_waited);
    if (old == NULL)
        old = first_of(&refreshes->due);
    return new == NULL || (old != NULL && !refreshes->new_first) ? old : new;
}

static void begin_all(view_refreshes_t *refreshes, uint64_t now_ms)
{
    view_refresh_t *refresh;
    while ((refresh = first_of(&refreshes->soon)) != NULL && refresh->due_ms <= now_ms)
        join_due(refreshes, refresh);
    view_budget_fill(&refreshes->budget, now_ms);
    while ((refresh = next_due(refreshes)) != NULL && view_budget_take(&refreshes->budget)) {
        begin(refreshes, refresh, now_ms);
        refreshes->new_first = !refreshes->new_first;
    }
    atomic_store_explicit(&refreshes->crowded, refresh != NULL, memory_order_relaxed);
}

/* Those that begun LATE_MS ago or more: who asked is told which server they wait for. */
static void check_late(view_refreshes_t *refreshes, h2o_linklist_t *list, const char *away,
                       uint64_t now_ms)
{
    for (h2o_linklist_t *at = list->next; at != list; at = at->next) {
        view_refresh_t *refresh = H2O_STRUCT_FROM_MEMBER(view_refresh_t, link, at);
        if (refresh->late || now_ms - refresh->begun_ms < LATE_MS)
            continue;
        refresh->late = true;
        view_news_t news = last_news(refresh->view, away);
        tell_all(refreshes, refresh, &news, now_ms);
    }
}

static void check_all_late(view_refreshes_t *refreshes, uint64_t now_ms)
{
    if (now_ms - refreshes->late_checked_ms < LATE_CHECK_MS)
        return;
    refreshes->late_checked_ms = now_ms;
    check_late(refreshes, &refreshes->look_waits, away_redis, now_ms);
    check_late(refreshes, &refreshes->looking, away_redis, now_ms);
    for (unsigned i = 0; i < refreshes->views->engine->node->map.shards_count; ++i) {
        const char *name = name_of_shard(refreshes->views, i);
        check_late(refreshes, &refreshes->shards[i].waiting, name, now_ms);
        check_late(refreshes, &refreshes->shards[i].reading, name, now_ms);
    }
}

static void on_turn(loop_timer_t *timer)
{
    view_refreshes_t *refreshes = H2O_STRUCT_FROM_MEMBER(view_refreshes_t, turn, timer);
    uint64_t now_ms = clock_mono_ms();
    begin_all(refreshes, now_ms);
    for (unsigned i = 0; i < refreshes->views->engine->node->map.shards_count; ++i)
        read_rows(refreshes, i);
    look(refreshes);
    check_all_late(refreshes, now_ms);
    if (refreshes->active != 0)
        turn_later(refreshes);
}

/* --- questions --- */

static view_refresh_t *refresh_of(item_view_t *view)
{
    if (view->refresh == NULL) {
        view->refresh = alloc_zero(1, sizeof(*view->refresh));
        view->refresh->view = view;
        h2o_linklist_init_anchor(&view->refresh->asks);
    }
    return view->refresh;
}

/* Inserts by due_ms, from the end: the list is as long as what is asked for in VIEW_LEAD_MS. */
static void join_soon(view_refreshes_t *refreshes, view_refresh_t *refresh)
{
    h2o_linklist_t *at = refreshes->soon.prev;
    while (at != &refreshes->soon &&
           H2O_STRUCT_FROM_MEMBER(view_refresh_t, link, at)->due_ms > refresh->due_ms)
        at = at->prev;
    move(refreshes, refresh, STEP_SOON, at->next);
}

static void schedule(view_refreshes_t *refreshes, view_refresh_t *refresh, uint64_t now_ms)
{
    const config_t *config = refreshes->views->engine->node->config;
    const view_state_t *state = &refresh->view->state;
    refresh->due_ms = state->outdated || refresh->begun_ms == 0
                          ? now_ms
                          : refresh->begun_ms + view_life_ms(state, config);
    if (refresh->due_ms > now_ms)
        join_soon(refreshes, refresh);
    else
        join_due(refreshes, refresh);
}

/* Asks for the owner loop's own view, too. */
static void want(view_refreshes_t *refreshes, view_refresh_t *refresh, bool waited, uint64_t now_ms)
{
    bool hurries = waited && !refresh->waited;
    refresh->view->asked = true;
    refresh->waited |= waited;
    if (refresh->step == STEP_NONE)
        schedule(refreshes, refresh, now_ms);
    else if (refresh->step == STEP_DUE && hurries)
        join_due(refreshes, refresh);
}

/* What the owner loop can say without the servers: that one is late, a young value, or, while it
   has too many to refresh, one that is younger than the asker's. */
static bool has_news(const item_views_t *owner, const item_view_t *view, const ask_t *ask,
                     view_news_t *news, uint64_t now_ms)
{
    const view_state_t *state = &view->state;
    const view_refresh_t *refresh = view->refresh;
    const config_t *config = owner->engine->node->config;
    bool is_late = refresh != NULL && refresh->late;
    *news = last_news(view, is_late ? state->away : NULL);
    if (is_late)
        return true;
    if (state->away != NULL)
        return false;
    if (!view_is_due(state, config, now_ms))
        return true;
    return state->content == VIEW_KNOWN && state->read_ms > ask->read_ms &&
           view_refresh_is_crowded(owner, view) &&
           view_verdict(state, config, true, now_ms) == VIEW_SHOWN;
}

static void on_arrival(loop_message_t *message)
{
    ask_t *ask = H2O_STRUCT_FROM_MEMBER(ask_t, message, message);
    item_views_t *owner = ask->owner;
    uint64_t now_ms = clock_mono_ms();
    item_view_t *view = item_views_get(owner, sku_str(&ask->sku), now_ms);
    view_news_t news = {.away = "memory"};
    if (view != NULL) {
        view->used_ms = now_ms;
        item_views_changed(owner, sku_str(&ask->sku), ask->announced);
    }
    if (view == NULL || has_news(owner, view, ask, &news, now_ms)) {
        answer_ask(ask, &news);
        return;
    }
    view_refresh_t *refresh = refresh_of(view);
    h2o_linklist_insert(&refresh->asks, &ask->link);
    want(owner->refreshes, refresh, ask->waited, now_ms);
}

/* An answer from before the last announcement may be old: the owner loop is asked again. */
static void on_return(loop_message_t *message)
{
    ask_t *ask = H2O_STRUCT_FROM_MEMBER(ask_t, message, message);
    item_views_t *views = ask->origin;
    uint64_t now_ms = clock_mono_ms();
    item_view_t *view = item_views_find(views, sku_str(&ask->sku));
    assert(views->asks != 0);
    --views->asks;
    if (view == NULL) /* it has the answer to an earlier question */
        ;
    else if (ask->news.away != NULL || ask->announced == view->announced ||
             (ask->news.content == VIEW_KNOWN && ask->news.shown.epoch >= view->announced))
        item_view_take(views, view, &ask->news, now_ms);
    else
        view_refresh_ask(views, view, ask->waited, now_ms);
    free(ask);
}

static void ask_owner(item_views_t *views, item_views_t *owner, item_view_t *view, bool waited)
{
    ask_t *ask = alloc_zero(1, sizeof(*ask));
    ask->message.run = on_arrival;
    ask->origin = views;
    ask->owner = owner;
    ask->sku = view->ref.sku;
    ask->announced = view->announced;
    ask->read_ms = view->state.content == VIEW_EMPTY ? 0 : view->state.read_ms;
    ask->waited = waited;
    view->asked = true;
    ++views->asks;
    loop_post(owner->engine->loop, &ask->message);
}

void view_refresh_ask(item_views_t *views, item_view_t *view, bool waited, uint64_t now_ms)
{
    item_views_t *owner = owner_of(views, view);
    view->waited = waited;
    if (owner != views) {
        ask_owner(views, owner, view, waited);
        return;
    }
    view_refresh_t *refresh = refresh_of(view);
    if (refresh->late)
        view->state.away_ms = now_ms; /* it still has no answer */
    else
        want(views->refreshes, refresh, waited, now_ms);
}

void view_refresh_again(item_view_t *view)
{
    if (view->refresh != NULL)
        view->refresh->again = true;
}

bool view_refresh_is_crowded(const item_views_t *views, const item_view_t *view)
{
    return atomic_load_explicit(&owner_of(views, view)->refreshes->crowded, memory_order_relaxed);
}

/* --- opening and closing --- */

bool view_refresh_is_idle(const item_view_t *view)
{
    return view->refresh == NULL || view->refresh->step == STEP_NONE;
}

void view_refresh_forget(item_view_t *view)
{
    assert(view->refresh == NULL || h2o_linklist_is_empty(&view->refresh->asks));
    free(view->refresh);
}

view_refreshes_t *view_refreshes_new(item_views_t *views)
{
    const node_t *node = views->engine->node;
    view_refreshes_t *refreshes = alloc_zero(1, sizeof(*refreshes));
    h2o_linklist_t *lists[] = {&refreshes->soon,    &refreshes->due_waited, &refreshes->due,
                               &refreshes->due_new, &refreshes->look_waits, &refreshes->looking};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); ++i)
        h2o_linklist_init_anchor(lists[i]);
    refreshes->views = views;
    refreshes->shards = alloc_zero(node->map.shards_count, sizeof(*refreshes->shards));
    for (unsigned i = 0; i < node->map.shards_count; ++i) {
        h2o_linklist_init_anchor(&refreshes->shards[i].waiting);
        h2o_linklist_init_anchor(&refreshes->shards[i].reading);
    }
    view_budget_init(&refreshes->budget, node->config->items.refresh_per_second / node->loops_count,
                     clock_mono_ms());
    return refreshes;
}

bool view_refreshes_are_idle(const view_refreshes_t *refreshes)
{
    return refreshes->active == 0;
}

void view_refreshes_free(view_refreshes_t *refreshes)
{
    assert(refreshes->active == 0);
    loop_timer_stop(&refreshes->turn);
    free(refreshes->shards);
    free(refreshes);
}
