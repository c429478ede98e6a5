-- Reads every account in the window it used last; writes nothing.
-- {now, ttl}. Returns the rows of each account.

local request = cjson.decode(ARGV[1])
count_expired_holds(request.now)

local accounts = {}
local last_used = redis.call('HGETALL', LAST_USED)
for index = 1, #last_used, 2 do
    local rows = read_period(last_used[index], last_used[index + 1], request.now, request.ttl)
    accounts[#accounts + 1] = lists_of(rows)
end
return cjson.encode(accounts)
