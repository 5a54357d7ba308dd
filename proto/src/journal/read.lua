-- Tells what came after an event, the oldest first, and whether there may have been more.
-- KEYS: log.
-- ARGV: the event, how many at most.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
newest = newest and newest[1] or '0-0'
-- Who knows of later events knew a journal that is lost.
local from = is_after(ARGV[1], newest) and '-' or '(' .. ARGV[1]
local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[2])
if not entries[1] then
    return { ARGV[1] == newest and 'all' or 'gap', entries }
end
-- Every event names the one before.
local fields, before = entries[1][2], nil
for index = 1, #fields, 2 do
    if fields[index] == 'after' then
        before = fields[index + 1]
    end
end
return { before == ARGV[1] and 'all' or 'gap', entries }
