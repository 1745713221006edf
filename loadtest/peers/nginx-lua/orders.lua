-- What many shops run for a drop: one script call a buyer, which takes a unit and records the order in Redis, with
-- every write synced to disk before its answer. The same request, answers and limit of a buyer as Holdfast's.

local cjson = require "cjson.safe"
local resp = require "resp"

local SCRIPT = [[
if redis.call("HEXISTS", KEYS[2], ARGV[1]) == 1 then return -1 end
local stock = tonumber(redis.call("GET", KEYS[1]) or 0)
local quantity = tonumber(ARGV[2])
if stock < quantity then return 0 end
redis.call("DECRBY", KEYS[1], quantity)
redis.call("HSET", KEYS[2], ARGV[1], ARGV[3])
return 1
]]
local SCRIPT_SHA = "@" -- known once a worker has loaded it
local PROBLEMS = { [0] = { 409, "sold_out" }, [-1] = { 409, "buyer_limit_exceeded" } }

local orders = {}

local function refuse(status, code)
  ngx.status = status
  ngx.header["Content-Type"] = "application/problem+json"
  local body = cjson.encode({ type = "about:blank", status = status, code = code })
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

local function reserve(sku, buyer, quantity, order_id)
  local stock, sold = "stock:" .. sku, "orders:" .. sku
  local record = cjson.encode({ order_id = order_id, quantity = quantity, created_at = ngx.now() })
  local outcome, problem = resp.call(redis_socket, "EVALSHA", SCRIPT_SHA, 2, stock, sold, buyer, quantity, record)
  if not outcome and problem and problem:find("NOSCRIPT", 1, true) then
    SCRIPT_SHA = resp.call(redis_socket, "SCRIPT", "LOAD", SCRIPT) or SCRIPT_SHA
    outcome, problem = resp.call(redis_socket, "EVALSHA", SCRIPT_SHA, 2, stock, sold, buyer, quantity, record)
  end
  return outcome, problem
end

function orders.create()
  ngx.req.read_body()
  local wish = cjson.decode(ngx.req.get_body_data() or "")
  if ngx.req.get_method() ~= "POST" or type(wish) ~= "table" or not (wish.sku and wish.buyer_id and wish.quantity) then
    return refuse(400, "invalid_request")
  end
  local order_id = ngx.var.request_id
  local outcome, problem = reserve(wish.sku, wish.buyer_id, wish.quantity, order_id)
  if not outcome then
    ngx.log(ngx.ERR, "Redis: ", problem)
    return refuse(503, "unavailable")
  end
  if outcome ~= 1 then
    return refuse(unpack(PROBLEMS[outcome]))
  end
  local body = cjson.encode({ order_id = order_id, sku = wish.sku, buyer_id = wish.buyer_id,
    quantity = wish.quantity, state = "confirmed" })
  ngx.status = 201
  ngx.header["Location"] = "/v1/orders/" .. order_id
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

return orders
