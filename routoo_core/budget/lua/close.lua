-- Closes a reservation: books what the call cost, and frees the hold, in every account.
-- {now, id, ttl, account, state, cost, closing}: state is settled or released, account the innermost
-- one, closing the id of this request, which a client sends again when its connection broke.
-- Returns {rows} of the innermost account, or {state} if the reservation is unknown or closed.

local request = cjson.decode(ARGV[1])
local now, id = request.now, request.id
local is_settled = request.state == 'settled'

local function last_slot(account, span)
    return redis.call('ZREVRANGE', slots_key(account, span), 0, 0)[1]
end

-- Deletes an account's hourly counts and slots that are older than a moment. A slot that holds
-- money stays; so does the last one of each period, as the account may have used it last.
local function forget(account, before)
    local arrivals = arrivals_key(account)
    for _, hour in ipairs(redis.call('HKEYS', arrivals)) do
        if tonumber(hour) < before then redis.call('HDEL', arrivals, hour) end
    end
    for _, span in pairs(ROLLING_SPAN_S) do
        local slots = slots_key(account, span)
        local last = last_slot(account, span)
        for _, slot in ipairs(redis.call('ZRANGEBYSCORE', slots, '-inf', integer(before))) do
            local key = window_key(account, slot)
            if slot ~= last and redis.call('HGET', key, 'held') == '0' then
                redis.call('DEL', key)
                redis.call('ZREM', slots, slot)
                redis.call('ZREM', WINDOWS, pair_of(account, slot))
            end
        end
    end
end

-- Counts a call; tells whether it is the account's first one of this hour.
local function count_call(account)
    local hour_start = integer(now - now % HOUR_S)
    return redis.call('HINCRBY', arrivals_key(account), hour_start, 1) == 1
end

-- Takes the hold off a window, or what was booked when it expired.
local function undo_hold(key, reservation)
    if reservation.state == 'open' then
        add(key, 'held', negative(reservation.amount))
    else
        add(key, 'spent', negative(reservation.amount))
    end
end

local function book_call(key, reservation)
    add(key, 'spent', request.cost)
    add(key, 'calls', 1)
    add(key, 'overshoot', integer(math.max(0, request.cost - reservation.amount)))
end

-- The innermost account's window, or the last slot of its rolling period where it is forgotten.
local function innermost_window(key)
    local window = window_of(key)
    if redis.call('EXISTS', key) == 1 then return window end
    local period = string.match(window, '^rolling (%a+)')
    return last_slot(request.account, ROLLING_SPAN_S[period])
end

local keys = redis.call('LRANGE', holds_key(id), 0, -1)

local function innermost_rows()
    return read_period(request.account, innermost_window(keys[1]), now, request.ttl)
end

local values = redis.call('HMGET', reservation_key(id), 'amount', 'state', 'closing')
local amount, state, closing = unpack(values)
if closing == request.closing then return cjson.encode({rows = lists_of(innermost_rows())}) end
if state ~= 'open' and state ~= 'expired' then return cjson.encode({state = state or 'unknown'}) end
local reservation = {amount = amount, state = state}

local first_in_hour = {}
for _, key in ipairs(keys) do
    undo_hold(key, reservation)
    if is_settled then
        book_call(key, reservation)
        local account = account_of(key)
        if count_call(account) then first_in_hour[#first_in_hour + 1] = account end
    end
end
close_reservation(id, request.state)
redis.call('HSET', reservation_key(id), 'closing', request.closing)

local rows = innermost_rows()
for _, account in ipairs(first_in_hour) do forget(account, now - RETENTION_S) end
return cjson.encode({rows = lists_of(rows)})
