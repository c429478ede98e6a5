-- Holds money in every account of a chain.
-- {now, id, ttl, generation, minimum, maximum, enforce, fair_share_divisor, chain}; the chain holds
-- accounts as read_current takes them.
-- Returns {amount}; or one of
--   {is_lost}: the data is of another generation,
--   {place, share, held}: the account, by its place in the chain, whose share is used up,
--   {place, rows}: the account that has too little.

local request = cjson.decode(ARGV[1])
local now, ttl = request.now, request.ttl

-- Opens the window with its first hold.
local function hold(current, amount)
    local key = window_key(current.account, current.window)
    redis.call('HSETNX', key, 'start', current.start)  -- a run starts with its first call
    redis.call('HSET', key, 'end', current['end'], 'span', current.span,
        'limit', current.limit, 'carried', current.carried)
    for _, field in ipairs(SUMS) do redis.call('HSETNX', key, field, '0') end
    redis.call('HINCRBY', key, 'held', amount)
    redis.call('HSET', LAST_USED, current.account, current.window)
    redis.call('ZADD', WINDOWS, 'NX', current.start, pair_of(current.account, current.window))
    if current.span ~= '' then
        redis.call('ZADD', slots_key(current.account, current.span), current['end'], current.window)
    end
    redis.call('RPUSH', holds_key(request.id), key)
end

if redis.call('GET', GENERATION) ~= request.generation then return cjson.encode({is_lost = true}) end

-- A client whose connection broke sends its request again: it was answered before.
local held_before = redis.call('HGET', reservation_key(request.id), 'amount')
if held_before then return cjson.encode({amount = held_before}) end

book_expired_holds(now)

local binding = nil
for place, current in ipairs(request.chain) do
    local rows = read_current(current, now, ttl)
    current.rows = rows
    if current.limit ~= '' then
        local left = available(current.limit, rows, now)
        if not binding or left < binding.available then
            binding = {place = place, rows = rows, available = left}
        end
    end
end

-- The account whose held_share leaves the least room; nil where none has a share.
local function tightest_share()
    local tightest = nil
    for place = 1, #request.chain - 1 do
        local current, enclosing = request.chain[place], request.chain[place + 1]
        if current.held_share ~= '' and enclosing.limit ~= '' then
            local left = math.max(0, unspent(enclosing.limit, enclosing.rows, now))
            local share = math.floor(left * current.held_share)
            local held = held_in(current.rows)
            local room = math.max(0, share - held)
            if not tightest or room < tightest.room then
                tightest = {place = place, share = share, held = held, room = room}
            end
        end
    end
    return tightest
end

local amount = request.maximum
if request.enforce and binding then
    if binding.available < request.minimum then
        return cjson.encode({place = binding.place, rows = lists_of(binding.rows)})
    end
    local fair_share = math.floor(binding.available / request.fair_share_divisor)
    amount = math.min(request.maximum, math.max(request.minimum, fair_share))
end
local tightest = request.enforce and tightest_share()
if tightest then
    if tightest.room < request.minimum then
        local share, held = integer(tightest.share), integer(tightest.held)
        return cjson.encode({place = tightest.place, share = share, held = held})
    end
    amount = math.min(amount, tightest.room)
end

for _, current in ipairs(request.chain) do hold(current, integer(amount)) end
redis.call('HSET', reservation_key(request.id), 'amount', integer(amount), 'state', 'open')
redis.call('ZADD', OPEN, now + ttl, request.id)
return cjson.encode({amount = integer(amount)})
