-- The Lua of Kong's pre-function, run by LuaJIT in a stand-in for Kong's sandbox: luajit caller_test.lua SOURCE

local folder = arg[0]:match("^(.*)/") or "."
local pdk = dofile(folder .. "/pdk.lua")
local source = assert(io.open(arg[1])):read("*a")

local ACCOUNT, USER = "0190a0a0-0000-7000-8000-00000000000a", "0190a0a0-0000-7000-8000-00000000000b"
local KEY = "ghk_" .. ("x"):rep(36)
local TOKEN_ROUTE, KEY_ROUTE = { "ghasi:user-token" }, { "ghasi:api-key", "scope:messages:read" }
local OPEN_ROUTE, PREFLIGHT_ROUTE = { "ghasi:open" }, { "ghasi:preflight" }
local failures, count = 0, 0

local function test(name, run)
  count = count + 1
  local ok, fault = pcall(run)
  if not ok then
    failures = failures + 1
    print("FAILED " .. name .. "\n  " .. tostring(fault))
  end
end

local function equal(got, wanted, what)
  if got ~= wanted then
    error(("%s: got %s, not %s"):format(what or "value", tostring(got), tostring(wanted)), 2)
  end
end

local function node(options)
  return pdk.new(source, options or {})
end

local function claims(fields)
  local parts = {}
  for name, value in pairs({ iss = "https://api.ghasi.io", account_id = ACCOUNT, sub = USER }) do
    if not (fields and fields[name] == false) then
      parts[#parts + 1] = ('"%s":"%s"'):format(name, fields and fields[name] or value)
    end
  end
  table.sort(parts)
  return "{" .. table.concat(parts, ",") .. ',"exp":1}'
end

local function token(text)
  return "e30." .. pdk.encode_base64url(text) .. ".c2lnbmF0dXJl"
end

local function bearer(text)
  return { "Authorization", "Bearer " .. text }
end

-- A token's claims are taken, or the token is refused after jwt; never anything between.
local function taken(text)
  local here = node()
  equal(here.run(TOKEN_ROUTE, { bearer(text) }), nil, "answer")
  local refusal = here.request.shared.ghasi_refusal
  if refusal then
    equal(refusal.status, 401)
    equal(refusal.body.message, "Unauthorized")
    equal(refusal.headers["WWW-Authenticate"], 'Bearer error="invalid_token"')
    equal(here.header("X-Account-Id"), nil, "account beside a refusal")
    equal(here.header("X-User-Id"), nil, "user beside a refusal")
    return nil
  end
  return here.header("X-Account-Id"), here.header("X-User-Id")
end

local function answer_of(status, headers, body)
  local lines = { "HTTP/1.1 " .. status .. " Whatever" }
  for name, value in pairs(headers or {}) do
    lines[#lines + 1] = name .. ": " .. value
  end
  if status ~= 204 then
    lines[#lines + 1] = "content-length: " .. #(body or "")
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local function granted(fields)
  return answer_of(204, {
    ["x-account-id"] = fields and fields.account_id or ACCOUNT, ["X-User-Id"] = USER, ["x-credential-identifier"] = "key-1",
  })
end

-- what clients may not say

test("spoofed headers are dropped in every spelling, behind however many others", function()
  local here = node()
  local said = {
    "X-Account-Id", "x-account-id", "X_Account_Id", "X-ACCOUNT_ID", "X-User-Id", "x_user_id", "X-Consumer-ID",
    "X-Consumer-Username", "X_Consumer_Username", "X-Consumer-Custom-ID", "X-Consumer-Groups", "X-Credential-Identifier",
    "X_Credential_Identifier", "X-Anonymous-Consumer", "X_Anonymous_Consumer", "X-Ghasi-Client", "X_Ghasi_Client",
    "X-Ghasi-Upstream-Secret", "X-Ghasi-Portal-Secret", "X-Kong-Request-Id", "X-Real-IP", "Forwarded", "X-Forwarded-For",
    "X_Forwarded_For", "X-Forwarded-Anything",
  }
  for _, kind in ipairs({ TOKEN_ROUTE, OPEN_ROUTE }) do
    local headers = {}
    for number = 1, 300 do
      headers[number] = { "X-Filler-" .. number, "x" }
    end
    for _, name in ipairs(said) do
      headers[#headers + 1] = { name, "forged" }
    end
    headers[#headers + 1] = { "X-Accounting", "mine" }
    headers[#headers + 1] = { "Accept", "application/json" }
    equal(here.run(kind, headers), nil, "answer")
    for _, header in ipairs(here.request.headers) do
      assert(header[2] ~= "forged", header[1])
    end
    equal(here.header("X-Accounting"), "mine")
    equal(here.header("Accept"), "application/json")
    equal(here.header("X-Filler-300"), "x")
    equal(here.header("X-Ghasi-Client"), "192.0.2.1")
    equal(here.forwarded_for, "192.0.2.1", "what the upstream is told")
  end
end)

test("a Connection that names what only a gateway says is refused: Kong would drop it again", function()
  local here = node()
  for _, values in ipairs({
    { "X-Account-Id" }, { "keep-alive, x_account_id" }, { "close", "X-USER-ID ,close" }, { "keep-alive,\tX-Consumer-Username" },
    { ",,X-Credential-Identifier" }, { "X-Ghasi-Upstream-Secret" }, { "x-forwarded-for" },
  }) do
    for _, kind in ipairs({ TOKEN_ROUTE, KEY_ROUTE, OPEN_ROUTE, PREFLIGHT_ROUTE }) do
      local headers = { bearer(KEY) }
      for _, value in ipairs(values) do
        headers[#headers + 1] = { "Connection", value }
      end
      local answer = here.run(kind, headers)
      equal(answer.status, 400, table.concat(values, ";"))
      equal(answer.body.message, "Bad request")
    end
  end
  for _, value in ipairs({ "", "close", "Upgrade, keep-alive", "TE, X-Accounting", "keep-alive, authorization" }) do
    equal(here.run(OPEN_ROUTE, { { "Connection", value } }), nil, value)
  end
end)

test("routes that are not Ghasi's are left alone", function()
  local here = node({ environment = { GHASI_UPSTREAM_SECRET = "s" } })
  for _, tags in ipairs({ { "other" }, {}, { "scope:x" } }) do
    equal(here.run(tags, { { "X-Account-Id", "theirs" } }), nil)
    equal(here.header("X-Account-Id"), "theirs")
    equal(here.header("X-Ghasi-Upstream-Secret"), nil)
  end
  equal(here.run(nil, { { "X-Account-Id", "theirs" } }), nil)
end)

test("the upstream secret comes from the environment, and is not sent where there is none", function()
  local here = node({ environment = { GHASI_UPSTREAM_SECRET = "proof" } })
  here.run(OPEN_ROUTE, { { "X-Ghasi-Upstream-Secret", "forged" } })
  equal(here.header("X-Ghasi-Upstream-Secret"), "proof")
  for _, value in ipairs({ false, "" }) do
    here = node({ environment = { GHASI_UPSTREAM_SECRET = value or nil } })
    here.run(OPEN_ROUTE, { { "X-Ghasi-Upstream-Secret", "forged" } })
    equal(here.header("X-Ghasi-Upstream-Secret"), nil)
  end
end)

-- whose address

test("the portal speaks for its visitors once it proves itself", function()
  local here = node({ environment = { GHASI_PORTAL_SECRET = "p" }, trusted = { ["10.0.0.9"] = true } })
  local function client(proof, ...)
    local headers = { { "X-Ghasi-Portal-Secret", proof } }
    for _, value in ipairs({ ... }) do
      headers[#headers + 1] = { "X-Forwarded-For", value }
    end
    here.run(OPEN_ROUTE, headers)
    equal(here.forwarded_for, here.header("X-Ghasi-Client"))
    return here.header("X-Ghasi-Client")
  end
  equal(client("p", "198.51.100.7"), "198.51.100.7")
  equal(client("p", "203.0.113.1, 198.51.100.7"), "198.51.100.7", "the rightmost")
  equal(client("p", "203.0.113.1", "198.51.100.7"), "198.51.100.7", "the rightmost of two headers")
  equal(client("p", "198.51.100.7 , 10.0.0.9"), "198.51.100.7", "left of a trusted proxy")
  equal(client("p", "10.0.0.9"), "10.0.0.9")
  equal(client("p", "198.51.100.7:4711"), "198.51.100.7", "a port")
  equal(client("p", "[2001:db8::1]:443"), "2001:db8::1")
  equal(client("p", "2001:db8::1"), "2001:db8::1")
  equal(client("p", "198.51.100.7, unknown"), "192.0.2.1", "beyond what is no address")
  equal(client("p", ""), "192.0.2.1")
  equal(client("p"), "192.0.2.1")
  equal(client("q", "198.51.100.7"), "192.0.2.1", "a wrong proof")
  here = node({ trusted = {} })
  equal(client("", "198.51.100.7"), "192.0.2.1", "no secret is no proof")
end)

-- tokens

test("a token's account and user are told before jwt verifies it", function()
  local account, user = taken(token(claims()))
  equal(account, ACCOUNT)
  equal(user, USER)
  equal(taken(token(claims({ account_id = ACCOUNT:upper() }))), ACCOUNT, "one account, one window")
end)

test("another issuer, or ids that are none, are refused", function()
  for _, fields in ipairs({
    { iss = "https://evil.example" }, { iss = "https://api.ghasi.io/" }, { iss = false }, { iss = "" },
    { account_id = false }, { account_id = "" }, { account_id = ACCOUNT .. "0" }, { account_id = "x" .. ACCOUNT },
    { account_id = ACCOUNT:gsub("-", "_") }, { account_id = ("a"):rep(36) }, { sub = false }, { sub = "user" },
  }) do
    equal(taken(token(claims(fields))), nil, tostring(next(fields)))
  end
end)

test("escapes, spaces and nesting don't fool the reader", function()
  local other = "0190a0a0-0000-7000-8000-0000000000ff"
  local rest = ',"sub":"' .. USER .. '","iss":"https://api.ghasi.io"}'
  local good = '"account_id":"' .. ACCOUNT .. '"'
  local forged = '"account_id":"' .. other .. '"'
  for text, wanted in pairs({
    ["{" .. good .. rest] = ACCOUNT,
    [" {\t" .. good .. " \n" .. rest .. " "] = ACCOUNT,
    ['{"account_id" : "' .. ACCOUNT .. '"' .. rest] = ACCOUNT,
    ['{"\\u0061ccount_id":"' .. ACCOUNT .. '"' .. rest] = ACCOUNT,
    ['{"account_id":"' .. ACCOUNT:gsub("a", "\\u0061") .. '"' .. rest] = ACCOUNT,
    ['{"iss":"https:\\/\\/api.ghasi.io",' .. good .. ',"sub":"' .. USER .. '"}'] = ACCOUNT,
    ['{"x":{' .. forged .. "}," .. good .. rest] = ACCOUNT,
    ['{"x":[{' .. forged .. "},[[]],{}]," .. good .. rest] = ACCOUNT,
    ['{"x":{"y":"}"},' .. good .. rest] = ACCOUNT,
    ['{"x":"\\",' .. forged:gsub('"', '\\"') .. '",' .. good .. rest] = ACCOUNT,
    ['{"x":"\\\\",' .. good .. rest] = ACCOUNT,
    ['{"x":-1.5e+3,"y":true,"z":null,' .. good .. rest] = ACCOUNT,
    ['{"name":"\\u00e9\\ud83d\\ude00 \xc3\xa9",' .. good .. rest] = ACCOUNT,
    -- whoever reads these might read another account than we do
    ["{" .. good .. "," .. forged .. rest] = false,
    ["{" .. forged .. ',"\\u0061ccount_id":"' .. ACCOUNT .. '"' .. rest] = false,
    ['{"x":1,"x":1,' .. good .. rest] = false,
    ['{"x":{' .. good .. "}" .. rest] = false,
    ["{" .. good .. rest .. "{" .. forged .. rest] = false,
    ["{" .. good .. rest .. "x"] = false,
    ["[{" .. good .. rest .. "]"] = false,
    ["{" .. good .. ',"sub":"' .. USER .. '","iss":"https://api.ghasi.io",}'] = false,
    ["{," .. good .. rest] = false,
    ["{" .. good:gsub('"', "'") .. rest] = false,
    ['{"account_id":' .. ACCOUNT .. rest] = false,
    ['{"account_id":["' .. ACCOUNT .. '"]' .. rest] = false,
    ['{"account_id":null' .. rest] = false,
    ['{"account_id":"' .. ACCOUNT .. '\\u0000"' .. rest] = false,
    ['{"account_id":"' .. ACCOUNT .. "\n" .. '"' .. rest] = false,
    ['{"account_id":"' .. ACCOUNT] = false,
    ['{"account_id":"' .. ACCOUNT .. '\\"' .. rest] = false,
    ['{"x":"\\u00g0",' .. good .. rest] = false,
    ['{"x":"\\q",' .. good .. rest] = false,
    ['{"x":{"y":[},' .. good .. rest] = false,
    ["{" .. good .. " " .. rest:sub(2)] = false,
    [""] = false, ["{"] = false, ["{}"] = false, ["null"] = false, ["\0"] = false, ["{}{}"] = false,
  }) do
    equal(taken(token(text)), wanted or nil, text)
  end
end)

test("what is no token at all is jwt's to refuse, and nobody is told of a caller", function()
  for _, text in ipairs({ "garbage", "..", "a.b", "a.!!!.c", "a.e30.c.d", ".", "e30." .. ("A"):rep(5) .. ".x" }) do
    equal(taken(text), nil, text)
  end
  local here = node()
  for _, value in ipairs({ "Basic " .. token(claims()), "", token(claims()), "Bearer", "BEARER " .. token(claims()) }) do
    equal(here.run(TOKEN_ROUTE, { { "Authorization", value } }), nil, value)
    equal(here.header("X-Account-Id"), nil, value)
  end
  equal(here.run(TOKEN_ROUTE, {}), nil)
end)

test("a huge token is read in no time, however it is made", function()
  local began = os.clock()
  for _, text in ipairs({
    ('{"x":"' .. ("\\u0061"):rep(100000) .. '",' .. claims():sub(2)), "{" .. ('"x":'):rep(100000),
    '{"x":' .. ("["):rep(200000) .. ("]"):rep(200000) .. "," .. claims():sub(2), "{" .. (" "):rep(400000),
    '{"x":' .. ('{"y":'):rep(50000), '{"' .. ("\\\\"):rep(200000), ("{"):rep(400000), '{"x":"' .. ("\\"):rep(300001),
  }) do
    pdk.decoded = text -- past the stand-in's slow base64: the reader alone is measured
    equal(node().run(TOKEN_ROUTE, { bearer("a.b.c") }), nil)
  end
  pdk.decoded = nil
  assert(os.clock() - began < 2, "it took " .. (os.clock() - began) .. " s")
end)

test("of two different tokens none is believed, the same one twice is one", function()
  local here = node()
  local first, second = token(claims()), token(claims({ account_id = USER }))
  for _, tags in ipairs({ TOKEN_ROUTE, KEY_ROUTE }) do
    for _, pair in ipairs({ { first, second }, { first, KEY }, { KEY, first } }) do
      local answer = here.run(tags, { bearer(pair[1]), bearer(pair[2]) })
      equal(answer.status, 401)
      equal(answer.body.message, "Multiple tokens provided")
      equal(answer.headers["WWW-Authenticate"], 'Bearer error="invalid_token"')
    end
  end
  equal(here.run(TOKEN_ROUTE, { bearer(first), bearer(first), { "Authorization", "Basic x" } }), nil)
  equal(here.header("X-Account-Id"), ACCOUNT)
end)

-- API keys

test("a key's caller is told as auth-service says, and the key is asked about twice a second at most", function()
  local here = node({ environment = { GHASI_UPSTREAM_SECRET = "proof" } })
  here.connections = { { answer = granted() } }
  for _ = 1, 3 do
    equal(here.run(KEY_ROUTE, { bearer(KEY), { "X-Consumer-Username", "ghasi-user" } }), nil)
    equal(here.header("X-Account-Id"), ACCOUNT)
    equal(here.header("X-User-Id"), USER)
    equal(here.header("X-Consumer-Username"), "ghasi-key")
    equal(here.header("X-Credential-Identifier"), "key-1")
  end
  equal(#here.asked, 1)
  equal(here.asked[1].to, "auth-service:8000")
  equal(here.asked[1].text, table.concat({
    "GET /internal/authorize?scope=messages:read HTTP/1.1", "Host: auth-service:8000", "Authorization: Bearer " .. KEY,
    "X-Kong-Request-Id: request-1", "X-Ghasi-Upstream-Secret: proof", "", "",
  }, "\r\n"))
  here.now = here.now + 0.6
  here.connections = { { answer = answer_of(401) } }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }).status, 401, "revoked meanwhile")
  here.connections = { { answer = granted() } }
  equal(here.run({ "ghasi:api-key", "scope:webhooks:read" }, { bearer(KEY) }), nil, "another scope is another question")
end)

test("a key that is unknown or has no form of one is refused; no caller is told", function()
  local here = node()
  here.connections = { { answer = answer_of(401, {}, "{}") } }
  for _ = 1, 2 do
    local answer = here.run(KEY_ROUTE, { bearer(KEY) })
    equal(answer.status, 401)
    equal(answer.body.message, "Unauthorized")
    equal(answer.headers["WWW-Authenticate"], 'Bearer error="invalid_token"')
  end
  equal(#here.asked, 1)
  for _, key in ipairs({ "ghk_", KEY .. "x", KEY:sub(1, 39), KEY:sub(1, 39) .. "\t", KEY:sub(1, 39) .. "/", "GHK_" .. KEY:sub(5) }) do
    equal(here.run(KEY_ROUTE, { bearer(key) }).status, 401, key)
  end
  equal(#here.asked, 1, "questions")
  local answer = here.run(KEY_ROUTE, { { "Authorization", "BEARER " .. KEY } })
  equal(answer.status, 401)
  equal(answer.headers["WWW-Authenticate"], "Bearer", "what jwt would not take for a token")
end)

test("a key without the scope gets auth-service's answer, with its own request's id", function()
  local here = node()
  here.connections = { { answer = answer_of(403, {}, '{"code":"insufficient_scope","request_id":"request-1","errors":[]}') } }
  for _, id in ipairs({ "request-1", "request-2" }) do
    local answer = here.run(KEY_ROUTE, { bearer(KEY) }, { id = id })
    equal(answer.status, 403)
    equal(answer.body, '{"code":"insufficient_scope","request_id":"' .. id .. '","errors":[]}')
    equal(answer.headers["Content-Type"], "application/problem+json")
  end
  equal(#here.asked, 1)
  here.connections = { { answer = answer_of(403, {}, '{"code":"user_required","request_id":"r"}') } }
  equal(here.run({ "ghasi:api-key" }, { bearer(KEY) }).status, 403)
  assert(here.asked[2].text:find("^GET /internal/authorize HTTP/1.1\r\n"))
end)

test("auth-service away, or not itself, is a 502 that nobody remembers", function()
  local here = node()
  local broken = {
    nil, { answer = nil }, { answer = "" }, { answer = "SMTP\r\n\r\n" }, { answer = "HTTP/1.1 204 No Content\r\n" },
    { answer = answer_of(204, { ["x-account-id"] = ACCOUNT }) }, { answer = granted({ account_id = "me" }) },
    { answer = answer_of(500, {}, "{}") }, { answer = answer_of(404, {}, "{}") }, { answer = answer_of(422, {}, "{}") },
    { answer = answer_of(403, {}, '{"code":"not_from_gateway"}') },
    { answer = "HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n" },
    { answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 99999999\r\n\r\n" },
    { answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\n{}" },
    { answer = "HTTP/1.1 204 No\r\n" .. ("x: y\r\n"):rep(1000) .. "\r\n" },
  }
  for number = 1, 15 do
    here.connections = { broken[number] }
    local answer = here.run(KEY_ROUTE, { bearer(KEY) }, { id = "r" .. number })
    equal(answer.status, 502, "of " .. number)
    equal(answer.body.message, "An invalid response was received from the upstream server")
    equal(answer.body.request_id, "r" .. number)
    equal(here.header("X-Account-Id"), nil)
    equal(#here.logged, number, "logged")
    assert(not here.logged[number]:find(KEY, 1, true), "the key is in the log")
  end
  here.connections = { { answer = granted() } }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }), nil)
end)

test("a connection is kept, and one that went stale is replaced once", function()
  local here = node()
  local stale, fresh = { reused = true }, { answer = granted() }
  here.connections = { stale, fresh }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }), nil)
  equal(#here.asked, 2)
  equal(stale.closed and fresh.kept, true)
  here.now = here.now + 1
  here.connections = { { reused = true }, { reused = true }, { answer = granted() } }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }).status, 502)
  local closing = { answer = answer_of(204, { connection = "close", ["x-account-id"] = ACCOUNT, ["x-user-id"] = USER }) }
  here.connections = { closing }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }), nil)
  equal(closing.closed and not closing.kept, true)
end)

test("auth-service is where the environment says, else where Kong's own service is, else where it was", function()
  local elsewhere = { ["auth-service-auth-5s"] = { protocol = "http", host = "127.0.0.1", port = 4711, path = "/auth" } }
  for url, wanted in pairs({
    ["http://a.example"] = "a.example:80", ["http://a.example:81/"] = "a.example:81", ["https://a.example"] = "https a.example",
    ["http://[::1]:8000"] = "[::1]:8000",
  }) do
    local here = node({ environment = { GHASI_AUTH_SERVICE_URL = url }, services = elsewhere })
    here.connections = { { answer = granted() } }
    equal(here.run(KEY_ROUTE, { bearer(KEY) }), nil, url)
    equal(here.asked[1].to, wanted)
    assert(here.asked[1].text:find("^GET /internal/authorize%?"), here.asked[1].text)
  end
  local here = node({ services = elsewhere })
  here.connections = { { answer = granted() } }
  equal(here.run(KEY_ROUTE, { bearer(KEY) }), nil)
  equal(here.asked[1].to, "127.0.0.1:4711")
  assert(here.asked[1].text:find("^GET /auth/internal/authorize%?"))
end)

-- preflights

test("an OPTIONS that is no preflight has no route", function()
  local here = node()
  local origin, method = { "Origin", "https://portal" }, { "Access-Control-Request-Method", "POST" }
  equal(here.run(PREFLIGHT_ROUTE, { origin, method }), nil)
  for _, headers in ipairs({ {}, { origin }, { method } }) do
    local answer = here.run(PREFLIGHT_ROUTE, headers)
    equal(answer.status, 404)
    equal(answer.body.message, "no Route matched with those values")
    equal(answer.body.request_id, "request-1")
  end
end)

print(("%d of %d passed"):format(count - failures, count))
os.exit(failures == 0 and 0 or 1)
