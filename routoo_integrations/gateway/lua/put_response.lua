-- Stores a response, and forgets those of its account that are too old or too much.
local id, input, text, earlier = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local size, now, since = ARGV[5], ARGV[6], ARGV[7]
local keep_ms, most_bytes = ARGV[8], tonumber(ARGV[9])

for _, old in ipairs(redis.call('ZRANGEBYSCORE', by_use, '-inf', since)) do
    forget(old)
end
redis.call('HSET', response .. id, 'input', input, 'response', text, 'earlier', earlier)
redis.call('PEXPIRE', response .. id, keep_ms)
redis.call('ZADD', by_use, now, id)
redis.call('HSET', sizes, id, size)
redis.call('INCRBY', total, size)
while tonumber(redis.call('GET', total)) > most_bytes do
    forget(redis.call('ZRANGE', by_use, 0, 0)[1])
end
for _, key in ipairs({by_use, sizes, total}) do
    redis.call('PEXPIRE', key, keep_ms)
end
