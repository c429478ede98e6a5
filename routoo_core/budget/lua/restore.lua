-- Goes on with a server that may have lost its data, with what a process knows of the accounts.
-- {id, generation, new_generation, schema, windows}: id of this request, which a client sends again
-- when its connection broke; the generation that the process knows; windows, newest first, each
-- {account, window, start, end, span, limit, spent, own, unbooked}.
-- Returns {generation, is_lost}: the generation of the data, whether it is another than was known.

local request = cjson.decode(ARGV[1])

-- Of a window: the most that anybody has seen of the data that were lost; part of what is spent.
local RECALLED = 'recalled'

local function open_window(known)
    local key = window_key(known.account, known.window)
    if redis.call('EXISTS', key) == 1 then return key end
    redis.call('HSET', key, 'start', known.start, 'end', known['end'], 'span', known.span,
        'limit', known.limit, 'carried', '0')
    for _, field in ipairs(SUMS) do redis.call('HSET', key, field, '0') end
    redis.call('HSETNX', LAST_USED, known.account, known.window)
    redis.call('ZADD', WINDOWS, 'NX', known.start, pair_of(known.account, known.window))
    if known.span ~= '' then
        redis.call('ZADD', slots_key(known.account, known.span), known['end'], known.window)
    end
    return key
end

local function recall(key, spent)
    local before = redis.call('HGET', key, RECALLED) or '0'
    if tonumber(spent) <= tonumber(before) then return end
    redis.call('HSET', key, RECALLED, spent)
    redis.call('HINCRBY', key, 'spent', integer(spent - before))
end

local restored = PREFIX .. 'restored:' .. request.id
local reply = redis.call('GET', restored)
if reply then return reply end

redis.call('SETNX', PREFIX .. 'schema', request.schema)
redis.call('SETNX', GENERATION, request.new_generation)
local generation = redis.call('GET', GENERATION)
local is_lost = generation ~= request.generation
for _, known in ipairs(request.windows) do
    if is_lost or known.unbooked ~= '0' then
        local key = open_window(known)
        if is_lost then
            recall(key, known.spent)
            redis.call('HINCRBY', key, 'spent', known.own)
        end
        redis.call('HINCRBY', key, 'spent', known.unbooked)
    end
end

reply = cjson.encode({generation = generation, is_lost = is_lost})
redis.call('SET', restored, reply, 'EX', RETENTION_S)
return reply
