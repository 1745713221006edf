#include "strategies/watch_pool.h"

#include <stdlib.h>

#include "engine/purchase.h"

typedef struct {
    redis_link_t *link;
    bool leased;
} slot_t;

struct watch_pool {
    loop_t *loop;
    node_t *node;
    h2o_linklist_t waiting; /* purchases */
    watch_leased_cb leased; /* the one strategy that leases */
    loop_timer_t timer;
    unsigned count; /* connections made so far: none before the first lease */
    slot_t slots[];
};

static void serve(watch_pool_t *pool);

static void on_timer(loop_timer_t *timer)
{
    serve(H2O_STRUCT_FROM_MEMBER(watch_pool_t, timer, timer));
}

watch_pool_t *watch_pool_new(loop_t *loop, node_t *node)
{
    watch_pool_t *pool =
        calloc(1, sizeof(*pool) + node->config->redis.watch_connections * sizeof(slot_t));
    if (pool == NULL)
        abort();
    pool->loop = loop;
    pool->node = node;
    h2o_linklist_init_anchor(&pool->waiting);
    return pool;
}

void watch_pool_free(watch_pool_t *pool)
{
    loop_timer_stop(&pool->timer);
    for (unsigned i = 0; i < pool->count; ++i)
        redis_link_free(pool->slots[i].link);
    free(pool);
}

static slot_t *free_slot(watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (!pool->slots[i].leased && redis_link_is_up(pool->slots[i].link))
            return &pool->slots[i];
    return NULL;
}

static bool all_are_down(const watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (pool->slots[i].leased || redis_link_is_up(pool->slots[i].link))
            return false;
    return true;
}

/* Also while the loop's own connection is up, whose user needs fewer commands. */
static bool all_are_refused(const watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (!redis_link_is_refused(pool->slots[i].link))
            return false;
    return true;
}

static purchase_t *next_waiting(watch_pool_t *pool)
{
    purchase_t *purchase = H2O_STRUCT_FROM_MEMBER(purchase_t, link, pool->waiting.next);
    h2o_linklist_unlink(&purchase->link);
    return purchase;
}

static void refuse_all(watch_pool_t *pool)
{
    while (!h2o_linklist_is_empty(&pool->waiting))
        pool->leased(next_waiting(pool), NULL);
}

static void serve(watch_pool_t *pool)
{
    slot_t *slot;
    if (gate_health_is_hopeless(&pool->node->gate_health))
        refuse_all(pool);
    while (!h2o_linklist_is_empty(&pool->waiting) && (slot = free_slot(pool)) != NULL) {
        slot->leased = true;
        pool->leased(next_waiting(pool), slot->link);
    }
    if (h2o_linklist_is_empty(&pool->waiting))
        return;
    if (pool->count < pool->node->config->redis.watch_connections) {
        pool->slots[pool->count++] =
            (slot_t){redis_link_new(pool->loop, pool->node->config, &pool->node->gate_clock,
                                    &pool->node->gate_health, LINK_FOLLOWS),
                     false};
    } else if (all_are_refused(pool) ||
               (all_are_down(pool) &&
                !redis_link_is_up(pool->node->loops[pool->loop->index]->gate))) {
        refuse_all(pool);
        return;
    }
    loop_timer_start(pool->loop, &pool->timer, 1, on_timer);
}

void watch_pool_lease(watch_pool_t *pool, purchase_t *purchase, watch_leased_cb leased)
{
    pool->leased = leased;
    h2o_linklist_insert(&pool->waiting, &purchase->link);
    loop_timer_start(pool->loop, &pool->timer, 0, on_timer);
}

void watch_pool_return(watch_pool_t *pool, redis_link_t *link)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (pool->slots[i].link == link)
            pool->slots[i].leased = false;
    if (!h2o_linklist_is_empty(&pool->waiting))
        loop_timer_start(pool->loop, &pool->timer, 0, on_timer);
}
