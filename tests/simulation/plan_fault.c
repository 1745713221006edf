#include "plan_fault.h"

#include <stdio.h>

#include "faults.h"
#include "history.h"
#include "mysql_fault.h"
#include "node.h"

#define LOCK_WAIT_US UINT64_C(1000000)
#define BEGINS_US UINT64_C(200000)
#define LASTS_US UINT64_C(6000000)
/* What a purchase may take besides: batches that are tried apart, messages, a busy moment. */
#define SLACK_US UINT64_C(400000)
#define ILL_BUYER "ill"
#define HEALTHY_BUYERS 40
#define ILL_BUYERS 5

static enum { ILL_ROW, ILL_GAP, ILL_INSERT, ILL_UPDATE, ILL_KINDS } kind;
static uint64_t begins_us; /* of the world's time */

void plan_fault_config(config_t *config)
{
    kind = (unsigned)chance_below(ILL_KINDS);
    config->orders.answer_deadline_ms = 12000;
    config->orders.commit_deadline_ms = 16000;
    config->orders.retries_max = 256;
    config->mysql.pool_threads = 4 + ILL_BUYERS;
    config->mysql.pool_queue_max = 64;
    config->mysql.writer_queue_max = 128;
    config->mysql.writer_batch_max = 16;
    config->redis.timeout_ms = 1000;
}

item_terms_t plan_fault_terms(unsigned i)
{
    static const strategy_id_t ill[] = {STRATEGY_LUA, STRATEGY_WATCH, STRATEGY_OPTIMISTIC};
    return (item_terms_t){.total = i == 0 ? 2 * ILL_BUYERS : HEALTHY_BUYERS + 4,
                          .strategy = i == 0      ? ill[chance_below(3)]
                                      : chance(3) ? STRATEGY_WATCH
                                                  : STRATEGY_LUA,
                          .acknowledge =
                              i == 0 && chance(4) ? ACKNOWLEDGE_ACCEPTED : ACKNOWLEDGE_COMMITTED};
}

/* A connection that breaks is tried again some times, at each size of a batch, before it is taken
   for an error: several orders that break theirs cost the others more than two waits. */
static unsigned draw_error(void)
{
    bool verdicts = chance(4);
    unsigned number;
    do
        number = mysql_fault_draw_error(verdicts);
    while (db_classify(number) == RESULT_UNKNOWN);
    return number;
}

static void on_ill(void *context, uint64_t number)
{
    const char *sku = history.sales[0].sku;
    (void)context, (void)number;
    switch (kind) {
    case ILL_ROW:
        mysql_fault_lock(sku, NULL, LASTS_US);
        break;
    case ILL_GAP:
        mysql_fault_lock(sku, ILL_BUYER, LASTS_US);
        break;
    case ILL_INSERT:
        mysql_fault_throw(MYSQL_FAULT_AT_INSERT, draw_error(), ILL_BUYER, LASTS_US);
        break;
    default:
        mysql_fault_throw(MYSQL_FAULT_AT_UPDATE, draw_error(), ILL_BUYER, LASTS_US);
    }
}

uint64_t plan_fault_draw(void)
{
    faults = (faults_t){.latency_us = chance(2) ? 50 : 500};
    begins_us = world_now_us() + BEGINS_US;
    world_after(BEGINS_US, (owner_t){0, 0}, on_ill, NULL, 0);
    for (unsigned i = 0; i < ILL_BUYERS; ++i)
        history_request(0, ILL_BUYER, "", 1, chance_between(1, history.nodes),
                        BEGINS_US + chance_time_us(1000, LASTS_US));
    for (unsigned i = 0; i < HEALTHY_BUYERS; ++i) {
        char buyer[8];
        snprintf(buyer, sizeof(buyer), "y%u", i);
        history_request(1, buyer, "", 1, chance_between(1, history.nodes),
                        1 + chance_below(BEGINS_US + LASTS_US));
    }
    return BEGINS_US + LASTS_US;
}

/* Since when this node can know what is ill: the first order that met it there, or never. */
static uint64_t met_us(unsigned node)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *r = &history.requests[i];
        if (r->item == 0 && r->sent && r->owner.node == node && r->sent_us >= begins_us &&
            r->sent_us < first)
            first = r->sent_us;
    }
    return first;
}

void plan_fault_check(void)
{
    for (unsigned i = 0; i < history.requests_count; ++i) {
        const request_t *r = &history.requests[i];
        if (r->item != 1 || !r->answered || r->sent_us > begins_us + LASTS_US)
            continue;
        uint64_t took = r->answered_us - r->sent_us, met = met_us(r->owner.node);
        /* Of an item that waits for a lock the later orders go after the first; an order that meets
           an error is tried once with the others. */
        bool late =
            kind <= ILL_GAP && met != UINT64_MAX && r->sent_us > met + 2 * LOCK_WAIT_US + SLACK_US;
        if (r->answer.kind != ANSWER_ORDER)
            world_fail("request %u of an item that is well is not answered 201", r->number);
        if (took > 2 * LOCK_WAIT_US + SLACK_US || (late && took > LOCK_WAIT_US / 2))
            world_fail("request %u of an item that is well waits %llu ms for one that is ill",
                       r->number, (unsigned long long)took / 1000);
    }
}
