-- A steady rush for so many seconds, with as little work in the client as can be: every attempt is of a new
-- buyer, and answers are counted by wrk itself, which tells only what is above 399 from what is not.
--
--   HOLDFAST_CROWD_DIR=DIR wrk ... -s rush.lua URL -- KIND NAME ITEMS BUYERS SECONDS CONNECTIONS
--
-- KIND is get, buy, look, mixed, warm or warm_look. look reads items, drawn as for buy. mixed has one item: of 20 requests
-- 16 read it, 3 buy it, and 1 reads one of the orders whose ids are in the file DIR/orders, in turn.
-- NAME is the path for get. For buy it is the item, or with ITEMS above 1 what the names of that many items begin
-- with, of which each attempt takes one by Zipf's law with exponent 1; BUYERS is what buyers' names begin with, and
-- decides which items are drawn: crowds of other names do not buy the same items at the same time. warm buys each of
-- the items once before it draws (warm_look reads it), however long that takes: a service that has just started then knows
-- all of them.
-- There is no response() here: with one, wrk would parse every header into Lua.
--
-- When the time is up, request() returns an empty string and the connection waits for ever, so that every answer
-- is in before the end. Once all CONNECTIONS (of one thread) wait, the thread leaves the file parked-ID, and
-- loadtest/lib/rush.py interrupts wrk.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } holdfast_timespec;
  int clock_gettime(int clock, holdfast_timespec *now);
]]
local CLOCK_MONOTONIC = 1
local CLOCK_EVERY = 8 -- requests
local DRAWS = 131072  -- items drawn beforehand, then again from the first
local SEED = 20261121
local MIX, READS_AT, BUYS_AT = 20, 3, { [7] = true, [13] = true, [19] = true } -- of a mixed crowd
local timespec = ffi.new("holdfast_timespec")

local function now_s()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, timespec)
  return tonumber(timespec.seconds) + tonumber(timespec.nanoseconds) / 1e9
end

local threads = {} -- in wrk's main state, for done()

function setup(thread)
  thread:set("id", #threads)
  threads[#threads + 1] = thread
end

-- In each thread's state: globals, because done() can fetch only those.
issued, bought, parked, began_at, ended_at = 0, 0, 0, 0, 0

local constant              -- the request, when it is always the same
local before, between, after -- else it is before .. item's number .. between .. buyer's number .. after
local draws                 -- item's number of each attempt, of a fixed width; nil: one item
local looks                 -- the requests that read the items, by the item's number, in place of purchases
local reads                 -- the requests of a mixed crowd that read orders
local each = 0              -- so many attempts are for the items in turn, before any is drawn
local directory, seconds, connections
local to_be_verified

local function seed_of(buyers)
  local seed = SEED + id
  for at = 1, #buyers do
    seed = (seed * 31 + buyers:byte(at)) % 2147483647
  end
  return seed
end

-- The cumulated weights, then for each draw the first item whose cumulated weight is not below it.
local function zipf(items, buyers)
  local cumulated, sum = {}, 0
  for rank = 1, items do
    sum = sum + 1 / rank
    cumulated[rank] = sum
  end
  math.randomseed(seed_of(buyers))
  local drawn = {}
  for draw = 1, DRAWS do
    local at, low, high = math.random() * sum, 1, items
    while low < high do
      local middle = math.floor((low + high) / 2)
      if cumulated[middle] < at then low = middle + 1 else high = middle end
    end
    drawn[draw] = string.format("%05d", low - 1)
  end
  return drawn
end

local function prepare_buy(name, items, buyers)
  local number = ""
  if items > 1 then
    draws, number = zipf(items, buyers), "00000"
  end
  local body = string.format('{"sku":"%s%s","buyer_id":"%s%d-00000000","quantity":1}', name, number, buyers, id)
  local whole = wrk.format("POST", "/v1/orders", { ["Content-Type"] = "application/json" }, body)
  local head = whole:sub(1, #whole - #body)
  between = string.format('","buyer_id":"%s%d-', buyers, id)
  after = '","quantity":1}'
  before = head .. '{"sku":"' .. name
  if not draws then
    before = before .. between
  end
end

local function prepare_look(name, items, buyers)
  if items == 1 then
    constant = wrk.format("GET", "/v1/items/" .. name, {})
    return
  end
  draws, looks = zipf(items, buyers), {}
  for item = 0, items - 1 do
    local number = string.format("%05d", item)
    looks[number] = wrk.format("GET", "/v1/items/" .. name .. number, {})
  end
end

local function prepare_mixed(name, buyers)
  prepare_buy(name, 1, buyers)
  prepare_look(name, 1, buyers)
  reads = {}
  for order in io.lines(directory .. "/orders") do
    reads[#reads + 1] = wrk.format("GET", "/v1/orders/" .. order, {})
  end
end

function init(args)
  directory = assert(os.getenv("HOLDFAST_CROWD_DIR"))
  local kind, name, items, buyers = args[1], args[2], tonumber(args[3]), args[4]
  if kind == "get" then
    constant = wrk.format("GET", name, {})
  elseif kind == "mixed" then
    prepare_mixed(name, buyers)
  elseif kind == "look" or kind == "warm_look" then
    prepare_look(name, items, buyers)
  else
    prepare_buy(name, items, buyers)
  end
  if kind == "warm" or kind == "warm_look" then
    each = items
  end
  seconds, connections = tonumber(args[5]), tonumber(args[6])
  to_be_verified = id == 0
end

local function park(now)
  parked = parked + 1
  ended_at = now
  if parked == connections then
    assert(io.open(directory .. "/parked-" .. id, "w")):close()
  end
  return ""
end

function request()
  if to_be_verified then -- wrk asks the first thread for one request that it parses and never sends
    to_be_verified = false
    return constant or wrk.format("GET", "/healthz", {})
  end
  if issued % CLOCK_EVERY == 0 or parked > 0 then
    local now = now_s()
    if began_at == 0 then
      began_at = now
    end
    if parked > 0 or (now - began_at >= seconds and issued >= each) then
      return park(now)
    end
  end
  issued = issued + 1
  if constant and not reads then
    return constant
  end
  local turn = issued % MIX
  if reads and not BUYS_AT[turn] then
    return turn == READS_AT and reads[math.floor(issued / MIX) % #reads + 1] or constant
  end
  local item = draws and (issued <= each and string.format("%05d", issued - 1) or draws[issued % DRAWS + 1])
  if looks then
    return looks[item]
  end
  bought = bought + 1
  local buyer = string.format("%08d", issued)
  if draws then
    return before .. item .. between .. buyer .. after
  end
  return before .. buyer .. after
end

function done(summary, latency, requests)
  local totals = { issued = 0, bought = 0, parked = 0 }
  local began, ended = math.huge, 0
  for _, thread in ipairs(threads) do
    for name, total in pairs(totals) do
      totals[name] = total + thread:get(name)
    end
    began, ended = math.min(began, thread:get("began_at")), math.max(ended, thread:get("ended_at"))
  end
  local errors = summary.errors
  local file = assert(io.open(assert(os.getenv("HOLDFAST_CROWD_DIR")) .. "/done.json", "w"))
  file:write(string.format('{"issued":%d,"bought":%d,"parked":%d,"seconds":%.6f,"answered":%d,"refused":%d,"broken":%d,' ..
    '"latency_ms":{"p50":%.3f,"p99":%.3f,"p999":%.3f}}\n', totals.issued, totals.bought, totals.parked, math.max(0, ended - began), summary.requests,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
  file:close()
end
