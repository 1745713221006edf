#!lua name=holdfast
-- The gate: admits buyers in microseconds. MySQL is the truth; what stands here can be lost
-- and is then rebuilt from there.
--
-- Keys, all under the hash tag of the item's slot (hf:{SLOT}:...):
--   gate:SKU:BUCKET    hash. epoch, built_under (the Redis, see below), closed, frozen_until,
--                      per_buyer_limit, starts_at, ends_at (ms), capacity at the epoch's start, and
--                      counters that only grow: reserved, unreserved, settled, released (units),
--                      known (fields of `buyers`), loading (see below)
--   buyers:SKU:BUCKET  hash. buyer -> live and unsettled units; 0 after a release
--   early:SKU:BUCKET   hash. buyer -> releases that came before his units were read
--   unsettled          hash of the slot. order id (16 bytes) -> record
--   keys               hash of the slot. sku, buyer, idempotency key -> order id, while unsettled
-- and one for all of them: holdfast:deployment, whose Redis this is.
-- A record is nine fields between US (0x1f): epoch, sku, bucket, buyer, quantity, key,
-- commit deadline (ms), owner, request digest. None of the fields can hold that byte.
-- Available units are derived: capacity - reserved + unreserved + released.
--
-- A gate may admit before its table of buyers is whole. `loading` is then the time (ms) until which a process
-- counts as reading the table from MySQL; 0: the table is whole. While it is loading:
--   - The units of a buyer who is in the table are complete. One who is not in it is not loaded: he may have
--     any number of orders. Under a limit he is not admitted before his own units are read.
--   - His units were read in a snapshot of MySQL, whose sequence is the `released_total` of the item's row.
--     A release has the `released_total` after its own transaction. So units that were read with sequence s
--     contain all releases up to s and none after. `buyers` keeps s ("units@s") if the epoch had releases
--     by then. A release up to s changes nothing any more, and one that comes before the units waits in
--     `early`. All of this stays valid in later epochs, since the sequence of an item only grows.
-- Under no limit the units of a buyer who was not loaded are those of this gate only.
--
-- This file has what all functions share, and the orders: reserve, settle, unreserve, release. The
-- build joins maintenance.lua to its end; Redis gets both as one text.

local VERSION = 21
local US = '\31'

-- Answers about the item as a whole; the numbers are in service/gate/gate.h too.
local ITEM_OK, ITEM_MISSING, ITEM_STALE, ITEM_FOREIGN, ITEM_CLOSED, ITEM_FROZEN = 0, 1, 2, 3, 4, 5
-- Answers about one order; SEEN is added when the gate has admitted this buyer before.
local ADMITTED, SOLD_OUT, BUYER_LIMIT, NOT_STARTED, ENDED, LATE, CHECK_KEY, FIRST = 0, 1, 2, 3, 4, 5, 6, 7
local SEEN = 8
local NOT_LOADED = 16 -- never with SEEN
-- Each as the character that stands for it, '0' and up.
local ANSWER_TEXT = { [0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', '@' }

-- Which Redis this is, and since when it holds its data: the run id of the process, new with each
-- start, and the replication id, new with each promotion. A gate that was built under another may
-- have lost its last writes. It is remembered for as long as this library stays loaded: a start,
-- and a replica that takes over all the data of a master, load it anew.
-- Source: Redis, "Redis replication" (replication ID, failover), and Redis 7.0 (functions are
-- part of what a full synchronisation brings).
-- 16 digits of each: a hash with a value of more than 64 bytes (hash-max-listpack-value) is a table of single
-- strings, which takes three times the memory of one piece.
local identity = nil
local function server_identity()
  if not identity then
    identity = string.sub(string.match(redis.call('INFO', 'server'), 'run_id:(%x+)'), 1, 16) .. ':' ..
      string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'), 1, 16)
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

-- A value of `buyers`: units, and the sequence of the snapshot that they were read in (0: none was needed).
local function units_of(text)
  local units, sequence = string.match(text, '^(%-?%d+)@?(%d*)$')
  return tonumber(units) or 0, tonumber(sequence) or 0
end

local function text_of(units, sequence)
  if sequence > 0 then
    return string.format('%d@%d', units, sequence)
  end
  return string.format('%d', units)
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

-- Could a service have written this record? A function that acts on a record checks this first.
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
  'reserved', 'unreserved', 'settled', 'released', 'known', 'loading',
}
-- nil where there is none, or what stands there is none: it is then rebuilt.
local function read_gate(key)
  local v = hmget(key, GATE_FIELDS, 1, #GATE_FIELDS)
  if not v or not is_count(v[1] or nil) then
    return nil
  end
  v[14] = v[14] or '0' -- a gate of an older library is whole
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
    known = v[13], loading = v[14],
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
-- A mark: '0' no key; '1' a key; '2' a key that has no order in MySQL: its service has read that.
local WITH_KEY, NO_KEY_BYTE, KEY_FREE_BYTE = '[12]', 48, 50

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

-- The part of a call about one item, in the words behind args[base]. nil: it is malformed.
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
-- record, proves nothing. `admitted`: those of the batch, which are not written yet.
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

-- Decides an order that is not known yet, against the state that the orders before it have left. Where several
-- refusals apply, the answer is the same under every strategy: see service/strategies/strategy.h.
local function decide(gate, units, quantity, left, late, of_time, must_check, unloaded)
  if late then return LATE end
  if of_time ~= ADMITTED then return of_time end
  if quantity > left then return SOLD_OUT end
  if unloaded and gate.limit ~= 0 then return NOT_LOADED end
  if gate.limit ~= 0 and (units or 0) + quantity > gate.limit then return BUYER_LIMIT end
  return must_check and CHECK_KEY or ADMITTED
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
      local units, quantity, sequence = number_of(known), number_of(text), 0
      if known and not units then
        units, sequence = units_of(known)
      end
      local unloaded = gate.loading ~= 0 and not known
      local may_be_repeat = known or unloaded
      local must_check = may_be_repeat and field and mark ~= KEY_FREE_BYTE
      answer = decide(gate, units, quantity, left, is_late(orders, o, now), of_time, must_check, unloaded)
      if answer == ADMITTED then
        left = left - quantity
        -- Text stays text: a number costs Redis a conversion.
        if units then
          text = text_of(units + quantity, sequence)
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
      if may_be_repeat and answer ~= NOT_LOADED then
        answer = answer + SEEN
      end
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
  -- A call without orders checks whether orders could be admitted.
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

-- KEYS gate buyers unsettled keys, of each item in turn; ARGV as above. All reads come before the
-- first write. Items do not depend on each other: they share a call, and with it one sync to disk.
-- A buyer who was admitted before, and sends a key that is not in the index, may be repeating an order
-- that was settled: until MySQL has been read he is not admitted; the answer is CHECK_KEY.
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

-- Takes out those of the ids args[from..to] whose record is of this epoch or an earlier one. Returns how many.
local function hdel_up_to_epoch(unsettled_key, args, from, to, epoch)
  local gone = 0
  for i = from, to do
    local record = redis.pcall('HGET', unsettled_key, args[i])
    if type(record) == 'string' and (tonumber(read_record(record).epoch) or 0) <= tonumber(epoch) then
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
      hdel_up_to_epoch(unsettled_key, args, from, to, args[base + 1])
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
-- goes, unread. A gate of a later epoch never counted these, or has them no more: unless one was admitted
-- anew under it meanwhile, by another owner. That one stays, with its units, until its owner settles it. A gate of
-- an earlier epoch (an old copy of Redis came back, say) is rebuilt before it admits again.
-- A field goes with its order, whatever the index says: a later order of the key is checked in MySQL.
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

-- Takes units from those that `buyers` has of this buyer.
local function take_from(buyers_key, buyer, units)
  local have, sequence = units_of(redis.call('HGET', buyers_key, buyer) or '0')
  redis.call('HSET', buyers_key, buyer, text_of(have - units, sequence))
end

-- These orders are `rejected` in MySQL: their units return.
-- KEYS gate buyers unsettled keys; ARGV sku bucket, ids. Returns how many were there.
local function unreserve(keys, args)
  local count, buyers = take_out(keys[1], keys[3], keys[4], args)
  local units = 0
  for buyer, of_buyer in pairs(buyers) do
    units = units + of_buyer
    take_from(keys[2], buyer, of_buyer)
  end
  if units > 0 then
    redis.call('HINCRBY', keys[1], 'unreserved', units)
  end
  return count
end

-- Takes released units from those of a buyer, unless these were read after the release.
-- KEYS as of release.
local function release_of_buyer(keys, gate, buyer, units, sequence)
  local text = redis.call('HGET', keys[2], buyer)
  if text then
    local have, read_at = units_of(text)
    if sequence > read_at then
      redis.call('HSET', keys[2], buyer, text_of(math.max(0, have - units), read_at))
    end
  elseif gate.loading ~= 0 then
    local early = redis.call('HGET', keys[3], buyer) or ''
    redis.call('HSET', keys[3], buyer, string.format('%s%d:%d ', early, sequence, units))
  end
end

-- Units left live orders in MySQL under this epoch. KEYS gate buyers early; ARGV epoch, then buyer, units
-- and sequence of each. Returns 'done', 'newer' (a newer gate has it already) or 'later' (this
-- gate is older than the release, or there is none: call again).
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
  for i = 2, #args, 3 do
    release_of_buyer(keys, gate, args[i], tonumber(args[i + 1]), tonumber(args[i + 2]))
    total = total + tonumber(args[i + 1])
  end
  redis.call('HINCRBY', keys[1], 'released', total)
  return 'done'
end
