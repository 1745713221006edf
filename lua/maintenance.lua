-- The second part of the library, behind holdfast.lua: changes of a gate as a whole, what the
-- reconciler reads, what a connection asks first, and the registration of all functions.

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

-- Redis checks the permissions of its user at each command inside a function too. A command that is forbidden
-- half-way would leave half of the work done; one whose error is taken for "no hash" would pass for a lost gate.
-- So a function checks first, and without one of the commands it is refused as Redis refuses a call. The gate needs
-- all of them, whatever the function: the probe, reserve of no orders, fails before a buyer's call does.
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
