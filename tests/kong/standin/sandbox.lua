-- The names that Kong's default sandbox gives to a function, over one request at a time. What waits (a socket, an exit)
-- is yielded to whoever runs the coroutine, who sets `standin.request` before going on with it.

local allowed = {
  "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack",
  "xpcall",
}
local allowed_of = {
  coroutine = { "create", "resume", "running", "status", "wrap", "yield" },
  math = { "abs", "ceil", "floor", "fmod", "huge", "max", "min", "modf", "random" },
  os = { "clock", "date", "difftime", "time" },
  string = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub", "upper" },
  table = { "concat", "insert", "maxn", "remove", "sort" },
}

return function(python)
  local standin = { request = nil }
  local wait = coroutine.yield
  local cache = {}

  local function of_request(_, name)
    return standin.request.vars[name]
  end

  local ngx = {
    decode_base64 = python.decode_base64, encode_base64 = python.encode_base64, sha1_bin = python.sha1_bin,
    re = { match = function(text, pattern, flags)
      local found = python.re_match(text, pattern, flags)
      return found and { [0] = found[0], found[1] }
    end },
    req = { get_headers = function(most)
      return standin.request.get_headers(most)
    end },
    socket = { tcp = function()
      local socket = {}
      function socket.settimeouts(_, connect, send, read) socket.times = { connect, send, read } end
      function socket.connect(_, host, port)
        socket.handle = wait("connect", host, port, socket.times[1])
        if not socket.handle then return nil, "connection refused" end
        return 1
      end
      function socket.getreusedtimes() return 0 end
      function socket.send(_, text) return wait("send", socket.handle, text) and #text end
      function socket.receive(_, pattern)
        local received = wait("receive", socket.handle, pattern, socket.times[3])
        if not received then return nil, "closed" end
        return received
      end
      function socket.close() wait("close", socket.handle) end
      function socket.setkeepalive() wait("close", socket.handle) end
      return socket
    end },
    var = setmetatable({}, { __index = of_request, __newindex = function(_, name, value)
      assert(standin.request.vars[name] ~= nil, "variable not found for writing")
      standin.request.vars[name] = value
    end }),
  }

  local kong = {
    cache = { get = function(_, key, options, callback, ...)
      local known = cache[key]
      if known and known.expires_at > python.now() then return known.value end
      local value, err, ttl = callback(...)
      if err then return nil, err end
      if ttl ~= -1 then cache[key] = { value = value, expires_at = python.now() + options.ttl } end
      return value
    end },
    client = { get_forwarded_ip = function() return standin.request.remote_addr end },
    ctx = { shared = setmetatable({}, {
      __index = function(_, name) return standin.request.shared[name] end,
      __newindex = function(_, name, value) standin.request.shared[name] = value end,
    }) },
    db = { services = { select_by_name = function(_, name) return python.service(name) end } },
    ip = { is_trusted = python.is_trusted },
    log = { err = function(...) python.log(table.concat({ ... })) end },
    response = {
      exit = function(status, body, headers) wait("exit", status, body, headers or {}) end,
      error = function(status, message) wait("error", status, message) end,
    },
    router = { get_route = function() return standin.request.route end },
    service = { request = {
      clear_header = function(name) standin.request.clear_header(name) end,
      set_header = function(name, value) standin.request.set_header(name, value) end,
    } },
    vault = { get = function(reference) return python.vault(reference) end },
  }

  local environment = { kong = kong, ngx = ngx }
  for _, name in ipairs(allowed) do environment[name] = _G[name] end
  for module, names in pairs(allowed_of) do
    environment[module] = {}
    for _, name in ipairs(names) do environment[module][name] = _G[module][name] end
  end
  environment._G = environment

  -- As the serverless plugins do: a chunk that returns a function is run for that function once.
  function standin.compile(source)
    local chunk = assert(load(source, nil, "t", environment))
    local run
    return function()
      if not run then
        local result = chunk()
        run = type(result) == "function" and result or chunk
        if run == chunk then return end
      end
      run()
    end
  end

  standin.table = function() return {} end
  return standin
end
