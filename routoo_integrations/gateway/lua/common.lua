-- Keys of an account's responses: ids by last use, sizes by id, the sum of the sizes, the beginning of the responses' keys.
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

-- Keeps a key for some milliseconds from now, and never for less than before.
local function keep(key, milliseconds)
    if redis.call('PTTL', key) < tonumber(milliseconds) then
        redis.call('PEXPIRE', key, milliseconds)
    end
end

local function keep_account(milliseconds)
    keep(by_use, milliseconds)
    keep(sizes, milliseconds)
    keep(total, milliseconds)
end
