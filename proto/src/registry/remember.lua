-- Keeps a text under a name, instead of what was kept under it, or tells all that are kept.
-- KEYS: texts, times.
-- ARGV: name (empty: only tell), text, ms to keep it, how many are kept at most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
end
if ARGV[1] == '' then
    return redis.call('HGETALL', KEYS[1])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
-- The ones that end first make room.
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1 - ARGV[4])) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
end
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < tonumber(ARGV[3]) then
        redis.call('PEXPIRE', key, ARGV[3])
    end
end
return {}
