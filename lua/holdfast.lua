#!lua name=holdfast
-- The gate: admits buyers in microseconds. MySQL is the truth; what stands here can be lost
-- and is then rebuilt from there.
--
-- Keys, all under the hash tag of the item's slot (hf:{SLOT}:...):
--   gate:SKU:BUCKET    hash. epoch, built_under (the Redis, see below), closed, frozen_until,
--                      per_buyer_limit, starts_at, ends_at (ms), capacity at the epoch's start, and
--                      counters that only grow: reserved, unreserved, settled, released (units),
--                      known (fields of `buyers`)
--   buyers:SKU:BUCKET  hash. buyer -> live and unsettled units; 0 after a release
--   unsettled          hash of the slot. order id (16 bytes) -> record
--   keys               hash of the slot. sku, buyer, idempotency key -> order id, while unsettled
-- A record is nine fields between US (0x1f): epoch, sku, bucket, buyer, quantity, key,
-- commit deadline (ms), owner, request digest. None of the fields can hold that byte.
-- Available units are derived: capacity - reserved + unreserved + released.

local VERSION = 4
local US = '\31'

-- Answers about the item as a whole; the numbers are in service/gate/gate.h too.
local ITEM_OK, ITEM_MISSING, ITEM_STALE, ITEM_FOREIGN, ITEM_CLOSED, ITEM_FROZEN = 0, 1, 2, 3, 4, 5
-- Answers about one order; SEEN is added when the gate has admitted this buyer before.
local ADMITTED, SOLD_OUT, BUYER_LIMIT, NOT_STARTED, ENDED, LATE = 0, 1, 2, 3, 4, 5
local SEEN = 8

-- Which Redis this is, and since when it holds its data: the run id of the process, new with each
-- start, and the replication id, new with each promotion. A gate that was built under another may
-- have lost its last writes. It is remembered for as long as this library stays loaded: a start,
-- and a replica that takes over all the data of a master, load it anew.
-- Source: Redis, "Redis replication" (replication ID, failover), and Redis 7.0 (functions are
-- part of what a full synchronisation brings).
local identity = nil
local function server_identity()
  if not identity then
    identity = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ':' ..
      string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  end
  return identity
end

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Numbers above 2^53 would lose digits in Lua: epochs are compared as text of equal length
-- first. (Epochs are milliseconds since 1970 plus small change, so they are far below.)
local function read_record(record)
  local f, i = {}, 0
  for field in string.gmatch(record .. US, '([^' .. US .. ']*)' .. US) do
    i = i + 1
    f[i] = field
  end
  return {
    epoch = f[1], sku = f[2], bucket = f[3], buyer = f[4], quantity = tonumber(f[5]), key = f[6],
    deadline = f[7], owner = f[8], digest = f[9],
  }
end

local function key_field(sku, buyer, key)
  return sku .. US .. buyer .. US .. key
end

-- Reads fields of a hash for many names; a plain table of the same length, false where absent.
local function hmget(key, names)
  local out, n = {}, #names
  for from = 1, n, 1000 do
    local part = redis.call('HMGET', key, unpack(names, from, math.min(from + 999, n)))
    for i = 1, #part do
      out[from + i - 1] = part[i]
    end
  end
  return out
end

local function hset(key, pairs_)
  for from = 1, #pairs_, 1000 do
    redis.call('HSET', key, unpack(pairs_, from, math.min(from + 999, #pairs_)))
  end
end

local function hdel(key, names)
  for from = 1, #names, 1000 do
    redis.call('HDEL', key, unpack(names, from, math.min(from + 999, #names)))
  end
end

local GATE_FIELDS = {
  'epoch', 'built_under', 'closed', 'frozen_until', 'per_buyer_limit', 'starts_at', 'ends_at', 'capacity',
  'reserved', 'unreserved', 'settled', 'released', 'known',
}
-- nil where there is none, or what stands there is none: it is then rebuilt.
local function read_gate(key)
  local v = redis.pcall('HMGET', key, unpack(GATE_FIELDS))
  if v.err or not v[1] then
    return nil
  end
  for i = 4, #GATE_FIELDS do
    if not tonumber(v[i]) then
      return nil
    end
  end
  return {
    epoch = v[1], built_under = v[2], closed = v[3] == '1', frozen_until = tonumber(v[4]), limit = tonumber(v[5]),
    starts_at = tonumber(v[6]), ends_at = tonumber(v[7]), capacity = tonumber(v[8]), reserved = tonumber(v[9]),
    unreserved = tonumber(v[10]), settled = tonumber(v[11]), released = tonumber(v[12]), known = tonumber(v[13]),
  }
end

local function available(gate)
  return gate.capacity - gate.reserved + gate.unreserved + gate.released
end

-- Is each of these keys a hash, or not there?
local function are_hashes(keys, from)
  for i = from, #keys do
    local kind = redis.call('TYPE', keys[i]).ok
    if kind ~= 'hash' and kind ~= 'none' then
      return false
    end
  end
  return true
end

-- The checks on the item that come before any on an order, in this order.
local function item_answer(gate, epoch, now, keys)
  if not gate or not are_hashes(keys, 2) then return ITEM_MISSING end
  if gate.built_under ~= server_identity() then return ITEM_FOREIGN end
  if gate.epoch ~= epoch then return ITEM_STALE end
  if gate.closed then return ITEM_CLOSED end
  if gate.frozen_until > now then return ITEM_FROZEN end
  return ITEM_OK
end

local function refusal_of_time(gate, now)
  if gate.starts_at ~= 0 and now < gate.starts_at then return NOT_STARTED end
  if gate.ends_at ~= 0 and now >= gate.ends_at then return ENDED end
  return ADMITTED
end

-- Turns ARGV[5..] into orders, or nil and what is wrong: the whole batch is checked before
-- the first write.
local ORDER_ARGS = 6
local function read_orders(args, from)
  local orders = {}
  if (#args - from + 1) % ORDER_ARGS ~= 0 then
    return nil, 'ERR holdfast: wrong number of order arguments'
  end
  for i = from, #args, ORDER_ARGS do
    local order = {
      id = args[i], buyer = args[i + 1], quantity = tonumber(args[i + 2]), key = args[i + 3],
      deadline = tonumber(args[i + 4]), digest = args[i + 5],
    }
    if #order.id ~= 16 or not order.quantity or order.quantity < 1 or not order.deadline then
      return nil, 'ERR holdfast: malformed order'
    end
    orders[#orders + 1] = order
  end
  return orders
end

-- What the gate knows about the buyers, ids and keys of a batch: three reads for all.
local function look_up(orders, buyers_key, unsettled_key, keys_key, sku)
  local buyers, ids, keys = {}, {}, {}
  for i, order in ipairs(orders) do
    buyers[i], ids[i], keys[i] = order.buyer, order.id, key_field(sku, order.buyer, order.key)
  end
  local units, records, firsts = hmget(buyers_key, buyers), hmget(unsettled_key, ids), hmget(keys_key, keys)
  local known = { units = {}, records = {}, firsts = {} }
  for i, order in ipairs(orders) do
    known.units[order.buyer] = units[i] and tonumber(units[i]) or nil
    known.records[order.id] = records[i] or nil
    if order.key ~= '' then
      known.firsts[keys[i]] = firsts[i] or nil
    end
  end
  return known
end

-- Decides one order against the state that the orders before it have left. No writes.
local function decide(order, gate, known, left, now, sku)
  if known.records[order.id] then
    return ADMITTED, true
  end
  local first = order.key ~= '' and known.firsts[key_field(sku, order.buyer, order.key)]
  if first then
    return first, true
  end
  local units = known.units[order.buyer]
  local seen = units and SEEN or 0
  if now > order.deadline then return LATE + seen end
  local refusal = refusal_of_time(gate, now)
  if refusal ~= ADMITTED then return refusal + seen end
  if gate.limit ~= 0 and (units or 0) + order.quantity > gate.limit then return BUYER_LIMIT + seen end
  if order.quantity > left then return SOLD_OUT + seen end
  return ADMITTED + seen
end

-- KEYS gate buyers unsettled keys; ARGV epoch sku bucket owner, then six for each order:
-- id buyer quantity key deadline digest.
-- Returns {item answer, the item's present epoch, available, an answer for each order}; an
-- order's answer is a number, or the id of an earlier unsettled order of the same key.
local function reserve(keys, args)
  local gate_key, buyers_key, unsettled_key, keys_key = keys[1], keys[2], keys[3], keys[4]
  local epoch, sku, bucket, owner = args[1], args[2], args[3], args[4]
  local orders, wrong = read_orders(args, 5)
  if not orders then
    return redis.error_reply(wrong)
  end
  local gate, now = read_gate(gate_key), now_ms()
  local item = item_answer(gate, epoch, now, keys)
  if item ~= ITEM_OK then
    return { item, gate and gate.epoch or '0', 0 }
  end

  local known = look_up(orders, buyers_key, unsettled_key, keys_key, sku)
  local left, taken, strangers = available(gate), 0, 0
  local new_units, new_records, new_keys = {}, {}, {}
  local reply = { ITEM_OK, gate.epoch, 0 }
  for _, order in ipairs(orders) do
    local answer, repeated = decide(order, gate, known, left - taken, now, sku)
    reply[#reply + 1] = answer
    if not repeated and answer % SEEN == ADMITTED then
      local record = table.concat({
        epoch, sku, bucket, order.buyer, order.quantity, order.key, order.deadline, owner, order.digest,
      }, US)
      taken = taken + order.quantity
      strangers = strangers + (known.units[order.buyer] and 0 or 1)
      known.units[order.buyer] = (known.units[order.buyer] or 0) + order.quantity
      known.records[order.id] = record
      new_units[#new_units + 1] = order.buyer
      new_units[#new_units + 1] = known.units[order.buyer]
      new_records[#new_records + 1] = order.id
      new_records[#new_records + 1] = record
      if order.key ~= '' then
        local field = key_field(sku, order.buyer, order.key)
        known.firsts[field] = order.id
        new_keys[#new_keys + 1] = field
        new_keys[#new_keys + 1] = order.id
      end
    end
  end
  reply[3] = left - taken
  if taken > 0 then
    redis.call('HINCRBY', gate_key, 'reserved', taken)
    redis.call('HINCRBY', gate_key, 'known', strangers)
    hset(buyers_key, new_units)
    hset(unsettled_key, new_records)
    hset(keys_key, new_keys)
  end
  return reply
end

-- Takes the records of these ids out of unsettled; calls `each` for those that were there and
-- belong to the gate's present epoch. Others are only taken out: they were never counted in it.
local function take_out(gate, sku, bucket, unsettled_key, keys_key, ids, each)
  local records, gone, gone_keys = hmget(unsettled_key, ids), {}, {}
  for i, id in ipairs(ids) do
    local record = records[i] and read_record(records[i])
    if record and record.sku == sku and record.bucket == bucket then
      gone[#gone + 1] = id
      if record.key ~= '' then
        gone_keys[#gone_keys + 1] = key_field(sku, record.buyer, record.key)
      end
      if gate and record.epoch == gate.epoch and not gate.closed then
        each(record)
      end
    end
  end
  hdel(unsettled_key, gone)
  hdel(keys_key, gone_keys)
  return #gone
end

local function unique(args, from)
  local out, have = {}, {}
  for i = from, #args do
    if not have[args[i]] then
      have[args[i]] = true
      out[#out + 1] = args[i]
    end
  end
  return out
end

-- These orders are in MySQL in any state but `rejected`.
-- KEYS gate unsettled keys; ARGV sku bucket, ids. Returns how many were there.
local function settle(keys, args)
  local gate, units = read_gate(keys[1]), 0
  local count = take_out(gate, args[1], args[2], keys[2], keys[3], unique(args, 3), function(record)
    units = units + record.quantity
  end)
  if units > 0 then
    redis.call('HINCRBY', keys[1], 'settled', units)
  end
  return count
end

-- These orders are `rejected` in MySQL: their units return.
-- KEYS gate buyers unsettled keys; ARGV sku bucket, ids. Returns how many were there.
local function unreserve(keys, args)
  local gate, units = read_gate(keys[1]), 0
  local count = take_out(gate, args[1], args[2], keys[3], keys[4], unique(args, 3), function(record)
    units = units + record.quantity
    redis.call('HINCRBY', keys[2], record.buyer, -record.quantity)
  end)
  if units > 0 then
    redis.call('HINCRBY', keys[1], 'unreserved', units)
  end
  return count
end

-- Units left live orders in MySQL under this epoch. KEYS gate buyers; ARGV epoch, then buyer
-- and units in pairs. Returns 'done', 'newer' (a newer gate has it already) or 'later' (this
-- gate is older than the release, or there is none: ask again).
local function release(keys, args)
  local gate, total = read_gate(keys[1]), 0
  if not gate or tonumber(gate.epoch) < tonumber(args[1]) then
    return 'later'
  end
  if gate.epoch ~= args[1] then
    return 'newer'
  end
  if gate.closed then
    return 'done'
  end
  for i = 2, #args, 2 do
    local units = tonumber(args[i + 1])
    local have = tonumber(redis.call('HGET', keys[2], args[i]) or '0')
    redis.call('HSET', keys[2], args[i], math.max(0, have - units))
    total = total + units
  end
  redis.call('HINCRBY', keys[1], 'released', total)
  return 'done'
end

-- Admits nobody for some time, which ends by itself: `total` is about to be lowered.
-- KEYS gate; ARGV ms. Returns {unsettled units, the epoch}.
local function freeze(keys, args)
  local gate = read_gate(keys[1])
  if not gate then
    return { 0, '0' }
  end
  redis.call('HSET', keys[1], 'frozen_until', now_ms() + tonumber(args[1]))
  return { gate.reserved - gate.unreserved - gate.settled, gate.epoch }
end

-- KEYS gate; ARGV epoch. Is the gate of this epoch frozen still? Returns {1 or 0, unsettled}.
local function frozen(keys, args)
  local gate = read_gate(keys[1])
  if not gate or gate.epoch ~= args[1] then
    return { 0, 0 }
  end
  return { gate.frozen_until > now_ms() and 1 or 0, gate.reserved - gate.unreserved - gate.settled }
end

-- KEYS gate. Admits again: what the freeze was for did not happen.
local function thaw(keys)
  if redis.call('EXISTS', keys[1]) == 1 then
    redis.call('HSET', keys[1], 'frozen_until', 0)
  end
  return 1
end

-- A part of the buyers' table of a rebuild, into the staging key that bears its epoch.
-- KEYS staging; ARGV buyer and units in pairs.
local function stage(keys, args)
  hset(keys[1], args)
  redis.call('EXPIRE', keys[1], 60)
  return redis.call('HLEN', keys[1])
end

local function staging_is_whole(key, count, sum)
  local have, total = redis.call('HVALS', key), 0
  for _, units in ipairs(have) do
    total = total + tonumber(units)
  end
  return #have == count and total == sum
end

-- Carries the item's unsettled orders that are not in MySQL into the new epoch; drops the
-- others. Returns the units carried and what to add to each buyer.
local function carry(unsettled_key, keys_key, sku, bucket, epoch, dropped, carries)
  local all = redis.call('HGETALL', unsettled_key)
  local units, moved, gone, gone_keys, per_buyer = 0, {}, {}, {}, {}
  for i = 1, #all, 2 do
    local id, record = all[i], read_record(all[i + 1])
    if record.sku == sku and record.bucket == bucket then
      if dropped[id] then
        gone[#gone + 1] = id
        if record.key ~= '' then
          gone_keys[#gone_keys + 1] = key_field(sku, record.buyer, record.key)
        end
      elseif carries then
        units = units + record.quantity
        per_buyer[record.buyer] = (per_buyer[record.buyer] or 0) + record.quantity
        moved[#moved + 1] = id
        moved[#moved + 1] = table.concat({
          epoch, sku, bucket, record.buyer, record.quantity, record.key, record.deadline, record.owner,
          record.digest,
        }, US)
      end
    end
  end
  hset(unsettled_key, moved)
  hdel(unsettled_key, gone)
  hdel(keys_key, gone_keys)
  return units, per_buyer
end

-- The one way to change a gate. KEYS gate buyers unsettled keys staging; ARGV epoch sku bucket
-- capacity per_buyer_limit starts_at ends_at closed staged_count staged_sum, then the unsettled
-- ids that are in MySQL. Refuses an epoch that is not above the gate's.
-- Returns {'done' | 'old' | 'staging', the gate's epoch, units carried}.
local function rebuild(keys, args)
  local gate = read_gate(keys[1])
  local epoch, sku, bucket, closed = args[1], args[2], args[3], args[8] == '1'
  local count, sum = tonumber(args[9]), tonumber(args[10])
  if gate and tonumber(gate.epoch) >= tonumber(epoch) then
    return { 'old', gate.epoch, 0 }
  end
  if not staging_is_whole(keys[5], count, sum) then
    return { 'staging', gate and gate.epoch or '0', 0 }
  end
  for i = 3, 4 do
    if not are_hashes({ keys[i] }, 1) then
      redis.call('DEL', keys[i])
    end
  end
  local dropped = {}
  for i = 11, #args do
    dropped[args[i]] = true
  end
  redis.call('DEL', keys[2])
  if count > 0 then
    redis.call('RENAME', keys[5], keys[2])
    redis.call('PERSIST', keys[2])
  end
  local units, per_buyer = carry(keys[3], keys[4], sku, bucket, epoch, dropped, not closed)
  for buyer, more in pairs(per_buyer) do
    redis.call('HINCRBY', keys[2], buyer, more)
  end
  redis.call('DEL', keys[1])
  redis.call('HSET', keys[1], 'epoch', epoch, 'built_under', server_identity(), 'closed', closed and 1 or 0,
    'frozen_until', 0, 'per_buyer_limit', args[5], 'starts_at', args[6], 'ends_at', args[7], 'capacity', args[4],
    'reserved', units, 'unreserved', 0, 'settled', 0, 'released', 0, 'known', redis.call('HLEN', keys[2]))
  return { 'done', epoch, units }
end

-- KEYS gate buyers unsettled; ARGV sku bucket. The counters, and what `unsettled` really holds of
-- the present epoch: {answer as in reserve with the gate's own epoch, epoch, closed, capacity,
-- reserved, unreserved, settled, released, held units, held orders of any epoch, now in ms,
-- per-buyer limit, starts_at, ends_at, frozen_until, known, fields that `buyers` really has}.
local function inspect(keys, args)
  local gate, now = read_gate(keys[1]), now_ms()
  if not gate or not are_hashes(keys, 2) then
    return { ITEM_MISSING, '0', 0, 0, 0, 0, 0, 0, 0, 0, now, 0, 0, 0, 0, 0, 0 }
  end
  local all, units, orders = redis.call('HVALS', keys[3]), 0, 0
  for _, text in ipairs(all) do
    local record = read_record(text)
    if record.sku == args[1] and record.bucket == args[2] then
      orders = orders + 1
      if record.epoch == gate.epoch then
        units = units + record.quantity
      end
    end
  end
  local answer = gate.built_under == server_identity() and ITEM_OK or ITEM_FOREIGN
  return {
    answer, gate.epoch, gate.closed and 1 or 0, gate.capacity, gate.reserved, gate.unreserved, gate.settled,
    gate.released, units, orders, now, gate.limit, gate.starts_at, gate.ends_at, gate.frozen_until, gate.known,
    redis.call('HLEN', keys[2]),
  }
end

-- KEYS unsettled; ARGV sku bucket. The ids of the item's unsettled orders.
local function unsettled_ids(keys, args)
  if not are_hashes(keys, 1) then
    return {}
  end
  local all, out = redis.call('HGETALL', keys[1]), {}
  for i = 1, #all, 2 do
    local record = read_record(all[i + 1])
    if record.sku == args[1] and record.bucket == args[2] then
      out[#out + 1] = all[i]
    end
  end
  return out
end

-- KEYS unsettled. The owners of the slot's unsettled orders, each once.
local function owners(keys)
  if not are_hashes(keys, 1) then
    return {}
  end
  local out, have = {}, {}
  for _, text in ipairs(redis.call('HVALS', keys[1])) do
    local owner = read_record(text).owner
    if owner and not have[owner] then
      have[owner] = true
      out[#out + 1] = owner
    end
  end
  return out
end

-- KEYS unsettled; ARGV max, owners that are gone. Orders of those, and all orders past their commit
-- deadline: id and record in turn.
local function orphans(keys, args)
  if not are_hashes(keys, 1) then
    return {}
  end
  local all, out, gone, now = redis.call('HGETALL', keys[1]), {}, {}, now_ms()
  for i = 2, #args do
    gone[args[i]] = true
  end
  for i = 1, #all, 2 do
    if #out >= 2 * tonumber(args[1]) then break end
    local record = read_record(all[i + 1])
    if gone[record.owner] or (tonumber(record.deadline) or 0) < now then
      out[#out + 1] = all[i]
      out[#out + 1] = all[i + 1]
    end
  end
  return out
end

-- {version of this library, identity of the server, now in ms}
local function hello()
  return { VERSION, server_identity(), now_ms() }
end

redis.register_function('holdfast_reserve', reserve)
redis.register_function({ function_name = 'holdfast_settle', callback = settle, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_unreserve', callback = unreserve, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_release', callback = release, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_freeze', callback = freeze, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_thaw', callback = thaw, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_stage', callback = stage, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_rebuild', callback = rebuild, flags = { 'allow-oom' } })
redis.register_function({ function_name = 'holdfast_frozen', callback = frozen, flags = { 'no-writes', 'allow-stale' } })
redis.register_function({ function_name = 'holdfast_inspect', callback = inspect, flags = { 'no-writes' } })
redis.register_function({ function_name = 'holdfast_unsettled_ids', callback = unsettled_ids, flags = { 'no-writes' } })
redis.register_function({ function_name = 'holdfast_owners', callback = owners, flags = { 'no-writes' } })
redis.register_function({ function_name = 'holdfast_orphans', callback = orphans, flags = { 'no-writes' } })
redis.register_function({ function_name = 'holdfast_hello', callback = hello, flags = { 'no-writes' } })
