/*
 * The functions library, run by a real Lua 5.1: what Redis gives a function (redis.call, pcall,
 * error_reply, status_reply, register_function) over the store of a server.
 *
 * One interpreter serves all servers and histories; the text is compiled once and run anew for
 * each FUNCTION LOAD and each start of a server, which gives it fresh local variables, as there.
 * Not modelled: script time-outs, out of memory, flags of functions.
 */
#ifndef HOLDFAST_SIMULATION_REDIS_LUA_H
#define HOLDFAST_SIMULATION_REDIS_LUA_H

#include "redis_store.h"

/* The text of the library in lua/, perhaps with a guard taken out. */
void redis_lua_init(str_t library);
void redis_lua_exit(void);

/* The functions of one server: a number to be given back. */
int redis_lua_load(void);
void redis_lua_unload(int functions);
/* words: function, number of keys, keys, arguments. */
redisReply *redis_lua_call(int functions, redis_store_t *store, const str_t *words, unsigned count);

#endif
