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

-- Deletes a key. A table of a million buyers would stop Redis for a third of a second, so it is left to
-- another thread of Redis where the user may do that.
local function drop(key)
  redis.call(redis.acl_check_cmd('UNLINK', key) and 'UNLINK' or 'DEL', key)
end

-- A part of the buyers' table of a rebuild, into the staging key that bears its epoch.
-- KEYS staging; ARGV buyer and value in pairs.
local function stage(keys, args)
  hset(keys[1], args)
  redis.call('EXPIRE', keys[1], 60)
  return redis.call('HLEN', keys[1])
end

local function staging_is_whole(key, count, sum)
  local have, total = redis.call('HVALS', key), 0
  for _, text in ipairs(have) do
    total = total + units_of(text)
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

-- What `unsettled` has of an item: its orders that MySQL does not have, their buyers, and the ids of all
-- other entries. `in_mysql`: ids.
local function unsettled_of_item(unsettled_key, sku, bucket, in_mysql)
  local all, orders, buyers, gone = redis.call('HGETALL', unsettled_key), {}, {}, {}
  for i = 1, #all, 2 do
    local id, record = all[i], read_record(all[i + 1])
    if record.sku == sku and record.bucket == bucket then
      if in_mysql[id] or not is_record(id, record) then
        gone[#gone + 1] = id
      else
        record.id = id
        orders[#orders + 1] = record
        buyers[#buyers + 1] = record.buyer
      end
    end
  end
  return orders, buyers, gone
end

local function record_of_epoch(record, epoch)
  return table.concat({
    epoch, record.sku, record.bucket, record.buyer, record.quantity, record.key, record.deadline, record.owner,
    record.digest,
  }, US)
end

-- Writes what a change leaves of an item's unsettled orders. `moved`: ids and records in turn; `gone`: ids.
local function keep_unsettled(keys, sku, moved, gone, stays)
  hset(keys[3], moved)
  hdel(keys[3], gone, 1, #gone)
  forget_keys(keys[4], sku, stays)
end

-- Carries the item's unsettled orders into the new epoch. An order is carried if there is room, or dropped:
-- another gate or a SQL strategy may have sold the same units, or the freeze for a lowered total ended
-- before this rebuild came. For those of `trusted`, the epoch of a gate that was the only one until now, the
-- limit was checked already; so it was where MySQL has no more of the buyer than the old gate counted, as
-- nobody else sold him any.
-- Nothing commits an order under its old epoch, so the owner of a dropped one has it decided anew.
-- KEYS as of rebuild. `room` {units, limit}. `counted`: units of a buyer, by the old gate. Returns the units
-- carried.
local function carry(keys, sku, epoch, orders, buyers, gone, trusted, room, counted)
  local have, of_buyer, sequences = hmget(keys[2], buyers, 1, #buyers), {}, {}
  local units, moved, stays = 0, {}, {}
  for i, record in ipairs(orders) do
    local owned = of_buyer[record.buyer]
    if not owned then
      owned, sequences[record.buyer] = units_of(have[i] or '0')
    end
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
      moved[#moved + 1] = record_of_epoch(record, epoch)
    end
  end
  for buyer, owned in pairs(of_buyer) do
    redis.call('HSET', keys[2], buyer, text_of(owned, sequences[buyer]))
  end
  keep_unsettled(keys, sku, moved, gone, stays)
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
    counted[buyer] = units_of(units[i] or '0')
  end
  return counted
end

-- Is each of these buyers in the staged table?
local function all_are_staged(staging_key, buyers)
  local have = hmget(staging_key, buyers, 1, #buyers)
  for i = 1, #buyers do
    if not have or not have[i] then return false end
  end
  return true
end

-- The set of args[from..].
local function set_of(args, from)
  local set = {}
  for i = from, #args do
    set[args[i]] = true
  end
  return set
end

-- The terms: the first seven words of ARGV of each change of a gate.
local function read_terms(args)
  return {
    epoch = args[1], sku = args[2], bucket = args[3], capacity = args[4], limit = args[5], starts_at = args[6],
    ends_at = args[7],
  }
end

local function write_gate(keys, terms, closed, units, loading)
  redis.call('DEL', keys[1])
  redis.call('HSET', keys[1], 'epoch', terms.epoch, 'built_under', server_identity(), 'closed', closed and 1 or 0,
    'frozen_until', 0, 'per_buyer_limit', terms.limit, 'starts_at', terms.starts_at, 'ends_at', terms.ends_at,
    'capacity', terms.capacity, 'reserved', units, 'unreserved', 0, 'settled', 0, 'released', 0,
    'known', redis.call('HLEN', keys[2]), 'loading', loading)
end

-- A new gate from MySQL. The staged table has all buyers (`whole`), or at least those of all orders that are
-- carried; then the gate begins to admit, and is loading.
-- KEYS gate buyers unsettled keys early staging; ARGV the terms, closed, staged count, staged sum, whole, the
-- epoch that the row had before, then the unsettled ids that are in MySQL. Refuses an epoch that is not
-- above the gate's. Returns {'done' | 'old' | 'staging', the gate's epoch, units carried}.
local function rebuild(keys, args)
  local gate, terms, closed, whole = read_gate(keys[1]), read_terms(args), args[8] == '1', args[11] == '1'
  local count, sum, previous = tonumber(args[9]), tonumber(args[10]), args[12]
  if gate and tonumber(gate.epoch) >= tonumber(terms.epoch) then
    return { 'old', gate.epoch, 0 }
  end
  for i = 3, 4 do
    if not are_hashes({ keys[i] }, 1) then
      redis.call('DEL', keys[i])
    end
  end
  local orders, buyers, gone = unsettled_of_item(keys[3], terms.sku, terms.bucket, set_of(args, 13))
  if not staging_is_whole(keys[6], count, sum) or
    not (whole or closed or all_are_staged(keys[6], buyers)) then
    return { 'staging', gate and gate.epoch or '0', 0 }
  end
  local counted = gate and counted_of({ keys[2], keys[3] }, terms.sku, terms.bucket) or {}
  drop(keys[2])
  drop(keys[5])
  if count > 0 then
    redis.call('RENAME', keys[6], keys[2])
    redis.call('PERSIST', keys[2])
  end
  local units = 0
  if closed then
    local stays = {}
    for _, record in ipairs(orders) do
      stays[record.id] = true
    end
    keep_unsettled(keys, terms.sku, {}, gone, stays)
  else
    local room = { units = tonumber(terms.capacity), limit = limit_for_carrying(gate, tonumber(terms.limit)) }
    local alone = gate and not gate.closed and gate.built_under == server_identity() and gate.epoch == previous
    units = carry(keys, terms.sku, terms.epoch, orders, buyers, gone, alone and gate.epoch or nil, room, counted)
  end
  write_gate(keys, terms, closed, units, (whole or closed) and 0 or 1)
  return { 'done', terms.epoch, units }
end

-- May the gate keep its table of buyers in the next epoch? Nobody else admitted under the epoch that the
-- row had before, and the table is all there. Under no limit it may lack units.
local function keeps_table(gate, keys, terms, previous)
  return gate and not gate.closed and gate.built_under == server_identity() and gate.epoch == previous and
    redis.pcall('HLEN', keys[2]) == gate.known and are_hashes(keys, 3) and
    (gate.limit ~= 0 or tonumber(terms.limit) == 0)
end

-- Units of orders of this epoch that MySQL does not have, or has as rejected.
local function units_of_epoch(orders, epoch)
  local units = 0
  for _, record in ipairs(orders) do
    if record.epoch == epoch then
      units = units + record.quantity
    end
  end
  return units
end

-- Carries the orders of an intact gate for which there is room. Those that are rejected in MySQL, or have no
-- room, give their units back. Returns the units carried.
local function carry_all(keys, gate, terms, orders, gone, rejected)
  local units, moved, stays, back = 0, {}, {}, {}
  for _, record in ipairs(orders) do
    if record.epoch == gate.epoch and not rejected[record.id] and
      units + record.quantity <= tonumber(terms.capacity) then
      stays[record.id] = true
      units = units + record.quantity
      moved[#moved + 1] = record.id
      moved[#moved + 1] = record_of_epoch(record, terms.epoch)
    else
      gone[#gone + 1] = record.id
      if record.epoch == gate.epoch then
        back[record.buyer] = (back[record.buyer] or 0) + record.quantity
      end
    end
  end
  for buyer, of_buyer in pairs(back) do
    take_from(keys[2], buyer, of_buyer)
  end
  keep_unsettled(keys, terms.sku, moved, gone, stays)
  return units
end

-- A new epoch for a gate that keeps its table of buyers. The table is kept only if the gate agrees with MySQL: what
-- it has reserved is there, or unsettled, and what was released under its epoch has come.
-- KEYS gate buyers unsettled keys early; ARGV the terms, the epoch that the row had before, units that MySQL
-- has released and that it has committed under it, how many of the unsettled ids are live orders in MySQL or
-- were, these, then those that are rejected there.
-- Returns {'done' | 'old' | 'later' (releases are on their way) | 'unfit' (rebuild it), the gate's epoch, units
-- carried, is the table whole}.
local function renew(keys, args)
  local gate, terms, count, in_mysql = read_gate(keys[1]), read_terms(args), tonumber(args[11]), {}
  if gate and tonumber(gate.epoch) >= tonumber(terms.epoch) then
    return { 'old', gate.epoch, 0, 0 }
  end
  if not keeps_table(gate, keys, terms, args[8]) then
    return { 'unfit', gate and gate.epoch or '0', 0, 0 }
  end
  if gate.released ~= tonumber(args[9]) then
    return { 'later', gate.epoch, 0, 0 }
  end
  for i = 12, 11 + count do
    in_mysql[args[i]] = true
  end
  local orders, _, gone = unsettled_of_item(keys[3], terms.sku, terms.bucket, in_mysql)
  if gate.reserved - gate.unreserved - units_of_epoch(orders, gate.epoch) ~= tonumber(args[10]) then
    return { 'unfit', gate.epoch, 0, 0 }
  end
  local units = carry_all(keys, gate, terms, orders, gone, set_of(args, 12 + count))
  drop(keys[5])
  write_gate(keys, terms, false, units, gate.loading == 0 and 0 or 1)
  return { 'done', terms.epoch, units, gate.loading == 0 and 1 or 0 }
end

-- Units of a buyer as of now: as read from MySQL with a sequence, less the releases behind it that came early.
local function units_now(units, sequence, early)
  for at, released in string.gmatch(early or '', '(%d+):(%d+) ') do
    if tonumber(at) > sequence then
      units = units - tonumber(released)
    end
  end
  return math.max(0, units)
end

-- Buyers and their units, read from MySQL under the gate's epoch, for a gate that is loading. Buyers who are in
-- the table already stay as they are.
-- KEYS gate buyers early; ARGV epoch, sequence (0: the epoch had no release by then), ms for which the caller
-- counts as loading the table ('0': it read only these buyers), '1' if with these all buyers were read; then
-- buyer and units in pairs.
-- Returns {'done' | 'whole' (nothing is missing) | 'stale' (it is not the gate of this epoch, or not intact),
-- does a process load the table}.
local function load(keys, args)
  local gate, now, sequence, ms = read_gate(keys[1]), now_ms(), tonumber(args[2]), tonumber(args[3])
  if not gate or gate.epoch ~= args[1] or gate.closed or gate.built_under ~= server_identity() or
    redis.pcall('HLEN', keys[2]) ~= gate.known or not are_hashes(keys, 3) then
    return { 'stale', 0 }
  end
  if gate.loading == 0 then
    return { 'whole', 0 }
  end
  local buyers, loaded = {}, {}
  for i = 5, #args, 2 do
    buyers[#buyers + 1] = args[i]
  end
  local have, early = hmget(keys[2], buyers, 1, #buyers), hmget(keys[3], buyers, 1, #buyers)
  for i, buyer in ipairs(buyers) do
    if not have[i] then
      loaded[#loaded + 1] = buyer
      loaded[#loaded + 1] = text_of(units_now(tonumber(args[4 + 2 * i]), sequence, early[i] or nil), sequence)
    end
  end
  hset(keys[2], loaded)
  local loading = ms > 0 and now + ms or gate.loading
  if args[4] == '1' then
    loading = 0
    drop(keys[3])
  end
  redis.call('HSET', keys[1], 'known', string.format('%d', gate.known + #loaded / 2), 'loading',
    string.format('%d', loading))
  return { 'done', (loading == 0 or loading > now) and 1 or 0 }
end

-- KEYS gate buyers early. Removes a gate. A rebuild writes it again from MySQL.
local function forget(keys)
  for i = 1, #keys do
    drop(keys[i])
  end
  return 1
end

-- KEYS gate buyers unsettled; ARGV sku bucket. The counters, and what `unsettled` really holds of
-- the present epoch: {answer as in reserve with the gate's own epoch, epoch, closed, capacity,
-- reserved, unreserved, settled, released, held units, held orders of any epoch, now in ms,
-- per-buyer limit, starts_at, ends_at, frozen_until, known, fields that `buyers` really has, loading}.
local function inspect(keys, args)
  local gate, now = read_gate(keys[1]), now_ms()
  if not gate or not are_hashes(keys, 2) then
    return { ITEM_MISSING, '0', 0, 0, 0, 0, 0, 0, 0, 0, now, 0, 0, 0, 0, 0, 0, 0 }
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
    redis.call('HLEN', keys[2]), gate.loading,
  }
end

-- KEYS gate buyers, of each item in turn. What a buyer would find: for each item the answer of reserve to a
-- caller with the gate's own epoch, that epoch ('0': no gate), available units. Changes nothing.
local function look(keys)
  local reply, now = {}, now_ms()
  for i = 1, #keys, 2 do
    local gate = read_gate(keys[i])
    local n, answer = #reply, item_answer(gate, gate and gate.epoch, now, { keys[i], keys[i + 1] })
    reply[n + 1], reply[n + 2], reply[n + 3] = answer, gate and gate.epoch or '0', gate and available(gate) or 0
  end
  return reply
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

-- KEYS unsettled; ARGV sku bucket. The buyers of the item's unsettled orders, each once.
local function unsettled_buyers(keys, args)
  if not are_hashes(keys, 1) then
    return {}
  end
  local _, buyers = unsettled_of_item(keys[1], args[1], args[2], {})
  local out, have = {}, {}
  for _, buyer in ipairs(buyers) do
    if not have[buyer] then
      have[buyer] = true
      out[#out + 1] = buyer
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
      local frequent = callback == look or (callback == reserve and #args > HEAD)
      return forbidden_of(frequent and COMMANDS_OF_ORDERS or COMMANDS, keys[1]) or callback(keys, args)
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
register('holdfast_renew', renew, 'allow-oom')
register('holdfast_load', load, 'allow-oom')
register('holdfast_forget', forget, 'allow-oom')
register('holdfast_frozen', frozen, 'allow-oom')
register('holdfast_inspect', inspect, 'no-writes')
register('holdfast_look', look, 'no-writes')
register('holdfast_unsettled_ids', unsettled_ids, 'no-writes')
register('holdfast_unsettled_buyers', unsettled_buyers, 'no-writes')
register('holdfast_owners', owners, 'no-writes')
register('holdfast_orphans', orphans, 'no-writes')
register('holdfast_hello', hello_of_watch, 'no-writes')
register('holdfast_stamp', stamp, 'allow-oom')
