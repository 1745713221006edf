#include "plan_rare.h"

#include <stdio.h>

#include "actions.h"
#include "faults.h"
#include "mysql_server.h"
#include "node.h"
#include "plan.h"
#include "plan_loading.h"
#include "redis_wire.h"

#define SEEDS 16
#define SEEDS_RARE 5 /* none of the fixed seeds */

/* Clocks of the servers are 200 ms off at most, and a node's estimate of them some ms more. */
#define CLOCK_SLACK_US UINT64_C(400000)
#define SALE_STARTS_US UINT64_C(500000)
#define SALE_ENDS_US UINT64_C(1200000)
#define LONG_WINDOW_US UINT64_C(2000000)
#define FEW_ROWS_BUYERS 4

static enum {
    RARE_NONE,
    RARE_WINDOW,
    RARE_CLOCK,
    RARE_STAGE,
    RARE_ROWS,
    RARE_ELSEWHERE,
    RARE_LOADING,
    RARE_KINDS
} kind;
static bool starts; /* the sale's window has a beginning too */

void plan_rare_begin(uint64_t seed)
{
    kind = RARE_NONE;
    if (seed % SEEDS != SEEDS_RARE)
        return;
    kind = seed / SEEDS % 2 == 0 ? RARE_LOADING : chance_between(RARE_WINDOW, RARE_LOADING - 1);
    history.windowed = kind == RARE_WINDOW;
    starts = history.windowed && chance(3);
}

bool plan_rare_is_drawn(void)
{
    return kind != RARE_NONE;
}

void plan_rare_terms(item_terms_t *terms)
{
    if (kind == RARE_LOADING)
        plan_loading_terms(terms);
    if (kind == RARE_ROWS) {
        terms->total = FEW_ROWS_BUYERS + 1;
        terms->per_buyer_limit = 1;
        terms->strategy = STRATEGY_LUA;
    }
    if (kind == RARE_ELSEWHERE)
        terms->strategy = STRATEGY_LUA; /* watch has connections of its own */
    if (kind == RARE_WINDOW) {
        terms->starts_at_ms = starts ? WORLD_EPOCH_MS + SALE_STARTS_US / 1000 : 0;
        terms->ends_at_ms = WORLD_EPOCH_MS + SALE_ENDS_US / 1000;
    }
}

uint64_t plan_rare_window_us(uint64_t window_us)
{
    if (kind == RARE_LOADING)
        return PLAN_LOADING_WINDOW_US;
    return kind == RARE_WINDOW || kind == RARE_ELSEWHERE ? LONG_WINDOW_US : window_us;
}

/* --- a sale has a window --- */

static void draw_window(void)
{
    history_request(0, "late", "", 1, chance_between(1, history.nodes),
                    SALE_ENDS_US + CLOCK_SLACK_US + chance_time_us(1, 200000));
}

/* MySQL has no say in it: a buyer whose request was sent after the end gets no unit, nor one who
   was answered before the beginning. */
void plan_rare_check(const request_t *r)
{
    const answer_t *answer = &r->answer;
    if (kind != RARE_WINDOW)
        return;
    bool sold = answer->kind == ANSWER_ORDER && !answer->replayed;
    if (sold && r->sent_us > SALE_ENDS_US + CLOCK_SLACK_US)
        world_fail("request %u was sent after the sale's end and is answered 201", r->number);
    if (sold && starts && r->answered_us + CLOCK_SLACK_US < SALE_STARTS_US)
        world_fail("request %u is answered 201 before the sale's beginning", r->number);
    if (answer->kind != ANSWER_REFUSED)
        return;
    if (answer->problem == PROBLEM_SALE_ENDED && r->answered_us + CLOCK_SLACK_US < SALE_ENDS_US)
        world_fail("request %u is told of the sale's end before that", r->number);
    if (answer->problem == PROBLEM_SALE_NOT_STARTED &&
        (!starts || r->sent_us > SALE_STARTS_US + CLOCK_SLACK_US))
        world_fail("request %u is told that the sale has not begun, and it has", r->number);
}

/* --- a node has not read the clock of Redis --- */

static void on_get(void *context, uint64_t node)
{
    order_id_t id;
    (void)context;
    if (plan_some_order(&id))
        action_get_at((unsigned)node, &id);
}

/* Buyers come; a node starts again, whose own clock is wrong, and is asked for their orders when
   its connections to Redis break. */
static void draw_clock(uint64_t window_us)
{
    unsigned node = chance_between(1, history.nodes);
    uint64_t at = 20 * faults.latency_us + chance_time_us(1, window_us);
    for (unsigned i = 0; i < 6; ++i)
        history_request(0, "c", "", 1, chance_between(1, history.nodes), 1 + chance_below(1000));
    history.faulty = true;
    faults.redis_lost_before = 2;
    node_kill_after(at, node, DOWN_MIN_US);
    for (unsigned i = 0; i < 6; ++i)
        world_after(at + DOWN_MIN_US + 1 + chance_time_us(1, 20 * faults.latency_us),
                    (owner_t){0, 0}, on_get, NULL, node);
}

/* --- a staged table loses a part --- */

static void on_rebuild(void *context, uint64_t number)
{
    item_change_t change = {.has_hold = true, .terms.hold_seconds = chance_between(2, 1000)};
    (void)context, (void)number;
    action_change(history.sales[0].sku, &change);
}

/* As where its parts came to two servers: more buyers than one part has are too many here. */
static void draw_stage(uint64_t window_us)
{
    history.faulty = true;
    faults.redis_stage_lost = 2;
    history_request(0, "s", "", 1, chance_between(1, history.nodes), 1);
    history_request(0, "t", "", 1, chance_between(1, history.nodes), 1);
    for (unsigned count = chance_between(1, 3); count != 0; --count)
        world_after(window_us / 2 + chance_time_us(1, window_us), (owner_t){0, 0}, on_rebuild, NULL,
                    0);
}

/* --- the server cuts what a SELECT returns --- */

static void on_few_rows(void *context, uint64_t number)
{
    (void)context, (void)number;
    mysql_set_select_limit(1);
    mysql_kill();
    mysql_start();
}

/* All sessions begin anew under the limit; an item that has more buyers is rebuilt. */
static void draw_rows(uint64_t window_us)
{
    uint64_t at = window_us + 20 * faults.latency_us;
    history.faulty = true;
    for (unsigned i = 0; i < FEW_ROWS_BUYERS; ++i) {
        char buyer[8];
        snprintf(buyer, sizeof(buyer), "f%u", i);
        history_request(0, buyer, "", 1, chance_between(1, history.nodes), 1 + chance_below(1000));
    }
    world_after(at, (owner_t){0, 0}, on_few_rows, NULL, 0);
    world_after(at + chance_time_us(1, window_us / 2), (owner_t){0, 0}, on_rebuild, NULL, 0);
}

/* --- the loops of a node stay with another Redis: its buyers meet no gate there --- */

static void on_point_back(void *context, uint64_t node)
{
    (void)context;
    redis_point((unsigned)node, 0, true);
    redis_break((unsigned)node, false);
    for (unsigned i = 0; i < 6 * history.sales_count; ++i)
        history_request(i % history.sales_count, "e", "", 1, (unsigned)node,
                        1 + i * 200000 / history.sales_count);
}

static void on_point_away(void *context, uint64_t node)
{
    (void)context;
    history.redis_lost = true;
    redis_point((unsigned)node, 1, true);
    redis_break((unsigned)node, true);
    world_after(chance_time_us(1000, 300000), (owner_t){0, 0}, on_point_back, NULL, node);
}

static void draw_elsewhere(uint64_t window_us)
{
    history.faulty = true;
    world_after(chance_time_us(1, window_us / 8), (owner_t){0, 0}, on_point_away, NULL,
                chance_between(1, history.nodes));
}

bool plan_rare_keeps_connections(void)
{
    return kind == RARE_ELSEWHERE;
}

void plan_rare_draw(uint64_t window_us)
{
    if (kind == RARE_WINDOW)
        draw_window();
    else if (kind == RARE_CLOCK)
        draw_clock(window_us);
    else if (kind == RARE_STAGE)
        draw_stage(window_us);
    else if (kind == RARE_ROWS)
        draw_rows(window_us);
    else if (kind == RARE_ELSEWHERE)
        draw_elsewhere(window_us);
    else if (kind == RARE_LOADING)
        plan_loading_draw();
}
