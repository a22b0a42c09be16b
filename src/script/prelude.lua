-- What an interpreter is made of before it sees a script. `native` is what the server gives; what its functions raise is
-- unwrapped before a script sees it.
--
-- Scripts share their interpreter with those that come later, so whatever they can reach is behind a proxy that cannot be written.
local native = ...
local debug_getinfo = debug.getinfo
local error, getmetatable, next, pairs, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall =
    error, getmetatable, next, pairs, pcall, rawget, rawset, select, setfenv, setmetatable, tostring, type, xpcall
local SOURCE = debug_getinfo(1, "S").source

-- The tables behind the proxies.
local real = setmetatable({}, { __mode = "k" })
local READONLY = "Attempt to modify a readonly table"

local function refuse_write()
    error(READONLY, 2)
end

local function protect(table)
    local proxy = {}
    real[proxy] = table
    for key, value in next, table do
        if type(value) == "table" and not real[value] and value ~= table then
            rawset(table, key, protect(value))
        end
    end
    return setmetatable(proxy, { __index = table, __newindex = refuse_write })
end

-- What the server raises is wrapped until a script sees it.
local unwrap = native.unwrap
local function plain(problem)
    if type(problem) == "userdata" then
        return unwrap(problem)
    end
    return problem
end

-- Matching takes a piece of the stack for each item of a pattern.
local find, match, gmatch, gsub, sub = string.find, string.match, string.gmatch, string.gsub, string.sub
local function check(pattern)
    if type(pattern) == "string" and #pattern > 16384 then
        error("pattern too long", 3)
    end
end
function string.find(text, pattern, ...)
    check(pattern)
    return find(text, pattern, ...)
end
function string.match(text, pattern, ...)
    check(pattern)
    return match(text, pattern, ...)
end
function string.gmatch(text, pattern, ...)
    check(pattern)
    return gmatch(text, pattern, ...)
end
function string.gsub(text, pattern, ...)
    check(pattern)
    return gsub(text, pattern, ...)
end

-- An error in one of these names this file: the caller's place is meant.
local function placed(problem, place)
    if type(problem) == "string" and sub(problem, 1, 5) == "gyre:" then
        problem = gsub(problem, "^gyre:%d+: ", "", 1)
        if place then
            return place.short_src .. ":" .. place.currentline .. ": " .. problem
        end
    end
    return problem
end

local function finish_pcall(ok, value, ...)
    if ok then
        return ok, value, ...
    end
    value = placed(plain(value))
    if type(value) == "table" and type(value.err) == "string" then
        return false, value.err
    end
    return false, value
end

local function finish_resume(ok, value, ...)
    if ok then
        return ok, value, ...
    end
    return false, plain(value)
end

local api = {
    call = native.call,
    pcall = native.pcall,
    log = native.log,
    sha1hex = native.sha1hex,
    setresp = native.setresp,
    set_repl = native.set_repl,
    acl_check_cmd = native.acl_check_cmd,
    error_reply = native.error_reply,
    status_reply = function(...)
        local text = ...
        if select("#", ...) ~= 1 or type(text) ~= "string" then
            return { err = "ERR wrong number or type of arguments" }
        end
        return { ok = text }
    end,
    replicate_commands = function() return true end,
    breakpoint = function() return false end,
    debug = function() end,
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_num,
}

local G = _G
for _, name in next, { "dofile", "loadfile", "print", "debug", "module", "require", "package" } do
    G[name] = nil
end
G.redis = api
math.random = native.random
math.randomseed = native.randomseed

G.pcall = function(...)
    return finish_pcall(pcall(...))
end
G.xpcall = function(f, handler)
    return xpcall(f, function(problem)
        return handler(plain(problem))
    end)
end
local resume = coroutine.resume
coroutine.resume = function(...)
    return finish_resume(resume(...))
end
G.next = function(table, ...)
    return next(real[table] or table, ...)
end
G.pairs = function(...)
    if real[(...)] then
        return next, real[(...)], nil
    end
    return pairs(...)
end
G.rawget = function(table, ...)
    return rawget(real[table] or table, ...)
end
G.rawset = function(table, ...)
    if real[table] then
        error(READONLY, 2)
    end
    return rawset(table, ...)
end
local LOCKED = protect({ __index = {} })
local STRINGS = getmetatable("")
G.getmetatable = function(...)
    local value = ...
    if type(value) == "table" and real[value] or type(value) == "string" then
        return LOCKED
    end
    return getmetatable(...)
end
G.setmetatable = function(...)
    if real[(...)] then
        error(READONLY, 2)
    end
    return setmetatable(...)
end
G.setfenv = function(f, env)
    if f == 0 then
        error(READONLY, 2)
    end
    if type(f) == "number" then
        -- One level deeper, where this function is.
        return setfenv(f + 1, env)
    end
    return setfenv(f, env)
end
-- Compiled code is not checked by Lua, and can do anything.
local loadstring = loadstring
local function load_text(text, ...)
    if type(text) == "string" and text:byte(1) == 27 then
        return nil, "attempt to load a binary chunk"
    end
    return loadstring(text, ...)
end
G.loadstring = load_text
local concat = table.concat
G.load = function(pieces, name)
    if type(pieces) ~= "function" then
        error("bad argument #1 to 'load' (function expected, got " .. type(pieces) .. ")", 2)
    end
    local parts = {}
    for piece in pieces do
        if type(piece) ~= "string" then
            return nil, "reader function must return a string"
        end
        if piece == "" then
            break
        end
        parts[#parts + 1] = piece
    end
    return load_text(concat(parts), name or "=(load)")
end
local getfenv = getfenv
G.getfenv = function(f)
    if f == 0 then
        return getfenv(0)
    end
    if f == nil or type(f) == "number" then
        return getfenv((f or 1) + 1)
    end
    return getfenv(f)
end
-- Its metatable would let through what proxies hold back.
STRINGS.__index = string
G._G = nil

-- What is there is found without a call; who looks for something else comes here.
local MISSING = {
    __index = function(_, name)
        error("Script attempted to access nonexistent global variable '" .. match(tostring(name), "^%Z*") .. "'", 2)
    end,
}

-- What the globals are now.
local visible = G
local proxy = protect(G)
local window = getmetatable(proxy)
G._G = proxy

-- Functions have neither KEYS and ARGV nor what is there for EVAL alone.
local function copy(from, without)
    local to = {}
    for key, value in next, from do
        to[key] = value
    end
    for _, key in next, without do
        to[key] = nil
    end
    return to
end
setmetatable(G, MISSING)
local FUNCTION_GLOBALS = setmetatable(copy(G, {}), MISSING)
FUNCTION_GLOBALS.redis = protect(copy(api, { "replicate_commands", "breakpoint", "debug" }))

-- A library that is being loaded finds nothing else. What it logs, it has logged when it was loaded first.
local LIBRARY_GLOBALS = setmetatable({}, MISSING)
local is_known = false
local library_api = {
    register_function = native.register_function,
    log = function(...)
        if not is_known or visible ~= LIBRARY_GLOBALS then
            native.log(...)
        end
    end,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_num,
}
LIBRARY_GLOBALS.redis = protect(setmetatable(library_api, MISSING))

local function show(globals)
    if visible ~= globals then
        visible = globals
        window.__index = globals
        real[proxy] = globals
    end
end

-- Where an error was raised, as Redis tells it: the innermost function of a script.
local function describe(problem)
    local level = 2
    local place = debug_getinfo(level, "nSl")
    while place and (place.what == "C" or place.source == SOURCE) do
        level = level + 1
        place = debug_getinfo(level, "nSl")
    end
    problem = placed(plain(problem), place)
    if type(problem) ~= "table" then
        problem = { err = "ERR " .. tostring(problem) }
    end
    if place then
        problem.source = place.source
        problem.line = place.currentline
    end
    return problem
end

-- Runs a script, or a function with its keys and arguments.
local function run(code, keys, args, is_function)
    if is_function then
        show(FUNCTION_GLOBALS)
        return xpcall(function() return code(keys, args) end, describe)
    end
    show(G)
    G.KEYS = keys
    G.ARGV = args
    return xpcall(code, describe)
end

-- Runs the code of a library, which registers its functions.
local function load_library(code, is_known_elsewhere)
    is_known = is_known_elsewhere
    show(LIBRARY_GLOBALS)
    local ok, problem = xpcall(code, describe)
    show(G)
    return ok, plain(problem)
end

-- What these functions could reach is as closed to scripts as the rest.
local function close(value)
    if type(value) == "function" then
        pcall(setfenv, value, proxy)
    elseif type(value) == "table" then
        for _, inner in next, real[value] or value do
            if inner ~= value and inner ~= G and inner ~= proxy then
                close(inner)
            end
        end
    end
end
close(G)
close(FUNCTION_GLOBALS)
close(LIBRARY_GLOBALS)
-- What may be on the stack below a script, which can ask for its environment.
close({ run, load_library, describe, MISSING.__index })

return run, load_library, proxy
