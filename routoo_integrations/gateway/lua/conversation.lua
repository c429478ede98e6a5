-- What was said up to and with a response, the first turn first; all of it counts as used now.
-- Returns 'whole', input, response, input, response, …; or 'missing' and an id; or 'too long'.
local id, now, since = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keep_ms, most_bytes = ARGV[4], tonumber(ARGV[5])

local ids = {}
local bytes = 0
while id ~= '' do
    local used_at = redis.call('ZSCORE', by_use, id)
    local previous = redis.call('HGET', response .. id, 'previous')
    if not previous or not used_at or tonumber(used_at) <= since then
        return {'missing', id}
    end
    bytes = bytes + tonumber(redis.call('HGET', sizes, id) or 0)
    if bytes > most_bytes then
        return {'too long'}
    end
    table.insert(ids, id)
    id = previous
end

local texts = {'whole'}
for place = #ids, 1, -1 do
    local name = response .. ids[place]
    table.insert(texts, redis.call('HGET', name, 'input'))
    table.insert(texts, redis.call('HGET', name, 'response'))
    redis.call('ZADD', by_use, now, ids[place])
    redis.call('PEXPIRE', name, keep_ms)
end
keep_account(keep_ms)
return texts
