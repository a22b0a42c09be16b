/*
** Libraries that scripts do not have, and those that embed Lua may still name.
*/

#define stubs_c
#define LUA_LIB

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"


static int absent (lua_State *L) {
  return luaL_error(L, "this library is not part of this Lua");
}


LUALIB_API int luaopen_io (lua_State *L) { return absent(L); }
LUALIB_API int luaopen_os (lua_State *L) { return absent(L); }
LUALIB_API int luaopen_package (lua_State *L) { return absent(L); }
LUALIB_API int luaopen_debug (lua_State *L) { return absent(L); }
