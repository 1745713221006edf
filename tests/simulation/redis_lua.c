#include "redis_lua.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static lua_State *L;
static int library;              /* the compiled text */
static redis_store_t *store_now; /* of the call that runs */

/* --- values --- */

static void push_reply(const redisReply *reply)
{
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        lua_pushnumber(L, (lua_Number)reply->integer);
        break;
    case REDIS_REPLY_STRING:
        lua_pushlstring(L, reply->str, reply->len);
        break;
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        lua_createtable(L, 0, 1);
        lua_pushlstring(L, reply->str, reply->len);
        lua_setfield(L, -2, reply->type == REDIS_REPLY_STATUS ? "ok" : "err");
        break;
    case REDIS_REPLY_ARRAY:
        lua_createtable(L, (int)reply->elements, 0);
        for (size_t i = 0; i < reply->elements; ++i) {
            push_reply(reply->element[i]);
            lua_rawseti(L, -2, (int)i + 1);
        }
        break;
    default:
        lua_pushboolean(L, 0);
    }
}

static redisReply *reply_of(int index);

static redisReply *reply_of_table(int index)
{
    static const char *const names[] = {"ok", "err"};
    for (int i = 0; i < 2; ++i) {
        lua_getfield(L, index, names[i]);
        if (lua_isstring(L, -1)) {
            size_t n;
            const char *p = lua_tolstring(L, -1, &n);
            redisReply *reply =
                redis_reply_text(i == 0 ? REDIS_REPLY_STATUS : REDIS_REPLY_ERROR, (str_t){p, n});
            lua_pop(L, 1);
            return reply;
        }
        lua_pop(L, 1);
    }
    size_t count = lua_objlen(L, index);
    redisReply *reply = redis_reply_array(count);
    for (size_t i = 0; i < count; ++i) {
        lua_rawgeti(L, index, (int)i + 1);
        reply->element[i] = reply_of(lua_gettop(L));
        lua_pop(L, 1);
    }
    return reply;
}

static redisReply *reply_of(int index)
{
    size_t n;
    const char *p;
    switch (lua_type(L, index)) {
    case LUA_TNUMBER: /* truncated, as Redis does it */
        return redis_reply_int((long long)lua_tonumber(L, index));
    case LUA_TSTRING:
        p = lua_tolstring(L, index, &n);
        return redis_reply_text(REDIS_REPLY_STRING, (str_t){p, n});
    case LUA_TBOOLEAN:
        if (lua_toboolean(L, index))
            return redis_reply_int(1);
        break;
    case LUA_TTABLE:
        return reply_of_table(index);
    default:
        break;
    }
    return redis_reply_text(REDIS_REPLY_NIL, STR_NONE);
}

/* --- what a function may call --- */

/* Whole numbers go as digits, others as %.17g. */
static str_t word_of(int index, char number[32])
{
    str_t word;
    if (lua_type(L, index) == LUA_TNUMBER) {
        lua_Number n = lua_tonumber(L, index);
        int length = n == floor(n) && fabs(n) < 1e18 ? snprintf(number, 32, "%lld", (long long)n)
                                                     : snprintf(number, 32, "%.17g", n);
        return (str_t){number, (size_t)length};
    }
    word.p = lua_tolstring(L, index, &word.n);
    if (word.p == NULL)
        luaL_error(L, "Lua redis lib command arguments must be strings or integers");
    return word;
}

static redisReply *call_redis(void)
{
    int count = lua_gettop(L);
    str_t *words = world_alloc((unsigned)count * sizeof(*words));
    char(*numbers)[32] = world_alloc((unsigned)count * sizeof(*numbers));
    for (int i = 0; i < count; ++i)
        words[i] = word_of(i + 1, numbers[i]);
    return redis_command(store_now, words, (unsigned)count);
}

static int lua_redis_call(lua_State *state)
{
    (void)state;
    redisReply *reply = call_redis();
    if (reply->type == REDIS_REPLY_ERROR)
        return luaL_error(L, "%s", reply->str);
    push_reply(reply);
    return 1;
}

static int lua_redis_pcall(lua_State *state)
{
    (void)state;
    push_reply(call_redis());
    return 1;
}

static int one_field(lua_State *state, const char *name)
{
    lua_createtable(state, 0, 1);
    lua_pushvalue(state, 1);
    lua_setfield(state, -2, name);
    return 1;
}

static int lua_error_reply(lua_State *state)
{
    return one_field(state, "err");
}

static int lua_status_reply(lua_State *state)
{
    return one_field(state, "ok");
}

/* Nobody takes a permission away. */
static int lua_acl_check_cmd(lua_State *state)
{
    lua_pushboolean(state, 1);
    return 1;
}

/* (name, function) or {function_name =, callback =}; into the table "loading" of the registry. */
static int register_function(lua_State *state)
{
    lua_getfield(state, LUA_REGISTRYINDEX, "loading");
    if (lua_istable(state, 1)) {
        lua_getfield(state, 1, "function_name");
        lua_getfield(state, 1, "callback");
    } else {
        lua_pushvalue(state, 1);
        lua_pushvalue(state, 2);
    }
    lua_settable(state, -3);
    return 0;
}

/* --- the library --- */

static void die(const char *what)
{
    printf("%s: %s\n", what, lua_tostring(L, -1));
    fflush(stdout);
    abort();
}

void redis_lua_init(str_t text)
{
    static const luaL_Reg functions[] = {{"call", lua_redis_call},
                                         {"pcall", lua_redis_pcall},
                                         {"error_reply", lua_error_reply},
                                         {"status_reply", lua_status_reply},
                                         {"acl_check_cmd", lua_acl_check_cmd},
                                         {"register_function", register_function},
                                         {NULL, NULL}};
    L = luaL_newstate();
    luaL_openlibs(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_newtable(L);
    for (const luaL_Reg *f = functions; f->name != NULL; ++f) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    lua_setglobal(L, "redis");
    /* The first line, #!lua name=..., is for Redis. */
    const char *line = memchr(text.p, '\n', text.n);
    if (line == NULL ||
        luaL_loadbuffer(L, line, text.n - (size_t)(line - text.p), "@holdfast.lua") != 0)
        die("the functions library does not compile");
    library = luaL_ref(L, LUA_REGISTRYINDEX);
}

void redis_lua_exit(void)
{
    lua_close(L);
}

int redis_lua_load(void)
{
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "loading");
    lua_rawgeti(L, LUA_REGISTRYINDEX, library);
    if (lua_pcall(L, 0, 0, 0) != 0)
        die("the functions library does not load");
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void redis_lua_unload(int functions)
{
    luaL_unref(L, LUA_REGISTRYINDEX, functions);
}

static void push_words(const str_t *words, unsigned count)
{
    lua_createtable(L, (int)count, 0);
    for (unsigned i = 0; i < count; ++i) {
        lua_pushlstring(L, words[i].p, words[i].n);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

redisReply *redis_lua_call(int functions, redis_store_t *store, const str_t *words, unsigned count)
{
    unsigned keys = (unsigned)atoi(words[1].p); /* terminated: see redis_wire.c */
    redisReply *reply;
    store_now = store;
    lua_rawgeti(L, LUA_REGISTRYINDEX, functions);
    lua_pushlstring(L, words[0].p, words[0].n);
    lua_rawget(L, -2);
    if (!lua_isfunction(L, -1)) {
        lua_settop(L, 0);
        return redis_reply_error("ERR Function not found");
    }
    push_words(words + 2, keys);
    push_words(words + 2 + keys, count - 2 - keys);
    if (lua_pcall(L, 2, 1, 0) != 0) {
        const char *text = lua_tostring(L, -1);
        reply = redis_reply_text(REDIS_REPLY_ERROR, str_of(text));
        /* A mistake of the library itself: no fault of the world brings it about. */
        world_fail("the functions library failed in %.*s: %s", STR_ARG(words[0]), text);
    } else {
        reply = reply_of(lua_gettop(L));
    }
    lua_settop(L, 0);
    return reply;
}
