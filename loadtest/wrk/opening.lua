-- An opening rush: every buyer makes exactly one attempt to buy, as fast as the connections carry them.
--
--   HOLDFAST_CROWD_DIR=DIR wrk ... -s opening.lua URL -- SKU QUANTITY BUYERS THREADS CONNECTIONS WORD
--
-- wrk knows only a duration, so the script counts: each thread owns an equal share of the buyers. When its
-- share has been sent, request() returns an empty string: wrk then writes nothing on that connection and
-- waits for ever, so the connection is parked, no filler request is counted, and no latency is falsified.
-- Each thread appends its numbers to DIR/progress-ID, and loadtest/lib/crowd.py, which reads them, interrupts
-- wrk when every answer is in. Every 201 and 202 goes to DIR/orders-ID as "status order_id", for the audit.
--
-- wrk calls request() after a connect, after an answer, and after a reconnect, and never otherwise; of a broken
-- connection it tells the script nothing. It reconnects at once, so that a service that is gone would cost it
-- all its buyers in a moment: a thread that has lost more than a few answers a connection sends no more, and
-- only waits for the answers that may still come.

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } holdfast_timespec;
  int clock_gettime(int clock, holdfast_timespec *now);
  int usleep(unsigned microseconds);
]]
local CLOCK_REALTIME = 0
local PROGRESS_EVERY_S = 0.2
local LOST_PER_CONNECTION = 3
local RECONNECT_PAUSE_US = 500
local timespec = ffi.new("holdfast_timespec")

local function now_s()
  ffi.C.clock_gettime(CLOCK_REALTIME, timespec)
  return tonumber(timespec.seconds) + tonumber(timespec.nanoseconds) / 1e9
end

-- In wrk's main state: names the threads, and keeps them for done().
local threads = {}

function setup(thread)
  thread:set("id", #threads)
  threads[#threads + 1] = thread
end

-- In each thread's state: globals, because done() can fetch only those.
tally = {
  share = 0, issued = 0, answered = 0, accepted = 0, later = 0, sold_out = 0, malformed = 0, parked = 0, gave_up = 0,
  first_at = 0, last_answer_at = 0, last_accepted_at = 0,
}
answers = {} -- "409 sold_out" -> count

local next_buyer, last_buyer
local connections, unanswered_max
local request_head, request_tail
local verify_request
local orders, progress
local progress_at = 0
local to_be_verified

local function report(now)
  progress_at = now
  orders:flush()
  progress:write(string.format("%d %d %d %d %d %d %d\n", tally.share, tally.issued, tally.answered,
    tally.accepted + tally.later, tally.sold_out, tally.parked, tally.gave_up))
  progress:flush()
end

local function report_when_due(now)
  if now - progress_at >= PROGRESS_EVERY_S or tally.issued == tally.share then
    report(now)
  end
end

function init(args)
  local directory = assert(os.getenv("HOLDFAST_CROWD_DIR"))
  local sku, quantity = args[1], tonumber(args[2]) -- args[0] is the URL
  local buyers, thread_count = tonumber(args[3]), tonumber(args[4])

  next_buyer = math.floor(buyers * id / thread_count)
  last_buyer = math.floor(buyers * (id + 1) / thread_count) - 1
  tally.share = last_buyer - next_buyer + 1
  connections = tonumber(args[5]) / thread_count
  unanswered_max = connections * (1 + LOST_PER_CONNECTION)

  -- The buyer's number has a fixed width, so all but that number is written once.
  local before = string.format('{"sku":"%s","buyer_id":"%s-b', sku, args[6])
  local after = string.format('","quantity":%d}', quantity)
  request_head = wrk.format("POST", "/v1/orders", { ["Content-Type"] = "application/json" },
    before .. "00000000" .. after)
  request_head = request_head:sub(1, #request_head - #after - 8)
  request_tail = after
  verify_request = wrk.format("GET", "/healthz", {})
  to_be_verified = id == 0

  orders = assert(io.open(directory .. "/orders-" .. id, "w"))
  orders:setvbuf("full", 65536)
  progress = assert(io.open(directory .. "/progress-" .. id, "w"))
  report(now_s())
end

local function park()
  tally.parked = tally.parked + 1
  report(now_s())
  if tally.parked > 2 * connections then -- parked again and again: nobody is there, and wrk would spin
    ffi.C.usleep(RECONNECT_PAUSE_US)
  end
  return ""
end

function request()
  if to_be_verified then -- wrk asks the first thread for one request that it parses and never sends
    to_be_verified = false
    return verify_request
  end
  if tally.issued - tally.answered >= unanswered_max then
    tally.gave_up = 1
  end
  if tally.gave_up == 1 or next_buyer > last_buyer then
    return park()
  end
  if tally.issued == 0 then
    tally.first_at = now_s()
  end
  local buyer = next_buyer
  next_buyer = buyer + 1
  tally.issued = tally.issued + 1
  return request_head .. string.format("%08d", buyer) .. request_tail
end

local function count_order(status, body, now)
  local order_id = body:match('"order_id"%s*:%s*"([%x-]+)"')
  if not order_id then
    tally.malformed = tally.malformed + 1
    return
  end
  orders:write(status, " ", order_id, "\n")
  if status == 201 then
    tally.accepted = tally.accepted + 1
    tally.last_accepted_at = now
  else
    tally.later = tally.later + 1
  end
end

function response(status, headers, body)
  local now = now_s()
  local answer = tostring(status)
  tally.answered = tally.answered + 1
  tally.last_answer_at = now
  if status == 201 or status == 202 then
    count_order(status, body, now)
  else
    answer = answer .. " " .. (body:match('"code"%s*:%s*"([%w_]+)"') or "without_code")
    if answer == "409 sold_out" then
      tally.sold_out = tally.sold_out + 1
    end
  end
  answers[answer] = (answers[answer] or 0) + 1
  report_when_due(now)
end

-- In wrk's main state, at the end: one JSON object. All names in it are words, so none needs escaping.
local function json_object(numbers)
  local members = {}
  for name, number in pairs(numbers) do
    members[#members + 1] = string.format('"%s":%.6f', name, number)
  end
  return "{" .. table.concat(members, ",") .. "}"
end

function done(summary, latency, requests)
  local per_thread = {}
  for _, thread in ipairs(threads) do
    per_thread[#per_thread + 1] = string.format('{"tally":%s,"answers":%s}',
      json_object(thread:get("tally")), json_object(thread:get("answers")))
  end
  local latency_ms = { p50 = latency:percentile(50) / 1e3, p99 = latency:percentile(99) / 1e3,
    p999 = latency:percentile(99.9) / 1e3 }
  local directory = assert(os.getenv("HOLDFAST_CROWD_DIR"))
  local file = assert(io.open(directory .. "/done.json", "w"))
  file:write(string.format('{"threads":[%s],"errors":%s,"latency_ms":%s}\n', table.concat(per_thread, ","),
    json_object(summary.errors), json_object(latency_ms)))
  file:close()
end
