-- Reads every window, oldest first; writes nothing.
-- {now, account}: account is empty for all of them. Returns rows.

local request = cjson.decode(ARGV[1])
count_expired_holds(request.now)

local rows = {}
for _, pair in ipairs(redis.call('ZRANGE', WINDOWS, 0, -1)) do
    local account, window = string.match(pair, '^(.*)\n(.*)$')
    if request.account == '' or request.account == account then
        rows[#rows + 1] = read_window(account, window)
    end
end
return cjson.encode(lists_of(rows))
