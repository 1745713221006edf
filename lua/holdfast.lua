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
-- and one for all of them: holdfast:deployment, whose Redis this is.
-- A record is nine fields between US (0x1f): epoch, sku, bucket, buyer, quantity, key,
-- commit deadline (ms), owner, request digest. None of the fields can hold that byte.
-- Available units are derived: capacity - reserved + unreserved + released.

local VERSION = 18
local US = '\31'

-- Answers about the item as a whole; the numbers are in service/gate/gate.h too.
local ITEM_OK, ITEM_MISSING, ITEM_STALE, ITEM_FOREIGN, ITEM_CLOSED, ITEM_FROZEN = 0, 1, 2, 3, 4, 5
-- Answers about one order; SEEN is added when the gate has admitted this buyer before.
local ADMITTED, SOLD_OUT, BUYER_LIMIT, NOT_STARTED, ENDED, LATE, LOOK, FIRST = 0, 1, 2, 3, 4, 5, 6, 7
local SEEN = 8
-- Each as the character that stands for it, '0' and up.
local ANSWER_TEXT = { [0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?' }

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

-- The number that a text is, or nil. Most are small and come again and again; those are remembered,
-- since to read one costs twenty times as much as to find it.
local small_numbers = {}
local function number_of(text)
  local number = small_numbers[text]
  if not number and text then
    number = tonumber(text)
    if number and #text <= 3 then
      small_numbers[text] = number
    end
  end
  return number
end

-- Whatever stands in Redis, somebody may have written it by hand: what is no number as this library
-- writes them (digits, or below 2^53 on either side) is none.
local NUMBER_MAX = 2 ^ 53
local function is_count(text)
  return text ~= nil and #text <= 15 and string.find(text, '^%d+$') ~= nil
end

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

-- Could a service have written this record? Who reads one to act on it asks this first.
local function is_record(id, record)
  local quantity = record.quantity
  return #id == 16 and record.digest ~= nil and is_count(record.epoch) and is_count(record.deadline) and
    quantity ~= nil and quantity >= 1 and quantity < 2 ^ 32 and quantity % 1 == 0
end

local function key_field(sku, buyer, key)
  return sku .. US .. buyer .. US .. key
end

-- How many words one command gets at most: what unpack() puts on the stack of Lua has its bounds.
local WORDS_MAX = 1000

-- Reads fields of a hash, whose names are list[from..to]; a plain table of as many, false where
-- absent; nil if it is no hash.
local function hmget(key, list, from, to)
  if to < from then return {} end
  if to == from then
    local one = redis.pcall('HGET', key, list[from])
    return type(one) ~= 'table' and { one } or nil
  end
  if to - from < WORDS_MAX then
    local all = redis.pcall('HMGET', key, unpack(list, from, to))
    return not all.err and all or nil
  end
  local out = {}
  for first = from, to, WORDS_MAX do
    local part = redis.pcall('HMGET', key, unpack(list, first, math.min(first + WORDS_MAX - 1, to)))
    if part.err then return nil end
    for i = 1, #part do
      out[first - from + i] = part[i]
    end
  end
  return out
end

local function hset(key, pairs_)
  for from = 1, #pairs_, WORDS_MAX do
    redis.call('HSET', key, unpack(pairs_, from, math.min(from + WORDS_MAX - 1, #pairs_)))
  end
end

-- Takes the fields list[from..to] out. Returns how many were there; none if it is no hash.
local function hdel(key, list, from, to)
  local gone = 0
  for first = from, to, WORDS_MAX do
    local n = redis.pcall('HDEL', key, unpack(list, first, math.min(first + WORDS_MAX - 1, to)))
    gone = gone + (type(n) == 'number' and n or 0)
  end
  return gone
end

local GATE_FIELDS = {
  'epoch', 'built_under', 'closed', 'frozen_until', 'per_buyer_limit', 'starts_at', 'ends_at', 'capacity',
  'reserved', 'unreserved', 'settled', 'released', 'known',
}
-- nil where there is none, or what stands there is none: it is then rebuilt.
local function read_gate(key)
  local v = hmget(key, GATE_FIELDS, 1, #GATE_FIELDS)
  if not v or not is_count(v[1] or nil) then
    return nil
  end
  for i = 4, #GATE_FIELDS do
    local number = number_of(v[i])
    if not number or not (number > -NUMBER_MAX and number < NUMBER_MAX) then -- not: it may be nan
      return nil
    end
    v[i] = number
  end
  return {
    epoch = v[1], built_under = v[2], closed = v[3] == '1', frozen_until = v[4], limit = v[5], starts_at = v[6],
    ends_at = v[7], capacity = v[8], reserved = v[9], unreserved = v[10], settled = v[11], released = v[12],
    known = v[13],
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
  if not gate then return ITEM_MISSING end
  -- Without its table of buyers, or what is one, the gate would admit them past their limit.
  if redis.pcall('HLEN', keys[2]) ~= gate.known then return ITEM_MISSING end
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

-- ARGV of reserve, for each item: epoch; how many orders; the earliest of their commit deadlines; their
-- quantities between commas, or the one that all have; marks, one byte an order, or none if no order has a
-- key; then all ids, all buyers and all records, and the fields in the index of keys of those marked.
local EPOCH, COUNT, DEADLINE, QUANTITIES, MARKS = 1, 2, 3, 4, 5
local HEAD = 5
-- A mark: '0' no key; '1' a key; '2' a key that is not in MySQL, as its service has seen.
local WITH_KEY, NO_KEY_BYTE, LOOKED_BYTE = '[12]', 48, 50

-- The quantities as text: the one that all have, or else one for each order. Neither: one is none.
local function read_quantities(text, count)
  local all = number_of(text)
  if all then
    return all >= 1 and text or nil
  end
  local each = {}
  for digits in string.gmatch(text, '[^,]+') do
    each[#each + 1] = (number_of(digits) or 0) >= 1 and digits or nil
  end
  return nil, #each == count and each or nil
end

-- What a call asks of an item, in the words behind args[base]. nil: it is malformed.
local function read_orders(args, base)
  local count, deadline = number_of(args[base + COUNT]), tonumber(args[base + DEADLINE])
  local marks, keyed = args[base + MARKS], 0
  if not count or not deadline or not marks then return nil end
  local quantity, quantities = read_quantities(args[base + QUANTITIES], count)
  if marks ~= '' then
    keyed = select(2, string.gsub(marks, WITH_KEY, ''))
  end
  if not (quantity or quantities) or (marks ~= '' and #marks ~= count) then return nil end
  local ids, buyers = base + HEAD, base + HEAD + count
  local last = ids + 3 * count + keyed
  if #args < last then return nil end
  for i = ids + 1, ids + count do
    if #args[i] ~= 16 then return nil end
  end
  return {
    args = args, epoch = args[base + EPOCH], count = count, deadline = deadline, quantity = quantity,
    quantities = quantities, marks = keyed > 0 and marks, last = last,
    -- Before the first of each.
    ids = ids, buyers = buyers, records = buyers + count, fields = buyers + 2 * count,
  }
end

-- What Redis has of the orders: units of their buyers, their records, and by field of the index the
-- earlier unsettled orders of their keys. nil: one of the three is no hash.
local function look_up(keys, orders)
  local args, ids, buyers, fields = orders.args, orders.ids, orders.buyers, orders.fields
  local units = hmget(keys[2], args, buyers + 1, buyers + orders.count)
  local records = hmget(keys[3], args, ids + 1, ids + orders.count)
  local values = hmget(keys[4], args, fields + 1, orders.last)
  if not units or not records or not values then return nil end
  local firsts = {}
  for i = 1, #values do
    firsts[args[fields + i]] = values[i] or nil
  end
  return units, records, firsts
end

-- The order that has this key, if it is unsettled: the index alone, were it left without its
-- record, says nothing. `admitted`: those of the batch, which are not written yet.
local function first_of_key(unsettled_key, admitted, first)
  if first and (admitted[first] or redis.call('HEXISTS', unsettled_key, first) == 1) then
    return first
  end
  return nil
end

-- Is the order past its commit deadline? Most batches are before the earliest of theirs.
local function is_late(orders, o, now)
  if now <= orders.deadline then return false end
  return now > (tonumber(read_record(orders.args[orders.records + o]).deadline) or 0)
end

-- Decides an order that is not known yet, against the state that the orders before it have left. Which
-- refusal it hears where several apply is the same under every strategy: see service/strategies/strategy.h.
local function decide(gate, units, quantity, left, late, of_time, must_look)
  if late then return LATE end
  if of_time ~= ADMITTED then return of_time end
  if quantity > left then return SOLD_OUT end
  if gate.limit ~= 0 and (units or 0) + quantity > gate.limit then return BUYER_LIMIT end
  return must_look and LOOK or ADMITTED
end

-- Decides all orders, each after those before it: an id, and a buyer, may be among them twice.
-- Completes the item's part of `reply`, which is its end. Returns the units taken, how many strangers took
-- some, and pairs for HSET of what is to be written: units of buyers, records, fields.
local function decide_all(gate, orders, now, known_units, records, firsts, unsettled_key, reply)
  local args, marks, of_all = orders.args, orders.marks, #reply
  local ids, buyers, next_field = orders.ids, orders.buyers, orders.fields
  local left, strangers, of_time = available(gate), 0, refusal_of_time(gate, now)
  local admitted, units_now, answers = {}, {}, {}
  local new_units, new_records, new_fields, n = {}, {}, {}, 0
  for o = 1, orders.count do
    local id, buyer, mark = args[ids + o], args[buyers + o], marks and string.byte(marks, o)
    local field, first, answer
    if mark and mark ~= NO_KEY_BYTE then
      next_field = next_field + 1
      field = args[next_field]
      first = first_of_key(unsettled_key, admitted, firsts[field])
    end
    if records[o] or admitted[id] then
      answer = ADMITTED
    elseif first then
      answer = FIRST
      reply[#reply + 1] = first
    else
      local known, text = units_now[buyer] or known_units[o], orders.quantity or orders.quantities[o]
      local units, quantity = number_of(known), number_of(text)
      local must_look = known and field and mark ~= LOOKED_BYTE
      answer = decide(gate, units, quantity, left, is_late(orders, o, now), of_time, must_look)
      if answer == ADMITTED then
        left = left - quantity
        -- Text stays text: a number costs Redis a conversion.
        if units then
          text = string.format('%d', units + quantity)
        else
          strangers = strangers + 1
        end
        units_now[buyer] = text
        admitted[id] = true
        new_units[n + 1], new_units[n + 2] = buyer, text
        new_records[n + 1], new_records[n + 2] = id, args[orders.records + o]
        n = n + 2
        if field then
          firsts[field] = id
          new_fields[#new_fields + 1] = field
          new_fields[#new_fields + 1] = id
        end
      end
      answer = known and answer + SEEN or answer
    end
    answers[o] = ANSWER_TEXT[answer]
  end
  reply[of_all - 1], reply[of_all] = left, table.concat(answers)
  return available(gate) - left, strangers, new_units, new_records, new_fields
end

local function append(reply, item, epoch)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = item, epoch, 0, ''
end

-- An item's part of a call. Appends its part of the reply.
local function reserve_of_item(keys, orders, now, reply)
  local gate = read_gate(keys[1])
  local item = item_answer(gate, orders.epoch, now, keys)
  if item ~= ITEM_OK then
    return append(reply, item, gate and gate.epoch or '0')
  end
  local known_units, known_records, firsts = look_up(keys, orders)
  -- Who sends no orders asks whether they could be admitted.
  if not known_units or (orders.count == 0 and not are_hashes(keys, 3)) then
    return append(reply, ITEM_MISSING, gate.epoch)
  end
  append(reply, ITEM_OK, gate.epoch)
  local taken, strangers, units, records, fields =
    decide_all(gate, orders, now, known_units, known_records, firsts, keys[3], reply)
  if taken > 0 then
    redis.call('HSET', keys[1], 'reserved', string.format('%d', gate.reserved + taken), 'known',
      string.format('%d', gate.known + strangers))
    hset(keys[2], units)
    hset(keys[3], records)
    hset(keys[4], fields)
  end
end

-- KEYS gate buyers unsettled keys, of each item in turn; ARGV as above. All that is asked is read before the
-- first write. Items know nothing of each other: they share a call, and with it one sync to disk.
-- Who has been admitted before, and sends a key that is not in the index, may be repeating an order
-- that was settled: without a look in MySQL he is not admitted, but told to.
-- Returns for each item: item answer, the item's present epoch, available, the answers, one character an
-- order, '0' and up; then, for each FIRST of them in turn, the id of an earlier unsettled order of the same key.
local function reserve(keys, args)
  local items, last = {}, 0
  for i = 1, #keys / 4 do
    local orders = read_orders(args, last)
    if not orders then break end
    items[i], last = orders, orders.last
  end
  if #items == 0 or #keys ~= 4 * #items or #args ~= last then
    return redis.error_reply('ERR holdfast: malformed orders')
  end
  local reply, now = {}, now_ms()
  for i, orders in ipairs(items) do
    reserve_of_item({ unpack(keys, 4 * i - 3, 4 * i) }, orders, now, reply)
  end
  return reply
end

-- Takes out those of the ids args[from..to] whose record is of this epoch. Returns how many.
local function hdel_of_epoch(unsettled_key, args, from, to, epoch)
  local gone = 0
  for i = from, to do
    local record = redis.pcall('HGET', unsettled_key, args[i])
    if type(record) == 'string' and read_record(record).epoch == epoch then
      gone = gone + hdel(unsettled_key, args, i, i)
    end
  end
  return gone
end

-- An item's part of settle: the words behind args[base]. Returns how many orders were there, and the last of
-- its words.
local function settle_of_item(gate_key, unsettled_key, keys_key, args, base)
  local gate = redis.pcall('HMGET', gate_key, 'epoch', 'closed')
  local groups, keyed, count, units = tonumber(args[base + 2]), tonumber(args[base + 3]), 0, 0
  local from, of_gate = base + 4 + 2 * groups, gate[1] == args[base + 1]
  for i = base + 4, base + 2 + 2 * groups, 2 do
    local to = from + tonumber(args[i + 1]) - 1
    local gone = of_gate and hdel(unsettled_key, args, from, to) or
      hdel_of_epoch(unsettled_key, args, from, to, args[base + 1])
    count = count + gone
    units = units + gone * tonumber(args[i])
    from = to + 1
  end
  local last = from + keyed - 1
  hdel(keys_key, args, from, last)
  if units > 0 and of_gate and gate[2] == '0' then
    redis.call('HINCRBY', gate_key, 'settled', units)
  end
  return count, last
end

-- These orders are in MySQL in any state but `rejected`.
-- KEYS gate unsettled keys, of each item in turn; ARGV for each item: epoch, how many groups, how many of the
-- orders have a key; for each group its quantity and how many orders have it; then their ids, group by
-- group; then the fields of those with a key in the index of keys.
-- All of an item were committed under that epoch. An open gate has no record of another epoch than its own:
-- reserve writes its own, and rebuild carries or drops all others. So it is enough to count what
-- goes, unread. A gate of another epoch never counted these, or has them no more: unless one was admitted
-- anew under it meanwhile, by another owner. That one stays, with its units, until its owner settles it.
-- A field goes with its order, whatever the index says: whoever has the key by now looks in MySQL.
-- Returns for each item how many orders were there.
local function settle(keys, args)
  local counts, last = {}, 0
  for i = 1, #keys, 3 do
    counts[#counts + 1], last = settle_of_item(keys[i], keys[i + 1], keys[i + 2], args, last)
  end
  return counts
end

-- Takes the records of args[3..], ids, out of unsettled, each once. Returns how many were there, and
-- the units of those of the gate's present epoch by buyer. Others are only taken out: they were never
-- counted in it.
local function take_out(gate_key, unsettled_key, keys_key, args)
  local gate = redis.pcall('HMGET', gate_key, 'epoch', 'closed')
  local records = hmget(unsettled_key, args, 3, #args) or {}
  local gone, gone_keys, have, buyers = {}, {}, {}, {}
  for i = 1, #records do
    local id = args[2 + i]
    local record = records[i] and not have[id] and read_record(records[i])
    if record and record.sku == args[1] and record.bucket == args[2] then
      have[id] = true
      gone[#gone + 1] = id
      if record.key and record.key ~= '' then
        gone_keys[#gone_keys + 1] = key_field(record.sku, record.buyer, record.key)
      end
      if record.epoch == gate[1] and gate[2] == '0' and record.quantity then
        buyers[record.buyer] = (buyers[record.buyer] or 0) + record.quantity
      end
    end
  end
  hdel(unsettled_key, gone, 1, #gone)
  hdel(keys_key, gone_keys, 1, #gone_keys)
  return #gone, buyers
end

-- These orders are `rejected` in MySQL: their units return.
-- KEYS gate buyers unsettled keys; ARGV sku bucket, ids. Returns how many were there.
local function unreserve(keys, args)
  local count, buyers = take_out(keys[1], keys[3], keys[4], args)
  local units = 0
  for buyer, of_buyer in pairs(buyers) do
    units = units + of_buyer
    redis.call('HINCRBY', keys[2], buyer, -of_buyer)
  end
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
    local have = tonumber(redis.call('HGET', keys[2], args[i]) or '0') or 0
    redis.call('HSET', keys[2], args[i], math.max(0, have - units))
    total = total + units
  end
  redis.call('HINCRBY', keys[1], 'released', total)
  return 'done'
end

-- Admits nobody for some time, which ends by itself: `total` is about to be lowered.
-- A freeze belongs to one change: while it lasts nobody else gets one, or could end it.
-- KEYS gate; ARGV ms. Returns {unsettled units, the epoch ('0': no gate, or frozen by another),
-- until when}.
local function freeze(keys, args)
  local gate, now = read_gate(keys[1]), now_ms()
  if not gate or gate.frozen_until > now then
    return { 0, '0', 0 }
  end
  local frozen_until = now + tonumber(args[1])
  redis.call('HSET', keys[1], 'frozen_until', frozen_until)
  return { gate.reserved - gate.unreserved - gate.settled, gate.epoch, frozen_until }
end

-- Does the freeze that lasts until then last still? If so, and `ms` is not 0, it ends no earlier than
-- `ms` from now. KEYS gate; ARGV epoch, until when, ms. Returns {1 or 0, unsettled, until when}.
local function frozen(keys, args)
  local gate, now = read_gate(keys[1]), now_ms()
  local frozen_until = tonumber(args[2])
  if not gate or gate.epoch ~= args[1] or gate.frozen_until ~= frozen_until or frozen_until <= now then
    return { 0, 0, frozen_until }
  end
  local later = math.max(frozen_until, now + tonumber(args[3]))
  if later > frozen_until then
    redis.call('HSET', keys[1], 'frozen_until', later)
  end
  return { 1, gate.reserved - gate.unreserved - gate.settled, later }
end

-- KEYS gate; ARGV until when it was frozen. Admits again: what that freeze was for did not happen.
local function thaw(keys, args)
  local gate = read_gate(keys[1])
  if gate and gate.frozen_until == tonumber(args[1]) then
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

-- Units of a buyer above which an order is not carried: what the old gate or the new one allows,
-- since a lowered limit leaves earlier orders alone. 0: none.
local function limit_for_carrying(old, new)
  if new == 0 or not old then return new end
  return old.limit == 0 and 0 or math.max(old.limit, new)
end

-- Takes out of the index of keys what it has of the item and of no order in `stays`.
local function forget_keys(keys_key, sku, stays)
  local all, gone, head = redis.call('HGETALL', keys_key), {}, sku .. US
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #head) == head and not stays[all[i + 1]] then
      gone[#gone + 1] = all[i]
    end
  end
  hdel(keys_key, gone, 1, #gone)
end

-- Carries the item's unsettled orders that are not in MySQL into the new epoch; drops the others.
-- An order is carried if there is room, or dropped too: another gate or a SQL strategy may have sold
-- the same units, or the freeze for a lowered total ended before this rebuild came. For those of
-- `trusted`, the epoch of a gate that was the only one until now, the limit was checked already; so
-- it was where MySQL has no more of the buyer than the old gate counted, as nobody else sold him any.
-- Nothing commits an order under its old epoch, so the owner of a dropped one has it decided anew.
-- KEYS as of rebuild. `room` {units, limit}, nil: nothing is carried. `counted`: units of a buyer, by
-- the old gate. Returns the units carried.
local function carry(keys, sku, bucket, epoch, dropped, trusted, room, counted)
  local all, candidates, buyers = redis.call('HGETALL', keys[3]), {}, {}
  local gone, stays = {}, {}
  for i = 1, #all, 2 do
    local id, record = all[i], read_record(all[i + 1])
    if record.sku == sku and record.bucket == bucket then
      if dropped[id] or not is_record(id, record) then
        gone[#gone + 1] = id
      elseif room then
        record.id = id
        candidates[#candidates + 1] = record
        buyers[#buyers + 1] = record.buyer
      else
        stays[id] = true
      end
    end
  end
  local units, moved, have, of_buyer = 0, {}, hmget(keys[2], buyers, 1, #buyers), {}
  for i, record in ipairs(candidates) do
    local owned = of_buyer[record.buyer] or tonumber(have[i] or 0)
    local fits = units + record.quantity <= room.units
    local limit = math.max(room.limit, counted[record.buyer] or 0)
    local allowed = room.limit == 0 or owned + record.quantity <= limit
    if not fits or (record.epoch ~= trusted and not allowed) then
      gone[#gone + 1] = record.id
    else
      stays[record.id] = true
      units = units + record.quantity
      of_buyer[record.buyer] = owned + record.quantity
      moved[#moved + 1] = record.id
      moved[#moved + 1] = table.concat({
        epoch, sku, bucket, record.buyer, record.quantity, record.key, record.deadline, record.owner,
        record.digest,
      }, US)
    end
  end
  for buyer, owned in pairs(of_buyer) do
    redis.call('HSET', keys[2], buyer, owned)
  end
  hset(keys[3], moved)
  hdel(keys[3], gone, 1, #gone)
  forget_keys(keys[4], sku, stays)
  return units
end

-- KEYS buyers unsettled. What the gate counted of the buyers who have unsettled orders of the item.
local function counted_of(keys, sku, bucket)
  local buyers, counted = {}, {}
  for _, text in ipairs(redis.call('HVALS', keys[2])) do
    local record = read_record(text)
    if record.sku == sku and record.bucket == bucket then
      buyers[#buyers + 1] = record.buyer
    end
  end
  local units = hmget(keys[1], buyers, 1, #buyers) or {}
  for i, buyer in ipairs(buyers) do
    counted[buyer] = tonumber(units[i] or 0)
  end
  return counted
end

-- The one way to change a gate. KEYS gate buyers unsettled keys staging; ARGV epoch sku bucket
-- capacity per_buyer_limit starts_at ends_at closed staged_count staged_sum, the epoch that the row
-- had before, then the unsettled ids that are in MySQL. Refuses an epoch that is not above the gate's.
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
  for i = 12, #args do
    dropped[args[i]] = true
  end
  local counted = gate and counted_of({ keys[2], keys[3] }, sku, bucket) or {}
  redis.call('DEL', keys[2])
  if count > 0 then
    redis.call('RENAME', keys[5], keys[2])
    redis.call('PERSIST', keys[2])
  end
  local room = not closed and { units = tonumber(args[4]), limit = limit_for_carrying(gate, tonumber(args[5])) }
  local alone = gate and not gate.closed and gate.built_under == server_identity() and gate.epoch == args[11]
  local units = carry(keys, sku, bucket, epoch, dropped, alone and gate.epoch or nil, room, counted)
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
  local all, units, orders = redis.call('HGETALL', keys[3]), 0, 0
  for i = 1, #all, 2 do
    local record = read_record(all[i + 1])
    if record.sku == args[1] and record.bucket == args[2] then
      orders = orders + 1
      if not is_record(all[i], record) then
        units = units + 1 -- which no counter knows: a rebuild drops it
      elseif record.epoch == gate.epoch then
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

-- KEYS holdfast:deployment (or none, from a service that is older than that key). ARGV 'watch', from a connection of
-- the watch strategy, whose commands its user needs too, or nothing. {version of this library,
-- identity of the server, now in ms, the deployment whose Redis this is}; the last is '' without a stamp.
local function hello(keys)
  local answer = { VERSION, server_identity(), now_ms() }
  if keys[1] then
    answer[4] = redis.call('GET', keys[1]) or ''
  end
  return answer
end

-- KEYS holdfast:deployment; ARGV a deployment. Stamps a Redis that has no stamp. The stamp that it has.
local function stamp(keys, args)
  local name = redis.call('GET', keys[1])
  if not name then
    name = args[1]
    redis.call('SET', keys[1], name)
  end
  return name
end

-- Redis looks at the permissions of its user at each command inside a function too. A command that is forbidden
-- half-way would leave half of the work done; one whose error is taken for "no hash" would pass for a lost gate.
-- So a function asks first, and without one of the commands it is refused as Redis refuses a call. The gate needs
-- all of them, whatever the function: reserve of no orders, the probe, says so before a buyer meets it.
-- Source: Redis 7.0, "Redis Lua API reference" (redis.acl_check_cmd).
local COMMANDS = {
  { 'DEL', 1 }, { 'EXPIRE', 2 }, { 'GET', 1 }, { 'HDEL', 2 }, { 'HEXISTS', 2 }, { 'HGET', 2 }, { 'HGETALL', 1 },
  { 'HINCRBY', 3 }, { 'HLEN', 1 }, { 'HMGET', 2 }, { 'HSET', 3 }, { 'HVALS', 1 }, { 'INFO', 0 }, { 'PERSIST', 1 },
  { 'RENAME', 2 }, { 'SET', 2 }, { 'TIME', 0 }, { 'TYPE', 1 },
}
local COMMANDS_OF_ORDERS = { { 'HEXISTS', 2 }, { 'HGET', 2 }, { 'HLEN', 1 }, { 'HMGET', 2 }, { 'HSET', 3 }, { 'TIME', 0 } }

-- Each with as many words as it needs, the key first; of RENAME both are keys. A service that is older
-- than the stamp calls hello without a key.
local function forbidden_of(commands, key)
  key = key or 'holdfast:deployment'
  local words = { key, key, key }
  for i = 1, #commands do
    local command = commands[i]
    if not redis.acl_check_cmd(command[1], unpack(words, 1, command[2])) then
      return redis.error_reply("NOPERM this user has no permissions to run the '" .. string.lower(command[1]) ..
        "' command")
    end
  end
end

local COMMANDS_OF_WATCH = { { 'EXEC', 0 }, { 'MULTI', 0 }, { 'UNWATCH', 0 }, { 'WATCH', 1 } }

local function hello_of_watch(keys, args)
  return args[1] == 'watch' and forbidden_of(COMMANDS_OF_WATCH, keys[1]) or hello(keys)
end

local function register(name, callback, flag)
  redis.register_function({
    function_name = name,
    callback = function(keys, args)
      local admits = callback == reserve and #args > HEAD
      return forbidden_of(admits and COMMANDS_OF_ORDERS or COMMANDS, keys[1]) or callback(keys, args)
    end,
    flags = { flag },
  })
end

register('holdfast_reserve', reserve)
register('holdfast_settle', settle, 'allow-oom')
register('holdfast_unreserve', unreserve, 'allow-oom')
register('holdfast_release', release, 'allow-oom')
register('holdfast_freeze', freeze, 'allow-oom')
register('holdfast_thaw', thaw, 'allow-oom')
register('holdfast_stage', stage, 'allow-oom')
register('holdfast_rebuild', rebuild, 'allow-oom')
register('holdfast_frozen', frozen, 'allow-oom')
register('holdfast_inspect', inspect, 'no-writes')
register('holdfast_unsettled_ids', unsettled_ids, 'no-writes')
register('holdfast_owners', owners, 'no-writes')
register('holdfast_orphans', orphans, 'no-writes')
register('holdfast_hello', hello_of_watch, 'no-writes')
register('holdfast_stamp', stamp, 'allow-oom')
