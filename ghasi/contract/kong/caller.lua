-- Who calls: says it to the limiter and to the upstream, and lets nobody else say it. Runs in Kong's bundled
-- pre-function, in its sandbox (no require, no cjson), before every other plugin. What it reads of a token is
-- unverified: jwt comes right after and refuses what is not signed. `ghasi contract kong` writes this file into the
-- configuration, below the constants ISSUER, AUTH_SERVICE (its URL) and AUTH_SERVICE_NAME (its service in Kong).

local find, gmatch, gsub, lower = string.find, string.gmatch, string.gsub, string.lower
local match, sub = string.match, string.sub
local concat = table.concat

local BELIEVED_S = 0.5 -- how old an answer about an API key may be: a revoked one stops working within a second
local CONNECT_MS, SEND_MS, READ_MS = 1000, 1000, 2000
local KEPT_MS, KEPT_CONNECTIONS = 30000, 32
local LONGEST_ANSWER = 65536
local ID = "^" .. gsub("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", ".", { x = "%x", ["-"] = "%-" }) .. "$"
local INVALID_TOKEN = { ["WWW-Authenticate"] = 'Bearer error="invalid_token"' }
local SAID_BY_GATEWAY = {
  ["x-account-id"] = true, ["x-user-id"] = true, ["x-anonymous-consumer"] = true, ["x-real-ip"] = true,
  ["forwarded"] = true,
}
local SAID_BY_GATEWAY_PREFIXES = { "x-consumer-", "x-credential-", "x-ghasi-", "x-kong-", "x-forwarded-" }

-- A variable of Kong's environment, or false. It can't change while Kong runs, so it is asked for once.
local environment_read = {}
local function environment(name)
  local value = environment_read[name]
  if value == nil then
    value = kong.vault.get("{vault://env/" .. name .. "}") or ""
    value = value ~= "" and value
    environment_read[name] = value
  end
  return value
end

-- nginx passes names with underscores on, and reads a variable of a header under either spelling.
local function is_said_by_gateway(name)
  local spelled = gsub(lower(name), "_", "-")
  if SAID_BY_GATEWAY[spelled] then
    return true
  end
  for _, prefix in ipairs(SAID_BY_GATEWAY_PREFIXES) do
    if sub(spelled, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local function values_of(header)
  if type(header) == "table" then
    return header
  end
  return { header }
end

-- Whether Connection names a header of the gateway's: after all plugins Kong drops what it names, as the client sent it.
local function unsays_gateway(headers)
  for name in gmatch(concat(values_of(headers["connection"]), ","), "[^,%s]+") do
    if is_said_by_gateway(name) then
      return true
    end
  end
  return false
end

-- The client's address: the peer's, or the one that Kong's trusted proxies name; or that of the portal's visitor, where
-- the portal proves itself: the rightmost that is no trusted proxy's.
local function address_of_client(headers)
  local address = kong.client.get_forwarded_ip()
  local proof = environment("ghasi-portal-secret")
  if not proof or values_of(headers["x-ghasi-portal-secret"])[1] ~= proof then
    return address
  end
  local forwarded = "," .. concat(values_of(headers["x-forwarded-for"]), ",")
  while forwarded ~= "" do
    local before, entry = match(forwarded, "^(.*),%s*(.-)%s*$")
    entry = match(entry, "^%[([%x:.]+)%]") or match(entry, "^(%d+%.%d+%.%d+%.%d+):%d+$") or entry
    if not find(entry, "^%d+%.%d+%.%d+%.%d+$") and not find(entry, "^[%x.]*:[%x:.]+$") then
      break -- beyond what is no address nothing can be believed
    end
    address, forwarded = entry, before
    if not kong.ip.is_trusted(entry) then
      break
    end
  end
  return address
end

-- The different bearer tokens of a request, found as the jwt plugin finds them.
local function tokens_of(headers)
  local tokens = {}
  for _, value in ipairs(values_of(headers["authorization"])) do
    local found = ngx.re.match(value, [[\s*[Bb]earer\s+(.+)]], "jo")
    if found and found[1] ~= tokens[1] then
      tokens[#tokens + 1] = found[1]
    end
  end
  return tokens
end

local MEANT_BY = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

-- Reads a JSON string whose quote is at `position`; returns it and the place behind it, or nil.
local function read_string(text, position)
  local pieces, from = {}, position + 1
  while true do
    local at = find(text, '["\\%c]', from)
    local mark = at and sub(text, at, at)
    if mark ~= '"' and mark ~= "\\" then
      return nil -- it has no end, or a control character
    end
    pieces[#pieces + 1] = sub(text, from, at - 1)
    if mark == '"' then
      return concat(pieces), at + 1
    end
    local digits = match(text, "^u(%x%x%x%x)", at + 1)
    local code = digits and tonumber(digits, 16)
    -- what is not ASCII stays escaped: nothing that is looked for has any
    local meant = MEANT_BY[sub(text, at + 1, at + 1)] or code and (code < 128 and string.char(code) or "\\u" .. digits)
    if not meant then
      return nil
    end
    pieces[#pieces + 1] = meant
    from = at + (code and 6 or 2)
  end
end

-- Returns the place behind the JSON value at `position`, or nil. How it is nested matters, not what it says.
local function skip_value(text, position)
  if not find(text, "^[%[{]", position) then
    local _, last = find(text, "^[%w.+-]+", position)
    return last and last + 1
  end
  local depth, at = 0, position
  repeat
    at = find(text, '["%[%]{}]', at)
    local mark = at and sub(text, at, at)
    if not mark then
      return nil
    elseif mark == '"' then
      local _, behind = read_string(text, at)
      if not behind then
        return nil
      end
      at = behind
    else
      depth = depth + ((mark == "[" or mark == "{") and 1 or -1)
      at = at + 1
    end
  until depth == 0
  return at
end

-- The strings that are values of a JSON object's own names; nil for what is no object or has a name twice, for then
-- two readers might read it differently.
local function read_object(text)
  local object, seen = {}, {}
  local position = match(text, "^%s*{%s*()")
  if not position then
    return nil
  end
  if find(text, "^}%s*$", position) then
    return object
  end
  while true do
    if sub(text, position, position) ~= '"' then
      return nil
    end
    local name, behind = read_string(text, position)
    position = name and match(text, "^%s*:%s*()", behind)
    if not position or seen[name] then
      return nil
    end
    seen[name] = true
    if sub(text, position, position) == '"' then
      object[name], behind = read_string(text, position)
    else
      behind = skip_value(text, position)
    end
    if not behind then
      return nil
    end
    if find(text, "^%s*}%s*$", behind) then
      return object
    end
    position = match(text, "^%s*,%s*()", behind)
    if not position then
      return nil
    end
  end
end

-- What a token claims, or nil where it claims nothing that can be read; the parts are cut as the jwt plugin cuts them.
local function read_claims(token)
  local encoded = match(token, "^[^.]*%.([^.]*)%.")
  if not encoded then
    return nil
  end
  encoded = gsub(gsub(encoded, "%-", "+"), "_", "/")
  local text = ngx.decode_base64(encoded .. string.rep("=", -#encoded % 4))
  return text and read_object(text)
end

local function set_caller(account_id, user_id)
  kong.service.request.set_header("X-Account-Id", account_id)
  kong.service.request.set_header("X-User-Id", user_id)
end

-- A token that jwt believes and that is not for this API is refused after it (see refusal.lua), so that one it does
-- not believe gets its answer.
local function take_token(token)
  local claims = read_claims(token)
  local account_id, user_id = claims and claims.account_id, claims and claims.sub
  if claims and claims.iss == ISSUER and account_id and find(account_id, ID) and user_id and find(user_id, ID) then
    return set_caller(lower(account_id), lower(user_id))
  end
  kong.ctx.shared.ghasi_refusal = { status = 401, body = { message = "Unauthorized" }, headers = INVALID_TOKEN }
end

-- Where auth-service is: as the environment says, or Kong's own service of that name, or as it was when this was
-- written. Returns protocol, host, port and the path before its own ones.
local function auth_service()
  local url = environment("ghasi-auth-service-url")
  if not url then
    local ok, service = pcall(function()
      return kong.db.services:select_by_name(AUTH_SERVICE_NAME)
    end)
    if ok and type(service) == "table" and type(service.host) == "string" then
      return service.protocol, service.host, service.port, type(service.path) == "string" and service.path or ""
    end
    url = AUTH_SERVICE
  end
  local protocol, authority, path = match(url, "^(https?)://([^/]+)(.-)/?$")
  local host, port = match(authority or "", "^(.-):(%d+)$")
  return protocol, host or authority, tonumber(port) or (protocol == "https" and 443 or 80), path
end

-- Sends one request and reads its answer; returns status, headers and body, or nil and what went wrong.
local function exchange(socket, request)
  local sent, fault = socket:send(request)
  local line = sent and socket:receive("*l")
  local status = line and tonumber(match(line, "^HTTP/1%.%d (%d%d%d)"))
  if not status then
    return nil, fault or "no answer"
  end
  local headers, lines = {}, 0
  repeat
    line, fault = socket:receive("*l")
    lines = lines + 1
    if not line or lines > 100 then
      return nil, fault or "too many headers"
    end
    local name, value = match(line, "^([^:]+):%s*(.-)%s*$")
    if name then
      headers[lower(name)] = value
    end
  until line == ""
  local length = status == 204 and 0 or tonumber(headers["content-length"])
  if not length or length > LONGEST_ANSWER then
    return nil, "an answer of no length"
  end
  local body = ""
  if length > 0 then
    body, fault = socket:receive(length)
    if not body then
      return nil, fault
    end
  end
  return status, headers, body
end

-- Asks over a connection that is kept; one that the other side closed meanwhile is replaced once.
local function ask(request, protocol, host, port)
  local fault
  for _ = 1, 2 do
    local socket = ngx.socket.tcp()
    socket:settimeouts(CONNECT_MS, SEND_MS, READ_MS)
    local connected
    connected, fault = socket:connect(host, port)
    local reused = connected and socket:getreusedtimes() > 0
    if connected and protocol == "https" and not reused then
      connected, fault = socket:sslhandshake(nil, host, true)
    end
    if connected then
      local status, headers, body = exchange(socket, request)
      if status then
        if headers["connection"] == "close" then
          socket:close()
        else
          socket:setkeepalive(KEPT_MS, KEPT_CONNECTIONS)
        end
        return status, headers, body
      end
      fault = headers
      socket:close()
    end
    if not reused then
      break
    end
  end
  return nil, fault
end

-- Asks auth-service what a key may do. A value with the ttl -1 is not cached; an error would be answered from the cache
-- for 30 s more, which a revoked key must not be.
local function authorize(key, scope)
  local protocol, host, port, path = auth_service()
  local lines = {
    "GET " .. path .. "/internal/authorize" .. (scope and "?scope=" .. scope or "") .. " HTTP/1.1",
    "Host: " .. tostring(host) .. ":" .. tostring(port),
    "Authorization: Bearer " .. key,
    "X-Kong-Request-Id: " .. (ngx.var.kong_request_id or ""),
  }
  local proof = environment("ghasi-upstream-secret")
  if proof then
    lines[#lines + 1] = "X-Ghasi-Upstream-Secret: " .. proof
  end
  local status, headers, body = ask(concat(lines, "\r\n") .. "\r\n\r\n", protocol, host, port)
  if status == 204 and find(headers["x-account-id"] or "", ID) and find(headers["x-user-id"] or "", ID) then
    return {
      status = status, account_id = headers["x-account-id"], user_id = headers["x-user-id"],
      credential = headers["x-credential-identifier"],
    }
  elseif status == 401 then
    return { status = status }
  elseif status == 403 and not find(body, '"code":"not_from_gateway"', 1, true) then
    return { status = status, body = body }
  end
  kong.log.err("auth-service could not say what an API key may do: ", status or headers)
  return { status = 502 }, nil, -1
end

local function take_key(key, scope)
  if not find(key, "^ghk_%w+$") or #key ~= 40 then
    return kong.response.exit(401, { message = "Unauthorized" }, INVALID_TOKEN)
  end
  -- the key itself is kept nowhere
  local cached_as = "ghasi:" .. ngx.encode_base64(ngx.sha1_bin(key)) .. ":" .. (scope or "")
  local grant = kong.cache:get(cached_as, { ttl = BELIEVED_S, neg_ttl = BELIEVED_S }, authorize, key, scope)
  if not grant or grant.status == 502 then
    return kong.response.error(502, "An invalid response was received from the upstream server")
  elseif grant.status == 401 then
    return kong.response.exit(401, { message = "Unauthorized" }, INVALID_TOKEN)
  elseif grant.status == 403 then
    -- the answer may have been given to a request before this one
    local id = '"request_id":"' .. (ngx.var.kong_request_id or "") .. '"'
    local body = gsub(grant.body, '"request_id":"[^"]*"', id)
    return kong.response.exit(403, body, { ["Content-Type"] = "application/problem+json" })
  end
  set_caller(grant.account_id, grant.user_id)
  kong.service.request.set_header("X-Consumer-Username", "ghasi-key")
  kong.service.request.set_header("X-Credential-Identifier", grant.credential or "")
end

local function refuse_tokens(count)
  if count == 0 then
    return kong.response.exit(401, { message = "Unauthorized" }, { ["WWW-Authenticate"] = "Bearer" })
  end
  return kong.response.exit(401, { message = "Multiple tokens provided" }, INVALID_TOKEN)
end

-- What the route's tags say: its kind (open, user-token, api-key, preflight) and the scope that an API key needs.
local function read_tags(route)
  local kind, scope
  for _, tag in ipairs(route and route.tags or {}) do
    local named = match(tag, "^scope:(.+)$")
    if named then
      scope = named
    else
      kind = match(tag, "^ghasi:(.+)$") or kind
    end
  end
  return kind, scope
end

return function()
  local kind, scope = read_tags(kong.router.get_route())
  if not kind then
    return -- no route of Ghasi's
  end
  local headers = ngx.req.get_headers(0) -- all of them: behind the hundredth one could hide
  if unsays_gateway(headers) then
    return kong.response.error(400, "Bad request")
  end
  local address = address_of_client(headers)
  for name in pairs(headers) do
    if is_said_by_gateway(name) then
      kong.service.request.clear_header(name)
    end
  end
  if kind == "preflight" then
    if not headers["origin"] or not headers["access-control-request-method"] then
      return kong.response.error(404, "no Route matched with those values")
    end
    return -- the cors plugin answers it
  end
  kong.service.request.set_header("X-Ghasi-Client", address)
  ngx.var.upstream_x_forwarded_for = address
  local proof = environment("ghasi-upstream-secret")
  if proof then
    kong.service.request.set_header("X-Ghasi-Upstream-Secret", proof)
  end
  if kind == "open" then
    return
  end
  local tokens = tokens_of(headers)
  if #tokens > 1 then
    return refuse_tokens(#tokens)
  elseif kind == "user-token" then
    return tokens[1] and take_token(tokens[1]) -- without one the jwt plugin refuses
  elseif not tokens[1] then
    return refuse_tokens(0)
  end
  return take_key(tokens[1], scope)
end
