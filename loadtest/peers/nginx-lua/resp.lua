-- Redis' protocol over a cosocket, as much as the peer needs (Debian has no lua-resty-redis): one command at a
-- time, on a connection from nginx's own pool.

local POOL = { timeout_ms = 60000, size = 4096 } -- of a worker: above its buyers, so that none connects anew
local WITHIN_MS = 5000

local resp = {}

local function encode(words)
  local parts = { "*", #words, "\r\n" }
  for _, word in ipairs(words) do
    word = tostring(word)
    parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  return parts
end

-- A value, or nil and what Redis complains about. The replies that are asked for here are no arrays.
local function read_reply(socket)
  local line, problem = socket:receive()
  if not line then
    return nil, problem
  end
  local kind, rest = line:sub(1, 1), line:sub(2)
  if kind == ":" then
    return tonumber(rest)
  elseif kind == "+" then
    return rest
  elseif kind == "$" and rest ~= "-1" then
    local body, broken = socket:receive(tonumber(rest) + 2)
    return body and body:sub(1, -3), broken
  end
  return nil, rest
end

function resp.call(address, ...)
  local socket = ngx.socket.tcp()
  socket:settimeout(WITHIN_MS)
  local ok, problem = socket:connect(address)
  if not ok then
    return nil, problem
  end
  ok, problem = socket:send(encode({ ... }))
  if not ok then
    return nil, problem
  end
  local value
  value, problem = read_reply(socket)
  socket:setkeepalive(POOL.timeout_ms, POOL.size)
  return value, problem
end

return resp
