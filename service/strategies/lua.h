/*
 * The private state of the strategy `lua`, for a loop and for an item. strategy.c makes and frees
 * it; see lua.c. The loop owns it and uses it on its thread; nothing blocks, and no call fails.
 */
#ifndef HOLDFAST_STRATEGIES_LUA_H
#define HOLDFAST_STRATEGIES_LUA_H

#include "strategies/strategy.h"

typedef struct lua_loop lua_loop_t;
typedef struct lua_item lua_item_t;

lua_loop_t *lua_loop_new(strategy_loop_t *loop);
/* Only when no attempt is under way and the state of every item is freed or idle. */
void lua_loop_free(lua_loop_t *lua);
/* See strategy_loop_check(). */
void lua_loop_check(lua_loop_t *lua);
void lua_item_free(lua_item_t *lua);

#endif
