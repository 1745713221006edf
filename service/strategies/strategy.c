#include "strategies/strategy.h"

#include <assert.h>

#include "strategies/lua.h"
#include "strategies/watch_pool.h"
#include "strategies/watch_turns.h"

void strategy_withdraw(attempt_t *attempt)
{
    assert(h2o_linklist_is_linked(&attempt->link));
    h2o_linklist_unlink(&attempt->link);
}

void strategy_loop_check(strategy_loop_t *loop)
{
    lua_loop_check(loop->lua);
}

void strategy_loop_open(strategy_loop_t *loop)
{
    loop->lua = lua_loop_new(loop);
    loop->watch = watch_pool_new(loop);
}

void strategy_loop_close(strategy_loop_t *loop)
{
    lua_loop_free(loop->lua);
    watch_pool_free(loop->watch);
    redis_args_free(&loop->args);
}

void strategy_item_close(strategy_item_t *item)
{
    if (item->lua != NULL)
        lua_item_free(item->lua);
    if (item->watch != NULL)
        watch_turns_free(item->watch);
    item->lua = NULL;
    item->watch = NULL;
}
