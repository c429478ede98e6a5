-- Stores a response, and forgets those of its account that are too old or too much.
local id, input, text, previous = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local size, now, since = ARGV[5], ARGV[6], ARGV[7]
local keep_ms, most_bytes = ARGV[8], tonumber(ARGV[9])

for _, old in ipairs(redis.call('ZRANGEBYSCORE', by_use, '-inf', since)) do
    forget(old)
end
redis.call('HSET', response .. id, 'input', input, 'response', text, 'previous', previous)
redis.call('PEXPIRE', response .. id, keep_ms)
redis.call('ZADD', by_use, now, id)
redis.call('HSET', sizes, id, size)
redis.call('INCRBY', total, size)
keep_account(keep_ms)
while tonumber(redis.call('GET', total)) > most_bytes do
    local oldest = redis.call('ZRANGE', by_use, 0, 0)[1]
    if not oldest then
        redis.call('DEL', total)
        break
    end
    forget(oldest)
end
