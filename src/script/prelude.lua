-- What an interpreter is made of before it sees a script. `native` is what the server gives. All functions that scripts find are
-- native ones, and `protect` closes all tables: scripts share their interpreter with those that come later.
local native = ...
local next, setmetatable = next, setmetatable
local protect, missing = native.protect, native.missing

local api = {
    call = native.call,
    pcall = native.pcall,
    log = native.log,
    sha1hex = native.sha1hex,
    setresp = native.setresp,
    set_repl = native.set_repl,
    acl_check_cmd = native.acl_check_cmd,
    error_reply = native.error_reply,
    status_reply = native.status_reply,
    replicate_commands = native.yes,
    breakpoint = native.no,
    debug = native.nothing,
    REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_num,
}

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

local G = _G
G.redis = api
G.math.random = native.random
G.math.randomseed = native.randomseed

-- Functions have neither KEYS and ARGV nor what is there for EVAL alone. Their global variables are those of another table (its
-- `__index`) as they are called, or their library is loaded.
local functions = copy(G, {})
local window_index = { __index = functions }
local window = setmetatable({}, window_index)
functions.redis = copy(api, { "replicate_commands", "breakpoint", "debug" })
functions._G = window
functions.cjson = native.cjson
setmetatable(functions, { __index = missing })

setmetatable(G, { __index = missing })

-- A library that is being loaded finds nothing else.
local library_api = setmetatable({
    register_function = native.register_function,
    log = native.log,
    LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
    REDIS_VERSION = native.version, REDIS_VERSION_NUM = native.version_num,
}, { __index = missing })
local libraries = setmetatable({ redis = library_api }, { __index = missing })

protect(native.string_metatable)
protect(G)
protect(window)
protect(libraries)

return G, window, window_index, functions, libraries
