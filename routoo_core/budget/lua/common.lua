-- What all scripts share: the layout of the data, and how an account is read.
--
-- Every script gets one argument and returns one text, both JSON. It is given the constants
-- RETENTION_S, HOUR_S and ROLLING_SPAN_S. Amounts are nano-USD. Lua's numbers are doubles, exact up
-- to 2^53 nano-USD, nine million dollars; the sums that are kept are exact beyond, as HINCRBY adds
-- integers.

local PREFIX = '{routoo}:'                  -- the braces keep all keys on one node of a cluster
local LAST_USED = PREFIX .. 'accounts'      -- hash: account -> window that it used last
local WINDOWS = PREFIX .. 'windows'         -- sorted set: account and window, by start
local GENERATION = PREFIX .. 'generation'   -- a mark that is set once
local OPEN = PREFIX .. 'open'               -- sorted set: reservations, by when they expire

local FIELDS = {'start', 'end', 'span', 'limit', 'spent', 'held', 'calls', 'overshoot'}
local SUMS = {'spent', 'held', 'calls', 'overshoot'}

local function pair_of(account, window) return account .. '\n' .. window end

-- Hash: FIELDS, and what was carried over. Absent values are empty. A rolling period has a hash for
-- each slot.
local function window_key(account, window)
    return PREFIX .. 'account:' .. pair_of(account, window)
end

-- Sorted set: the slots of a rolling period, by end.
local function slots_key(account, span) return PREFIX .. 'slots:' .. pair_of(account, span) end

-- Hash: amount and state.
local function reservation_key(id) return PREFIX .. 'reservation:' .. id end

-- List: the keys of the windows that a reservation is held in.
local function holds_key(id) return PREFIX .. 'holds:' .. id end

-- Hash: start of an hour -> calls.
local function arrivals_key(account) return PREFIX .. 'arrivals:' .. account end

local function account_of(key) return string.match(key, 'account:(.*)\n') end

local function window_of(key) return string.match(key, '\n([^\n]*)$') end

local function integer(number) return string.format('%.0f', number) end

local function negative(digits)
    if digits == '0' then return digits end
    return '-' .. digits
end

-- Adds to a window, unless it has been forgotten.
local function add(key, field, amount)
    if redis.call('EXISTS', key) == 1 then redis.call('HINCRBY', key, field, amount) end
end

-- Calls visit(id, amount, window keys) for every hold that nobody has settled in time.
local function each_expired_hold(now, visit)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', now)) do
        local amount = redis.call('HGET', reservation_key(id), 'amount')
        visit(id, amount, redis.call('LRANGE', holds_key(id), 0, -1))
    end
end

-- Takes a reservation out of the open ones; it is kept for a settlement that comes late.
local function close_reservation(id, state)
    redis.call('ZREM', OPEN, id)
    redis.call('HSET', reservation_key(id), 'state', state)
    redis.call('EXPIRE', reservation_key(id), RETENTION_S)
    redis.call('EXPIRE', holds_key(id), RETENTION_S)
end

-- Books holds that nobody has settled in time, all that was held: so much may have been spent.
-- A late settlement corrects that.
local function book_expired_holds(now)
    each_expired_hold(now, function(id, amount, keys)
        for _, key in ipairs(keys) do
            add(key, 'held', negative(amount))
            add(key, 'spent', amount)
        end
        close_reservation(id, 'expired')
    end)
end

-- Key of a window -> what is still to be booked there for expired holds; for scripts that read.
local unbooked = {}

local function count_expired_holds(now)
    each_expired_hold(now, function(_, amount, keys)
        for _, key in ipairs(keys) do
            local total = unbooked[key] or {spent = 0, held = 0}
            total.spent = total.spent + amount
            total.held = total.held - amount
            unbooked[key] = total
        end
    end)
end

-- A window of an account; nil if it was never used, or is forgotten.
local function read_window(account, window)
    local key = window_key(account, window)
    local values = redis.call('HMGET', key, unpack(FIELDS))
    if not values[1] then return nil end

    local row = {account = account, window = window}
    for index, field in ipairs(FIELDS) do row[field] = values[index] end
    local expired = unbooked[key]
    if expired then
        row.spent = integer(row.spent + expired.spent)
        row.held = integer(row.held + expired.held)
    end
    return row
end

-- The slots of a rolling period, oldest first, as far back as money may be spent or held in them.
local function read_slots(account, span, now, ttl)
    local after = string.format('(%.17g', now - math.max(span, ttl))
    local rows = {}
    for _, slot in ipairs(redis.call('ZRANGEBYSCORE', slots_key(account, span), after, '+inf')) do
        rows[#rows + 1] = read_window(account, slot)
    end
    return rows
end

-- The rows of a window that was used: one, or the slots of a rolling period.
local function read_period(account, window, now, ttl)
    local row = read_window(account, window)
    if row.span == '' then return {row} end
    local rows = read_slots(account, row.span, now, ttl)
    if #rows == 0 then return {row} end
    return rows
end

-- What is held in the rows of a period.
local function held_in(rows)
    local held = 0
    for _, row in ipairs(rows) do held = held + row.held end
    return held
end

-- What a period has left beside what is spent in it, given its rows.
local function unspent(limit, rows, now)
    local left = tonumber(limit)
    for _, row in ipairs(rows) do
        if row.span == '' or tonumber(row['end']) > now - row.span then left = left - row.spent end
    end
    return left
end

-- What may still be held, given the rows of a period.
local function available(limit, rows, now)
    return math.max(0, unspent(limit, rows, now) - held_in(rows))
end

-- What the account's last window leaves for a new one, at most one limit. Where a whole period
-- passed in which the account was not used, all of that period's limit is left.
local function carried_over(current)
    local last = redis.call('HGET', LAST_USED, current.account)
    if not current.carry_over or current.limit == '' or not last then return '0' end
    local previous = read_window(current.account, last)
    if not previous or previous.span ~= '' then return '0' end
    if tonumber(previous.start) >= tonumber(current.start) then return '0' end
    local is_idle = previous['end'] ~= '' and current.preceding_start ~= ''
        and tonumber(previous['end']) <= tonumber(current.preceding_start)
    if is_idle then return current.limit end
    if previous.limit == '' then return '0' end
    return integer(math.min(tonumber(current.limit), available(previous.limit, {previous}, 0)))
end

-- The rows of an account in its current period, among them the current window, used or not.
-- Writes nothing.
--
-- current: account, window, start, end, span, limit, carry_over, preceding_start. Its limit is set
-- to what holds in this window, and carried to what was carried over.
local function read_current(current, now, ttl)
    local row = read_window(current.account, current.window)
    local is_new = not row
    if is_new then
        row = {account = current.account, window = current.window}
        for _, field in ipairs(FIELDS) do row[field] = current[field] or '0' end
    end

    current.carried = '0'
    if is_new then
        current.carried = carried_over(current)
    elseif current.span == '' then
        current.carried = redis.call('HGET', window_key(current.account, current.window), 'carried')
    end
    if current.limit ~= '' then current.limit = integer(current.limit + current.carried) end
    row.limit = current.limit
    if current.span == '' then return {row} end

    local rows = read_slots(current.account, current.span, now, ttl)
    if is_new then
        rows[#rows + 1] = row
        table.sort(rows, function(a, b) return tonumber(a['end']) < tonumber(b['end']) end)
    end
    return rows
end

-- Rows as lists: account, window, and FIELDS.
local function lists_of(rows)
    local lists = {}
    for index, row in ipairs(rows) do
        local list = {row.account, row.window}
        for _, field in ipairs(FIELDS) do list[#list + 1] = row[field] end
        lists[index] = list
    end
    return lists
end
