/*
** Runs programs that are made at random, of all that scripts find of Lua's,
** with the C code under the sanitizers of the compiler. See ../fuzz.sh.
**
** fuzz SEED SECONDS: each program has a seed of its own, from SEED on. What
** goes wrong names it: `fuzz SEED 0' runs that program alone, and prints it.
** A program is ended after some work, and has a bound for its memory, as the
** server's scripts have; half of them run where memory fails at random.
*/

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lua.h"

#include "lauxlib.h"
#include "lualib.h"

#define PROGRAM_MAX	20000
#define MEMORY_MAX	(64 << 20)
#define LOOKS_MAX	400

static unsigned long long state;

static unsigned next (void) {  /* xorshift64* */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (unsigned)((state * 2685821657736338717ULL) >> 33);
}

static unsigned below (unsigned n) { return next() % n; }


/* the program */
static char text[PROGRAM_MAX + 4096];
static size_t len;
static int depth;  /* of what is being written */

static void put (const char *format, ...) {
  va_list args;
  if (len >= PROGRAM_MAX) return;
  va_start(args, format);
  len += (size_t)vsnprintf(text + len, 2048, format, args);
  va_end(args);
}

#define pick(list)	((list)[below(sizeof(list) / sizeof((list)[0]))])

static const char *const names[] = {"a", "b", "c", "d", "e", "f", "t", "u"};

static const char *const numbers[] = {
  "0", "1", "-1", "2", "3", "7", "10", "99", "-100", "255", "256", "7999",
  "8000", "8001", "65536", "2147483647", "-2147483648", "2147483648",
  "-2147483649", "4294967295", "4294967296", "9007199254740992", "1e15",
  "9223372036854775807", "-9223372036854775808", "1e308", "-1e308", "1e-300",
  "0/0", "1/0", "-1/0", "0.5", "2.5", "-0", "67108864", "67108865", "33554432"
};

static const char *const strings[] = {
  "''", "'a'", "'b'", "'abc'", "'a,b,c'", "'10'", "'0x10'", "'1e5'", "' 7 '",
  "'\\0'", "'a\\0b'", "'\\255\\254'", "('x'):rep(100)", "('ab'):rep(5000)",
  "('x'):rep(100000)", "'__index'", "'err'", "'n'", "'%d'", "'%s'", "'\\n'",
  "[[x]]", "[==[\n]]]=]]==]", "'\\27Lua'", "'return 1'", "'k'", "'kv'",
  "('('):rep(250)", "('{'):rep(250)", "('a.'):rep(300)", "('- '):rep(300)",
  "('a..'):rep(300)", "('['):rep(50)", "'return ' .. ('('):rep(150) .. 1",
  "('x,'):rep(210)..'x=1'", "'local '..('x,'):rep(199)..'x'"
};

static const char *const patterns[] = {
  ".", "%a", "%d+", "%s*", ".-", "(.)", "()", "[a-c]", "[^%w]", "%b()", "%f[%w]",
  "%1", "%2", "^", "$", "[", "]", "%", "(", ")", "a?", "b*", "c-", "[]", "[^]",
  "%z", "%g", "[%", "[a-", "%f", "%b", "%bx", "x", "\\0", "%%", "+", "*", "-"
};

static const char *const functions[] = {
  "assert", "collectgarbage", "error", "gcinfo", "getfenv", "getmetatable",
  "ipairs", "load", "loadstring", "next", "pairs", "pcall", "rawequal", "rawget",
  "rawset", "select", "setfenv", "setmetatable", "tonumber", "tostring", "type",
  "unpack", "xpcall", "coroutine.create", "coroutine.resume",
  "coroutine.running", "coroutine.status", "coroutine.wrap", "coroutine.yield",
  "string.byte", "string.char", "string.dump", "string.find", "string.format",
  "string.gfind", "string.gmatch", "string.gsub", "string.len", "string.lower",
  "string.match", "string.rep", "string.reverse", "string.sub", "string.upper",
  "table.concat", "table.foreach", "table.foreachi", "table.getn",
  "table.insert", "table.maxn", "table.remove", "table.setn", "table.sort",
  "math.abs", "math.ceil", "math.floor", "math.fmod", "math.frexp",
  "math.huge", "math.ldexp", "math.log", "math.max", "math.min", "math.modf",
  "math.pow", "math.random", "math.sqrt", "handler"
};

static const char *const binary[] = {
  "+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"
};

static const char *const events[] = {
  "__index", "__newindex", "__call", "__add", "__sub", "__mul", "__div",
  "__mod", "__pow", "__unm", "__concat", "__len", "__eq", "__lt", "__le",
  "__gc", "__mode", "__tostring", "__metatable"
};

static void expression (void);
static void block (int statements);

static void arguments (unsigned most) {
  unsigned n = below(most + 1), i;
  for (i = 0; i < n; i++) {
    if (i > 0) put(", ");
    expression();
  }
}

static void pattern (void) {
  unsigned n = 1 + below(6), i;
  if (below(20) == 0) {
    put("('%s'):rep(%u)..'%s'", pick(patterns), 1 + below(9000), pick(patterns));
    return;
  }
  put("'");
  for (i = 0; i < n; i++) put("%s", pick(patterns));
  put("'");
}

static void format (void) {
  static const char *const flags[] = {"", "-", "+", " ", "#", "0", "-+ #0", "00000000"};
  static const char *const kinds[] = {
    "d", "i", "u", "o", "x", "X", "c", "e", "E", "f", "g", "G", "q", "s", "a", "p", "n", "%", ""
  };
  unsigned n = 1 + below(4), i;
  put("string.format('");
  for (i = 0; i < n; i++) {
    put("%%%s", pick(flags));
    if (below(2)) put("%u", below(130));
    if (below(2)) put(".%u", below(130));
    put("%s", pick(kinds));
  }
  put("', ");
  for (i = 0; i < n; i++) {
    expression();
    put(", ");
  }
  put("nil)");
}

static void function (void) {
  unsigned i, n;
  put("function(");
  n = (below(12) == 0) ? 100 + below(90) : below(4);
  for (i = 0; i < n; i++) {
    if (i < 4) put("%s%s", i ? "," : "", names[i]);
    else put(",p%u", i);
  }
  if (below(3) == 0) put(n ? ", ..." : "...");
  put(") ");
  block(1 + (int)below(3));
  if (below(3)) {
    put(" return ");
    arguments(3);
  }
  put(" end");
}

static void table (void) {
  unsigned n = below(5), i;
  put("{");
  for (i = 0; i < n; i++) {
    switch (below(4)) {
      case 0: put("%s = ", pick(names)); expression(); break;
      case 1: put("["); expression(); put("] = "); expression(); break;
      default: expression();
    }
    put("%s", below(2) ? ", " : "; ");
  }
  if (below(6) == 0) put("unpack(t, 1, %u)", below(8100));
  put("}");
}

static void metatable (void) {
  unsigned n = 1 + below(4), i;
  put("setmetatable(");
  if (below(2)) put("%s", pick(names)); else table();
  put(", {");
  for (i = 0; i < n; i++) {
    put("%s = ", pick(events));
    switch (below(4)) {
      case 0: function(); break;
      case 1: put("%s", pick(functions)); break;
      case 2: put("%s", pick(names)); break;
      default: put("'%s'", below(2) ? "k" : "kv");
    }
    put(", ");
  }
  put("})");
}

/* Functions whose numbers are ranges. */
static void range (void) {
  static const char *const ranges[] = {
    "unpack(t, %s, %s)", "string.byte('abc', %s, %s)", "string.sub('abc', %s, %s)", "table.concat(t, '', %s, %s)",
    "table.concat({}, 'x', %s, %s)", "table.insert(c, %s, %s)", "string.rep('ab', %s, %s)", "select(%s, %s)",
    "string.find('abc', 'b', %s, %s)", "string.gsub('abc', '.', 'x', %s, %s)", "table.remove(t, %s, %s)",
    "tonumber('10', %s, %s)", "math.ldexp(%s, %s)", "string.format('%%d%%c', %s, %s)", "string.char(%s, %s)"
  };
  const char *first = pick(numbers);
  put(pick(ranges), first, pick(numbers));
}

/* Chunks whose names are not what C takes them for, while garbage is collected. */
static void chunk (void) {
  put("load(function() collectgarbage() ");
  if (below(2)) put("t[#t + 1] = ('n'):rep(%u) .. #t ", below(60));
  put("return c and (c.n or 0) < 3 and %s or nil end, 'zq%u\\0' .. #t)", below(2) ? "'local x = 1; '" : "'x'", below(1000));
}

static void call (void) {
  switch (below(15)) {
    case 11: case 12: range(); break;
    case 13: chunk(); break;
    case 0: put("string.gsub("); expression(); put(", "); pattern(); put(", "); expression(); put(")"); break;
    case 1: put("string.find("); expression(); put(", "); pattern(); put(", "); expression(); put(")"); break;
    case 2: put("string.match(('%s'):rep(%u), ", below(2) ? "a" : "(ab)", below(3000)); pattern(); put(")"); break;
    case 3: format(); break;
    case 4: put("table.sort("); expression(); put(", "); function(); put(")"); break;
    case 5: put("pcall("); function(); put(")"); break;
    case 6: put("coroutine.wrap("); function(); put(")("); arguments(2); put(")"); break;
    case 7: put("coroutine.resume(coroutine.create("); function(); put("))"); break;
    case 8: put("xpcall("); function(); put(", "); function(); put(")"); break;
    case 9: put("(loadstring("); expression(); put(") or type)("); arguments(2); put(")"); break;
    case 10: put("%s:%s(", pick(names), below(2) ? "rep" : "sub"); arguments(2); put(")"); break;
    default: put("%s(", pick(functions)); arguments(4); put(")");
  }
}

static void expression (void) {
  if (++depth > 6 || len >= PROGRAM_MAX) {
    put("%s", pick(names));
    depth--;
    return;
  }
  switch (below(20)) {
    case 0: case 1: case 2: put("%s", pick(numbers)); break;
    case 3: case 4: case 5: put("%s", pick(strings)); break;
    case 6: case 7: case 8: put("%s", pick(names)); break;
    case 9: table(); break;
    case 10: function(); break;
    case 11: metatable(); break;
    case 12: put("("); expression(); put(" %s ", pick(binary)); expression(); put(")"); break;
    case 13: put("(%s ", below(3) ? (below(2) ? "-" : "not") : "#"); expression(); put(")"); break;
    case 14: put("%s[", pick(names)); expression(); put("]"); break;
    case 15: put("%s", pick(functions)); break;
    case 16: put("("); call(); put(")"); break;
    case 17: put("%s", below(3) ? "nil" : "(...)"); break;
    default: call();
  }
  depth--;
}

static void statement (void) {
  const char *name = pick(names);
  if (++depth > 7 || len >= PROGRAM_MAX) {
    put("%s = 1; ", name);
    depth--;
    return;
  }
  switch (below(16)) {
    case 0: case 1: put("local %s = ", name); expression(); break;
    case 2: case 3: put("%s = ", name); expression(); break;
    case 4: put("%s, %s = ", name, pick(names)); arguments(3); put("%s nil", text[len-1] == ' ' ? "" : ","); break;
    case 5: put("if type(t) == 'table' then t["); expression(); put("] = "); expression(); put(" end"); break;
    case 6: put("for i = "); expression(); put(", "); expression(); put(" do "); block(2); put(" if i > 50 then break end end"); break;
    case 7: put("for k, v in pairs("); expression(); put(") do "); block(2); put(" end"); break;
    case 8: put("if "); expression(); put(" then "); block(2); put(" else "); block(1); put(" end"); break;
    case 9: put("do local n = 0 while n < %u do n = n + 1 ", below(300)); block(2); put(" end end"); break;
    case 10: put("do local n = 0 repeat n = n + 1 local %s = ", name); expression(); put(" until n > %u end", below(20)); break;
    case 11: put("local function %s(%s, ...) ", name, below(2) ? "a" : "t"); block(2); put(" end"); break;
    case 12: put("pcall(function() "); block(3); put(" end)"); break;
    case 13: put("collectgarbage('%s')", below(2) ? "collect" : "step"); break;
    case 14: put("for w in string.gmatch("); expression(); put(", "); pattern(); put(") do "); block(1); put(" end"); break;
    default: put("local _ = "); call();
  }
  put("; ");
  depth--;
}

static void block (int statements) {
  while (statements-- > 0) statement();
}


/* Some bytes are changed, so that the parser meets what is no program. */
static void damage (void) {
  unsigned n = 1 + below(5);
  while (n-- > 0 && len > 0) {
    size_t at = below((unsigned)len), more = below(30);
    switch (below(4)) {
      case 0: text[at] = (char)below(256); break;
      case 1: if (at + more < len) { memmove(text + at, text + at + more, len - at - more); len -= more; } break;
      case 2: if (at + more < len && len + more < sizeof(text)) { memmove(text + at + more, text + at, len - at); len += more; } break;
      default: text[at] = "()[]{}=\"'.-~%,;:#"[below(17)];
    }
  }
}


/* where it runs */
static const char *chunkname;
static int looks;
static unsigned long long fails;  /* memory fails with the probability of 1 in so many; 0: never */

static int look (void *ud, lua_State *L, int maythrow) {
  (void)ud;
  if (maythrow) {
    lua_Debug ar;
    int level = 0;
    while (level < 3 && lua_getstack(L, level++, &ar)) lua_getinfo(L, "Sl", &ar);
  }
  return ++looks > LOOKS_MAX;
}

static size_t grant (void *ud, size_t granted, size_t wanted) {
  (void)ud;
  if (wanted > MEMORY_MAX || (fails && below((unsigned)fails) == 0)) return granted;
  return (fails) ? wanted : (wanted + 65535) / 65536 * 65536 > MEMORY_MAX
                            ? wanted : (wanted + 65535) / 65536 * 65536;
}

extern int gyre_errorhandler (lua_State *L);

static void protect (lua_State *L) {  /* the table on the top, popped */
  luaL_checkstack(L, 6, "");
  if (lua_istable(L, -1) && !lua_isreadonly(L, -1)) {
    lua_setreadonly(L, -1, 1);
    lua_pushnil(L);
    while (lua_next(L, -2)) protect(L);
  }
  lua_pop(L, 1);
}

static int open (lua_State *L) {
  size_t i;
  luaopen_base(L);
  luaopen_table(L);
  luaopen_string(L);
  luaopen_math(L);
  lua_pushcfunction(L, gyre_errorhandler);
  lua_setglobal(L, "handler");
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_replace(L, 1);
  lua_settop(L, 1);
  for (i = 0; i < 3; i++) {
    static const char *const t[] = {"string", "table", "math"};
    lua_getglobal(L, t[i]);
    protect(L);
  }
  protect(L);
  return 0;
}

/* Whether what scripts share is as it was. */
static int count (lua_State *L) {
  int n = 0;
  lua_getglobal(L, "string");
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_iscfunction(L, -1)) n++; else n = -1000;
    lua_pop(L, 1);
  }
  lua_getmetatable(L, 1);
  lua_getfield(L, -1, "__index");
  if (!lua_rawequal(L, -1, 2)) n = -1;
  lua_pushinteger(L, n);
  return 1;
}

static int shared (lua_State *L) {
  int n;
  lua_settop(L, 0);
  lua_pushcfunction(L, count);
  lua_pushliteral(L, "");
  if (lua_pcall(L, 1, 1, 0) != 0) return -2;
  n = (int)lua_tointeger(L, -1);
  lua_settop(L, 0);
  return n;
}

static int program (lua_State *L) {
  lua_pushcfunction(L, gyre_errorhandler);
  if (luaL_loadbuffer(L, text, len, chunkname) == 0) {
    lua_newtable(L);  /* its global variables */
    lua_newtable(L);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfenv(L, -2);
    lua_pcall(L, 0, 1, 2);
  }
  return 0;
}

static void run (unsigned long long seed, int print) {
  lua_State *L;
  size_t limit;
  int before, i;
  state = seed * 0x9E3779B97F4A7C15ULL + 88172645463325252ULL;
  for (i = 0; i < 4; i++) next();
  L = luaL_newstate();
  if (L == NULL || lua_cpcall(L, open, NULL) != 0) {
    fprintf(stderr, "no interpreter\n");
    exit(1);
  }
  before = shared(L);
  /* some programs in one interpreter, as in the server */
  for (i = 0; i < 3; i++) {
    len = 0;
    depth = 0;
    put("local a, b, c, d, e, f, t, u = 1, 'b', {}, print, nil, type, {3, 1, 2}, {x = 1}; ");
    block(1 + (int)below(12));
    if (below(8) == 0) damage();
    text[len] = '\0';
    if (print) printf("-- %d\n%.*s\n", i, (int)len, text);
    looks = 0;
    lua_revive(L);
    lua_setinterrupt(L, look, NULL);
    fails = (below(2)) ? 20 + below(3000) : 0;
    /* from the limit on what needs room collects what is dead before */
    limit = below(3) ? MEMORY_MAX : lua_usedbytes(L) + below(100000);
    lua_setgrant(L, grant, NULL, fails ? lua_usedbytes(L) : MEMORY_MAX / 2, limit);
    chunkname = below(4) ? "@user_script" : text;
    lua_cpcall(L, program, NULL);
    lua_settop(L, 0);
    fails = 0;
    lua_setinterrupt(L, NULL, NULL);
    lua_setgrant(L, NULL, NULL, (size_t)-1, (size_t)-1);
    lua_revive(L);
    lua_gc(L, LUA_GCCOLLECT, 0);
  }
  if (shared(L) != before) {
    fprintf(stderr, "seed %llu: what scripts share has changed\n", seed);
    exit(1);
  }
  lua_close(L);
}


int main (int argc, char **argv) {
  unsigned long long seed = (argc > 1) ? strtoull(argv[1], NULL, 10) : 1;
  long seconds = (argc > 2) ? atol(argv[2]) : 10;
  time_t end = time(NULL) + seconds;
  unsigned long long programs = 0;
  if (seconds == 0) {
    run(seed, 1);
    return 0;
  }
  while (time(NULL) < end) {
    /* left where a crash leaves it */
    FILE *f = (argc > 3) ? fopen(argv[3], "w") : NULL;
    if (f) { fprintf(f, "%llu\n", seed); fclose(f); }
    run(seed++, 0);
    programs += 3;
  }
  printf("%llu programs\n", programs);
  return 0;
}
