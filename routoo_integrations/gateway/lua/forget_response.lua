-- What both scripts need. Keys: ids by last use, sizes by id, the sum of the sizes, the beginning of the responses' keys.
local by_use, sizes, total, response = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function forget(id)
    local size = redis.call('HGET', sizes, id)
    if size then
        redis.call('DECRBY', total, size)
    end
    redis.call('HDEL', sizes, id)
    redis.call('ZREM', by_use, id)
    redis.call('DEL', response .. id)
end
