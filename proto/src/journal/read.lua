-- Tells what came after an event, the oldest first, and whether there may have been more.
-- KEYS: log.
-- ARGV: the event, how many at most.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then
    return { ARGV[1] == '0-0' and 'all' or 'gap', {} }
end
-- Who knows of later events knew a journal that is lost.
local from, gap = '(' .. ARGV[1], 'all'
if is_after(ARGV[1], newest[1]) then
    from, gap = '-', 'gap'
else
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    local before = oldest[2][16]
    -- What was before a log that begins anew nobody knows.
    if is_after(oldest[1], ARGV[1]) and (is_after(before, ARGV[1]) or (before == '0-0' and ARGV[1] ~= '0-0')) then
        gap = 'gap'
    end
end
return { gap, redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2]) }
