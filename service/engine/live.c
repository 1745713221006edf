#include "engine/live.h"

void live_count(loop_item_t *item, heard_t kind, uint64_t now_ms)
{
    if (!item_live_count(&item->live, kind, now_ms))
        return;
    if (h2o_linklist_is_linked(&item->live_link))
        h2o_linklist_unlink(&item->live_link);
    h2o_linklist_insert(item->engine->live.next, &item->live_link); /* as the first */
}

static heard_t kind_of_refusal(problem_t problem)
{
    switch (problem) {
    case PROBLEM_SOLD_OUT:
        return HEARD_SOLD_OUT;
    case PROBLEM_BUYER_LIMIT_EXCEEDED:
        return HEARD_LIMIT;
    case PROBLEM_SALE_NOT_STARTED:
    case PROBLEM_SALE_ENDED:
        return HEARD_CLOSED;
    case PROBLEM_UNAVAILABLE:
        return HEARD_UNAVAILABLE;
    default:
        return HEARD_OTHER;
    }
}

heard_t live_kind(const answer_t *answer)
{
    if (answer->kind == ANSWER_REFUSED)
        return kind_of_refusal(answer->problem);
    if (answer->kind == ANSWER_PENDING)
        return HEARD_RESERVED;
    return answer->order->state == ORDER_HELD        ? HEARD_HELD
           : answer->order->state == ORDER_CONFIRMED ? HEARD_CONFIRMED
                                                     : HEARD_OTHER;
}

static live_figure_t figure_of(const loop_item_t *item, uint64_t now_ms)
{
    live_figure_t figure = {.sku = item->base.ref.sku, .owned = item->owned};
    if (item->owned) {
        figure.strategy = item_strategy(&item->item);
        figure.under_way = item->purchases;
        figure.being_written = item->being_written;
    }
    figure.answers = item_live_rates(&item->live, now_ms, figure.heard);
    return figure;
}

/* Puts the figure in its place, the busiest first; of a full list the last one falls out. */
static unsigned insert(live_figure_t *out, unsigned count, const live_figure_t *figure)
{
    unsigned at = count < LIVE_MAX ? count : LIVE_MAX - 1;
    if (count == LIVE_MAX && out[at].answers >= figure->answers)
        return count;
    for (; at != 0 && out[at - 1].answers < figure->answers; --at)
        out[at] = out[at - 1];
    out[at] = *figure;
    return count < LIVE_MAX ? count + 1 : count;
}

unsigned live_busiest(engine_loop_t *engine, uint64_t now_ms, live_figure_t out[LIVE_MAX],
                      bool *all)
{
    unsigned count = 0, found = 0, looks = 0;
    *all = true;
    for (h2o_linklist_t *link = engine->live.next; link != &engine->live; link = link->next) {
        const loop_item_t *item = H2O_STRUCT_FROM_MEMBER(loop_item_t, live_link, link);
        if (item->live.second + 1 < now_ms / 1000)
            break; /* those behind it are older */
        if (++looks > LIVE_LOOKS_MAX) {
            *all = false;
            break;
        }
        live_figure_t figure = figure_of(item, now_ms);
        if (figure.answers == 0)
            continue;
        ++found;
        count = insert(out, count, &figure);
    }
    *all = *all && found == count;
    return count;
}
