-- Reads an account in its current period; writes nothing.
-- {now, ttl, current}; see read_current. Returns rows.

local request = cjson.decode(ARGV[1])
count_expired_holds(request.now)
local rows = read_current(request.current, request.now, request.ttl)
return cjson.encode(lists_of(rows))
