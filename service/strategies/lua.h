/*
 * What the strategy lua keeps for a loop and for an item, for strategy.c to make and free. See
 * lua.c. On the loop's thread; nothing blocks.
 */
#ifndef HOLDFAST_STRATEGIES_LUA_H
#define HOLDFAST_STRATEGIES_LUA_H

#include "strategies/strategy.h"

typedef struct lua_loop lua_loop_t;
typedef struct lua_item lua_item_t;

lua_loop_t *lua_loop_new(strategy_loop_t *loop);
/* When no attempt is under way and every item's state is freed or idle. */
void lua_loop_free(lua_loop_t *lua);
/* See strategy_loop_check(). */
void lua_loop_check(lua_loop_t *lua);
void lua_item_free(lua_item_t *lua);

#endif
