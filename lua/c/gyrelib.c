/*
** What scripts of Gyre find besides Lua's libraries and what is simpler here
** than from outside: the handler of their errors, and the error for a global
** variable that is not there.
*/

#include <string.h>

#define gyrelib_c
#define LUA_LIB

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"


/* The text of any value, as the function `tostring' gives it. */
static void pushtext (lua_State *L, int idx) {
  if (luaL_callmeta(L, idx, "__tostring")) return;
  switch (lua_type(L, idx)) {
    case LUA_TNUMBER: case LUA_TSTRING:
      lua_pushvalue(L, idx);
      break;
    case LUA_TBOOLEAN:
      lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false");
      break;
    case LUA_TNIL:
      lua_pushliteral(L, "nil");
      break;
    default:
      lua_pushfstring(L, "%s: %p", luaL_typename(L, idx),
                      lua_topointer(L, idx));
  }
}


/*
** The handler of a script's errors: makes a table {err=, source=, line=} of
** what was raised. The place is that of the function that has raised it, or
** of its caller if it is written in C.
*/
int gyre_errorhandler (lua_State *L) {
  lua_Debug ar;
  int isplaced = 0;
  lua_settop(L, 1);
  if (lua_getstack(L, 1, &ar)) {
    lua_getinfo(L, "Sl", &ar);
    isplaced = 1;
    if (strcmp(ar.what, "C") == 0) {
      isplaced = lua_getstack(L, 2, &ar);
      if (isplaced) lua_getinfo(L, "Sl", &ar);
    }
  }
  if (!lua_istable(L, 1)) {
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "ERR ");
    pushtext(L, 1);
    lua_concat(L, 2);
    lua_setfield(L, -2, "err");
  }
  if (isplaced) {
    lua_pushstring(L, ar.source);
    lua_setfield(L, -2, "source");
    lua_pushinteger(L, ar.currentline);
    lua_setfield(L, -2, "line");
  }
  return 1;
}


/* The metamethod `__index' of tables of global variables. */
int gyre_missing (lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING && lua_type(L, 2) != LUA_TNUMBER)
    return luaL_error(L, "Second argument to luaProtectedTableError must be a "
                         "string or number");
  return luaL_error(L, "Script attempted to access nonexistent global "
                       "variable '%s'", lua_tostring(L, 2));
}


/* redis.status_reply */
int gyre_statusreply (lua_State *L) {
  int good = lua_gettop(L) == 1 && lua_type(L, 1) == LUA_TSTRING;
  lua_createtable(L, 0, 1);
  if (good)
    lua_pushvalue(L, 1);
  else
    lua_pushliteral(L, "ERR wrong number or type of arguments");
  lua_setfield(L, -2, good ? "ok" : "err");
  return 1;
}


int gyre_true (lua_State *L) {
  lua_pushboolean(L, 1);
  return 1;
}


int gyre_false (lua_State *L) {
  lua_pushboolean(L, 0);
  return 1;
}


int gyre_nothing (lua_State *L) {
  (void)L;
  return 0;
}
