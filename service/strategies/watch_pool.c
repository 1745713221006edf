#include "strategies/watch_pool.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

typedef struct {
    redis_link_t *link;
    bool leased;
} connection_t;

struct watch_pool {
    strategy_loop_t *loop;
    h2o_linklist_t waiting; /* attempts */
    watch_leased_cb leased; /* the callback of the watch strategy, the only user */
    loop_timer_t timer;
    unsigned count; /* connections made so far: none before the first lease */
    connection_t connections[];
};

static void serve(watch_pool_t *pool);

static void on_timer(loop_timer_t *timer)
{
    serve(H2O_STRUCT_FROM_MEMBER(watch_pool_t, timer, timer));
}

watch_pool_t *watch_pool_new(strategy_loop_t *loop)
{
    watch_pool_t *pool =
        alloc_zero(1, sizeof(*pool) + loop->config->redis.watch_connections * sizeof(connection_t));
    pool->loop = loop;
    h2o_linklist_init_anchor(&pool->waiting);
    return pool;
}

void watch_pool_free(watch_pool_t *pool)
{
    assert(h2o_linklist_is_empty(&pool->waiting));
    loop_timer_stop(&pool->timer);
    for (unsigned i = 0; i < pool->count; ++i) {
        assert(!pool->connections[i].leased);
        redis_link_free(pool->connections[i].link);
    }
    free(pool);
}

static connection_t *free_connection(watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (!pool->connections[i].leased && redis_link_is_up(pool->connections[i].link))
            return &pool->connections[i];
    return NULL;
}

static bool all_are_down(const watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (pool->connections[i].leased || redis_link_is_up(pool->connections[i].link))
            return false;
    return true;
}

/* True if Redis has refused all connections of the pool. That is possible while it accepts the
   connection of the loop itself: that one needs fewer commands. */
static bool all_are_refused(const watch_pool_t *pool)
{
    for (unsigned i = 0; i < pool->count; ++i)
        if (!redis_link_is_refused(pool->connections[i].link))
            return false;
    return true;
}

static attempt_t *next_waiting(watch_pool_t *pool)
{
    attempt_t *attempt = H2O_STRUCT_FROM_MEMBER(attempt_t, link, pool->waiting.next);
    h2o_linklist_unlink(&attempt->link);
    return attempt;
}

static void refuse_all(watch_pool_t *pool)
{
    while (!h2o_linklist_is_empty(&pool->waiting))
        pool->leased(next_waiting(pool), NULL);
}

/* Makes one more connection; it is up some time later. */
static void connect_one(watch_pool_t *pool)
{
    strategy_loop_t *loop = pool->loop;
    pool->connections[pool->count++].link =
        redis_link_new(loop->loop, loop->config, loop->gate_clock, loop->gate_health, LINK_FOLLOWS);
}

static void serve(watch_pool_t *pool)
{
    strategy_loop_t *loop = pool->loop;
    connection_t *connection;
    if (gate_health_is_hopeless(loop->gate_health))
        refuse_all(pool);
    while (!h2o_linklist_is_empty(&pool->waiting) && (connection = free_connection(pool)) != NULL) {
        connection->leased = true;
        pool->leased(next_waiting(pool), connection->link);
    }
    if (h2o_linklist_is_empty(&pool->waiting))
        return;
    if (pool->count < loop->config->redis.watch_connections) {
        connect_one(pool);
    } else if (all_are_refused(pool) || (all_are_down(pool) && !redis_link_is_up(loop->gate))) {
        refuse_all(pool);
        return;
    }
    loop_timer_start(loop->loop, &pool->timer, 1, on_timer);
}

void watch_pool_lease(watch_pool_t *pool, attempt_t *attempt, watch_leased_cb leased)
{
    pool->leased = leased;
    h2o_linklist_insert(&pool->waiting, &attempt->link);
    loop_timer_start(pool->loop->loop, &pool->timer, 0, on_timer);
}

void watch_pool_return(watch_pool_t *pool, redis_link_t *link)
{
    unsigned i = 0;
    while (i < pool->count && pool->connections[i].link != link)
        ++i;
    assert(i < pool->count && pool->connections[i].leased);
    pool->connections[i].leased = false;
    if (!h2o_linklist_is_empty(&pool->waiting))
        loop_timer_start(pool->loop->loop, &pool->timer, 0, on_timer);
}
