-- A stand-in for what Kong's default sandbox gives the Lua of a pre-function: these names and no other, the parts of
-- `ngx` and `kong` that ours may use, and one request at a time. Reading any other global is an error.

local pdk = {}

local ALLOWED = {
  "_VERSION", "assert", "error", "ipairs", "next", "pairs", "pcall", "select", "tonumber", "tostring", "type", "unpack",
  "xpcall",
}
local ALLOWED_OF = {
  string = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse", "sub", "upper" },
  table = { "concat", "insert", "maxn", "remove", "sort" },
  math = { "abs", "ceil", "floor", "fmod", "huge", "max", "min", "modf", "random" },
  os = { "clock", "date", "difftime", "time" },
}

local function strict(name, members)
  return setmetatable({}, {
    __index = function(_, key)
      local value = members[key]
      if value == nil then
        error("the sandbox has no " .. name .. "." .. tostring(key), 2)
      end
      return value
    end,
    __newindex = function(_, key)
      error("the sandbox protects " .. name .. "." .. tostring(key), 2)
    end,
  })
end

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

function pdk.encode_base64url(text)
  local bits = text:gsub(".", function(character)
    local byte, written = character:byte(), ""
    for power = 7, 0, -1 do
      written = written .. (math.floor(byte / 2 ^ power) % 2)
    end
    return written
  end)
  return (bits .. ("0"):rep(-#bits % 6)):gsub("%d%d%d%d%d%d", function(six)
    local digit = tonumber(six, 2) + 1
    return DIGITS:sub(digit, digit)
  end):gsub("+", "-"):gsub("/", "_")
end

-- What the next tokens hold, in place of what is written in them: for tests of the reader's speed.
pdk.decoded = nil

local function decode_base64(text)
  if pdk.decoded then
    return pdk.decoded
  end
  if #text % 4 ~= 0 or not text:find("^[%w+/]*=?=?$") then
    return nil
  end
  local bits = text:gsub("=", ""):gsub(".", function(digit)
    local value, written = DIGITS:find(digit, 1, true) - 1, ""
    for power = 5, 0, -1 do
      written = written .. (math.floor(value / 2 ^ power) % 2)
    end
    return written
  end)
  return (bits:sub(1, #bits - #bits % 8):gsub("%d%d%d%d%d%d%d%d", function(eight)
    return string.char(tonumber(eight, 2))
  end))
end

-- A fresh node: its environment, its clock, what auth-service answers (a list of functions, one a connection) and what
-- was asked. `answer` of a run is what the Lua exited with, or nil where the request goes on.
function pdk.new(source, options)
  local node = {
    environment = options.environment or {}, services = options.services or {}, trusted = options.trusted or {},
    now = 1000, asked = {}, connections = {}, pooled = {}, logged = {}, request = nil,
  }
  local cache = {}

  local function exit(status, body, headers)
    error({ status = status, body = body, headers = headers or {} }, 0)
  end

  local function tcp()
    local socket = {}
    function socket.settimeouts(_, connect, send, read)
      assert(connect and send and read)
    end
    function socket.connect(_, host, port)
      socket.to = host .. ":" .. port
      socket.script = table.remove(node.connections, 1)
      if not socket.script then
        return nil, "connection refused"
      end
      return 1
    end
    function socket.sslhandshake(_, _, name, verify)
      assert(verify == true)
      socket.to = "https " .. name
      return true
    end
    function socket.getreusedtimes()
      return socket.script.reused and 1 or 0
    end
    function socket.send(_, text)
      node.asked[#node.asked + 1] = { to = socket.to, text = text }
      socket.left = socket.script.answer
      return socket.left and #text, not socket.left and "closed" or nil
    end
    function socket.receive(_, pattern)
      local line, rest
      if type(pattern) == "number" then
        line, rest = socket.left:sub(1, pattern), socket.left:sub(pattern + 1)
        line = #line == pattern and line or nil
      else
        line, rest = socket.left:match("^(.-)\r\n(.*)$")
      end
      socket.left = rest
      return line, not line and "timeout" or nil
    end
    function socket.close()
      socket.script.closed = true
    end
    function socket.setkeepalive(_, kept_ms, most)
      assert(kept_ms and most)
      socket.script.kept = true
    end
    return socket
  end

  local ngx = strict("ngx", {
    decode_base64 = decode_base64,
    encode_base64 = pdk.encode_base64url,
    sha1_bin = function(text)
      return "sha1 of " .. text
    end,
    re = { match = function(text, pattern, flags)
      assert(pattern == [[\s*[Bb]earer\s+(.+)]] and flags == "jo")
      local found = text:match("[Bb]earer%s+(.+)")
      return found and { found }
    end },
    req = { get_headers = function(most)
      assert(most == 0, "by default only the first hundred are seen")
      local headers = {}
      for _, header in ipairs(node.request.headers) do
        local name, value = header[1]:lower(), header[2]
        local before = headers[name]
        if type(before) == "table" then
          before[#before + 1] = value
        else
          headers[name] = before and { before, value } or value
        end
      end
      return headers
    end },
    socket = { tcp = tcp },
    var = setmetatable({ upstream_x_forwarded_for = "as Kong made it" }, { __index = function(_, name)
      return name == "kong_request_id" and node.request.id or nil
    end }),
  })

  local request = {}
  function request.clear_header(name)
    local kept = {}
    for _, header in ipairs(node.request.headers) do
      if header[1]:lower() ~= name:lower() then
        kept[#kept + 1] = header
      end
    end
    node.request.headers = kept
  end
  function request.set_header(name, value)
    assert(type(value) == "string", name)
    request.clear_header(name)
    table.insert(node.request.headers, { name, value })
  end

  local kong = strict("kong", {
    cache = strict("kong.cache", { get = function(_, key, given, callback, ...)
      assert(given.ttl <= 1 and given.neg_ttl <= 1 and given.resurrect_ttl == nil)
      local known = cache[key]
      if known and known.until_ > node.now then
        return known.value
      end
      local value, err, ttl = callback(...)
      assert(value ~= nil and err == nil, "an error would be answered with what was cached before")
      if ttl ~= -1 then
        cache[key] = { value = value, until_ = node.now + given.ttl }
      end
      return value
    end }),
    client = strict("kong.client", { get_forwarded_ip = function()
      return node.request.ip
    end }),
    ctx = { shared = setmetatable({}, {
      __index = function(_, name) return node.request.shared[name] end,
      __newindex = function(_, name, value) node.request.shared[name] = value end,
    }) },
    db = { services = { select_by_name = function(self, name)
      assert(self)
      return node.services[name]
    end } },
    ip = { is_trusted = function(address)
      return node.trusted[address] or false
    end },
    log = { err = function(...)
      node.logged[#node.logged + 1] = table.concat({ ... })
    end },
    response = { exit = exit, error = function(status, message)
      exit(status, { message = message, request_id = node.request.id })
    end },
    router = { get_route = function()
      return node.request.route
    end },
    service = { request = strict("kong.service.request", request) },
    vault = { get = function(reference)
      local name = reference:match("^{vault://env/([%l-]+)}$")
      return node.environment[name:upper():gsub("-", "_")], "not found"
    end },
  })

  local environment = { kong = kong, ngx = ngx }
  for _, name in ipairs(ALLOWED) do
    environment[name] = _G[name]
  end
  for name, members in pairs(ALLOWED_OF) do
    local allowed = {}
    for _, member in ipairs(members) do
      allowed[member] = _G[name][member]
    end
    environment[name] = strict(name, allowed)
  end
  local chunk = assert(load(source, "=caller.lua", "t", strict("_G", environment)))
  local run = chunk() -- as Kong does: what the chunk returns is run for every request

  -- Runs one request: headers are pairs, tags the route's. Returns the answer or nil; node.request is left as it is.
  function node.run(tags, headers, given)
    node.request = {
      route = tags and { tags = tags }, headers = headers, ip = given and given.ip or "192.0.2.1", shared = {},
      id = given and given.id or "request-1",
    }
    local ok, fault = pcall(run)
    if not ok and type(fault) ~= "table" then
      error(fault, 0)
    end
    node.forwarded_for = ngx.var.upstream_x_forwarded_for
    return not ok and fault or nil
  end

  -- The values of a header as the upstream would have them.
  function node.header(name)
    local values = {}
    for _, header in ipairs(node.request.headers) do
      if header[1]:lower() == name:lower() then
        values[#values + 1] = header[2]
      end
    end
    return #values > 0 and table.concat(values, ", ") or nil
  end

  return node
end

return pdk
